"""What a trial is told to the sampler as: its values, and how far it is beyond its limits."""

from __future__ import annotations

import pytest

from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.objectives import constraint_values, directions, num_parameters, objective_values
from rcn_search.study.records import EpochResult

EPOCHS = [
    EpochResult(epoch=number, loss=1.0, val_error_pct=error, best_error_pct=5.0, train_s=2.5, val_s=1.0)
    for number, error in ((1, 9.0), (2, 5.0), (3, 6.0))
]
ALL = ["error", "parameters", "latency", "train_time"]


@pytest.fixture
def load(write_study, synthetic_uri):
    return lambda **changes: load_study_config(write_study(**changes), data_uri=synthetic_uri)


def test_by_default_the_error_alone_is_minimised(load):
    space = load()
    assert directions(space) == ["minimize"]
    assert objective_values(space, space.config({}), EPOCHS, {}) == [5.0]
    assert constraint_values(space, space.config({}), {"parameters": 1e9, "latency_ms": 1e9}) == {}


def test_objectives_come_in_the_order_of_the_study(load):
    space = load(objectives=["latency", "train_time", "error", "parameters"])
    assert directions(space) == ["minimize"] * 4
    measured = {"parameters": 7.0, "latency_ms": 3.0}
    assert objective_values(space, space.config({}), EPOCHS, measured) == [3.0, 7.5, 5.0, 7.0]


def test_parameters_are_counted_before_anything_is_trained(load):
    space = load(objectives=["error", "parameters"], constraints={"parameters": 300_000, "latency_ms": 20})
    paper = space.config({})
    assert num_parameters(paper) == 310_229
    assert objective_values(space, paper, EPOCHS, {}) == [5.0, 310_229]
    assert constraint_values(space, paper, {}) == {"parameters": 10_229}
    small = space.config({"model.branches": 4})
    assert constraint_values(space, small, {})["parameters"] <= 0


def test_a_latency_counts_once_it_is_known(load):
    space = load(objectives=["error", "latency"], constraints={"latency_ms": 20})
    config = space.config({})
    assert constraint_values(space, config, {"latency_ms": 25.0}) == {"latency_ms": 5.0}
    assert constraint_values(space, config, {"latency_ms": 20.0}) == {"latency_ms": 0.0}
    with pytest.raises(ValueError, match="latency_ms was not measured"):
        objective_values(space, config, EPOCHS, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["parameters"]}, "error must be one of them"),
        ({"objectives": ["error", "error"]}, "error stands twice"),
        ({"objectives": ["error", "flops"]}, "'train_time'"),
        ({"objectives": []}, "objectives"),
        ({"constraints": {"parameters": 0}}, "greater than or equal to 1"),
        ({"constraints": {"latency": 20}}, "did you mean 'latency_ms'?"),
    ],
)
def test_what_cannot_be_an_objective_or_a_limit_is_refused(load, changes, message):
    with pytest.raises(ConfigError, match=r"line \d+") as raised:
        load(**changes)
    assert message in str(raised.value)


def test_a_study_from_before_there_were_objectives_is_the_same_study(load):
    document = load().model_dump(mode="json", by_alias=True)
    assert not {"objectives", "constraints"} & document.keys()
    document = load(objectives=ALL, constraints={"latency_ms": 3}).model_dump(mode="json", by_alias=True)
    assert (document["objectives"], document["constraints"]["latency_ms"]) == (ALL, 3)
