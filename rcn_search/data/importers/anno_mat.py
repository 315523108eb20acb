"""Read ``anno.mat`` of AFW (Zhu and Ramanan, CVPR 2012), in either of MATLAB's file formats.

The file holds one cell array ``anno`` with a row for each image: file name, boxes, poses and landmarks, of which the
last three are cells with one matrix for each face. Landmarks are 6x2: left eye, right eye, nose, left mouth corner,
mouth center, right mouth corner; NaN if invisible. MATLAB 7.3 files are HDF5, which stores every matrix transposed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers.mat_process import is_hdf5, read_json, require_package
from rcn_search.data.shards import DatasetError

_LANDMARKS_SHAPE = (6, 2)
_MAX_FILE_BYTES = 16_000_000


class AnnotatedImage(NamedTuple):
    """File name of an image, and (6, 2) x, y for each face, as published."""

    name: str
    faces: list[NDArray[np.float64]]


def read_anno(path: Path) -> list[AnnotatedImage]:
    """Read all images, in the order of the file.

    Raises:
        DatasetError: The file is missing, damaged or not as published, or the package that reads it is not installed.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing; the source folder must hold it and its images")
    form, package = ("anno-hdf5", "h5py") if is_hdf5(path) else ("anno-mat5", "scipy")
    require_package(package, path)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it has over {_MAX_FILE_BYTES:,} bytes")
        images = [
            AnnotatedImage(name, [np.array(face, np.float64) for face in faces])
            for name, faces in read_json(form, path)
        ]
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} is not AFW's anno.mat as published: {error}") from error
    if shapes := {face.shape for image in images for face in image.faces} - {_LANDMARKS_SHAPE}:
        raise DatasetError(f"{path} is not AFW's anno.mat as published: landmarks of shape {sorted(shapes)}, not 6x2")
    return images
