"""A program that reads MATLAB files of strangers; one that crashes SciPy or HDF5 ends this process and no other.

    python mat_reader.py anno-mat5|anno-hdf5 ANNO_MAT    [image name, [points (6, 2) of each face]] of AFW, a list
    python mat_reader.py cofw COFW_test_color.mat        the rows of phisT: 29 x, 29 y, 29 times 1 if hidden
    python mat_reader.py cofw68 FOLDER                   a line for each N_points.mat: [N, points (68, 2), 68 times 0]
    python mat_reader.py cofw-images COFW_test_color.mat

It prints JSON, or {"error": reason}. ``cofw-images`` answers each index on standard input with a line {"shape": …} and
the bytes of the image, or {"error": reason}.

It imports neither this package nor more of others than it needs, and limits its own memory and CPU time, because 2 kB
of either format may ask for 60 GB. Where the system has no such limits (memory on macOS, both on Windows), the time
limit of the process that started it remains.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

_NUM_COLUMNS, _NAME, _LANDMARKS = 4, 0, 3  # of AFW's anno
_MAX_VALUES = 100_000  # of one matrix; AFW has 205 images
_MAX_COFW_VALUES = 300_000  # COFW has 1,345 rows of 87 numbers
_MAX_IMAGE_BYTES = 192_000_000
_MAX_MORE_BYTES = 150_000_000  # memory, beyond that of the imported packages
_MAX_CPU_S = 3  # beyond the imports, which need one at most
_MAX_CPU_IMAGES_S = 3_600
_MAX_PRINTED_BYTES = 32_000_000
_TOO_MUCH = "it asks for more memory than such a file needs"


def limit_resources(more_bytes: int, cpu_s: int) -> None:
    """Limit the memory, CPU time and output of this process from now on, as far as the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _lower(resource, resource.RLIMIT_CPU, int(used_s) + 1 + cpu_s)
        _lower(resource, resource.RLIMIT_FSIZE, _MAX_PRINTED_BYTES)
        _lower(resource, resource.RLIMIT_CORE, 0)
        used_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource, resource.RLIMIT_AS, used_pages * resource.getpagesize() + more_bytes)


def _lower(resource: Any, limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _values(stored: Any, most: int = _MAX_VALUES) -> Any:
    """Read a matrix of an HDF5 file, if it is not too large and lies in that file."""
    if stored.size > most:
        raise ValueError(f"a matrix has the shape {stored.shape}")
    if stored.external or stored.is_virtual:
        raise ValueError("a matrix lies in another file")
    return stored[()]


def read_anno_hdf5(h5py: Any, path: str) -> list[tuple[str, list[Any]]]:
    """Read AFW's anno.mat of MATLAB 7.3, in which every matrix is transposed."""
    with h5py.File(path, "r") as file:
        anno = _values(file["anno"])
        if anno.ndim != 2 or anno.shape[0] != _NUM_COLUMNS:
            raise ValueError(f"anno is {anno.shape[::-1]}, not N x {_NUM_COLUMNS}")

        def faces(cell: Any) -> list[Any]:
            if "MATLAB_empty" in cell.attrs:
                return []
            return [np.asarray(_values(file[face]), np.float64).T.tolist() for face in _values(cell).ravel()]

        return [
            ("".join(map(chr, _values(file[name]).ravel().tolist())), faces(file[landmarks]))
            for name, landmarks in zip(anno[_NAME], anno[_LANDMARKS], strict=True)
        ]


def read_anno_mat5(scipy_io: Any, path: str) -> list[tuple[str, list[Any]]]:
    """Read AFW's anno.mat of MATLAB 5 to 7."""
    anno = scipy_io.loadmat(path, variable_names=["anno"])["anno"]
    if anno.ndim != 2 or anno.shape[1] != _NUM_COLUMNS:
        raise ValueError(f"anno is {anno.shape}, not N x {_NUM_COLUMNS}")
    return [
        (str(row[_NAME].item()), [np.asarray(face, np.float64).tolist() for face in row[_LANDMARKS].ravel()])
        for row in anno
    ]


def read_cofw(h5py: Any, path: str) -> list[list[float]]:
    """Read the annotation of COFW: (n, 87), one row for each of n images."""
    with h5py.File(path, "r") as file:
        kind = "Tr" if "phisTr" in file else "T"
        numbers = np.asarray(_values(file[f"phis{kind}"], _MAX_COFW_VALUES), np.float64).T
        num_images = file[f"Is{kind}"].size
    if numbers.ndim != 2 or len(numbers) != num_images:
        raise ValueError(f"phis{kind} is {numbers.shape}, and Is{kind} has {num_images:,} images")
    return numbers.tolist()  # type: ignore[no-any-return]  # of an array


def read_cofw68(scipy_io: Any, folder: str) -> None:
    """Print the annotation of each N_points.mat in the order of N; each at once, so that one that crashes is known."""
    files = {int(path.name.partition("_")[0]): path for path in Path(folder).iterdir() if _is_points(path.name)}
    for number, path in sorted(files.items()):
        try:
            found = scipy_io.loadmat(str(path), variable_names=["Points", "Occ"])
            points, occluded = np.asarray(found["Points"], np.float64), np.asarray(found["Occ"], np.float64)
            if points.shape != (68, 2) or occluded.size != 68:
                raise ValueError(f"Points is {points.shape} and Occ {occluded.shape}, not 68 x 2 and 68")
            said: Any = [number, points.tolist(), occluded.ravel().tolist()]
        except Exception as error:  # undocumented: which errors a damaged file causes
            said = [number, _reason(error)]
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def _is_points(name: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,5}_points\.mat", name) is not None


def serve_images(h5py: Any, path: str) -> None:
    """Answer each index on standard input with an image of COFW: (h, w) gray or (h, w, 3) red, green, blue."""
    with h5py.File(path, "r") as file:
        cells = _values(file["IsTr" if "IsTr" in file else "IsT"]).ravel()
        for line in sys.stdin.buffer:
            pixels = b""
            try:
                stored = file[cells[int(line)]]
                if stored.dtype != np.uint8 or stored.ndim not in (2, 3) or (stored.ndim == 3 and stored.shape[0] != 3):
                    raise ValueError(f"it is {stored.dtype} of shape {stored.shape[::-1]}")
                image = np.asarray(_values(stored, _MAX_IMAGE_BYTES)).T
                head: dict[str, Any] = {"shape": image.shape}
                pixels = image.tobytes()
            except Exception as error:  # undocumented: which errors a damaged file causes
                head = {"error": _reason(error)}
            sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + pixels)
            sys.stdout.buffer.flush()


def _reason(error: Exception) -> str:
    return _TOO_MUCH if isinstance(error, MemoryError) else f"{type(error).__name__}: {str(error)[:200]}"


def main(form: str, path: str) -> None:
    """Read the file and print what it holds."""
    readers = {
        "anno-hdf5": read_anno_hdf5,
        "anno-mat5": read_anno_mat5,
        "cofw": read_cofw,
        "cofw68": read_cofw68,
        "cofw-images": serve_images,
    }
    try:
        package = importlib.import_module("scipy.io" if form in ("anno-mat5", "cofw68") else "h5py")
        if form == "cofw-images":
            limit_resources(_MAX_MORE_BYTES + 3 * _MAX_IMAGE_BYTES, _MAX_CPU_IMAGES_S)
        else:
            limit_resources(_MAX_MORE_BYTES, _MAX_CPU_S)
        result = readers[form](package, path)
        printed = "" if result is None else json.dumps(result)
    except Exception as error:  # undocumented: which errors a damaged file causes
        printed = json.dumps({"error": _reason(error)})
    sys.stdout.write(printed)


if __name__ == "__main__":
    main(*sys.argv[1:])
