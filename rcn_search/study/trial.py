"""A trial of a study: what is known of it, how it compares, and how Optuna has it."""

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
    """A trial and what is known of it by now.

    Attributes:
        suggestion: As it was drawn.
        folder: URI of its files.
        epochs: Those behind it, by number.
        measured: Of its network, once it has reported it.
        values: What it reached, for each of the study's objectives, once it is complete.
        is_feasible: Whether it keeps the limits of the study, as far as they are known.
        outcome: How it ended, once it has.
        running: Optuna's handle, while it runs.
    """

    def __init__(self, suggestion: TrialRecord, folder: str, outcome: TrialResult | None = None) -> None:
        self.record, self.folder, self.result = suggestion, folder, outcome
        self.epochs: dict[int, EpochResult] = {epoch.epoch: epoch for epoch in outcome.epochs} if outcome else {}
        self.metrics: dict[str, float] = dict(outcome.metrics) if outcome else {}
        self.values: list[float] | None = None
        self.is_feasible = True
        self.optuna_trial: optuna.Trial | None = None

    @property
    def number(self) -> int:
        """From 0."""
        return self.record.number

    @property
    def state(self) -> State:
        """``open``: suggested, to be run or run again."""
        return self.result.state if self.result else "running" if self.optuna_trial else "open"

    @property
    def error_pct(self) -> float | None:
        """Lowest validation error: that of the weights in best.safetensors."""
        return min((epoch.val_error_pct for epoch in self.epochs.values()), default=None)

    @property
    def busy_s(self) -> float:
        """Seconds of training, validation and saving so far."""
        return sum(epoch.train_s + epoch.val_s + epoch.other_s for epoch in self.epochs.values())


def error_key(trial: Trial) -> tuple[float, int]:
    """Sorts complete trials, the best first."""
    assert trial.error_pct is not None
    return trial.error_pct, trial.number


def dominates(one: Trial, other: Trial) -> bool:
    """Whether it is nowhere worse and somewhere better; all objectives are costs."""
    assert one.values is not None
    assert other.values is not None
    pairs = list(zip(one.values, other.values, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def to_frozen_trial(
    trial: Trial, outcome: TrialResult, excess: dict[str, float], *, several: bool
) -> optuna.trial.FrozenTrial:
    """A finished trial, as it would be in Optuna had it been run here."""
    last = outcome.epochs[-1:] if outcome.state == "pruned" and not several else ()
    return create_trial(
        state=OPTUNA_STATES[outcome.state],
        values=trial.values or [epoch.val_error_pct for epoch in last] or None,
        params=dict(trial.record.params),
        distributions={name: json_to_distribution(text) for name, text in trial.record.distributions.items()},
        intermediate_values={} if several else {epoch.epoch: epoch.val_error_pct for epoch in outcome.epochs},
        constraints=excess or None,
    )
