"""Population-based training without mutable trials: a trial that falls behind ends, and another starts in its place.

The new trial is like any other: its number, configuration and parent are in the study store before it starts. It
begins with a copy of its parent's checkpoint and continues from the parent's epoch (Jaderberg et al. 2017,
https://arxiv.org/abs/1711.09846: exploit, then explore). Its epochs are its parent's up to there, then its own.
"""

from __future__ import annotations

import random
import time
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.study._optuna_private import contains
from rcn_search.study.space.options import Pbt
from rcn_search.study.space.study_config import NO_PARENT, PARENT
from rcn_search.study.space.unit_interval import from_unit, to_unit
from rcn_search.training.exit_status import BEST_NAME, CONFIG_NAME, LAST_NAME
from rcn_search.training.history import is_part

EXPLORED_KEYS = ("augment.", "optimizer.lr")
"""Prefixes of the keys that may change during a training; of all others a new trial has its parent's values."""
_RESAMPLE_PROBABILITY = 0.25
_MAX_STEP = 0.2
"""Largest change of a value that is not resampled, as a share of its range."""
_UPLOAD_TIMEOUT_S, _POLL_INTERVAL_S = 120.0, 0.2
"""Longest wait for the upload of the best weights and the last state, one after the other."""


class PbtSampler(BaseSampler):
    """Samples the first population with the study's sampler, and later trials near one of the best with epochs left."""

    def __init__(self, options: Pbt, initial_sampler: BaseSampler, *, number: int, max_epochs: int, seed: int) -> None:
        self._options, self._initial_sampler = options, initial_sampler
        self._is_initial, self._max_epochs = number < options.population_size, max_epochs
        self._random = random.Random(seed)
        self._parent: FrozenTrial | None = None
        self._has_chosen = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the search space of the study's sampler; nothing for a trial with a parent."""
        if self._choose_parent(study):
            return {}
        space = self._initial_sampler.infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if name != PARENT}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample what the study's sampler samples jointly."""
        return {} if self._parent else self._initial_sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the parent's value, or one near it."""
        parent = self._choose_parent(study)
        if param_name == PARENT:
            return parent.number if parent else NO_PARENT
        if parent is None:
            return self._initial_sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._perturb(param_name, param_distribution, parent.params)

    def _choose_parent(self, study: optuna.Study) -> FrozenTrial | None:
        if not self._has_chosen:
            candidates = [] if self._is_initial else self._find_parents(study)
            self._parent = self._random.choice(candidates) if candidates else None
            self._has_chosen = True
        return self._parent

    def _find_parents(self, study: optuna.Study) -> list[FrozenTrial]:
        """Trials that ended an interval among its best and have epochs left."""
        interval = self._options.perturbation_interval_epochs
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE))
        parents = []
        for trial in trials:
            last_epoch = max(trial.intermediate_values, default=0)
            milestone = last_epoch // interval * interval
            error_pct = trial.intermediate_values.get(milestone)
            if error_pct is None or last_epoch >= self._max_epochs:
                continue
            errors = [each.intermediate_values[milestone] for each in trials if milestone in each.intermediate_values]
            if sum(error < error_pct for error in errors) < self._options.quantile_fraction * len(errors):
                parents.append(trial)
        return parents

    def _perturb(self, name: str, distribution: BaseDistribution, parent_values: dict[str, Any]) -> Any:
        is_valid = name in parent_values and contains(distribution, parent_values[name])
        if is_valid and not name.startswith(EXPLORED_KEYS):
            return parent_values[name]
        if not is_valid or self._random.random() < _RESAMPLE_PROBABILITY:
            return from_unit(distribution, self._random.random())
        if isinstance(distribution, CategoricalDistribution):
            return parent_values[name]
        unit = to_unit(distribution, parent_values[name]) + self._random.uniform(-_MAX_STEP, _MAX_STEP)
        return from_unit(distribution, min(max(unit, 0.0), 1.0))


def copy_checkpoint(parent_uri: str, folder: str, config: TrainConfig) -> None:
    """Copy the checkpoint of a parent's run into the folder of a trial's run, as if it had trained that far itself.

    The tensors are copied byte for byte; only the configuration in the header becomes the trial's. A trial that has
    started its own run keeps it. FileNotFoundError if the parent has no checkpoint.
    """
    from rcn_search.training.checkpoint import with_config  # imports torch, which a sampler does without

    if storage.exists(storage.join(folder, CONFIG_NAME)):
        return
    # The last state first: best weights that are better than its history says do no harm, worse ones would.
    states = {name: _read_when_uploaded(storage.join(parent_uri, name)) for name in (LAST_NAME, BEST_NAME)}
    for name in filter(is_part, storage.list_names(parent_uri)):  # those of the state were written before it
        storage.write_bytes(storage.join(folder, name), storage.read_bytes(storage.join(parent_uri, name)))
    for name, content in states.items():
        content = with_config(storage.join(parent_uri, name), content, config)
        storage.write_bytes(storage.join(folder, name), content)
    document = {"run_id": config.run_id, "config": config.model_dump(mode="json")}
    storage.write_json(storage.join(folder, CONFIG_NAME), document, if_absent=True)


def _read_when_uploaded(uri: str) -> bytes:
    """Read an object that may still be uploading: an epoch is reported before its checkpoint is in object storage."""
    deadline = time.monotonic() + _UPLOAD_TIMEOUT_S
    while True:
        try:
            return storage.read_bytes(uri)
        except FileNotFoundError:
            if storage.is_local(uri) or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_INTERVAL_S)
