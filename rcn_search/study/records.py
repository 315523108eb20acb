"""The records that a study is made of: each is one JSON document, written once (see `rcn_search.study.store`).

A record that cannot have been written by this program is damaged. It is named, and never used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from pydantic import BaseModel, Field, RootModel, ValidationError, ValidationInfo, model_validator

from rcn_search import storage
from rcn_search.config.errors import summarize
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.space.parameter import Scalar, Values
from rcn_search.study.space.sections import StopRule

SCHEMA_VERSION: Final = 2
RESTORE = "restore it from a copy"
UnixTime = Annotated[float, Field(ge=0, le=32_503_680_000)]
"""Seconds since 1970, before the year 3000."""
Seconds = Annotated[float, Field(ge=0, le=1e9)]
ErrorPct = Annotated[float, Field(ge=0)]
_MAX_BUSY_S = 1e10
_Record = TypeVar("_Record", bound=BaseModel)


class StudyError(RcnSearchError):
    """A study cannot be started, read or resumed. The message says why and what to do."""


def read_record(uri: str, kind: type[_Record], *, remedy: str = RESTORE) -> _Record:
    """Read the JSON document at ``uri``; ``remedy`` is what to do if it is damaged.

    Raises:
        FileNotFoundError: There is no such object.
        StudyError: It is damaged.
    """
    return validate_record(uri, kind, read_json(uri, remedy=remedy), remedy=remedy)


def read_json(uri: str, *, remedy: str = RESTORE) -> Any:
    """Read a JSON document as `storage.read_json` does; StudyError with a ``remedy`` if it is damaged."""
    try:
        return storage.read_json(uri)
    except storage.StorageError as error:
        if isinstance(error, OSError):
            raise
        raise StudyError(f"{uri} is damaged: {error}; {remedy}") from None


def validate_record(uri: str, kind: type[_Record], document: Any, *, remedy: str = RESTORE) -> _Record:
    """Validate a document that was read from ``uri``; StudyError if it is damaged."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise StudyError(f"{uri} is damaged: {summarize(error)}; {remedy}") from None


@lru_cache(maxsize=4_096)
def read_distribution(text: str) -> BaseDistribution:
    """Read a distribution from Optuna's JSON; ValueError if it is none."""
    try:
        return json_to_distribution(text)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{text[:80]!r} is no distribution: {error}") from None


def _contains(distribution: BaseDistribution, value: Scalar) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return any(type(value) is type(choice) and value == choice for choice in distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return distribution.low <= value <= distribution.high


CHECKED = object()
"""Context of the validation of records that were checked when they were written, and are unchanged since by a hash."""


class TrialRecord(FrozenModel):
    """A trial as the sampler proposed it: ``trial.json``.

    Numbers are in the order of proposals, from 0; ``distributions`` are Optuna's JSON; times are Unix times in seconds.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    number: int = Field(ge=0)
    params: Values
    distributions: dict[str, str]
    config: TrainConfig
    run_id: str
    created_at: UnixTime | None = None

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        if info.context is CHECKED:
            return self
        if self.run_id != self.config.run_id:
            raise ValueError(f"run_id is {self.run_id:.40}; its configuration is that of run {self.config.run_id}")
        if self.params.keys() != self.distributions.keys():
            differing = sorted(self.params.keys() ^ self.distributions.keys())
            raise ValueError(f"{differing[0]:.80} is among params or distributions, but not among both")
        for name, text in self.distributions.items():
            if not _contains(read_distribution(text), self.params[name]):
                raise ValueError(f"{name} = {self.params[name]!r:.80} is outside of {text:.200}")
        return self


class EpochResult(FrozenModel):
    """Results and times of one epoch of a trial.

    Epochs are counted from 1. ``best_error_pct`` is the lowest validation error so far, that of the weights in
    best.safetensors; ``other_s`` is the time of opening the run and saving the checkpoint.
    """

    epoch: int = Field(ge=1)
    loss: float
    val_error_pct: ErrorPct
    best_error_pct: ErrorPct
    train_s: Seconds
    val_s: Seconds
    other_s: Seconds = 0.0


def check_order(epochs: Sequence[EpochResult]) -> None:
    """Check that epochs are numbered from 1 without gap or repetition; else ValueError."""
    for number, epoch in enumerate(epochs, start=1):
        if epoch.epoch != number:
            raise ValueError(f"epoch {epoch.epoch} stands where epoch {number} is expected")


class TrialResult(FrozenModel):
    """How a trial ended: ``result.json``; ``ended_at`` is a Unix time in seconds.

    A trial that exceeds a constraint is ``pruned``, too. ``metrics`` are ``parameters`` and ``latency_ms``.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    state: Literal["complete", "pruned", "failed"]
    epochs: tuple[EpochResult, ...]
    reason: str | None = None
    traceback: str | None = None
    metrics: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    ended_at: UnixTime | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.epochs)
        if self.state == "complete" and not self.epochs:
            raise ValueError("it is complete and has no epoch")
        if sum(epoch.train_s + epoch.val_s + epoch.other_s for epoch in self.epochs) > _MAX_BUSY_S:
            raise ValueError("its epochs took more than 300 years")
        return self


class StopRecord(FrozenModel):
    """The stop rule that held when a study had ``num_trials`` trials, and why: an object of ``stops/``."""

    schema_version: Literal[2] = SCHEMA_VERSION
    rule: StopRule
    num_trials: int = Field(ge=0)
    reason: str
    at: UnixTime


class PriorRecord(FrozenModel):
    """What a study knows from others, at ``uris``: key ``prior`` of ``study.json``.

    ``settings`` are run first. ``ranges`` and ``choices`` are those of good settings, by key; ``importances`` the
    shares of each parameter for the error, by URI.
    """

    uris: tuple[str, ...] = Field(min_length=1)
    settings: tuple[Values, ...]
    ranges: dict[str, tuple[float, float]]
    choices: dict[str, tuple[Scalar, ...]]
    importances: dict[str, dict[str, float]]


class WarmStartTrial(FrozenModel):
    """An ended trial of an earlier study at URI ``origin``: with its number there, and the parameters of this study."""

    origin: str
    record: TrialRecord
    result: TrialResult


class WarmStartTrials(RootModel[list[WarmStartTrial]]):
    """Content of ``warm_start-….json``."""


class WarmStartOrigin(FrozenModel):
    """Where the trials of a warm start come from: key ``warm_start`` of ``study.json``.

    ``uri`` is that of the earlier study; ``trials`` names the object that holds those that fit.
    """

    uri: str
    trials: str = Field(pattern=r"^warm_start-[0-9a-f]{12}\.json$")
    taken: int = Field(ge=0)
    left_out: int = Field(ge=0)
