"""Population-based training without mutable trials: a trial that falls behind ends, and another starts in its place.

The new trial is one like any other: number, configuration and parent are in the ledger before it starts. It begins with
a copy of its parent's checkpoint and goes on from the parent's epoch (Jaderberg et al. 2017,
https://arxiv.org/abs/1711.09846: exploit, then explore). Its epochs are its parent's up to there, then its own.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.study.space.options import Pbt
from rcn_search.study.space.parameter import Scalar
from rcn_search.study.space.study_config import NO_PARENT, PARENT
from rcn_search.study.space.unit_interval import from_unit, to_unit
from rcn_search.training.exit_status import BEST_NAME, CONFIG_NAME, LAST_NAME

EXPLORED_KEYS = ("augment.", "optimizer.lr")
"""What may change in the middle of a training; all else is the parent's."""
_RESAMPLED = 0.25
_STEP = 0.2
"""Of a range: how far a value that is not drawn afresh moves at most."""
_ARRIVES_WITHIN_S, _LOOK_EVERY_S = 120.0, 0.2
"""As long as storage may try to put the best weights and the last ones, one after the other."""


class PbtSampler(BaseSampler):
    """Draws the first trials as the study's sampler does, and all others near one of the best that can be followed."""

    def __init__(self, options: Pbt, first: BaseSampler, *, number: int, max_epochs: int, seed: int) -> None:
        self._options, self._first = options, first
        self._is_first, self._max_epochs = number < options.population_size, max_epochs
        self._draw = random.Random(seed)
        self._parent: FrozenTrial | None = None
        self._chosen = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """That of the study's sampler for the first; for the others nothing."""
        if self._parent_of(study):
            return {}
        space = self._first.infer_relative_search_space(study, trial)
        return {name: kind for name, kind in space.items() if name != PARENT}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the study's sampler draws together."""
        return {} if self._parent else self._first.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The parent's value, or one near it."""
        parent = self._parent_of(study)
        if param_name == PARENT:
            return parent.number if parent else NO_PARENT
        if parent is None:
            return self._first.sample_independent(study, trial, param_name, param_distribution)
        return self._near(param_name, param_distribution, parent.params)

    def _parent_of(self, study: optuna.Study) -> FrozenTrial | None:
        if not self._chosen:
            candidates = [] if self._is_first else self._best(study)
            self._parent, self._chosen = self._draw.choice(candidates) if candidates else None, True
        return self._parent

    def _best(self, study: optuna.Study) -> list[FrozenTrial]:
        """The best of those that have come to the end of an interval, and not to their own: each among its like."""
        interval = self._options.perturbation_interval_epochs
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE))
        best = []
        for trial in trials:
            last = max(trial.intermediate_values, default=0)
            milestone = last // interval * interval
            error_pct = trial.intermediate_values.get(milestone)
            if error_pct is None or last >= self._max_epochs:
                continue
            others = [each.intermediate_values[milestone] for each in trials if milestone in each.intermediate_values]
            if sum(other < error_pct for other in others) < self._options.quantile_fraction * len(others):
                best.append(trial)
        return best

    def _near(self, name: str, kind: BaseDistribution, values: dict[str, Any]) -> Scalar:
        fits = name in values and kind._contains(kind.to_internal_repr(values[name]))
        if fits and not name.startswith(EXPLORED_KEYS):
            value: Scalar = values[name]
            return value
        if not fits or self._draw.random() < _RESAMPLED:
            return from_unit(kind, self._draw.random())
        if isinstance(kind, CategoricalDistribution):
            choice: Scalar = values[name]
            return choice
        assert isinstance(kind, FloatDistribution | IntDistribution)
        unit = to_unit(kind, values[name]) + self._draw.uniform(-_STEP, _STEP)
        return from_unit(kind, min(max(unit, 0.0), 1.0))


def copy_checkpoint(parent: str, folder: str, config: TrainConfig) -> None:
    """Put a copy of a parent's checkpoint into a trial's folder, as if the trial had trained so far itself.

    Both are URIs. A trial that has its own run already keeps it. The tensors are copied byte for byte; only the
    configuration in the header is the trial's own.

    Raises:
        FileNotFoundError: The parent has no checkpoint.
    """
    if storage.exists(storage.join(folder, CONFIG_NAME)):
        return
    # The last state first: weights that are better than it says do no harm, worse ones would.
    for name in (LAST_NAME, BEST_NAME):
        content = _when_there(storage.join(parent, name))
        storage.write_bytes(storage.join(folder, name), _with_config(content, config))
    document = {"run_id": config.run_id, "config": config.model_dump(mode="json")}
    storage.write_json(storage.join(folder, CONFIG_NAME), document, if_absent=True)


def _when_there(uri: str) -> bytes:
    """An object that is perhaps on its way: an epoch is told while its checkpoint is uploaded (see `Uploads`)."""
    give_up = time.monotonic() + _ARRIVES_WITHIN_S
    while True:
        try:
            return storage.read_bytes(uri)
        except FileNotFoundError:
            if storage.is_local(uri) or time.monotonic() > give_up:
                raise
        time.sleep(_LOOK_EVERY_S)


def _with_config(content: bytes, config: TrainConfig) -> bytes:
    """A safetensors file with another configuration in its header: 8 bytes of length, JSON, tensors."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    info = json.loads(header["__metadata__"]["rcn_search"])
    info["config"] = config.model_dump(mode="json")
    header["__metadata__"]["rcn_search"] = json.dumps(info)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
