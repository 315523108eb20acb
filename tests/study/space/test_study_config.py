"""Study files: what can be sampled from them, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.parameter import Parameter, Values
from rcn_search.study.space.study_config import StudyConfig
from tests.support.studies import Document

SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def sample_settings(config: StudyConfig, num_settings: int) -> list[Values]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    return [config.sample(study.ask()) for _ in range(num_settings)]


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_settings_of_every_search_space_are_legal(path: Path) -> None:
    config = load_study_config(str(path))
    for values in sample_settings(config, 1_000):
        assert config.train_config(values).schedule.epochs == config.budget.epochs
    for values in config.initial_trials:
        assert config.train_config(values) != config.base_config


def test_conditional_parameters_are_sampled_where_their_condition_holds(write_study: Callable[..., str]) -> None:
    config = load_study_config(write_study())
    settings = sample_settings(config, 1_000)
    for values in settings:
        has_skip = values["model.name"] == "rcn" and values["model.branches"] in (4, 5)
        assert ("model.skip" in values) == has_skip
        narrow = values["model.branches"] < 4
        assert values["model.channels"] in ((8, 16, 24, 32) if narrow else ("paper", 16))
        assert (values["augment.occluder.min_px"] == 0) == (values["augment.occluder.max_px"] == 0)
        model = config.train_config(values).model
        assert (model.name, model.channels) == (values["model.name"], values["model.channels"])
    assert {values["model.branches"] for values in settings} == {2, 3, 4, 5, 6}
    assert {values.get("model.skip") for values in settings} == {None, True, False}


def test_condition_on_a_key_that_is_not_sampled_does_not_hold(
    document: Document, write_study: Callable[..., str]
) -> None:
    # RcnConfig.skip is False by default, but a setting with SumNet has no skip.
    document["search"]["augment.flip"] = {"float": [0.1, 0.5], "when": {"model.skip": False}}
    document["initial_trials"] = []
    config = load_study_config(write_study())
    settings = sample_settings(config, 300)
    assert all(values.get("model.skip") is False for values in settings if "augment.flip" in values)
    assert any("augment.flip" in values for values in settings)


def test_base_config_has_budget_and_overrides(write_study: Callable[..., str]) -> None:
    config = load_study_config(write_study(), overrides=["budget.epochs=7", "budget.cpus_per_trial=2", "base.seed=5"])
    base = config.base_config
    assert (base.schedule.epochs, base.compute.threads, base.seed) == (7, 2, 5)


def test_load_with_data_uri_makes_it_absolute(
    write_study: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_study_config(write_study(), data_uri="other").base_config.data.uri == str(tmp_path / "other")
    assert load_study_config(write_study(), data_uri="s3://bucket/x").base_config.data.uri == "s3://bucket/x"


INF = float("inf")


def search(key: str, **parameter: Any) -> dict[str, Any]:
    return {"search": {key: parameter}}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (
            search("model.branches", int=[2, 9]),
            "model.branches",
            "= 9: trial: model.branches = 9: an input of 80 px has at most 7",
        ),
        (search("model.brnches", int=[2, 3]), "model.brnches", "did you mean 'branches'?"),
        (search("augment.occluder.min_px", int=[0, 60]), "augment.occluder.max_px", "larger than max_px"),
        (
            search("optimizer.lr", float=[0.0, 1.0]),
            "optimizer.lr",
            "optimizer.lr = 0.0: input should be greater than 0",
        ),
        (search("optimizer.lr", float=[0.0, 1.0], log=True), "optimizer.lr", "`low > 0` must hold"),
        (search("optimizer.lr", float=[1.0, 0.1]), "optimizer.lr", "low <= high"),
        (search("optimizer.lr", float=[0.1, 1.0], step=0.4), "optimizer.lr", "1.0 is not 0.1 plus a multiple of 0.4"),
        (search("optimizer.lr", float=[0.1, 1.0], step=INF), "optimizer.lr", "step = inf: input should be a finite"),
        (search("optimizer.lr", float=[0.1, INF], step=0.1), "optimizer.lr", "float = inf: input should be a finite"),
        (search("optimizer.lr", float=[0.1, 1e30], step=0.1), "optimizer.lr", "more than 10,000,000 steps of 0.1 lie"),
        (search("model.branches", int=[2, 3], step=INF), "model.branches", "step = inf: input should be a finite"),
        (search("optimizer.lr"), "optimizer.lr", "exactly one of int, float and choice"),
        (search("optimizer.lr", float=[0.1, 1.0], int=[1, 2]), "optimizer.lr", "exactly one of int, float and choice"),
        (search("optimizer.lr", choice=[0.1], log=True), "optimizer.lr", "log and step are options of int and float"),
        (search("optimizer.lr", float=[0.1, 1.0], lg=True), "optimizer.lr", "did you mean 'log'?"),
        (search("augment.flip", choice=[0.5], when={"seed": 1}), "augment.flip", "never holds: seed is never 1"),
        (search("model.name", choice=["rcn"], when={"model.branches": 4}), "model.name", "only further down"),
        (search("schedule.epochs", int=[1, 2]), "schedule.epochs", "is set by budget.epochs"),
        (search("data.num_val", int=[1, 2]), "data.num_val", "trials are compared by it"),
        ({"base": {"schedule": {"epochs": 2}}}, "epochs", "is set by budget.epochs"),
        ({"base": {"model": {"depth": 2}}}, "depth", "unknown key 'model.depth'"),
        ({"base": {"validation": {"augment": True}}}, "augment.occluder.max_px", "the weakest augmentation wins"),
        ({"base": {"validation": {"every_epochs": 2}}}, "every_epochs", "must be 1"),
        ({"budget": {"trials": 0}}, "trials", "greater than or equal to 1"),
        ({"budget": {"epoch": 1}}, "epoch", "did you mean 'epochs'?"),
        ({"scheduler": {"name": "asha", "grace_epochs": 5}}, "grace_epochs", "must be at most budget.epochs = 4"),
        ({"scheduler": {"name": "successive"}}, "scheduler", "'asha', 'hyperband', 'median', 'pbt', 'none'"),
        ({"initial_trials": [{"model.name": "rcn"}]}, "model.name", "model.branches is missing"),
        (
            {"test": {"split": "test", "method": "x", "retrain": {"schedule.epoch": 3}}},
            "retrain",
            "did you mean 'epochs'",
        ),
    ],
)
def test_load_names_key_and_line_of_what_is_wrong(
    document: Document, write_study: Callable[..., str], changes: dict[str, Any], key: str, message: str
) -> None:
    path = write_study(**changes)
    with pytest.raises(ConfigError) as raised:
        load_study_config(path)
    assert message in str(raised.value)
    text = Path(path).read_text().splitlines()
    line = int(str(raised.value).split("line ")[1].split(":")[0])
    assert key in text[line - 1]


@pytest.mark.parametrize(
    ("override", "source", "problem"),
    [
        ("budget.trials=0", "", "budget.trials = 0"),
        ("base.seed=-1", ": base", "seed = -1"),
        ("base={seed: 1}", ": base", "data is required"),
        ("search={model.branches: {int: [2, 9]}}", "", "search.model.branches = 9: trial"),
        ("scheduler={name: asha, grace_epochs: 5}", "", "scheduler.grace_epochs = 5 must be"),
        ("initial_trials=[{model.name: rcn}]", "", "initial_trials[0]: "),
    ],
)
def test_load_names_the_override_that_is_wrong(
    write_study: Callable[..., str], override: str, source: str, problem: str
) -> None:
    path = write_study()
    with pytest.raises(ConfigError) as raised:
        load_study_config(path, overrides=[override])
    assert str(raised.value).startswith(f"{path}{source}, --set {override!r}: {problem}")


def test_load_names_the_override_of_a_wrong_run(tmp_path: Path) -> None:
    path, override = tmp_path / "runs.yaml", "runs.wide={model.branches: 9}"
    runs = "runs:\n  wide: {model.branches: 5}\n"
    path.write_text("study: {name: x}\nbase: {data: {uri: x}}\n" + runs + "budget: {epochs: 1}\n")
    with pytest.raises(ConfigError) as raised:
        load_study_config(str(path), overrides=[override])
    assert str(raised.value).startswith(f"{path}: run 'wide', --set {override!r}: model.branches = 9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.branches": 7}, "model.branches = 7 is out of its range: 2 to 6"),
        ({"model.branches": True}, "model.branches = True is out of its range"),
        ({"model.channels": 24}, "model.channels = 24 is out of its range: one of paper, 16"),
        ({"augment.occluder.min_px": 15}, "augment.occluder.min_px = 15 is out of its range: 10 to 40 in steps of 10"),
        ({"augment.flip": 0.5}, "augment.flip is not a parameter here"),
        ({"model.branches": 6}, "model.skip is not a parameter here"),
    ],
)
def test_initial_trial_outside_the_space_is_refused(
    document: Document, write_study: Callable[..., str], change: Values, message: str
) -> None:
    document["initial_trials"] = [{**document["initial_trials"][0], **change}]
    with pytest.raises(ConfigError, match="initial_trials\\[0\\]") as raised:
        load_study_config(write_study())
    assert message in str(raised.value)


def test_ranges_that_are_illegal_together_are_refused(document: Document, write_study: Callable[..., str]) -> None:
    # Each range is legal beside the defaults; together a rectangle could be longer at its shortest than at its longest.
    document["search"]["augment.occluder.max_px"] = {"int": [25, 60]}
    document["search"]["augment.occluder.min_px"] = {"int": [0, 40]}
    document["initial_trials"] = []
    with pytest.raises(ConfigError, match=r"min_px 40 is larger than max_px 25"):
        load_study_config(write_study())


def test_load_of_another_yaml_file_names_the_missing_sections(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"base": {}}))
    with pytest.raises(ConfigError) as raised:
        load_study_config(str(path))
    assert all(f"{key} is required" in str(raised.value) for key in ("study", "budget"))
    with pytest.raises(ConfigError, match="no such file"):
        load_study_config(str(tmp_path / "none.yaml"))


@pytest.fixture
def chain(document: Document) -> Document:
    """Ranges that depend on each other, and conditions on conditions."""
    document["search"] = {
        "model.name": {"choice": ["rcn", "sumnet"]},
        "model.branches": {"int": [4, 6], "when": {"model.name": "rcn"}},
        "model.skip": {"choice": [True, False], "when": {"model.branches": [5, 6]}},
        "augment.flip": {"float": [0.1, 0.4], "when": {"model.skip": True}},
        "augment.translate": {"float": [0.0, {"key": "augment.flip"}], "step": 0.05, "when": {"model.skip": True}},
        "augment.occluder.max_px": {"int": [20, {"key": "schedule.batch_size", "offset": -4}], "step": 10},
        "augment.occluder.min_px": {
            "int": [
                {"key": "augment.occluder.max_px", "scale": 0.25},
                {"key": "augment.occluder.max_px", "offset": -10},
            ]
        },
        "optimizer.lr": {"float": [1e-3, 1e-2], "log": True},
        "optimizer.weight_decay": {"float": [1e-6, {"key": "optimizer.lr", "scale": 0.1}], "log": True},
    }
    document["initial_trials"] = []
    return document


def test_conditions_and_dependent_bounds_can_be_nested(chain: Document, write_study: Callable[..., str]) -> None:
    config = load_study_config(write_study())
    settings = sample_settings(config, 1_000)
    for values in settings:
        assert ("model.branches" in values) == (values["model.name"] == "rcn")
        assert ("model.skip" in values) == (values.get("model.branches") in (5, 6))
        assert ("augment.flip" in values) == ("augment.translate" in values) == (values.get("model.skip") is True)
        if "augment.flip" in values:
            steps = values["augment.translate"] / 0.05
            assert abs(steps - round(steps)) < 1e-8
            assert 0 <= values["augment.translate"] <= values["augment.flip"]
        longest = values["augment.occluder.max_px"]
        assert longest in (20, 30, 40, 50, 60)  # batch_size is 64 in base
        assert longest / 4 <= values["augment.occluder.min_px"] <= longest - 10
        assert 1e-6 <= values["optimizer.weight_decay"] <= values["optimizer.lr"] / 10
    shortest = {values["augment.occluder.min_px"] for values in settings if values["augment.occluder.max_px"] == 30}
    assert shortest == set(range(8, 21))
    assert config.unconditional_ranges().keys() == {"optimizer.lr"}


@pytest.mark.parametrize(
    ("parameter", "key", "message"),
    [
        (
            {"int": [30, {"key": "schedule.batch_sise"}]},
            "min_px",
            "its range depends on schedule.batch_sise, which does not exist",
        ),
        ({"int": [0, {"key": "model.kind"}]}, "min_px", "which does not exist"),
        (
            {"int": [0, {"key": "model.name"}]},
            "search",
            "it depends on model.name, which is 'sumnet' there and not a number",
        ),
        ({"int": [0, {"key": "optimizer.lr"}]}, "min_px", "which is searched only further down"),
        ({"int": [0, {"key": "augment.flip"}]}, "search", "is not sampled there: restrict it with 'when'"),
        (
            {"int": [35, {"key": "augment.occluder.max_px"}]},
            "search",
            "augment.occluder.min_px where augment.occluder.max_px=20: the range from 35 to 20 is empty",
        ),
        (
            {"int": [0, {"key": "augment.occluder.max_px", "scale": 1e308}]},
            "search",
            "augment.occluder.min_px where augment.occluder.max_px=60: its bounds are 0 and inf",
        ),
        (
            {"float": [0, {"key": "augment.occluder.max_px", "scale": 1e30}], "step": 1e-290},
            "search",
            "more than 10,000,000 steps of 1e-290 lie between 0 and 6e+31",
        ),
        ({"int": [0, {"key": "seed", "offset": INF}]}, "min_px", "input should be a finite number"),
        (
            {"int": [{"key": "seed"}, 20], "log": True},
            "search",
            "the lower bound of a log range must be above 0, not 0",
        ),
        ({"int": [0, {"key": "seed", "minus": 1}]}, "min_px", "minus"),
    ],
)
def test_invalid_dependent_bound_is_refused(
    chain: Document, write_study: Callable[..., str], parameter: dict[str, Any], key: str, message: str
) -> None:
    chain["search"]["augment.occluder.min_px"] = parameter
    path = write_study()
    with pytest.raises(ConfigError, match=r"line \d+") as raised:
        load_study_config(path)
    assert message in str(raised.value)
    line = int(str(raised.value).split("line ")[1].split(":")[0])
    assert key in Path(path).read_text().splitlines()[line - 1]


def test_initial_trial_is_checked_against_dependent_bounds(chain: Document, write_study: Callable[..., str]) -> None:
    values: Values = {
        "model.name": "sumnet",
        "augment.occluder.max_px": 40,
        "augment.occluder.min_px": 30,
        "optimizer.lr": 2e-3,
        "optimizer.weight_decay": 1e-4,
    }
    chain["initial_trials"] = [values]
    assert load_study_config(write_study()).initial_trials == (values,)
    chain["initial_trials"] = [{**values, "augment.occluder.min_px": 31}]
    with pytest.raises(
        ConfigError, match=r"initial_trials\[0\]: augment.occluder.min_px = 31 is out of its range: 10 to 30"
    ):
        load_study_config(write_study())


def test_parameter_does_not_contain_values_between_or_beyond_its_steps() -> None:
    parameter = Parameter.model_validate({"float": [0.0, 1.0], "step": 1e-6})
    assert [parameter.contains(value) for value in (1e-6, 1.5e-6, 1e308)] == [True, False, False]


def test_range_below_an_unconditional_one_is_refused(document: Document, write_study: Callable[..., str]) -> None:
    document["search"]["model.channels"] = [{"choice": [16]}, {"choice": [8], "when": {"model.branches": 6}}]
    with pytest.raises(ConfigError, match=r"search.model.channels: ranges below one without 'when' are never used"):
        load_study_config(write_study())


def test_with_trials_changes_the_budget_alone(write_study: Callable[..., str]) -> None:
    config = load_study_config(write_study())
    changed = config.with_trials(50)
    assert (changed.budget.trials, changed.budget.epochs) == (50, 4)
    assert changed.with_trials(12) == config


def test_base_config_of_a_copy_is_computed_again(write_study: Callable[..., str]) -> None:
    config = load_study_config(write_study())
    assert config.base_config is config.base_config
    changed = config.model_copy(update={"base": {**config.base, "seed": 9}})
    assert (config.base_config.seed, changed.base_config.seed) == (0, 9)


@pytest.mark.parametrize("number", ["010", "018", "1:30", "on", "1_0", "true", "'8'", "1" * 5_000], ids=lambda n: n[:9])
@pytest.mark.parametrize(
    ("key", "template"),
    [
        ("search.model.channels", "search: {{model.channels: {{int: [{0}, 20]}}}}"),
        ("search.optimizer.lr", "search: {{optimizer.lr: {{float: [1.0e-4, {0}]}}}}"),
        ("search.optimizer.lr", "search: {{optimizer.lr: {{float: [0, 1], step: {0}}}}}"),
        ("search.optimizer.lr", "search: {{optimizer.lr: [{{float: [{{key: seed, offset: {0}}}, 1]}}]}}"),
        ("search.model.branches", "search: {{model.branches: {{choice: [{0}]}}}}"),
        ("search.model.skip", "search: {{model.skip: {{choice: [true, false], when: {{model.branches: {0}}}}}}}"),
        ("initial", "search: {{model.branches: {{int: [4, 7]}}}}\ninitial_trials:\n- {{model.branches: {0}}}"),
        ("budget.trials", "search: {{model.branches: {{int: [4, 7]}}}}\nbudget: {{trials: {0}, epochs: 3}}"),
        ("seeds_per_run.a", "runs: {{a: {{model.branches: 4}}}}\nseeds_per_run: {{a: {0}}}"),
        ("runs", "runs: {{a: {{model.branches: {0}}}}}"),
    ],
    ids=["int", "float", "step", "offset", "choice", "when", "initial", "budget", "seeds", "runs"],
)  # fmt: skip
def test_load_study_config_with_what_may_not_be_a_number_is_refused(
    tmp_path: Path, key: str, template: str, number: str
) -> None:
    path = tmp_path / "study.yaml"
    budget = "" if "budget" in template else "budget: {trials: 3, epochs: 3}\n"
    if "runs" in template:
        budget = "budget: {epochs: 3}\n"
    path.write_text(f"{budget}study: {{name: x}}\nbase: {{data: {{uri: x}}}}\n{template.format(number)}\n")
    with pytest.raises(ConfigError) as raised:
        load_study_config(str(path))
    message = str(raised.value)
    assert re.match(rf"{path}(: run 'a')?, line [1-6]: ", message)
    assert key.split(".")[0] in message or "initial_trials" in message or "model.branches" in message
    assert len(message) < 2_000


def test_numbers_with_an_exponent_and_no_point_are_numbers_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        """
study: {name: x}
base: {data: {uri: x}, optimizer: {weight_decay: 1e-4}, validation: {augment: false}}
search:
  optimizer.lr: {choice: [1e-3, 1e-2]}
  augment.flip: {float: [1e-1, 5e-1], when: {optimizer.lr: 1e-3, optimizer.weight_decay: [1e-4]}}
initial_trials: [{optimizer.lr: 1e-3, augment.flip: 2e-1}]
budget: {trials: 3, epochs: 3}
"""
    )
    config = load_study_config(str(path))
    assert config.search["optimizer.lr"][0].choice == (1e-3, 1e-2)
    assert config.search["augment.flip"][0].when == {"optimizer.lr": (1e-3,), "optimizer.weight_decay": (1e-4,)}
    assert config.initial_trials == ({"optimizer.lr": 1e-3, "augment.flip": 0.2},)


def test_condition_with_a_boolean_does_not_hold_for_a_number(
    document: Document, write_study: Callable[..., str]
) -> None:
    document["base"]["model"]["branches"] = 1
    document["search"] = {"optimizer.lr": {"float": [1e-3, 1e-2], "when": {"model.branches": True}}}
    document["initial_trials"] = []
    with pytest.raises(ConfigError, match=r"'when' never holds: model\.branches is never True"):
        load_study_config(write_study())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.num_train=300", "unknown key 'data.num_train': a study sets the keys of its trainings below base, as "
         "base.data.num_train"),
        ("data={num_train: 1, num_val: 2}", "below base, as base.data"),
        ("seed=3", "below base, as base.seed"),
        ("base.input.size_px=161", "base, --set 'base.input.size_px=161': input.size_px = 161: should be an even "
         "number from 40 to 256"),
        ("budget.cpus_per_trial=.inf", "--set 'budget.cpus_per_trial=.inf': budget.cpus_per_trial = inf: input should "
         "be a finite number"),
    ],
)  # fmt: skip
def test_override_that_does_not_fit_a_study_says_what_would(
    write_study: Callable[..., str], override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_study_config(write_study(), overrides=[override])


def test_override_of_retrain_with_null_scores_the_checkpoint_of_the_search(write_study: Callable[..., str]) -> None:
    path = write_study(test={"split": "test", "method": "x", "retrain": {"schedule.epochs": 9}})
    for override in ("test.retrain=null", "test.retrain={}"):
        test = load_study_config(path, overrides=[override]).test
        assert test is not None
        assert test.retrain == {}


def test_key_of_thousands_of_parts_is_refused(write_study: Callable[..., str]) -> None:
    key = ".".join(["a"] * 10**5)
    for changes in ({"search": {key: {"int": [1, 2]}}}, {"initial_trials": [{key: 1}]}):
        with pytest.raises(ConfigError, match="at most 200 characters"):
            load_study_config(write_study(**changes))
