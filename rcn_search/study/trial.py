"""A trial of a study, in memory."""

from __future__ import annotations

from typing import Literal

import optuna
from optuna.distributions import json_to_distribution
from optuna.trial import TrialState, create_trial

from rcn_search.study.records import EpochResult, TrialRecord, TrialResult

EndState = Literal["complete", "pruned", "failed"]
State = Literal[EndState, "running", "open"]
OPTUNA_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Trial:
    """A trial and its results so far.

    Attributes:
        params: Sampled values, by parameter name.
        metrics: Measurements of its network, once reported: ``parameters``, ``latency_ms``.
        values: Value of each of the study's objectives, once it is complete.
        is_feasible: Whether it keeps the constraints of the study, as far as is known.
        optuna_trial: Optuna's trial, while it runs in this process.
    """

    def __init__(self, record: TrialRecord, folder: str, result: TrialResult | None = None) -> None:
        self.record, self.folder, self.result = record, folder, result
        self.number, self.params, self.config, self.run_id = record.number, record.params, record.config, record.run_id
        self.epochs: dict[int, EpochResult] = {epoch.epoch: epoch for epoch in result.epochs} if result else {}
        self.metrics: dict[str, float] = dict(result.metrics) if result else {}
        self.values: list[float] | None = None
        self.is_feasible = True
        self.optuna_trial: optuna.Trial | None = None

    @property
    def state(self) -> State:
        """State of the trial; ``open`` if it is still to be run, or to be run again."""
        return self.result.state if self.result else "running" if self.optuna_trial else "open"

    @property
    def error_pct(self) -> float | None:
        """Lowest validation error so far in percent, that of the weights in best.safetensors."""
        return min((epoch.val_error_pct for epoch in self.epochs.values()), default=None)

    @property
    def busy_s(self) -> float:
        """Seconds of training, validation and saving so far."""
        return sum(epoch.train_s + epoch.val_s + epoch.other_s for epoch in self.epochs.values())


def error_key(trial: Trial) -> tuple[float, int]:
    """Sort key of complete trials: lowest validation error first, then lowest number."""
    assert trial.error_pct is not None
    return trial.error_pct, trial.number


def dominates(trial: Trial, other: Trial) -> bool:
    """Whether a complete trial is better than another in some objective and worse in none; all are minimized."""
    assert trial.values is not None
    assert other.values is not None
    pairs = list(zip(trial.values, other.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def at_least_as_good(trial: Trial, other: Trial) -> bool:
    """Whether a complete trial is worse than another in no objective."""
    return all(a <= b for a, b in zip(trial.values or (), other.values or (), strict=True))


def to_frozen_trial(
    trial: Trial, result: TrialResult, constraints: dict[str, float], *, multi_objective: bool
) -> optuna.trial.FrozenTrial:
    """Convert an ended trial to what Optuna would have stored, had it run the trial.

    ``constraints`` holds by how much it exceeds each. With several objectives Optuna takes no intermediate values.
    """
    last_epoch = result.epochs[-1:] if result.state == "pruned" and not multi_objective else ()
    return create_trial(
        state=OPTUNA_STATES[result.state],
        values=trial.values or [epoch.val_error_pct for epoch in last_epoch] or None,
        params=dict(trial.params),
        distributions={name: json_to_distribution(text) for name, text in trial.record.distributions.items()},
        intermediate_values={} if multi_objective else {epoch.epoch: epoch.val_error_pct for epoch in result.epochs},
        constraints=constraints or None,
    )
