"""Read ``anno.mat`` of AFW (Zhu and Ramanan, CVPR 2012), in either of MATLAB's file formats.

The file holds one cell array ``anno`` with a row for each image: file name, boxes, poses and landmarks, of which the
last three are cells with one matrix for each face. Landmarks are 6x2: left eye, right eye, nose, left mouth corner,
mouth center, right mouth corner; NaN if invisible. MATLAB 7.3 files are HDF5, which stores every matrix transposed.

SciPy and HDF5 may crash on a damaged file, so another process reads it (`rcn_search.data.importers.anno_mat_reader`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers import anno_mat_reader
from rcn_search.data.shards import DatasetError

_LANDMARKS_SHAPE = (6, 2)
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB's own header, which precedes that of HDF5
_MAX_FILE_BYTES = 16_000_000
_TIMEOUT_S = 60  # wall time, of which a busy machine needs more than the CPU time that the reader allows itself


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
    with path.open("rb") as stream:
        head = stream.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
    form = "hdf5" if _HDF5_SIGNATURE in (head[: len(_HDF5_SIGNATURE)], head[_USER_BLOCK:]) else "mat5"
    package = "h5py" if form == "hdf5" else "scipy"
    if importlib.util.find_spec(package) is None:
        text = f"reading {path} needs {package}; install it with: pip install 'rcn-search[matlab]'"
        raise DatasetError(text)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"it has over {_MAX_FILE_BYTES:,} bytes")
        images = _images(_run_reader(path, form))
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path} is not AFW's anno.mat as published: {error}") from error
    if shapes := {face.shape for image in images for face in image.faces} - {_LANDMARKS_SHAPE}:
        raise DatasetError(f"{path} is not AFW's anno.mat as published: landmarks of shape {sorted(shapes)}, not 6x2")
    return images


def _run_reader(path: Path, form: str) -> Any:
    """Run the reader and return what it printed.

    Raises:
        ValueError: It could not read the file; the message says why.
    """
    line = [sys.executable, "-P", anno_mat_reader.__file__, str(path.absolute()), form]
    with TemporaryFile() as printed:
        try:
            code = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                check=False,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # whose threads reserve memory
            ).returncode
        except subprocess.TimeoutExpired:
            raise ValueError(f"reading it takes over {_TIMEOUT_S} s") from None
        printed.seek(0)
        content = printed.read()
    if code:
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ValueError(f"the process that read it ended with {reason}")
    result = json.loads(content)
    if isinstance(result, dict):
        raise ValueError(result["error"])
    return result


def _images(result: Any) -> list[AnnotatedImage]:
    return [AnnotatedImage(name, [np.array(face, np.float64) for face in faces]) for name, faces in result]
