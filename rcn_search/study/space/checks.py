"""Proof that every setting that can be sampled from a search space is a legal training configuration."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rcn_search.config.errors import ConfigError, KeyPath, Lines, location
from rcn_search.study.space.parameter import Parameter, Scalar, Values, is_one_of
from rcn_search.study.space.study_config import StudyConfig, value_at

NUM_CORNERS = 256
"""Settings with each range at a random end that must be legal. A rule between ranges that is broken anywhere is broken
at such a corner; one between two ranges is missed with probability 0.75 to the power of this."""


class StudyFile(NamedTuple):
    """A study file with the line of each of its keys, for messages."""

    uri: str
    lines: Lines

    def at(self, path: KeyPath) -> str:
        """Describe where a key was set: file, line and override."""
        return location(self.uri, self.lines, path)

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """Build the error of a key."""
        return ConfigError(f"{self.at(path)}: {message}")


def check_search_space(config: StudyConfig, file: StudyFile) -> None:
    """Check that all keys exist, all conditions can hold, and all that can be sampled is legal; else ConfigError."""
    _check_dependent_bounds(config, file)
    checked: list[str] = []
    for path, ranges in config.search.items():
        if any(not parameter.when for parameter in ranges[:-1]):
            raise file.error(
                ("search", path), f"search.{path}: ranges below one without 'when' are never used: put it last"
            )
        for parameter in ranges:
            _check_parameter(config, path, parameter, file, checked)
        checked.append(path)
    _check_corners(config, file)


def _check_dependent_bounds(config: StudyConfig, file: StudyFile) -> None:
    """Check that the keys that bounds depend on are searched further up, or set in base."""
    checked = set()
    for path, ranges in config.search.items():
        for key in (key for parameter in ranges for key in parameter.depends_on):
            if key in config.search and key not in checked:
                problem = "which is searched only further down"
            elif key not in config.search and value_at(config.base_config, key) is None:
                problem = "which does not exist"
            else:
                continue
            raise file.error(("search", path), f"search.{path}: its range depends on {key}, {problem}")
        checked.add(path)


def _check_parameter(
    config: StudyConfig, path: str, parameter: Parameter, file: StudyFile, checked: Sequence[str]
) -> None:
    """Check that its key exists, that its conditions can hold, and that its extremes are legal where they do."""
    for key, allowed in parameter.when.items():
        if key in config.search and key not in checked:
            raise file.error(
                ("search", path), f"search.{path}: 'when' names {key}, which is searched only further down"
            )
        if key in config.search:
            ranges = config.search[key]
            can_hold = any(other.depends_on or other.contains(value) for other in ranges for value in allowed)
        else:
            can_hold = is_one_of(value_at(config.base_config, key), allowed)
        if not can_hold:
            values = " or ".join(map(str, allowed))
            raise file.error(("search", path), f"search.{path}: 'when' never holds: {key} is never {values}")
    if parameter.depends_on:
        return  # its bounds differ between settings, and are checked at the corners
    for value in parameter.extremes:
        try:
            setting = _setting_with(config, {**parameter.when, path: (value,)})
        except ConfigError:
            continue  # the range of another key is empty there, which the corners report
        try:
            config.train_config(setting)
        except ConfigError as error:
            # If the setting is illegal without this value, too, the check of another key reports it.
            if _is_legal(config, {key: other for key, other in setting.items() if key != path}):
                raise file.error(("search", path), f"search.{path} = {value}: {error}") from None


def _setting_with(config: StudyConfig, wanted: Mapping[str, Sequence[Scalar]]) -> Values:
    """Build a setting with the wanted values where they are in range, else those of ``base``, else an extreme."""

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        candidates = (*wanted.get(path, ()), value_at(config.base_config, path))
        return next((value for value in candidates if parameter.contains(value)), parameter.extremes[0])

    return config.draw(choose)


def _is_legal(config: StudyConfig, values: Values) -> bool:
    try:
        config.train_config(values)
    except ConfigError:
        return False
    return True


def _check_corners(config: StudyConfig, file: StudyFile) -> None:
    generator = random.Random(0)

    def choose(path: str, name: str, parameter: Parameter) -> Scalar:
        return generator.choice(parameter.extremes)

    for _ in range(NUM_CORNERS):
        values: Values = {}
        try:
            values = config.draw(choose)
            config.train_config(values)
        except ConfigError as error:
            setting = ", ".join(f"{path}={value}" for path, value in values.items())
            example = f". For example: {setting}" if setting else ""
            raise file.error(
                ("search",), f"some settings that can be sampled are not legal: {error}{example}"
            ) from None
