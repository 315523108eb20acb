"""Objective values of a trial, and by how much it exceeds its constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rcn_search.config.errors import ConfigError
from rcn_search.errors import RcnSearchError
from rcn_search.study.loading import load_study_config
from rcn_search.study.objectives import constraint_values, directions, num_parameters, objective_values
from rcn_search.study.records import EpochResult
from rcn_search.study.space.study_config import StudyConfig

EPOCHS = [
    EpochResult(epoch=number, loss=1.0, val_error_pct=error, best_error_pct=5.0, train_s=2.5, val_s=1.0)
    for number, error in ((1, 9.0), (2, 5.0), (3, 6.0))
]
ALL = ["error", "parameters", "latency", "train_time"]


@pytest.fixture
def load(write_study: Callable[..., str], synthetic_uri: str) -> Callable[..., StudyConfig]:
    return lambda **changes: load_study_config(write_study(**changes), data_uri=synthetic_uri)


def test_default_objective_is_the_error(load: Callable[..., StudyConfig]) -> None:
    study_config = load()
    assert directions(study_config) == ["minimize"]
    assert objective_values(study_config, study_config.base_config, EPOCHS, {}) == [5.0]
    assert constraint_values(study_config, study_config.base_config, {"parameters": 1e9, "latency_ms": 1e9}) == {}


def test_objective_values_are_in_the_order_of_the_study_file(load: Callable[..., StudyConfig]) -> None:
    study_config = load(objectives=["latency", "train_time", "error", "parameters"])
    assert directions(study_config) == ["minimize"] * 4
    metrics = {"parameters": 7.0, "latency_ms": 3.0}
    assert objective_values(study_config, study_config.base_config, EPOCHS, metrics) == [3.0, 7.5, 5.0, 7.0]


def test_constraint_on_parameters_is_known_before_training(load: Callable[..., StudyConfig]) -> None:
    study_config = load(objectives=["error", "parameters"], constraints={"parameters": 300_000, "latency_ms": 20})
    paper = study_config.base_config
    assert num_parameters(paper) == 310_229
    assert objective_values(study_config, paper, EPOCHS, {}) == [5.0, 310_229]
    assert constraint_values(study_config, paper, {}) == {"parameters": 10_229}
    small = study_config.train_config({"model.branches": 4})
    assert constraint_values(study_config, small, {})["parameters"] <= 0


def test_constraint_on_latency_is_left_out_until_measured(load: Callable[..., StudyConfig]) -> None:
    study_config = load(objectives=["error", "latency"], constraints={"latency_ms": 20})
    config = study_config.base_config
    assert constraint_values(study_config, config, {"latency_ms": 25.0}) == {"latency_ms": 5.0}
    assert constraint_values(study_config, config, {"latency_ms": 20.0}) == {"latency_ms": 0.0}
    with pytest.raises(RcnSearchError, match="latency_ms was not measured"):
        objective_values(study_config, config, EPOCHS, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["parameters"]}, "error must be one of them"),
        ({"objectives": ["error", "error"]}, "error is listed twice"),
        ({"objectives": ["error", "flops"]}, "'train_time'"),
        ({"objectives": []}, "objectives"),
        ({"constraints": {"parameters": 0}}, "greater than or equal to 1"),
        ({"constraints": {"latency": 20}}, "did you mean 'latency_ms'?"),
    ],
)
def test_unknown_objective_or_constraint_is_refused(
    load: Callable[..., StudyConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=r"line \d+") as raised:
        load(**changes)
    assert message in str(raised.value)


def test_default_objectives_and_constraints_are_not_stored(load: Callable[..., StudyConfig]) -> None:
    document = load().model_dump(mode="json", by_alias=True)
    assert not {"objectives", "constraints"} & document.keys()
    document = load(objectives=ALL, constraints={"latency_ms": 3}).model_dump(mode="json", by_alias=True)
    assert (document["objectives"], document["constraints"]["latency_ms"]) == (ALL, 3)
