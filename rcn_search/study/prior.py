"""Prior knowledge of a new study: what was good in studies of other data sets or spaces.

Only ranks count, since errors of different data sets cannot be compared. A prior gives the first trials and, by the
ranges of good settings, a narrower first phase (`rcn_search.study.samplers.prior`); then the study's sampler continues
with all that is known by then, in the whole space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any, TypeGuard

from optuna.distributions import CategoricalDistribution

from rcn_search.config.errors import ConfigError
from rcn_search.errors import RcnSearchError
from rcn_search.study.importances import importances
from rcn_search.study.records import PriorRecord, StudyError
from rcn_search.study.samplers.prior import unit_of
from rcn_search.study.space.options import Grid, Pbt
from rcn_search.study.space.parameter import Parameter, Scalar, Values
from rcn_search.study.space.study_config import StudyConfig, value_at
from rcn_search.study.space.unit_interval import from_unit
from rcn_search.study.study import Study
from rcn_search.study.trial import Trial, error_key

MIN_COMPLETE = 5
"""Complete trials that a prior needs."""
NUM_SETTINGS = 4
"""Most settings that become first trials."""
_GOOD_SHARE, _MIN_GOOD = 0.15, 3
_MIN_DISTANCE = 0.08
"""Least mean difference of two first trials, as a share of each range."""
_MARGIN = 0.1
"""By how much a range of good settings is widened at both ends, as a share of the whole range."""


def make_prior(uris: Sequence[str], config: StudyConfig) -> PriorRecord:
    """Read what is good in other studies, for a new one.

    Raises:
        StudyError: One is no study, is damaged, or has too few complete trials.
        ConfigError: One shares no parameter with the new study, has other objectives, or fixed runs; or the new study
            cannot have a prior.
    """
    _check_new_study(config)
    studies = [Study.open(uri) for uri in uris]
    for study in studies:
        _check_prior(study, config)
    return prior_of(studies, config)


def prior_of(studies: Sequence[Study], config: StudyConfig) -> PriorRecord:
    """Collect what is good in studies that share parameters with a new one."""
    good = [_good_trials(study) for study in studies]
    ranked = sorted(
        (rank / len(trials), index, trial) for index, trials in enumerate(good) for rank, trial in enumerate(trials)
    )
    ranges: dict[str, tuple[float, float]] = {}
    choices: dict[str, tuple[Scalar, ...]] = {}
    for path in config.search:
        values = [value for study, trials in zip(studies, good, strict=True) for value in _values(path, study, trials)]
        known = [choice for kind in config.search[path] for choice in kind.choice or ()]
        choices[path] = tuple(choice for choice in known if repr(choice) in map(repr, values))
        numbers, kind = list(filter(_is_number, values)), config.search[path][-1]
        if numbers and kind.choice is None and not kind.depends_on:
            ranges[path] = _widened(kind, numbers)
    return PriorRecord(
        uris=tuple(study.uri for study in studies),
        settings=tuple(_choose_diverse(config, (trial for _, _, trial in ranked))),
        ranges=ranges,
        choices={path: values for path, values in choices.items() if values},
        importances={study.uri: importances(study) for study in studies},
    )


def _check_new_study(config: StudyConfig) -> None:
    if config.runs:
        raise ConfigError("--prior: a fixed-run study has no search that a prior could guide")
    if isinstance(config.sampler, Grid):
        raise ConfigError("--prior: sampler grid runs every setting once, whatever is known; use another sampler")
    if isinstance(config.scheduler, Pbt):
        raise ConfigError("--prior: scheduler pbt changes settings in training; use another scheduler")


def _check_prior(study: Study, config: StudyConfig) -> None:
    if study.config.runs:
        raise ConfigError(f"--prior {study.uri}: it is a fixed-run study, in which nothing was searched")
    if study.config.objectives != config.objectives:
        raise ConfigError(
            f"--prior {study.uri}: its objectives are {', '.join(study.config.objectives)}, those of the new study "
            f"{', '.join(config.objectives)}"
        )
    if not study.config.search.keys() & config.search.keys():
        raise ConfigError(
            f"--prior {study.uri}: it shares no parameter with the new study; it has searched "
            f"{', '.join(study.config.search)}"
        )
    num_complete = sum(trial.state == "complete" for trial in study.trials)
    if num_complete < MIN_COMPLETE:
        raise StudyError(f"--prior {study.uri}: it has {num_complete} complete trials; {MIN_COMPLETE} are needed")


def _good_trials(study: Study) -> list[Trial]:
    complete = sorted(
        (trial for trial in study.trials if trial.state == "complete" and trial.is_feasible), key=error_key
    )
    return complete[: max(_MIN_GOOD, math.ceil(_GOOD_SHARE * len(complete)))]


def _values(path: str, study: Study, trials: Iterable[Trial]) -> list[Scalar]:
    """Values of a key in good trials; none where it was not searched."""
    return [value_at(trial.config, path) for trial in trials] if path in study.config.search else []


def _widened(parameter: Parameter, numbers: Sequence[float]) -> tuple[float, float]:
    kind = parameter.distribution
    low, high = unit_of(kind, min(numbers)) - _MARGIN, unit_of(kind, max(numbers)) + _MARGIN
    low_value, high_value = (from_unit(kind, min(max(unit, 0.0), 1.0)) for unit in (low, high))
    assert isinstance(low_value, int | float)
    assert isinstance(high_value, int | float)
    return float(low_value), float(high_value)


def _choose_diverse(config: StudyConfig, ranked: Iterable[Trial]) -> Iterator[Values]:
    """Yield settings in the order of their ranks, without those that are near an earlier one."""
    chosen: list[Values] = []
    for trial in ranked:
        if (setting := map_setting(trial, config)) is None:
            continue
        if all(_distance(config, setting, other) >= _MIN_DISTANCE for other in chosen):
            chosen.append(setting)
            yield setting
        if len(chosen) == NUM_SETTINGS:
            return


def map_setting(trial: Trial, config: StudyConfig) -> Values | None:
    """Map the configuration of a trial of another study to a setting of this one, by the names of the keys.

    A number beyond a range becomes its nearer end; any other value that the range does not have becomes that of
    ``base``, or the middle of the range. None if the setting is not legal.
    """

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        kind = parameter.distribution
        value, default = value_at(trial.config, path), value_at(config.base_config, path)
        if parameter.contains(value):
            return value  # type: ignore[no-any-return]
        if _is_number(value) and not isinstance(kind, CategoricalDistribution):
            return from_unit(kind, unit_of(kind, value))
        return default if parameter.contains(default) else from_unit(kind, 0.5)

    try:
        setting = config.draw(choose)
        config.initial_params(setting)
        config.train_config(setting)
    except (ConfigError, RcnSearchError):
        return None
    return setting


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(config: StudyConfig, setting: Values, other: Values) -> float:
    def difference(path: str) -> float:
        kind = config.search[path][-1]
        first, second = setting.get(path), other.get(path)
        if kind.choice is None and not kind.depends_on and _is_number(first) and _is_number(second):
            return abs(unit_of(kind.distribution, first) - unit_of(kind.distribution, second))
        return float(first != second)

    return fmean(difference(path) for path in {*setting, *other})
