"""What commands share: the console, progress bars, errors a tired person can act on, and Ctrl-C."""

from __future__ import annotations

import errno
import functools
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rcn_search.training.exit_status import Interrupted, TrainingFailed

if TYPE_CHECKING:
    from rcn_search.evaluation.protocol import EvaluationProtocol
    from rcn_search.evaluation.score import Score

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130

console = Console()
errors = Console(stderr=True)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def command(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turn what a user can mend into one message and exit code 1, and an interruption into exit code 130.

    Anything else is a fault of this program and keeps its traceback.
    """

    @functools.wraps(function)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (Interrupted, KeyboardInterrupt) as interruption:
            errors.print(Text(str(interruption) or "interrupted", style="yellow"), soft_wrap=True)
            sys.exit(EXIT_INTERRUPTED)
        except (ValueError, OSError, TrainingFailed) as error:
            is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            remedy = "; make room and go on, of a run or a study with --resume" if is_full else ""
            errors.print(Text(f"error: {error}{remedy}", style="red"), soft_wrap=True)
            sys.exit(EXIT_ERROR)

    return guarded


def score_table(scores: Iterable[tuple[EvaluationProtocol, Score]]) -> Table:
    """What predictions score, a line for each protocol."""
    table = Table("protocol", "error %", "95 % interval", "faces", "excluded", box=None, pad_edge=False)
    for protocol, score in scores:
        interval = "" if score.ci_low_pct is None else f"{score.ci_low_pct:.2f} – {score.ci_high_pct:.2f}"
        excluded = ", ".join(f"{count} {reason}" for reason, count in score.excluded.items()) or "0"
        table.add_row(protocol.name, f"{score.error_pct:.2f}", interval, f"{score.num_images:,}", excluded)
    return table


@contextmanager
def progress(title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar to be called with (done, total); on a terminal only, so that logs stay readable."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within: Ctrl-C or SIGTERM only makes the yielded function true. A second Ctrl-C interrupts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        errors.print("[yellow]stopping after this step; once more to stop at once[/]")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
