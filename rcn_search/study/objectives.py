"""Objectives and constraints of a study: from their names in the study file to the numbers that Optuna gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from rcn_search.config.network_target import is_allowed
from rcn_search.config.schema import CustomConfig, ModelConfig, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import ERROR, LATENCY, PARAMETERS, TRAIN_TIME, StudyConfig

METRIC_NAMES = {PARAMETERS: "parameters", LATENCY: "latency_ms"}
"""Objectives that are measured once per trial, and their names in its metrics."""


def directions(config: StudyConfig) -> list[Literal["minimize"]]:
    """Return the direction of each objective, in the order of the study file: all of them are costs."""
    return ["minimize"] * len(config.objectives)


def objective_values(
    config: StudyConfig, train_config: TrainConfig, epochs: Sequence[EpochResult], metrics: Mapping[str, float]
) -> list[float]:
    """Compute the values of a trial for each of the study's objectives.

    ``epochs`` are all epochs of the trial, at least one. Parameters are counted if they are not in ``metrics``.

    Returns:
        In the order of the study file: ``error``, the lowest validation error in percent; ``parameters``, the number of
        trainable values; ``latency`` of one face, in ms; ``train_time``, of all training steps, in s.

    Raises:
        RcnSearchError: An objective was not measured.
    """
    values = {ERROR: min(epoch.val_error_pct for epoch in epochs), TRAIN_TIME: sum(epoch.train_s for epoch in epochs)}
    return [
        values[name] if name in values else _metric(METRIC_NAMES[name], train_config, metrics)
        for name in config.objectives
    ]


def constraint_values(config: StudyConfig, train_config: TrainConfig, metrics: Mapping[str, float]) -> dict[str, float]:
    """Compute by how much a trial exceeds each constraint of the study; 0 and less is feasible.

    Parameters are known before a trial is trained, except those of a custom network that may not be imported here: who
    reads a study need not trust it. They and latency are left out until they are in ``metrics``.
    """
    limits = config.constraints
    values: dict[str, float] = {}
    if limits.parameters is not None and ("parameters" in metrics or can_build(train_config.model)):
        values["parameters"] = _metric("parameters", train_config, metrics) - limits.parameters
    if limits.latency_ms is not None and "latency_ms" in metrics:
        values["latency_ms"] = metrics["latency_ms"] - limits.latency_ms
    return values


def can_build(model: ModelConfig) -> bool:
    """Whether this process may import the code of a network."""
    return not isinstance(model, CustomConfig) or is_allowed(model.target)


def num_parameters(train_config: TrainConfig) -> int:
    """Count the trainable values of a configuration's network for the keypoints of its data set."""
    size_px, channels = train_config.input.size_px, train_config.input.channels
    return num_model_parameters(train_config.model, num_points(train_config.data.uri), size_px, channels)


@lru_cache(maxsize=8)
def num_points(data_uri: str) -> int:
    """Return the number of keypoints of a data set."""
    from rcn_search.data.shards import read_manifest

    return read_manifest(data_uri).keypoint_schema.num_points


@lru_cache(maxsize=4_096)
def num_model_parameters(model: ModelConfig, num_points: int, input_px: int, in_channels: int) -> int:
    """Count the trainable values of a network."""
    from rcn_search.models import build_model  # imports torch; only studies that limit or minimize parameters need it
    from rcn_search.models.complexity import count_parameters

    return count_parameters(build_model(model, num_points=num_points, input_px=input_px, in_channels=in_channels))


def _metric(name: str, train_config: TrainConfig, metrics: Mapping[str, float]) -> float:
    if name in metrics:
        return metrics[name]
    if name == "parameters":
        return num_parameters(train_config)
    raise RcnSearchError(f"{name} was not measured, but is an objective of this study")
