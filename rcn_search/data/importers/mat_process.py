"""Read MATLAB files in another process (`rcn_search.data.importers.mat_reader`), as they may crash their reader."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rcn_search.data.importers import mat_reader
from rcn_search.data.importers.base import RowError
from rcn_search.data.shards import DatasetError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB's own header, which precedes that of HDF5
_TIMEOUT_S = 60  # wall time, of which a busy machine needs more than the CPU time that the reader allows itself
_MAX_CRASHES = 10  # of the process that reads images, each of which costs its start


def is_hdf5(path: Path) -> bool:
    """Whether a MATLAB file is one of version 7.3, which is HDF5."""
    with path.open("rb") as stream:
        head = stream.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
    return _HDF5_SIGNATURE in (head[: len(_HDF5_SIGNATURE)], head[_USER_BLOCK:])


def require_package(package: str, path: Path) -> None:
    """Check that the package that reads a file is installed.

    Raises:
        DatasetError: It is not; the message names the extra.
    """
    if importlib.util.find_spec(package) is None:
        raise DatasetError(f"reading {path} needs {package}; install it with: pip install 'rcn-search[matlab]'")


def run_reader(form: str, path: Path) -> bytes:
    """Run the reader and return what it printed.

    Raises:
        ValueError: It could not read the file; the message says why.
    """
    with TemporaryFile() as printed:
        try:
            code = subprocess.run(
                _command(form, path),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.DEVNULL,
                timeout=_TIMEOUT_S,
                check=False,
                env=_environment(),
            ).returncode
        except subprocess.TimeoutExpired:
            raise ValueError(f"reading it takes over {_TIMEOUT_S} s") from None
        printed.seek(0)
        content = printed.read()
    if code:
        last = content.rpartition(b"\n")[0].rpartition(b"\n")[2][:20].decode("ascii", "replace")
        after = f", after {last.strip('[').partition(',')[0]}_points.mat" if last else ""
        raise ValueError(f"the process that read it ended with {_ending(code)}{after}")
    return content


def read_json(form: str, path: Path) -> Any:
    """Run the reader and return the value that it printed.

    Raises:
        ValueError: It could not read the file; the message says why.
    """
    result = json.loads(run_reader(form, path))
    if isinstance(result, dict):
        raise ValueError(result["error"])
    return result


def _command(form: str, path: Path) -> list[str]:
    return [sys.executable, "-P", mat_reader.__file__, form, str(path.absolute())]


def _environment() -> dict[str, str]:
    return os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # whose threads reserve memory


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class ImageProcess:
    """Reads the images of a COFW file in another process, one at a time; threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock, self._num_crashes = path, threading.Lock(), 0
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read an image: (h, w) gray or (h, w, 3) red, green, blue.

        Raises:
            RowError: It is damaged, too large, or no image.
        """
        with self._lock:
            if self._num_crashes >= _MAX_CRASHES:
                raise RowError(f"image is not read, because reading {self._path.name} has failed {_MAX_CRASHES} times")
            if self._process is None:
                self._process = _start(self._path)
                weakref.finalize(self, _stop, self._process)
            timer = threading.Timer(_TIMEOUT_S, self._process.kill)
            timer.start()
            try:
                head, pixels = _ask(self._process, index)
            except (OSError, ValueError):  # it ended, before its answer or in the middle of it
                _stop(self._process)
                code, self._process = self._process.returncode, None
                self._num_crashes += 1
                raise RowError(f"image cannot be read: the process that read it ended with {_ending(code)}") from None
            finally:
                timer.cancel()
        if "error" in head:
            raise RowError(f"image cannot be read: {head['error']}")
        return np.frombuffer(pixels, np.uint8).reshape(head["shape"])


def _start(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command("cofw-images", path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )


def _ask(process: subprocess.Popen[bytes], index: int) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{index}\n".encode())
    process.stdin.flush()
    head = json.loads(process.stdout.readline())
    num_bytes = math.prod(head.get("shape", [0]))
    pixels = process.stdout.read(num_bytes)
    if len(pixels) < num_bytes:
        raise ValueError("the answer is cut off")
    return head, pixels


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # what was written was not read
            pass
    process.kill()
    process.wait()
