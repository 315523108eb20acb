"""Optuna's study in memory, rebuilt from the trials of a study: what the sampler proposes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import optuna

from rcn_search.study.objectives import directions
from rcn_search.study.samplers.bounded_history import BoundedHistory
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.trial import Trial, to_frozen_trial

_BOUNDED = {"tpe", "gp"}
"""Samplers that read all trials at each draw."""


def build_optuna_study(
    config: StudyConfig, trials: Iterable[tuple[Trial, Mapping[str, float]]], queued: Iterable[Values]
) -> optuna.Study:
    """Build a study with ``trials``, each with its excess over the constraints; then enqueue open and queued ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would report the creation of a study without a name
    multi_objective = len(config.objectives) > 1
    history = BoundedHistory() if config.sampler.name in _BOUNDED else None
    study = optuna.create_study(storage=history, directions=directions(config))
    for trial, excess in trials:
        if trial.result:
            study.add_trial(to_frozen_trial(trial, trial.result, dict(excess), multi_objective=multi_objective))
        else:
            study.enqueue_trial(trial.params)
    for params in queued:
        study.enqueue_trial(params)
    return study
