"""The winner of a search: errors of the candidates over new seeds, and whether the winner is tied with others.

STUDY/winner.json is published once, when all runs of the replication have ended; see `rcn_search.search.replication`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.records import RESTORE, ErrorPct, StudyError, read_record

WINNER = "winner.json"
_REMEDY = f"{RESTORE}, or delete it: tune --resume then decides again, from the same runs"
REPLICATION = "replication"
"""Folder of the fixed-run study of the replication, in that of the search."""


class ReplicationRun(FrozenModel):
    """A candidate trained again with one new seed, as trial ``number`` of the replication study.

    ``error_pct`` is its lowest validation error, None if it failed; ``checkpoint`` is the URI of the weights with it.
    """

    number: int = Field(ge=0)
    seed: int = Field(ge=0)
    error_pct: ErrorPct | None
    checkpoint: str


class Candidate(FrozenModel):
    """Trial number ``trial`` of the search, which was trained again.

    Attributes:
        search_error_pct: Validation error by which it was chosen; biased downward, as it was the lowest of many.
        error_pct: Mean error over seeds; None if one of them failed.
        minus_winner_pct: Error minus that of the winner; None for the winner and for failed candidates.
        interval_pct: 95 % confidence interval of that difference over seeds and images; None without resampling.
        p: Two-sided p-value of no difference; None as for the interval.
    """

    trial: int = Field(ge=0)
    search_error_pct: ErrorPct
    runs: tuple[ReplicationRun, ...] = Field(min_length=1)
    error_pct: ErrorPct | None
    minus_winner_pct: float | None = None
    interval_pct: tuple[float, float] | None = None
    p: float | None = None
    is_tied: bool = False


class Winner(FrozenModel):
    """Content of ``winner.json``: candidates from best to worst, failed ones last; ``is_tied`` with the runner-up."""

    schema_version: Literal[2] = 2
    trial: int = Field(ge=0)
    is_tied: bool
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    num_images: int = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        first = self.candidates[0]
        if first.trial != self.trial:
            raise ValueError(f"trial {self.trial} is not the first of the candidates")
        if first.error_pct is None or any(run.error_pct is None for run in first.runs):
            raise ValueError(f"trial {self.trial} is the winner, and has no error")
        return self

    @property
    def runs(self) -> tuple[ReplicationRun, ...]:
        """Runs of the winner."""
        return self.candidates[0].runs


def read_winner(study_uri: str, num_trials: int) -> Winner | None:
    """Read the winner of a study with ``num_trials`` trials; None if it has none yet.

    Raises:
        StudyError: ``winner.json`` is damaged, or names a trial that the study does not have.
    """
    uri = storage.join(study_uri, WINNER)
    try:
        winner = read_record(uri, Winner, remedy=_REMEDY)
    except FileNotFoundError:
        return None
    for candidate in winner.candidates:
        if candidate.trial >= num_trials:
            raise StudyError(
                f"{uri} is damaged: it names trial {candidate.trial}; the study has {num_trials} trials, numbered from "
                f"0; {_REMEDY}"
            )
    return winner
