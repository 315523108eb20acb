"""Learning curves of a real study, and from them the curve that any other setting of its space is taken to have.

Shape letters: t recorded trials, f features, e epochs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from rcn_search.study.records import StudyError
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.unit_interval import to_unit
from rcn_search.study.study import Study

MIN_CURVES = 20
_SCALES = (1e-2, 1e2)
"""Of a Gaussian process: the shortest and longest length along a feature, which has a range of 1."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What training a setting would be.

    Attributes:
        error_pct_e: Validation error after each epoch.
        epoch_s: Seconds of an epoch.
    """

    error_pct_e: Array
    epoch_s: float


class RecordedCurves:
    """A surrogate: Gaussian processes for the logarithm of the errors and of the time of an epoch.

    Each has its own length for each parameter, so that those which matter count and the others do not (the mean of the
    nearest curves knows no such difference: docs/explanation/searching.md has both). A numeric parameter is a feature on the scale on
    which it is drawn, 0 to 1; a list of words has a feature for each; a parameter that is not always drawn has one more
    that says whether it is. A curve is the mean of the process: no luck of a seed is in it.

    Attributes:
        explained: Share of the variance of the last logarithmic error that is foretold of a trial by all the others.
        full_training_s: Mean seconds of a recorded training.
    """

    def __init__(self, study: Study) -> None:
        """Take up the trials of a study that ran to their last epoch.

        Raises:
            StudyError: They are too few; a scheduler cuts the curves short that are needed here.
        """
        trials = [
            trial
            for trial in study.trials
            if trial.state == "complete" and len(trial.epochs) == study.config.budget.epochs
        ]
        if len(trials) < MIN_CURVES:
            raise StudyError(
                f"{study.uri} has {len(trials)} trials that ran to their last epoch; {MIN_CURVES} are needed. Record "
                "some with scheduler: {name: none} and sampler: {name: random}"
            )
        drawn = [trial.record.distributions for trial in trials]
        self._kinds: dict[str, BaseDistribution] = {
            name: json_to_distribution(text) for each in drawn for name, text in each.items()
        }
        self._sometimes = {name for name in self._kinds if any(name not in each for each in drawn)}
        features_tf = np.array([self._features(trial.record.params) for trial in trials])
        log_error_te = np.log(
            [[trial.epochs[epoch].val_error_pct for epoch in sorted(trial.epochs)] for trial in trials]
        )
        epoch_s_t = np.array(
            [
                sum(epoch.train_s + epoch.val_s + epoch.other_s for epoch in trial.epochs.values()) / len(trial.epochs)
                for trial in trials
            ]
        )
        self.full_training_s = log_error_te.shape[1] * float(epoch_s_t.mean())
        self._error, self._time = _fitted(features_tf, log_error_te), _fitted(features_tf, np.log(epoch_s_t)[:, None])
        self.explained_variance = _explained(self._error, log_error_te[:, -1])

    def of(self, params: Mapping[str, Scalar]) -> Curve:
        """The curve of a setting, by the parameters' own names."""
        features_1f = np.array([self._features(params)])
        return Curve(
            error_pct_e=np.exp(self._error.predict(features_1f)).reshape(-1),
            epoch_s=float(np.exp(self._time.predict(features_1f)).item()),
        )

    def _features(self, params: Mapping[str, Scalar]) -> list[float]:
        features: list[float] = []
        for name, kind in self._kinds.items():
            value = params.get(name)
            if name in self._sometimes:
                features.append(float(value is not None))
            if not isinstance(kind, CategoricalDistribution):
                features.append(0.5 if value is None else to_unit(kind, value))  # type: ignore[arg-type]
            elif all(isinstance(choice, int | float) for choice in kind.choices):
                order = sorted(kind.choices)  # type: ignore[type-var]
                features.append(0.5 if value is None else order.index(value) / max(1, len(order) - 1))
            else:
                features += [float(value == choice) for choice in kind.choices]
        return features


def _fitted(features_tf: Array, target_te: Array) -> GaussianProcessRegressor:
    """A process whose lengths and noise are those of greatest likelihood."""
    kernel = ConstantKernel() * Matern(np.ones(features_tf.shape[1]), _SCALES, nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its limit: the parameter has no influence
        return process.fit(features_tf, target_te)


def _explained(process: GaussianProcessRegressor, target_t: Array) -> float:
    """By leaving out one at a time, in closed form (Rasmussen and Williams 2006, equation 5.12)."""
    inverse_diagonal_t = (np.linalg.inv(process.L_) ** 2).sum(0)
    residual_t = process.alpha_.reshape(len(target_t), -1)[:, -1] / inverse_diagonal_t * target_t.std()
    return 1 - float((residual_t**2).mean() / target_t.var())
