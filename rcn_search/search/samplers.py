"""Samplers by name: what draws the next trial from the history."""

from __future__ import annotations

import warnings

import numpy as np
import optuna

from rcn_search.search.space import Random, SearchSpace


def build_sampler(space: SearchSpace, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that draws trial ``number``: what it draws depends on the history and on this number only."""
    seed = int(np.random.SeedSequence([space.study.seed, number]).generate_state(1)[0])
    if space.rows or isinstance(space.sampler, Random):
        return optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        # Groups make conditional parameters part of the joint estimate; Optuna calls them experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=space.sampler.startup_trials, group=True)
