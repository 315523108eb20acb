"""A program that reads ``anno.mat`` of AFW, so that a file that crashes SciPy or HDF5 ends this process and no other.

    python anno_mat_reader.py ANNO_MAT mat5|hdf5

It prints, as JSON, the list of [image name, [points (6, 2) of each face]], or {"error": reason}. It imports neither
this package nor more of others than it needs, and limits its own memory and CPU time, because 2 kB of either format may
ask for 60 GB. Where the system has no such limits (memory on macOS, both on Windows), the time limit of the process
that started it remains.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_NUM_COLUMNS, _NAME, _LANDMARKS = 4, 0, 3
_MAX_VALUES = 100_000  # of one matrix; AFW has 205 images
_MAX_MORE_BYTES = 150_000_000  # memory, beyond that of the imported packages
_MAX_CPU_S = 3  # beyond the imports, which need one at most
_MAX_PRINTED_BYTES = 32_000_000


def limit_resources() -> None:
    """Limit the memory, CPU time and output of this process from now on, as far as the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _lower(resource, resource.RLIMIT_CPU, int(used_s) + 1 + _MAX_CPU_S)
        _lower(resource, resource.RLIMIT_FSIZE, _MAX_PRINTED_BYTES)
        _lower(resource, resource.RLIMIT_CORE, 0)
        used_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource, resource.RLIMIT_AS, used_pages * resource.getpagesize() + _MAX_MORE_BYTES)


def _lower(resource: Any, limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def read_hdf5(h5py: Any, path: str) -> list[tuple[str, list[Any]]]:
    """Read a file of MATLAB 7.3, in which every matrix is transposed."""
    with h5py.File(path, "r") as file:

        def values(stored: Any) -> Any:
            if stored.size > _MAX_VALUES:
                raise ValueError(f"a matrix has the shape {stored.shape}")
            return stored[()]

        anno = values(file["anno"])
        if anno.ndim != 2 or anno.shape[0] != _NUM_COLUMNS:
            raise ValueError(f"anno is {anno.shape[::-1]}, not N x {_NUM_COLUMNS}")

        def faces(cell: Any) -> list[Any]:
            if "MATLAB_empty" in cell.attrs:
                return []
            return [np.asarray(values(file[face]), np.float64).T for face in values(cell).ravel()]

        return [
            ("".join(map(chr, values(file[name]).ravel().tolist())), faces(file[landmarks]))
            for name, landmarks in zip(anno[_NAME], anno[_LANDMARKS], strict=True)
        ]


def read_mat5(scipy_io: Any, path: str) -> list[tuple[str, list[Any]]]:
    """Read a file of MATLAB 5 to 7."""
    anno = scipy_io.loadmat(path, variable_names=["anno"])["anno"]
    if anno.ndim != 2 or anno.shape[1] != _NUM_COLUMNS:
        raise ValueError(f"anno is {anno.shape}, not N x {_NUM_COLUMNS}")
    return [
        (str(row[_NAME].item()), [np.asarray(face, np.float64) for face in row[_LANDMARKS].ravel()]) for row in anno
    ]


def main(path: str, form: str) -> None:
    """Read the file and print what it holds."""
    result: Any
    try:
        if form == "hdf5":
            import h5py as package
        else:
            import scipy.io as package
        limit_resources()
        images = (read_hdf5 if form == "hdf5" else read_mat5)(package, path)
        result = [(name, [face.tolist() for face in faces]) for name, faces in images]
        printed = json.dumps(result)
    except MemoryError:
        printed = json.dumps({"error": "it asks for more memory than AFW's annotations need"})
    except Exception as error:  # undocumented: which errors a damaged file causes
        printed = json.dumps({"error": f"{type(error).__name__}: {str(error)[:200]}"})
    sys.stdout.write(printed)


if __name__ == "__main__":
    main(*sys.argv[1:])
