"""The winner of a search: what its replicates reached, beside those of the other trials, and whether that is a tie.

STUDY/winner.json is published once, when all replicates have ended (see `rcn_search.search.replication`).
"""

from __future__ import annotations

from statistics import fmean, stdev

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.records import StudyError

WINNER = "winner.json"
REPLICATION = "replication"
"""Folder of the study of rows that the replicates are."""


class ReplicationRun(FrozenModel):
    """A trial trained again with one other seed.

    Attributes:
        number: In the study of the replicates.
        seed: Of the training.
        error_pct: Lowest validation error; None if it failed.
        checkpoint: The weights with that error.
    """

    number: int
    seed: int
    error_pct: float | None
    checkpoint: str


class Candidate(FrozenModel):
    """A trial that was trained again.

    Attributes:
        trial: Its number in the search.
        chosen_by_pct: The validation error that it was chosen by, which is too low by as much as that was luck.
        repeats: By seed.
        error_pct: Mean over seeds; None if one of them failed.
        minus_winner_pct: How much larger its error is; None of the winner and of one that failed.
        interval_pct: 95 %, for other seeds and other validation images; None where there is nothing to resample.
        p: Two-sided, of the hypothesis that there is no difference; None likewise.
        is_tied: Whether nothing says that the winner is better.
    """

    trial: int
    search_error_pct: float
    runs: tuple[ReplicationRun, ...]
    error_pct: float | None
    minus_winner_pct: float | None = None
    interval_pct: tuple[float, float] | None = None
    p: float | None = None
    is_tied: bool = False


class Winner(FrozenModel):
    """``winner.json``.

    Attributes:
        trial: Number of the winner in the search.
        is_tied: With the runner-up.
        contestants: The winner, the runner-up and so on; those of which a seed failed are last.
        num_images: Of the validation split by which they were compared.
    """

    schema_version: int = 1
    trial: int
    is_tied: bool
    candidates: tuple[Candidate, ...]
    num_images: int

    @property
    def runs(self) -> tuple[ReplicationRun, ...]:
        """Of the winner."""
        return self.candidates[0].runs


def read_winner(study_uri: str) -> Winner | None:
    """The winner of a study; None where none is named yet.

    Raises:
        StudyError: ``winner.json`` is damaged.
    """
    place = storage.join(study_uri, WINNER)
    try:
        return Winner.model_validate(storage.read_json(place))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{place} is damaged, or of a newer version of rcn-search: {error}") from error


def winner_table(winner: Winner) -> RenderableType:
    """The contestants as a table, and what it comes to in one line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "search %", "seeds", "mean %", "± seeds", "− winner", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in winner.candidates:
        errors = [one.error_pct for one in each.runs if one.error_pct is not None]
        low, high = each.interval_pct or (None, None)
        table.add_row(
            str(each.trial),
            f"{each.search_error_pct:.2f}",
            f"{len(errors)} of {len(each.runs)}" if each.error_pct is None else str(len(errors)),
            "" if each.error_pct is None else f"{each.error_pct:.2f}",
            f"{stdev(errors):.2f}" if len(errors) > 1 else "",
            "" if each.minus_winner_pct is None else f"{each.minus_winner_pct:+.2f}",
            "" if low is None else f"{low:+.2f} to {high:+.2f}",
            "" if each.p is None else f"{each.p:.3f}",
            _verdict(winner, each),
            style="bold" if each.trial == winner.trial else "",
        )
    return Group(Text(_in_words(winner), style="bold green"), table)


def _verdict(winner: Winner, each: Candidate) -> str:
    if each.trial == winner.trial:
        return "winner"
    return "a seed failed" if each.error_pct is None else "tied" if each.is_tied else ""


def _in_words(winner: Winner) -> str:
    first = winner.candidates[0]
    errors = [each.error_pct for each in first.runs if each.error_pct is not None]
    said = f"trial {winner.trial} wins: {fmean(errors):.2f} % over {len(errors)} other seeds"
    tied = [str(each.trial) for each in winner.candidates if each.is_tied]
    if tied:
        return f"{said}, tied with {'trials' if len(tied) > 1 else 'trial'} {', '.join(tied)}"
    return said
