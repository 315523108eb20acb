"""What a reader of a stranger's file may do: refuse it with an error that names the file, or give a right result.

Nothing else is right: another exception, a refusal that does not say of which file, a wrong result, control characters
on the terminal, more than 300 MB, or more than 5 s.
"""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rcn_search.errors import RcnSearchError
from tests.fuzz.mutations import Mutate

MAX_S, MAX_MB = 5.0, 300
PACKAGE = str(Path(__file__).parents[2] / "rcn_search")


class Wrong(Exception):  # noqa: N818 - a verdict
    """A reader accepted what it should have refused, or showed what it should not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser, and the valid files from which mutations start.

    Attributes:
        prepare: Makes what surrounds the file in an empty folder; returns valid contents of the file.
        read: Puts a content into that folder and reads it as users' commands do; raises `Wrong` for a wrong result.
        names: What the message of a refusal must hold, one of these; nothing where each caller adds it.
        hostile: Contents that are no mutations: bombs, and what was found once.
        num_examples: How many inputs `make test` reads.
    """

    name: str
    prepare: Callable[[Path], list[bytes]]
    mutate: Mutate
    read: Callable[[Path, bytes], None]
    names: tuple[str, ...] = ()
    hostile: Callable[[], list[bytes]] = list
    num_examples: int = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An input for which a reader did not do what it should: ``signature`` is the same for the same fault."""

    kind: str
    signature: str
    detail: str


class Bench:
    """A target with its folder, ready to read inputs."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.seeds = target.prepare(folder)
        for seed in self.seeds:
            target.read(folder, seed)  # a valid file is read, or this raises

    def draw(self, random: Random) -> bytes:
        """A mutation of one of the valid files."""
        return self.target.mutate(random.choice(self.seeds), random)

    def examine(self, content: bytes) -> Finding | None:
        """Read a content; what was wrong about that, or None."""
        started, finding = time.process_time(), None
        with _peak_memory() as peak_mb:
            try:
                self.target.read(self.folder, content)
            except (RcnSearchError, OSError) as error:
                finding = self._refusal(error)
            except Wrong as error:
                finding = Finding(kind="wrong", signature=f"wrong {str(error)[:60]}", detail=str(error))
            except Exception as error:
                finding = _crash(error)
        lasted_s = time.process_time() - started
        if finding is None and lasted_s > MAX_S:
            finding = Finding(kind="slow", signature="slow", detail=f"{lasted_s:.1f} s of CPU time")
        if finding is None and peak_mb() > MAX_MB:
            finding = Finding(kind="memory", signature="memory", detail=f"{peak_mb():.0f} MB")
        return finding

    def _refusal(self, error: Exception) -> Finding | None:
        message = str(error)
        if type(error) is OSError and error.errno is None:  # the command line takes it for a fault of this program
            return _crash(error)
        if self.target.names and not any(name in message for name in self.target.names):
            where = _place(error)
            detail = f"{type(error).__name__}: {message[:300]}"
            return Finding(kind="unnamed", signature=f"unnamed {where}", detail=detail)
        return None


def _crash(error: BaseException) -> Finding:
    text = "".join(traceback.format_exception(error))
    return Finding(kind="crash", signature=f"{type(error).__name__} {_place(error)}", detail=text[-1_500:])


def _place(error: BaseException) -> str:
    """The last line of this package that the error passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]
    if not frames:
        return "outside"
    return f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].name}"


@contextmanager
def _peak_memory() -> Iterator[Callable[[], float]]:
    """Measure how much more memory was resident at the peak, in MB (Linux; else always 0)."""
    peaks: list[float] = []
    before = 0.0
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is the present from here on
        before = _resident_kb("VmRSS")
    yield lambda: max(peaks, default=0.0)
    with suppress(OSError):
        peaks.append((_resident_kb("VmHWM") - before) / 1e3)


def _resident_kb(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return float(line.split()[1])
    return 0.0


def limit_memory(more_gb: float = 4.0) -> None:
    """Bound the address space of this process, so that a bomb ends in a MemoryError instead of the machine."""
    size_kb = _resident_kb("VmSize")
    limit = int(size_kb * 1e3 + more_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
