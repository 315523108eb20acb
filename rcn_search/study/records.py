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

    Attributes:
        number: Position in the order of proposals, from 0.
        params: Sampled values by parameter name.
        distributions: Distribution of each parameter, as Optuna's JSON.
        config: Configuration to train.
        run_id: Identity of ``config``.
        created_at: Unix time of the proposal, in seconds.
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

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training loss.
        val_error_pct: Validation error after the epoch.
        best_error_pct: Lowest validation error so far, that of the weights in best.safetensors.
        train_s: Time of the training steps.
        val_s: Time of the validation.
        other_s: Time of everything else: opening the run, saving the checkpoint.
    """

    epoch: int
    loss: float
    val_error_pct: float
    best_error_pct: float
    train_s: float
    val_s: float
    other_s: float = 0.0


class TrialResult(FrozenModel):
    """How a trial ended: ``result.json``.

    Attributes:
        state: ``pruned`` if the scheduler stopped it early, or if it exceeds a constraint.
        epochs: All epochs, in order.
        reason: Why it failed, or which constraint it exceeds.
        traceback: Traceback of the failure, where it helps.
        metrics: Measurements of the network: ``parameters``, ``latency_ms``.
        ended_at: Unix time of the end, in seconds.
    """

    schema_version: int = SCHEMA_VERSION
    state: Literal["complete", "pruned", "failed"]
    epochs: tuple[EpochResult, ...]
    reason: str | None = None
    traceback: str | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)
    ended_at: float | None = None


class WarmStartTrial(FrozenModel):
    """An ended trial of an earlier study, from which this one was warm-started.

    Attributes:
        origin: URI of the earlier study.
        record: The trial with its number there, and with the parameters of this study.
        result: How it ended.
    """

    origin: str
    record: TrialRecord
    result: TrialResult
