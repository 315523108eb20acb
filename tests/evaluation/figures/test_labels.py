from __future__ import annotations

from typing import Any

import pytest

from rcn_search.config.loading import RECIPES
from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.figures.labels import config_labels, make_distinct


def config(recipe: str = "fast", **sections: Any) -> TrainConfig:
    document = {**RECIPES[recipe], "recipe": recipe, "data": {"uri": "somewhere"}}
    return TrainConfig.model_validate({**document, **sections})


@pytest.mark.parametrize(
    ("configs", "labels"),
    [
        ([config()], ["RCN"]),
        ([config(), config(model={"name": "sumnet"}), config(model={"name": "tcdcn"})], ["RCN", "SumNet", "TCDCN"]),
        (
            [config(model={"branches": 5}), config(seed=1)],
            ["RCN seed=0 model.branches=5", "RCN seed=1 model.branches=6"],
        ),
        # A recipe brings its optimizer and much else; only what differs from it is shown.
        (
            [config(), config("paper"), config("paper", optimizer={**RECIPES["paper"]["optimizer"], "lr": 0.5})],
            ["RCN recipe=fast", "RCN recipe=paper", "RCN recipe=paper optimizer.lr=0.5"],
        ),
        # Where a run ran, and how often it was validated, does not change the trained network.
        ([config(compute={"threads": 1}), config(validation={"every_epochs": 3})], ["RCN (a/x)", "RCN (b)"]),
        ([config(data={"uri": "elsewhere"}), config()], ["RCN (a/x)", "RCN (b)"]),
        ([config(data={"uri": "u", "num_train": 9}), config()], ["RCN data.num_train=9", "RCN"]),
    ],
)
def test_config_labels_name_what_differs(configs: list[TrainConfig], labels: list[str]) -> None:
    assert config_labels(configs, ["s3://runs/a/x", "s3://runs/b", "s3://runs/c"][: len(configs)]) == labels


def test_config_labels_of_one_section() -> None:
    configs = [config(seed=1), config(model={"name": "sumnet"})]
    assert config_labels(configs, ["a", "b"], section="model") == ["RCN", "SumNet"]


@pytest.mark.parametrize(
    ("names", "uris", "labels"),
    [
        (["a", "b"], ["x", "y"], ["a", "b"]),
        (["a", "b", "a"], ["/r/1/best", "/elsewhere", "/r/2/best"], ["a (1)", "b", "a (2)"]),
        (["a", "a"], ["p/v.parquet", "p/w.parquet"], ["a (v.parquet)", "a (w.parquet)"]),
        (["a", "a"], ["runs", "runs/more"], ["a (runs)", "a (runs/more)"]),
    ],
)
def test_make_distinct_adds_differing_path_parts(names: list[str], uris: list[str], labels: list[str]) -> None:
    assert make_distinct(names, uris) == labels
