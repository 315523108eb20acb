"""Samplers of Optuna, or of another package, by import path.

A study hands every proposal to a new sampler, which knows the ended trials and a seed for this proposal. What a sampler
remembers itself, or writes into Optuna's storage, is not kept, so a resumed study may propose other settings. Whether a
sampler is of this kind is tried out before a search starts.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage

from rcn_search.config.network_target import TargetError, allow_target, import_target
from rcn_search.errors import RcnSearchError
from rcn_search.study.objectives import directions
from rcn_search.study.space.options import OptunaTarget
from rcn_search.study.space.study_config import StudyConfig

_KEY = "sampler.target"
_OF_THE_TRIAL = ("fixed_params", "tpe:relative_params")
"""Attributes in which Optuna and its TPE note what they have proposed for a trial itself."""
_NUM_TRIED = 12
"""Proposals of the trial run."""


def build_target(options: OptunaTarget, seed: int) -> BaseSampler:
    """Build the sampler that a study file names, with a seed if it takes one.

    Raises:
        TargetError: Its code is not allowed here, or cannot be imported.
        RcnSearchError: It is no sampler, or does not take these options.
    """
    target = _sampler_class(options)
    arguments: dict[str, Any] = {**options.options, **({"seed": seed} if takes_seed(target) else {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return target(**arguments)
        except Exception as error:
            given = ", ".join(options.options) or "no options"
            raise RcnSearchError(f"{options.target} with {given}: {type(error).__name__}: {error}") from error


def takes_seed(target: type[BaseSampler]) -> bool:
    """Whether a sampler can be given a seed."""
    return "seed" in inspect.signature(target).parameters


def check_target(config: StudyConfig) -> str | None:
    """Allow the code of a user's study, and try its sampler on the study's space.

    Returns:
        Why a resumed study would propose other settings than an undisturbed one; None if it would not.

    Raises:
        RcnSearchError: The sampler cannot be imported, built or run on this space, or cannot keep a repeatable study.
    """
    options = config.sampler
    if not isinstance(options, OptunaTarget):
        return None
    allow_target(options.target)
    problem = _problem_of_resumes(config, options)
    if problem and config.study.trial_batch_size:
        raise RcnSearchError(f"{_KEY} = {options.target}: {problem}, so the study cannot be repeatable")
    return problem


def _sampler_class(options: OptunaTarget) -> type[BaseSampler]:
    target = import_target(options.target, key=_KEY)
    if not (inspect.isclass(target) and issubclass(target, BaseSampler)):
        raise TargetError(f"{_KEY} = {options.target}: it is no subclass of optuna.samplers.BaseSampler")
    return target


def _problem_of_resumes(config: StudyConfig, options: OptunaTarget) -> str | None:
    storage = InMemoryStorage()
    first, again = _propose(config, options, storage), _propose(config, options, InMemoryStorage())
    if [trial.params for trial in first.trials] != [trial.params for trial in again.trials]:
        return "it draws other settings each time" + ("" if takes_seed(_sampler_class(options)) else ": it has no seed")
    of_study = storage.get_study_system_attrs(storage.get_study_id_from_name(first.study_name))
    attributes = {key for trial in first.trials for key in trial.system_attrs} | set(of_study)
    if kept := sorted(key for key in attributes if not key.startswith(_OF_THE_TRIAL)):
        return f"it keeps a state in Optuna's storage ({kept[0]}), which a resumed study does not have"
    return None


def _propose(config: StudyConfig, options: OptunaTarget, storage: InMemoryStorage) -> optuna.Study:
    """Propose settings as a search does, with the number of a trial as its error."""
    study = optuna.create_study(storage=storage, directions=directions(config))
    for number in range(_NUM_TRIED):
        study.sampler = build_target(options, seed=number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                trial = study.ask()
                config.sample(trial)
        except Exception as error:
            raise RcnSearchError(
                f"{_KEY} = {options.target} fails on this search space: {type(error).__name__}: {error}"
            ) from error
        study.tell(trial, [float(number)] * len(config.objectives))
    return study
