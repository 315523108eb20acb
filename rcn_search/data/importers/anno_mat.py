"""Read ``anno.mat`` of AFW (Zhu and Ramanan, CVPR 2012), in either of MATLAB's file formats.

The file holds one cell array ``anno`` with a row for each image: file name, boxes, poses and landmarks, of which the
last three are cells with one matrix for each face. Landmarks are 6x2: left eye, right eye, nose, left mouth corner,
mouth center, right mouth corner; NaN if invisible. MATLAB 7.3 files are HDF5, which stores every matrix transposed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.shards import DatasetError

_NUM_COLUMNS, _NAME, _LANDMARKS = 4, 0, 3
_LANDMARKS_SHAPE = (6, 2)
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB's own header, which precedes that of HDF5


class AnnotatedImage(NamedTuple):
    """File name of an image, and (6, 2) x, y for each face, as published."""

    name: str
    faces: list[NDArray[np.float64]]


def read_anno(path: Path) -> list[AnnotatedImage]:
    """Read all images, in the order of the file.

    Raises:
        DatasetError: The file is missing, damaged or not as published, or the package that reads it is not installed.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; the source folder must hold it and its images") from None
    is_hdf5 = _HDF5_SIGNATURE in (head[: len(_HDF5_SIGNATURE)], head[_USER_BLOCK:])
    package = _installed("h5py" if is_hdf5 else "scipy.io", path)
    try:
        images = _read_hdf5(package, path) if is_hdf5 else _read_older(package, path)
        shapes = {face.shape for image in images for face in image.faces}
    except Exception as error:  # undocumented: which errors a damaged file causes
        raise DatasetError(f"{path} is not AFW's anno.mat as published: {type(error).__name__}: {error}") from error
    if shapes - {_LANDMARKS_SHAPE}:
        raise DatasetError(f"{path} is not AFW's anno.mat as published: landmarks of shape {sorted(shapes)}, not 6x2")
    return images


def _installed(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        text = f"reading {path} needs {module.partition('.')[0]}; install it with: pip install 'rcn-search[matlab]'"
        raise DatasetError(text) from error


def _read_hdf5(h5py: Any, path: Path) -> list[AnnotatedImage]:
    with h5py.File(path, "r") as file:
        anno = file["anno"][()]
        if anno.ndim != 2 or anno.shape[0] != _NUM_COLUMNS:
            raise ValueError(f"anno is {anno.shape[::-1]}, not N x {_NUM_COLUMNS}")

        def faces(cell: Any) -> list[NDArray[np.float64]]:
            if "MATLAB_empty" in cell.attrs:
                return []
            return [np.asarray(file[face][()], np.float64).T for face in cell[()].ravel()]

        return [
            AnnotatedImage("".join(map(chr, file[name][()].ravel().tolist())), faces(file[landmarks]))
            for name, landmarks in zip(anno[_NAME], anno[_LANDMARKS], strict=True)
        ]


def _read_older(scipy_io: Any, path: Path) -> list[AnnotatedImage]:
    anno = scipy_io.loadmat(path, variable_names=["anno"])["anno"]
    if anno.ndim != 2 or anno.shape[1] != _NUM_COLUMNS:
        raise ValueError(f"anno is {anno.shape}, not N x {_NUM_COLUMNS}")
    return [
        AnnotatedImage(str(row[_NAME].item()), [np.asarray(face, np.float64) for face in row[_LANDMARKS].ravel()])
        for row in anno
    ]
