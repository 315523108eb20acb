"""Samplers by name: what draws the next trial from the history."""

from __future__ import annotations

import warnings

import numpy as np
import optuna

from rcn_search.study.samplers.designs import GridSampler, QmcSampler, grid
from rcn_search.study.samplers.evolution import CmaesSampler, Nsga2Sampler
from rcn_search.study.samplers.pbt import EXPLORED_KEYS, PbtSampler
from rcn_search.study.space.options import Cmaes, Gp, Grid, Nsga2, Pbt, Qmc, Random, Tpe
from rcn_search.study.space.parameter import Parameter
from rcn_search.study.space.study_config import StudyConfig


def build_sampler(space: StudyConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that draws trial ``number``: what it draws depends on the history and on this number only."""
    seed = int(np.random.SeedSequence([space.study.seed, number]).generate_state(1)[0])
    if space.runs:
        return optuna.samplers.RandomSampler(seed)
    sampler = _build(space, number, seed)
    if isinstance(space.scheduler, Pbt):
        return PbtSampler(space.scheduler, sampler, number=number, max_epochs=space.budget.epochs, seed=seed)
    return sampler


def _build(space: StudyConfig, number: int, seed: int) -> optuna.samplers.BaseSampler:
    match space.sampler:
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
            return CmaesSampler(cmaes, space.unconditional_ranges(), study_seed=space.study.seed, seed=seed)
        case Nsga2() as nsga2:
            return Nsga2Sampler(population_size=nsga2.population_size, seed=seed)
        case Qmc():
            return QmcSampler(space, number)
        case Grid():
            return GridSampler(space, number)


def check_sampler(space: StudyConfig) -> None:
    """Make sure that the study's sampler can draw from its space.

    Raises:
        ValueError: It cannot; the message says why and which can.
    """
    always = space.unconditional_ranges()
    if isinstance(space.scheduler, Pbt):
        if len(space.objectives) > 1:
            raise ValueError("scheduler pbt takes one objective; asha, hyperband and median take several")
        if not any(path.startswith(EXPLORED_KEYS) for path in space.search):
            raise ValueError("scheduler pbt explores augment.… and optimizer.lr, and none of them is searched")
    match space.sampler:
        case Cmaes() if len(space.objectives) > 1:
            raise ValueError("it minimises one objective; tpe, gp and nsga2 take several")
        case Cmaes() if len(always) < 2:
            raise ValueError(
                "it moves int and float ranges that are always drawn, at least two of them; "
                f"here is {len(always)}. tpe draws conditional parameters and lists, too"
            )
        case Gp() if not always and not any(_is_always_a_list(alternatives) for alternatives in space.search.values()):
            raise ValueError("it learns from what is always drawn, and here is nothing; tpe learns from all parameters")
        case Grid():
            num_settings = len(grid(space)) + len(space.initial_trials)
            if space.budget.trials is not None and space.budget.trials > num_settings:
                raise ValueError(f"there are {num_settings:,} settings; budget.trials can be no more")


def _is_always_a_list(alternatives: tuple[Parameter, ...]) -> bool:
    first = alternatives[0]
    return first.choice is not None and len(first.choice) > 1 and not first.when
