from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml

from rcn_search.config.errors import ConfigError
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.parameter import Parameter

SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def draws(space, number, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [space.sample(study.ask()) for _ in range(number)]


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_thousand_draws_of_each_published_space_are_legal(path):
    space = load_study_config(str(path))
    for values in draws(space, 1_000):
        config = space.train_config(values)
        assert config.schedule.epochs == space.budget.epochs
    for point in space.initial_trials:
        assert space.train_config(point) != space.base_config


def test_conditional_parameters_are_drawn_where_their_condition_holds(write_study):
    space = load_study_config(write_study())
    drawn = draws(space, 1_000)
    for values in drawn:
        has_skip = values["model.name"] == "rcn" and values["model.branches"] in (4, 5)
        assert ("model.skip" in values) == has_skip
        narrow = values["model.branches"] < 4
        assert values["model.channels"] in ((8, 16, 24, 32) if narrow else ("paper", 16))
        assert (values["augment.occluder.min_px"] == 0) == (values["augment.occluder.max_px"] == 0)
        config = space.train_config(values)
        assert (config.model.name, config.model.channels) == (values["model.name"], values["model.channels"])
    assert {values["model.branches"] for values in drawn} == {2, 3, 4, 5, 6}
    assert {values.get("model.skip") for values in drawn} == {None, True, False}


def test_a_searched_key_that_is_not_drawn_fulfils_no_condition(document, write_study):
    # RcnConfig.skip is False by default, but where SumNet is drawn there is no skip.
    document["search"]["augment.flip"] = {"float": [0.1, 0.5], "when": {"model.skip": False}}
    document["initial_trials"] = []
    space = load_study_config(write_study())
    drawn = draws(space, 300)
    assert all(values.get("model.skip") is False for values in drawn if "augment.flip" in values)
    assert any("augment.flip" in values for values in drawn)


def test_budget_and_overrides_reach_the_configuration(write_study):
    space = load_study_config(write_study(), overrides=["budget.epochs=7", "budget.cpus_per_trial=2", "base.seed=5"])
    config = space.base_config
    assert (config.schedule.epochs, config.compute.threads, config.seed) == (7, 2, 5)


def test_the_data_set_can_be_named_on_the_command_line_and_is_absolute(write_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_study_config(write_study(), data_uri="other").base_config.data.uri == str(tmp_path / "other")
    assert load_study_config(write_study(), data_uri="s3://bucket/x").base_config.data.uri == "s3://bucket/x"


INF = float("inf")


def search(key, **parameter):
    return {"search": {key: parameter}}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (
            search("model.branches", int=[2, 9]),
            "model.branches",
            "= 9: trial: model.branches = 9: input should be less",
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
        (search("optimizer.lr", choice=[0.1], log=True), "optimizer.lr", "log and step are for int and float"),
        (search("optimizer.lr", float=[0.1, 1.0], lg=True), "optimizer.lr", "did you mean 'log'?"),
        (search("augment.flip", choice=[0.5], when={"seed": 1}), "augment.flip", "never holds: seed is never 1"),
        (search("model.name", choice=["rcn"], when={"model.branches": 4}), "model.name", "only further down"),
        (search("schedule.epochs", int=[1, 2]), "schedule.epochs", "is set by budget.epochs"),
        (search("data.num_val", int=[1, 2]), "data.num_val", "trials are compared by it"),
        ({"base": {"schedule": {"epochs": 2}}}, "epochs", "is set by budget.epochs"),
        ({"base": {"model": {"depth": 2}}}, "depth", "unknown key 'model.depth'"),
        ({"base": {"validation": {"augment": True}}}, "augment.occluder.max_px", "the smallest ranges would win"),
        ({"base": {"validation": {"every_epochs": 2}}}, "every_epochs", "must be 1"),
        ({"budget": {"trials": 0}}, "trials", "greater than or equal to 1"),
        ({"budget": {"epoch": 1}}, "epoch", "did you mean 'epochs'?"),
        ({"scheduler": {"name": "asha", "grace_epochs": 5}}, "grace_epochs", "no more than budget.epochs = 4"),
        ({"scheduler": {"name": "successive"}}, "scheduler", "'asha', 'hyperband', 'median', 'pbt', 'none'"),
        ({"initial_trials": [{"model.name": "rcn"}]}, "model.name", "model.branches is missing"),
        (
            {"test": {"split": "test", "method": "x", "retrain": {"schedule.epoch": 3}}},
            "retrain",
            "did you mean 'epochs'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_key_and_line(document, write_study, changes, key, message):
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
        ("scheduler={name: asha, grace_epochs: 5}", "", "scheduler.grace_epochs = 5: no more"),
        ("initial_trials=[{model.name: rcn}]", "", "initial_trials[0]: "),
    ],
)
def test_a_bad_override_is_not_blamed_on_the_file(write_study, override, source, problem):
    path = write_study()
    with pytest.raises(ConfigError) as raised:
        load_study_config(path, overrides=[override])
    assert str(raised.value).startswith(f"{path}{source}, --set {override!r}: {problem}")


def test_a_bad_row_of_an_override_is_not_blamed_on_the_file(tmp_path):
    path, override = tmp_path / "rows.yaml", "runs.wide={model.branches: 9}"
    row = "rows:\n  wide: {model.branches: 5}\n"
    path.write_text("study: {name: x}\nbase: {data: {uri: x}}\n" + row + "budget: {epochs: 1}\n")
    with pytest.raises(ConfigError) as raised:
        load_study_config(str(path), overrides=[override])
    assert str(raised.value).startswith(f"{path}: row 'wide', --set {override!r}: model.branches = 9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.branches": 7}, "model.branches = 7 is out of its range: 2 to 6"),
        ({"model.branches": True}, "model.branches = True is out of its range"),
        ({"model.channels": 24}, "model.channels = 24 is out of its range: one of paper, 16"),
        ({"augment.occluder.min_px": 15}, "augment.occluder.min_px = 15 is out of its range: 10 to 40 in steps of 10"),
        ({"augment.flip": 0.5}, "augment.flip is not drawn at this point"),
        ({"model.branches": 6}, "model.skip is not drawn at this point"),
    ],
)
def test_a_point_lies_within_the_space(document, write_study, change, message):
    document["initial_trials"] = [{**document["initial_trials"][0], **change}]
    with pytest.raises(ConfigError, match="initial_trials\\[0\\]") as raised:
        load_study_config(write_study())
    assert message in str(raised.value)


def test_ranges_that_cannot_be_drawn_together_are_refused(document, write_study):
    # Each range is legal beside the defaults; together a rectangle could be longer at its shortest than at its longest.
    document["search"]["augment.occluder.max_px"] = {"int": [25, 60]}
    document["search"]["augment.occluder.min_px"] = {"int": [0, 40]}
    document["initial_trials"] = []
    with pytest.raises(ConfigError, match=r"min_px 40 is larger than max_px 25"):
        load_study_config(write_study())


def test_not_a_study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"base": {}}))
    with pytest.raises(ConfigError) as raised:
        load_study_config(str(path))
    assert all(f"{key} is required" in str(raised.value) for key in ("study", "budget"))
    with pytest.raises(ConfigError, match="no such file"):
        load_study_config(str(tmp_path / "none.yaml"))


@pytest.fixture
def chain(document):
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


def test_conditions_and_depending_ranges_go_to_any_depth(chain, write_study):
    space = load_study_config(write_study())
    drawn = draws(space, 1_000)
    for values in drawn:
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
    shortest = {values["augment.occluder.min_px"] for values in drawn if values["augment.occluder.max_px"] == 30}
    assert shortest == set(range(8, 21))
    assert space.unconditional_ranges().keys() == {"optimizer.lr"}


@pytest.mark.parametrize(
    ("parameter", "key", "message"),
    [
        (
            {"int": [30, {"key": "schedule.batch_sise"}]},
            "min_px",
            "its range depends on schedule.batch_sise, which is nowhere",
        ),
        ({"int": [0, {"key": "model.name"}]}, "min_px", "which is nowhere"),
        ({"int": [0, {"key": "model.name"}]}, "search", "it depends on model.name, which is 'sumnet' there, no number"),
        ({"int": [0, {"key": "optimizer.lr"}]}, "min_px", "which is searched only further down"),
        ({"int": [0, {"key": "augment.flip"}]}, "search", "is not drawn there: give it a 'when'"),
        (
            {"int": [35, {"key": "augment.occluder.max_px"}]},
            "search",
            "augment.occluder.min_px where augment.occluder.max_px=20: nothing lies between 35 and 20",
        ),
        (
            {"int": [0, {"key": "augment.occluder.max_px", "scale": 1e308}]},
            "search",
            "augment.occluder.min_px where augment.occluder.max_px=60: its ends are 0 and inf",
        ),
        (
            {"float": [0, {"key": "augment.occluder.max_px", "scale": 1e30}], "step": 1e-290},
            "search",
            "more than 10,000,000 steps of 1e-290 lie between 0 and 6e+31",
        ),
        ({"int": [0, {"key": "seed", "offset": INF}]}, "min_px", "input should be a finite number"),
        ({"int": [{"key": "seed"}, 20], "log": True}, "search", "log needs more than 0, not 0"),
        ({"int": [0, {"key": "seed", "minus": 1}]}, "min_px", "minus"),
    ],
)
def test_a_range_that_depends_on_what_it_cannot_is_refused(chain, write_study, parameter, key, message):
    chain["search"]["augment.occluder.min_px"] = parameter
    path = write_study()
    with pytest.raises(ConfigError, match=r"line \d+") as raised:
        load_study_config(path)
    assert message in str(raised.value)
    line = int(str(raised.value).split("line ")[1].split(":")[0])
    assert key in Path(path).read_text().splitlines()[line - 1]


def test_a_point_lies_within_a_depending_range(chain, write_study):
    point = {
        "model.name": "sumnet",
        "augment.occluder.max_px": 40,
        "augment.occluder.min_px": 30,
        "optimizer.lr": 2e-3,
        "optimizer.weight_decay": 1e-4,
    }
    chain["initial_trials"] = [point]
    assert load_study_config(write_study()).initial_trials == (point,)
    chain["initial_trials"] = [{**point, "augment.occluder.min_px": 31}]
    with pytest.raises(
        ConfigError, match=r"initial_trials\[0\]: augment.occluder.min_px = 31 is out of its range: 10 to 30"
    ):
        load_study_config(write_study())


def test_nothing_far_from_a_range_lies_on_its_steps():
    parameter = Parameter.model_validate({"float": [0.0, 1.0], "step": 1e-6})
    assert [parameter.contains(value) for value in (1e-6, 1.5e-6, 1e308)] == [True, False, False]


def test_a_range_below_one_that_always_holds_is_refused(document, write_study):
    document["search"]["model.channels"] = [{"choice": [16]}, {"choice": [8], "when": {"model.branches": 6}}]
    with pytest.raises(ConfigError, match=r"search.model.channels: below a range without 'when' none is ever drawn"):
        load_study_config(write_study())
