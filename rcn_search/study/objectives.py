"""What a study minimises and what it must not exceed: names in the study file to the numbers Optuna is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rcn_search.config.schema import ModelConfig, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.space.study_config import ERROR, LATENCY, PARAMETERS, TRAIN_TIME, StudyConfig

if TYPE_CHECKING:
    from rcn_search.study.records import EpochResult

MEASURED = {PARAMETERS: "parameters", LATENCY: "latency_ms"}
"""Objectives that are measured once for each trial, and their keys in ``measured``."""


def directions(space: StudyConfig) -> list[str]:
    """``minimize`` for each of the study's objectives, in their order: all that is measured here is a cost."""
    return ["minimize"] * len(space.objectives)


def objective_values(
    space: StudyConfig, config: TrainConfig, epochs: Sequence[EpochResult], measured: Mapping[str, float]
) -> list[float]:
    """What a trial reached, for each of the study's objectives.

    Args:
        space: The study.
        config: What was trained.
        epochs: All of the trial's epochs; at least one.
        measured: ``parameters`` and ``latency_ms`` as the trial reported them; parameters are counted where they are
            missing.

    Returns:
        ``error``: the lowest validation error in percent, that of the weights that are kept. ``parameters``: trainable
        values. ``latency``: of one face, in ms. ``train_time``: of all training steps, in s.

    Raises:
        RcnSearchError: An objective was not measured.
    """
    values = {
        ERROR: min(epoch.val_error_pct for epoch in epochs),
        TRAIN_TIME: sum(epoch.train_s for epoch in epochs),
    }
    return [
        values[name] if name in values else _measured(MEASURED[name], config, measured) for name in space.objectives
    ]


def constraint_values(space: StudyConfig, config: TrainConfig, measured: Mapping[str, float]) -> dict[str, float]:
    """How far a trial is beyond each limit of its study, by constraint: 0 and less is feasible.

    Parameters are known before a trial is trained. A latency that is not in ``measured`` is left out: it is not known.
    """
    limits = space.constraints
    values: dict[str, float] = {}
    if limits.parameters is not None:
        values["parameters"] = _measured("parameters", config, measured) - limits.parameters
    if limits.latency_ms is not None and "latency_ms" in measured:
        values["latency_ms"] = measured["latency_ms"] - limits.latency_ms
    return values


def num_parameters(config: TrainConfig) -> int:
    """Trainable values of a configuration's model for the keypoints of its data set.

    Raises:
        DatasetError: There is no such data set.
    """
    return _num_parameters(config.model, num_points(config.data.uri), config.input.size_px, config.input.channels)


@lru_cache(maxsize=8)
def num_points(data_uri: str) -> int:
    """Keypoints of a data set."""
    from rcn_search.data.shards import read_manifest

    return read_manifest(data_uri).keypoint_schema.num_points


@lru_cache(maxsize=4_096)
def _num_parameters(model: ModelConfig, num_points: int, input_px: int, in_channels: int) -> int:
    from rcn_search.models import build_model  # Torch: only where a study limits or minimises parameters
    from rcn_search.models.complexity import count_parameters

    return count_parameters(build_model(model, num_points=num_points, input_px=input_px, in_channels=in_channels))


def _measured(key: str, config: TrainConfig, measured: Mapping[str, float]) -> float:
    if key in measured:
        return measured[key]
    if key == "parameters":
        return num_parameters(config)
    raise RcnSearchError(f"{key} was not measured; it is an objective of this study")
