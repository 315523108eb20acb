"""Networks of other code in a study: allow custom ones, and build a few of all before anything is trained."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rcn_search.config.errors import ConfigError
from rcn_search.config.network_target import allow_target
from rcn_search.config.schema import CustomConfig, TimmConfig, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.space.parameter import Values
from rcn_search.study.space.study_config import StudyConfig
from rcn_search.study.space.unit_interval import from_unit

NUM_SETTINGS = 4
"""Settings drawn at random, whose networks are built and run before the search."""
_KEY = "model.target"


def network_targets(config: StudyConfig) -> list[str]:
    """List the classes of custom networks that a study file names."""
    values: list[object] = [run.get(_KEY) for run in config.runs.values()]
    values += [value for parameter in config.search.get(_KEY, ()) for value in parameter.choice or ()]
    if config.test:
        values.append(config.test.retrain.get(_KEY))
    if isinstance(model := config.base_config.model, CustomConfig):
        values.append(model.target)
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def allow_networks(config: StudyConfig) -> list[str]:
    """Allow this process to import the networks that a study file of its user names; return their classes."""
    targets = network_targets(config)
    for target in targets:
        allow_target(target)
    return targets


def check_networks(config: StudyConfig, num_points: int) -> None:
    """Build the networks of a few settings that are custom or of timm, and run them on random images.

    Raises:
        ConfigError: One cannot be imported, built or run, or returns what is no prediction; the message names the
            setting.
    """
    for values in sample_settings(config, NUM_SETTINGS):
        try:
            _check(config.train_config(values), num_points)
        except RcnSearchError as error:
            setting = ", ".join(f"{path}={value}" for path, value in values.items() if path.startswith("model."))
            raise ConfigError(f"{error}{f' (setting: {setting})' if setting else ''}") from error


def sample_settings(config: StudyConfig, num_settings: int) -> Iterator[Values]:
    """Draw settings of a search space at random, the same ones each time; of a fixed-run study give all runs."""
    if config.runs:
        yield from map(config.run_values, config.runs)
        return
    draw = random.Random(0)
    for _ in range(num_settings):
        yield config.draw(lambda path, name, parameter: from_unit(parameter.distribution, draw.random()))


def _check(config: TrainConfig, num_points: int) -> None:
    if not isinstance(config.model, CustomConfig | TimmConfig):
        return
    from rcn_search.models import build_imported  # imports torch
    from rcn_search.models.custom import check_output

    check_output(build_imported(config.model, num_points, config.input.size_px, config.input.channels))
