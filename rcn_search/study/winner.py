"""The winner of a search: errors of the candidates over new seeds, and whether the winner is tied with others.

STUDY/winner.json is published once, when all runs of the replication have ended; see `rcn_search.search.replication`.
"""

from __future__ import annotations

from rcn_search import storage
from rcn_search.config.schema import FrozenModel
from rcn_search.study.records import StudyError

WINNER = "winner.json"
REPLICATION = "replication"
"""Folder of the fixed-run study of the replication, in that of the search."""


class ReplicationRun(FrozenModel):
    """A candidate trained again with one new seed, as trial ``number`` of the replication study.

    ``error_pct`` is its lowest validation error, None if it failed; ``checkpoint`` is the URI of the weights with it.
    """

    number: int
    seed: int
    error_pct: float | None
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

    trial: int
    search_error_pct: float
    runs: tuple[ReplicationRun, ...]
    error_pct: float | None
    minus_winner_pct: float | None = None
    interval_pct: tuple[float, float] | None = None
    p: float | None = None
    is_tied: bool = False


class Winner(FrozenModel):
    """Content of ``winner.json``: candidates from best to worst, failed ones last; ``is_tied`` with the runner-up."""

    schema_version: int = 2
    trial: int
    is_tied: bool
    candidates: tuple[Candidate, ...]
    num_images: int

    @property
    def runs(self) -> tuple[ReplicationRun, ...]:
        """Runs of the winner."""
        return self.candidates[0].runs


def read_winner(study_uri: str) -> Winner | None:
    """Read the winner of a study; None if it has none yet, StudyError if ``winner.json`` is damaged."""
    uri = storage.join(study_uri, WINNER)
    try:
        return Winner.model_validate(storage.read_json(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StudyError(f"{uri} is damaged, or of a newer version of rcn-search: {error}") from error
