from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rcn_search.config.errors import ConfigError
from rcn_search.config.network_target import is_allowed
from rcn_search.search.custom_networks import allow_networks, check_networks, network_targets
from rcn_search.study.loading import load_study_config
from rcn_search.study.objectives import constraint_values
from rcn_search.study.space.study_config import StudyConfig
from tests.support.networks import TINY, WriteModule


def study(target: str, search: dict[str, object], **args: object) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": {"name": "custom"},
            "base": {"data": {"uri": "x"}, "model": {"name": "custom", "target": target, "args": args}},
            "search": search,
            "budget": {"trials": 3, "epochs": 1},
        }
    )


def test_arguments_of_a_custom_network_are_searched_by_dotted_key(tmp_path: Path) -> None:
    model = {"name": "custom", "target": "nets:Tiny", "args": {"width": 8, "stride": 2}}
    document = {
        "study": {"name": "custom"},
        "base": {"data": {"uri": "x"}, "model": model},
        "search": {
            "model.args.width": {"int": [4, {"key": "model.args.stride", "scale": 4}]},
            "model.args.deep": {"choice": [True, False], "when": {"model.args.stride": 2}},
        },
        "budget": {"trials": 3, "epochs": 1},
        "scheduler": {"name": "none"},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(document))
    config = load_study_config(str(path))
    values = config.draw(lambda path, name, parameter: parameter.extremes[-1])
    assert values == {"model.args.width": 8, "model.args.deep": False}
    assert config.train_config({"model.args.width": 5}).model.args == {"width": 5, "stride": 2}


def test_targets_of_a_study_are_those_that_it_names(write_module: WriteModule) -> None:
    config = study("a:A", {"model.target": {"choice": ["a:A", "b.c:B"]}, "model.args.width": {"int": [1, 2]}})
    assert network_targets(config) == ["a:A", "b.c:B"]
    assert not is_allowed("b.c:B")
    assert allow_networks(config) == ["a:A", "b.c:B"]
    assert is_allowed("b.c:B")


@pytest.mark.parametrize(
    ("search", "problem"),
    [
        ({"model.args.widht": {"int": [1, 2]}}, r"got an unexpected keyword argument 'widht'.*\(setting: model.args"),
        ({"model.args.stride": {"choice": [3]}}, r"wanted are logits .* \(setting: model.args.stride=3\)"),
        ({"model.target": {"choice": ["nowhere:Net"]}}, r"there is no module 'nowhere' here"),
    ],
)
def test_check_networks_names_the_setting_that_cannot_be_built(
    write_module: WriteModule, search: dict[str, object], problem: str
) -> None:
    config = study(f"{write_module(TINY)}:Tiny", search)
    allow_networks(config)
    with pytest.raises(ConfigError, match=problem):
        check_networks(config, num_points=5)


def test_check_networks_of_a_good_one_and_of_our_own_is_silent(write_module: WriteModule) -> None:
    config = study(f"{write_module(TINY)}:Tiny", {"model.args.width": {"int": [2, 4]}})
    allow_networks(config)
    check_networks(config, num_points=5)


def test_reading_a_study_with_a_limit_of_parameters_runs_no_code(write_module: WriteModule) -> None:
    config = study(f"{write_module(TINY)}:Tiny", {"model.args.width": {"int": [2, 4]}})
    config = config.model_copy(update={"constraints": config.constraints.model_copy(update={"parameters": 10})})
    trial = config.train_config({"model.args.width": 2})
    assert constraint_values(config, trial, {}) == {}
    assert constraint_values(config, trial, {"parameters": 12.0}) == {"parameters": 2.0}


@pytest.mark.usefixtures("timm")
def test_backbones_of_a_study_are_built_before_the_search() -> None:
    def backbone(name: str) -> StudyConfig:
        config = study("a:A", {"model.backbone": {"choice": [name]}})
        return config.model_copy(update={"base": {**config.base, "model": {"name": "timm", "deconv_channels": 8}}})

    check_networks(backbone("mobilenetv3_small_050"), 5)
    with pytest.raises(ConfigError, match=r"has no such network.*\(setting: model.backbone=mobilenetv9\)"):
        check_networks(backbone("mobilenetv9"), 5)
