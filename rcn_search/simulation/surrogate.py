"""Learning curves of a recorded study, and a surrogate that predicts the curve of any other setting of its space.

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
_LENGTH_BOUNDS = (1e-2, 1e2)
"""Shortest and longest length scale of a Gaussian process along a feature, whose range is 1."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Predicted training of a setting: validation error after each epoch, and seconds of an epoch."""

    error_pct_e: Array
    epoch_s: float


class RecordedCurves:
    """Surrogate of a recorded study: Gaussian processes for the logarithms of the errors and of the time of an epoch.

    Each process has its own length scale for each parameter, so that only the parameters that matter count. (The mean
    of the nearest curves cannot do that; docs/explanation/searching.md compares the two.) A numeric parameter is a
    feature on its own scale, from 0 to 1; a list of words has a feature for each word; a parameter that is not always
    drawn has one more feature for whether it is. A curve is the mean of the process, without the luck of a seed.

    Attributes:
        explained_variance: Share of the variance of the last logarithmic error of a trial that is predicted by all
            other trials.
        full_training_s: Mean seconds of a recorded training.
    """

    def __init__(self, study: Study) -> None:
        """Fit the surrogate to the trials of a study that ran to their last epoch.

        Raises:
            StudyError: There are too few; a scheduler cuts off the curves that are needed here.
        """
        num_epochs = study.config.budget.epochs
        trials = [trial for trial in study.trials if trial.state == "complete" and len(trial.epochs) == num_epochs]
        if len(trials) < MIN_CURVES:
            raise StudyError(
                f"{study.uri} has {len(trials)} trials that ran to their last epoch; {MIN_CURVES} are needed. Record "
                "them with rcn-search tune recorded --data DATA, or in your own study with scheduler: {name: none} "
                "and sampler: {name: random}"
            )
        distributions_t = [trial.record.distributions for trial in trials]
        self._distributions: dict[str, BaseDistribution] = {
            name: json_to_distribution(text) for drawn in distributions_t for name, text in drawn.items()
        }
        self._conditional = {name for drawn in distributions_t for name in self._distributions.keys() - drawn.keys()}
        features_tf = np.array([self._features(trial.params) for trial in trials])
        errors_pct_te = [[trial.epochs[epoch].val_error_pct for epoch in sorted(trial.epochs)] for trial in trials]
        log_error_te = np.log(errors_pct_te)
        epoch_s_t = np.array([trial.busy_s / len(trial.epochs) for trial in trials])
        self.full_training_s = log_error_te.shape[1] * float(epoch_s_t.mean())
        self._error_process = _fit(features_tf, log_error_te)
        self._time_process = _fit(features_tf, np.log(epoch_s_t)[:, None])
        self.explained_variance = _explained_variance(self._error_process, log_error_te[:, -1])

    def predict(self, params: Mapping[str, Scalar]) -> Curve:
        """Predict the curve of a setting, given by the names of its parameters."""
        features_1f = np.array([self._features(params)])
        return Curve(
            error_pct_e=np.exp(self._error_process.predict(features_1f)).reshape(-1),
            epoch_s=float(np.exp(self._time_process.predict(features_1f)).item()),
        )

    def _features(self, params: Mapping[str, Scalar]) -> list[float]:
        features: list[float] = []
        for name, distribution in self._distributions.items():
            value = params.get(name)
            if name in self._conditional:
                features.append(float(value is not None))
            if not isinstance(distribution, CategoricalDistribution):
                features.append(0.5 if value is None else to_unit(distribution, value))  # type: ignore[arg-type]
            elif all(isinstance(choice, int | float) for choice in distribution.choices):
                ordered = sorted(distribution.choices)  # type: ignore[type-var]
                features.append(0.5 if value is None else ordered.index(value) / max(1, len(ordered) - 1))
            else:
                features += [float(value == choice) for choice in distribution.choices]
        return features


def _fit(features_tf: Array, target_te: Array) -> GaussianProcessRegressor:
    """Fit a process, with the length scales and noise of maximum likelihood."""
    kernel = ConstantKernel() * Matern(np.ones(features_tf.shape[1]), _LENGTH_BOUNDS, nu=2.5) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound: the parameter has no effect
        return process.fit(features_tf, target_te)


def _explained_variance(process: GaussianProcessRegressor, target_t: Array) -> float:
    """Compute the explained variance of leaving one trial out, in closed form (Rasmussen and Williams, eq. 5.12)."""
    inverse_diagonal_t = (np.linalg.inv(process.L_) ** 2).sum(0)
    residual_t = process.alpha_.reshape(len(target_t), -1)[:, -1] / inverse_diagonal_t * target_t.std()
    return 1 - float((residual_t**2).mean() / target_t.var())
