"""The records that a study is made of: each is one JSON document, written once (see `rcn_search.study.store`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.space.parameter import Values

SCHEMA_VERSION = 2


class StudyError(RcnSearchError):
    """A study cannot be started, read or resumed. The message says why and what to do."""


class TrialRecord(FrozenModel):
    """A trial as the sampler proposed it: ``trial.json``.

    Numbers are in the order of proposals, from 0; ``distributions`` are Optuna's JSON; times are Unix times in seconds.
    """

    schema_version: int = SCHEMA_VERSION
    number: int
    params: Values
    distributions: dict[str, str]
    config: TrainConfig
    run_id: str
    created_at: float | None = None


class EpochResult(FrozenModel):
    """Results and times of one epoch of a trial.

    Epochs are counted from 1. ``best_error_pct`` is the lowest validation error so far, that of the weights in
    best.safetensors; ``other_s`` is the time of opening the run and saving the checkpoint.
    """

    epoch: int
    loss: float
    val_error_pct: float
    best_error_pct: float
    train_s: float
    val_s: float
    other_s: float = 0.0


class TrialResult(FrozenModel):
    """How a trial ended: ``result.json``; ``ended_at`` is a Unix time in seconds.

    A trial that exceeds a constraint is ``pruned``, too. ``metrics`` are ``parameters`` and ``latency_ms``.
    """

    schema_version: int = SCHEMA_VERSION
    state: Literal["complete", "pruned", "failed"]
    epochs: tuple[EpochResult, ...]
    reason: str | None = None
    traceback: str | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)
    ended_at: float | None = None


class WarmStartTrial(FrozenModel):
    """An ended trial of an earlier study at URI ``origin``: with its number there, and the parameters of this study."""

    origin: str
    record: TrialRecord
    result: TrialResult
