"""Importances of the parameters of a study for its error."""

from __future__ import annotations

import warnings

import optuna

from rcn_search.study.optuna_study import build_optuna_study
from rcn_search.study.space.study_config import ERROR
from rcn_search.study.study import Study

MAX_RANKED = 1_000
"""Newest complete trials from which importances are computed."""


def importances(study: Study) -> dict[str, float]:
    """Compute each parameter's share of the importance for the error, by PED-ANOVA, largest first.

    Parameters that not every trial has are left out; empty without two complete trials of different error.
    """
    complete = [trial for trial in study.trials if trial.state == "complete"][-MAX_RANKED:]
    if len(complete) < 2 or study.config.runs:
        return {}
    copy = build_optuna_study(study.config, [(trial, {}) for trial in complete], ())
    names = set.intersection(*(set(trial.params) for trial in complete))
    index = study.config.objectives.index(ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a low value is good, and that the method is experimental
        try:
            return optuna.importance.get_param_importances(
                copy, params=sorted(names), target=lambda trial: trial.values[index]
            )
        except (ValueError, RuntimeError):  # all errors are equal, or no parameter varies
            return {}
