"""What commands share: the console, progress bars, errors a tired person can act on, and Ctrl-C."""

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rcn_search.errors import RcnSearchError
from rcn_search.printable import PlainConsole
from rcn_search.training.exit_status import Interrupted

if TYPE_CHECKING:
    from rcn_search.evaluation.protocol import EvaluationProtocol
    from rcn_search.evaluation.score import Score

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130

if not os.environ.get("COLUMNS", "").strip("0"):  # 0 is what some programs set that do not know the width
    os.environ.pop("COLUMNS", None)
console, errors = PlainConsole(), PlainConsole(stderr=True)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_NO_SPACE = "free some space, then continue a run or a study with --resume"
_NO_PERMISSION = "name another file or folder, or change its permissions"
_NO_CONNECTION = "check the address, the network and that the server is running"
_NO_ANSWER = "the disk or the server of this file system may be failing"
_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another file or folder",
    errno.ENOTEMPTY: "name an empty folder",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: "name a folder on another file system",
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: "raise the limit on file sizes with ulimit -f, or use another file system",
    errno.EMFILE: "raise the limit on open files with ulimit -n",
    errno.EIO: _NO_ANSWER,
    errno.ESTALE: _NO_ANSWER,
    errno.ETIMEDOUT: _NO_CONNECTION,
    errno.ECONNREFUSED: _NO_CONNECTION,
    errno.ECONNRESET: _NO_CONNECTION,
    errno.EHOSTUNREACH: _NO_CONNECTION,
    errno.ENETUNREACH: _NO_CONNECTION,
    errno.EADDRINUSE: "choose another port",
}
"""Remedy for each operating-system error that is not a fault of this program."""
_SUBSTITUTES = {
    "→": "->",
    "–": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "·": "-",
    "×": "x",
    "±": "+-",
    "…": "...",
    "°": "deg",
}
"""For characters that this program prints, where the output cannot hold them; others become a question mark."""
_UNLIMITED_WIDTH = 1_000


def prepare_output() -> None:
    """Let standard output and error take any text, and print tables to a file or pipe as wide as they are."""
    codecs.register_error("rcn-search", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="rcn-search")
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNLIMITED_WIDTH


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SUBSTITUTES.get(character, "?") for character in error.object[error.start : error.end]), error.end


def command(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Print errors that the user can mend as one message with exit code 1; exit with code 130 when interrupted.

    Any other exception is a fault of this program and keeps its traceback.
    """

    @functools.wraps(function)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            _check_working_directory()
            return function(*args, **kwargs)
        except (Interrupted, KeyboardInterrupt) as interruption:
            errors.print(Text(str(interruption) or "interrupted", style="yellow"), soft_wrap=True)
            sys.exit(EXIT_INTERRUPTED)
        except RcnSearchError as error:
            message = str(error)
        except OSError as error:
            if not (message := explain_os_error(error)):
                raise
        errors.print(Text(f"error: {message}", style="red"), soft_wrap=True)
        sys.exit(EXIT_ERROR)

    return guarded


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise RcnSearchError("the working directory does not exist any more; change to another one with cd") from None


def explain_os_error(error: OSError) -> str:
    """Describe an operating-system error with its path and a remedy; empty where it may be a fault of this program."""
    if error.errno in _REMEDIES:
        path = "" if error.filename is None else f"{error.filename}: "
        return f"{path}{error.strerror}; {_REMEDIES[error.errno]}"
    # Without a number it was raised by `rcn_search.storage` or Ray, whose messages name the location and the remedy.
    is_explained = error.errno is None and type(error) is not OSError and not isinstance(error, BrokenPipeError)
    return str(error) if is_explained else ""


def print_text(text: str, style: str = "") -> None:
    """Print text as it is, whatever markup it holds, without breaking its lines."""
    console.print(Text(text, style=style), soft_wrap=True, highlight=False)


def warn(problem: str) -> None:
    """Print a warning to standard error."""
    errors.print(Text(f"warning: {problem}", style="yellow"), soft_wrap=True)


def score_table(scores: Iterable[tuple[EvaluationProtocol, Score]]) -> Table:
    """What predictions score, a line for each protocol."""
    scores = list(scores)
    radii = any(score.coverage for _, score in scores)
    headings = ["protocol", "error %", "95 % interval", "faces", "excluded", *["in radius %", "radius %"] * radii]
    table = Table(*headings, box=None, pad_edge=False)
    for protocol, score in scores:
        interval = "" if score.ci_low_pct is None else f"{score.ci_low_pct:.2f} – {score.ci_high_pct:.2f}"
        excluded = ", ".join(f"{count} {reason}" for reason, count in score.excluded.items()) or "0"
        table.add_row(
            protocol.name, f"{score.error_pct:.2f}", interval, f"{score.num_images:,}", excluded, *_radius_cells(score)
        )
    return table


def _radius_cells(score: Score) -> list[str]:
    return [f"{estimate.pct:.2f}" for estimate in (score.coverage, score.radius) if estimate]


@contextmanager
def progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar to be called with (done, total); on a terminal only, so that logs stay readable."""
    live = _live_console()
    parts = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(
        *parts, TextColumn(unit), TimeRemainingColumn(), console=live, transient=True, disable=not live.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _live_console() -> Console:
    """The console of bars: that of the text if it is a terminal, or a line would begin where the bar ends."""
    return console if console.is_terminal else errors


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within: Ctrl-C or SIGTERM only makes the yielded function true. A second Ctrl-C interrupts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        _live_console().print("stopping after this step; once more to stop at once", style="yellow")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
