"""Learning curves of a real study, and from them the curve that any other setting of its space is taken to have.

Shape letters: t recorded trials, p parameters, e epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution

from rcn_search.search.ledger import StudyError
from rcn_search.search.parameter import Scalar
from rcn_search.search.study import Study
from rcn_search.search.unit import to_unit

MIN_CURVES = 20
NEAREST = 3
"""Recorded trials that a curve is made of. One would make plateaus, many would flatten the best settings."""
_ELSEWHERE = 1.0
"""Distance along a parameter that only one of two settings has, and between two values of a list."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What training a setting would be.

    Attributes:
        error_pct_e: Validation error after each epoch.
        epoch_s: Seconds of an epoch.
    """

    error_pct_e: NDArray[np.float64]
    epoch_s: float


class RecordedCurves:
    """A surrogate: the curve of a setting is the mean of its nearest recorded ones, by the inverse of their distance.

    Each numeric parameter is measured on the scale on which it is drawn, 0 to 1. Distances are Euclidean.
    """

    def __init__(self, study: Study) -> None:
        """Take up the trials of a study that ran to their last epoch.

        Raises:
            StudyError: They are too few; a scheduler cuts the curves short that are needed here.
        """
        trials = [
            trial
            for trial in study.trials
            if trial.state == "complete" and len(trial.epochs) == study.space.budget.epochs
        ]
        if len(trials) < MIN_CURVES:
            raise StudyError(
                f"{study.uri} has {len(trials)} trials that ran to their last epoch; {MIN_CURVES} are needed. Record "
                "some with scheduler: {name: none} and sampler: {name: random}"
            )
        self._kinds: dict[str, BaseDistribution] = {
            name: json_to_distribution(text)
            for trial in trials
            for name, text in trial.suggestion.distributions.items()
        }
        self._places = [self._place(trial.suggestion.params) for trial in trials]
        self._error_pct_te = np.array(
            [[trial.epochs[epoch].val_error_pct for epoch in sorted(trial.epochs)] for trial in trials]
        )
        self._epoch_s_t = np.array(
            [
                sum(epoch.train_s + epoch.val_s + epoch.other_s for epoch in trial.epochs.values()) / len(trial.epochs)
                for trial in trials
            ]
        )

    @property
    def full_training_s(self) -> float:
        """Mean seconds of a training to the last epoch."""
        num_epochs: int = self._error_pct_te.shape[1]
        return num_epochs * float(self._epoch_s_t.mean())

    def of(self, params: Mapping[str, Scalar]) -> Curve:
        """The curve of a setting, by the parameters' own names."""
        distance_t = self._distances(self._place(params))
        nearest = np.argsort(distance_t, kind="stable")[:NEAREST]
        weight = 1 / (distance_t[nearest] + 1e-9)
        weight /= weight.sum()
        return Curve(error_pct_e=weight @ self._error_pct_te[nearest], epoch_s=float(weight @ self._epoch_s_t[nearest]))

    def _place(self, params: Mapping[str, Scalar]) -> dict[str, float | Scalar]:
        place: dict[str, float | Scalar] = {}
        for name, value in params.items():
            kind = self._kinds.get(name)
            if kind is None or isinstance(kind, CategoricalDistribution):
                place[name] = value
            else:
                assert isinstance(value, int | float)
                place[name] = to_unit(kind, value)  # type: ignore[arg-type]  # there are no others
        return place

    def _distances(self, place: Mapping[str, float | Scalar]) -> NDArray[np.float64]:
        squares_t = np.zeros(len(self._places))
        for name, kind in self._kinds.items():
            mine = place.get(name)
            for row, recorded in enumerate(self._places):
                other = recorded.get(name)
                if mine is None and other is None:
                    continue
                if mine is None or other is None:
                    squares_t[row] += _ELSEWHERE**2
                elif isinstance(kind, CategoricalDistribution):
                    squares_t[row] += 0 if mine == other else _ELSEWHERE**2
                else:
                    squares_t[row] += (float(mine) - float(other)) ** 2
        distance_t: NDArray[np.float64] = np.sqrt(squares_t)
        return distance_t
