"""Samplers by name: which one proposes the next trial, and whether it suits the study."""

from __future__ import annotations

import warnings

import numpy as np
import optuna

from rcn_search.errors import RcnSearchError
from rcn_search.study.records import PriorRecord
from rcn_search.study.samplers.cmaes import CmaesSampler
from rcn_search.study.samplers.grid import GridSampler, grid
from rcn_search.study.samplers.nsga2 import Nsga2Sampler
from rcn_search.study.samplers.pbt import EXPLORED_KEYS, PbtSampler
from rcn_search.study.samplers.prior import PriorSampler, is_first_phase
from rcn_search.study.samplers.qmc import QmcSampler
from rcn_search.study.samplers.target import build_target
from rcn_search.study.space.options import Cmaes, Gp, Grid, Nsga2, OptunaTarget, Pbt, Qmc, Random, Tpe
from rcn_search.study.space.study_config import StudyConfig


def build_sampler(config: StudyConfig, number: int, prior: PriorRecord | None = None) -> optuna.samplers.BaseSampler:
    """Build the sampler that proposes trial ``number``; the proposal depends only on the history and this number."""
    seed = int(np.random.SeedSequence([config.study.seed, number]).generate_state(1)[0])
    if config.runs:
        return optuna.samplers.RandomSampler(seed)
    if prior and is_first_phase(number, len(config.initial_trials) + len(prior.settings)):
        return PriorSampler(prior, seed)
    sampler = _build(config, number, seed)
    if isinstance(config.scheduler, Pbt):
        return PbtSampler(config.scheduler, sampler, number=number, max_epochs=config.budget.epochs, seed=seed)
    return sampler


def _build(config: StudyConfig, number: int, seed: int) -> optuna.samplers.BaseSampler:
    match config.sampler:
        case Random():
            return optuna.samplers.RandomSampler(seed)
        case Tpe() as tpe:
            with warnings.catch_warnings():
                # Groups make conditional parameters part of the joint estimate; Optuna calls them experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=tpe.num_startup_trials, multivariate=True, group=True
                )
        case Gp() as gp:
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=gp.num_startup_trials, warn_independent_sampling=False
            )
        case Cmaes() as cmaes:
            return CmaesSampler(cmaes, config.unconditional_ranges(), study_seed=config.study.seed, seed=seed)
        case Nsga2() as nsga2:
            return Nsga2Sampler(population_size=nsga2.population_size, seed=seed)
        case Qmc():
            return QmcSampler(config, number)
        case Grid():
            return GridSampler(config, number)
        case OptunaTarget() as target:
            return build_target(target, seed)


def check_sampler(config: StudyConfig) -> None:
    """Check that the study's sampler can search its space; else RcnSearchError says why, and which sampler can."""
    ranges = config.unconditional_ranges()
    if isinstance(config.scheduler, Pbt):
        if len(config.objectives) > 1:
            raise RcnSearchError("scheduler pbt takes one objective; asha, hyperband and median take several")
        if not any(path.startswith(EXPLORED_KEYS) for path in config.search):
            raise RcnSearchError("scheduler pbt changes augment.… and optimizer.lr, but none of them is searched")
    match config.sampler:
        case Cmaes() if len(config.objectives) > 1:
            raise RcnSearchError("it minimizes a single objective; tpe, gp and nsga2 take several")
        case Cmaes() if len(ranges) < 2:
            raise RcnSearchError(
                "it needs at least two int or float ranges without 'when', and the study has "
                f"{len(ranges)}; tpe also samples conditional parameters and choices"
            )
        case Gp() if not any(first.is_always_sampled for first, *_ in config.search.values()):
            raise RcnSearchError(
                "it learns from parameters without 'when', and the study has none; tpe learns from all"
            )
        case Grid():
            num_settings = len(grid(config)) + len(config.initial_trials)
            if config.budget.trials is not None and config.budget.trials > num_settings:
                raise RcnSearchError(f"the grid has {num_settings:,} settings; budget.trials cannot be more")
