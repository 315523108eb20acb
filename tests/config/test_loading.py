from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import MAX_YAML_BYTES, load_train_config, merge, read_yaml, validate
from rcn_search.config.schema import FrozenModel, RcnConfig, TrainConfig

ROOT = Path(__file__).parents[2]
RCN_KEYS = "branches, channels, layer_preset, mask, name, skip, upsampling, zero_non_pooled"
DOCUMENT = """\
data:
  uri: data/mtfl
model:
  name: rcn
  branches: 5
schedule: {epochs: 3, batch_size: 32}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(text)
    return str(path)


def message(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_train_config(written(folder, text), overrides)
    return str(raised.value)


def test_keys_of_the_file_are_laid_over_the_defaults(tmp_path: Path) -> None:
    config = load_train_config(written(tmp_path, DOCUMENT))
    expected = {"data": {"uri": "data/mtfl"}, "model": {"name": "rcn", "branches": 5}}
    assert config == TrainConfig.model_validate({**expected, "schedule": {"epochs": 3, "batch_size": 32}})


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "data: {uri: x}\nschedule:\n  epoch: 3\n",
            3,
            "unknown key 'schedule.epoch'; did you mean 'epochs'? "
            "Allowed here: batch_size, ema_decay, epochs, lr_schedule, reshuffle, warmup_fraction",
        ),
        ("data: {uri: x}\nzebra: 1\n", 2, "unknown key 'zebra'. Allowed here: augment, compute, data, input, "),
        # Only the keys of the chosen kind are offered: `auxiliary` is one of tcdcn's.
        (
            "data: {uri: x}\nmodel:\n  name: rcn\n  auxiliary: true\n",
            4,
            f"unknown key 'model.auxiliary'. Allowed here: {RCN_KEYS}",
        ),
        (
            "data: {uri: x}\naugment:\n  occluder:\n    mx_px: 3\n",
            4,
            "unknown key 'augment.occluder.mx_px'; did you mean 'max_px'? Allowed here: max_px, min_px",
        ),
        (DOCUMENT.replace("5", "9"), 5, "model.branches = 9: input should be less than or equal to 7"),
        (DOCUMENT.replace("5", "0"), 5, "model.branches = 0: input should be greater than or equal to 1"),
        (DOCUMENT.replace("rcn", "cnn"), 3, "model.name = 'cnn': must be one of 'rcn', 'sumnet', 'tcdcn', 'denoiser'"),
        ("data: {uri: x}\nrecipe: quick\n", 2, "recipe = 'quick': input should be 'fast' or 'paper'"),
        ("data: {uri: x}\nrecipe: [fast]\n", 2, "recipe = ['fast']: input should be 'fast' or 'paper'"),
        ("data: {uri: x}\noptimizer: {lr: .nan}\n", 2, "optimizer.lr = nan: input should be less than or equal to 10"),
        (
            "data: {uri: x}\naugment:\n  occluder: {min_px: 30, max_px: 20}\n",
            3,
            "min_px 30 is larger than max_px 20",
        ),
        ("data:\n  num_train: 5\n", 1, "data.uri is required"),
        ("a: 1\nb: {c: 1, c: 2}\n", 2, "key 'c' appears twice"),
        ("a: 1\na: 2\n", 2, "key 'a' appears twice"),
        ("a: &x [1]\nb: *x\n", 2, "YAML aliases are not allowed here"),
    ],
)
def test_problems_are_named_with_their_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    assert message(tmp_path, text).startswith(f"{tmp_path}/config.yaml, line {line}: ")
    assert problem in message(tmp_path, text)


def test_model_without_name_is_an_rcn(tmp_path: Path) -> None:
    config = load_train_config(written(tmp_path, "data: {uri: x}\n"), ["model.branches=4"])
    assert config.model == RcnConfig(branches=4)
    assert f"Allowed here: {RCN_KEYS}" in message(tmp_path, "data: {uri: x}\nmodel: {size: 4}\n")


def test_keys_of_an_alternative_need_its_name(tmp_path: Path) -> None:
    for document, problem in [
        ({"scheduler": {"grace": 3}}, "f, line 7: scheduler.name is required where scheduler is given"),
        ({"scheduler": {"name": "asha", "graze": 3}}, "unknown key 'scheduler.graze'; did you mean 'grace'?"),
        ({"scheduler": {"name": "none", "grace": 3}}, "unknown key 'scheduler.grace'. Allowed here: name"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(problem)):
            validate(Space, document, source="f", lines={("scheduler",): "line 7"})


class Asha(FrozenModel):
    name: Literal["asha"] = "asha"
    grace: int = 1


class NoScheduler(FrozenModel):
    name: Literal["none"] = "none"


class Space(FrozenModel):
    scheduler: Asha | NoScheduler = Field(Asha(), discriminator="name")


def test_every_problem_is_named_once(tmp_path: Path) -> None:
    problems = message(tmp_path, "data: {uri: x}\nmodel: {name: rcn, channels: 3}\nseed: -1\n").splitlines()
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "seed = -1: input should be greater than or equal to 0",
        "model.channels = 3: input should be 'paper'",
        "model.channels = 3: input should be greater than or equal to 4",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"- 1\n", "expected keys and values at the top, found a list"),
        (b"", "data is required"),
        (b"a: [1\n", "not valid YAML"),
        (b"a: \xff\n", "not valid YAML"),
        (b"a: !!python/object/apply:os.getcwd []\n", "not valid YAML: could not determine a constructor"),
        (b"a: " + b"[" * 5_000 + b"]" * 5_000, "not valid YAML: maximum recursion depth exceeded"),
        (b"#" * (MAX_YAML_BYTES + 1), "1,000,001 bytes; a configuration may have 1,000,000"),
    ],
    ids=["list", "empty", "unclosed", "not UTF-8", "tag", "nested", "large"],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load_train_config(str(path))


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.yaml: no such file"):
        read_yaml(str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match="is a folder; name a YAML file"):
        read_yaml(str(tmp_path))


def test_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    document, lines = read_yaml(written(tmp_path, "a:\n  b:\n    - 1\n    - c: 2\n"))
    assert document == {"a": {"b": [1, {"c": 2}]}}
    numbers = {("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4}
    assert lines == {key: f"line {number}" for key, number in numbers.items()}


def test_overrides_win_and_make_the_sections_they_need(tmp_path: Path) -> None:
    config = load_train_config(
        written(tmp_path, DOCUMENT), ["schedule.epochs=7", "augment.occluder.max_px=0", "augment.occluder.min_px=0"]
    )
    assert (config.schedule.epochs, config.schedule.batch_size) == (7, 32)
    assert config.augment.occluder.max_px == 0
    assert load_train_config(written(tmp_path, DOCUMENT), ["model={name: tcdcn}"]).model.name == "tcdcn"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("schedule.epochs", "--set 'schedule.epochs': expected key=value, as in schedule.epochs=3"),
        ("=3", "--set '=3': expected key=value"),
        ("seed=[1", "--set 'seed=[1': the value is not valid YAML"),
        ("data.uri.x=1", "--set 'data.uri.x=1': uri is a value, not a section with keys"),
        ("schedule.epoch=1", "unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        ("model.branches=9", "model.branches = 9: input should be less than or equal to 7"),
    ],
)
def test_bad_overrides_are_explained(tmp_path: Path, override: str, problem: str) -> None:
    assert problem in message(tmp_path, DOCUMENT, override)


@pytest.mark.parametrize(
    ("overrides", "place", "problem"),
    [
        (["model.branches=9"], ", --set 'model.branches=9'", "model.branches = 9"),
        (["model={name: rcn, branches: 9}"], ", --set 'model={name: rcn, branches: 9}'", "model.branches = 9"),
        (["model.branches=9", "model.branches=8"], ", --set 'model.branches=8'", "model.branches = 8"),
        (["seed=1", "data={}"], ", --set 'data={}'", "data.uri is required"),
        # Where several keys are wrong together: the section, and what was laid over it.
        (
            ["augment.occluder.min_px=60"],
            ", --set 'augment.occluder.min_px=60'",
            "augment.occluder = {'min_px': 60}: min_px 60 is larger than max_px 50",
        ),
        (
            ["seed=1", "model.mask='01'"],
            ", line 3, --set \"model.mask='01'\"",
            "model = {'name': 'rcn', 'branches': 5, 'mask': '01'}: mask '01'",
        ),
    ],
)
def test_a_bad_override_is_not_blamed_on_the_file(
    tmp_path: Path, overrides: list[str], place: str, problem: str
) -> None:
    assert message(tmp_path, DOCUMENT, *overrides).startswith(f"{tmp_path}/config.yaml{place}: {problem}")


def test_merge_leaves_both_sides_alone() -> None:
    base, top = {"a": {"b": 1, "c": 2}, "d": {"e": 1}}, {"a": {"b": 3}, "d": 4}
    assert merge(base, top) == {"a": {"b": 3, "c": 2}, "d": 4}
    assert (base, top) == ({"a": {"b": 1, "c": 2}, "d": {"e": 1}}, {"a": {"b": 3}, "d": 4})


def test_recipe_paper_has_the_papers_values(tmp_path: Path) -> None:
    """The values are those of docs/explanation/model-specification.md."""
    config = load_train_config(written(tmp_path, "recipe: paper\ndata: {uri: x}\n"))
    optimizer, schedule, augment = config.optimizer, config.schedule, config.augment
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adadelta", 1.0, 0.0)
    assert (optimizer.l2_encoder, optimizer.l2_branches) == (1e-6, 1e-12)
    assert (schedule.batch_size, schedule.lr_schedule, schedule.reshuffle, schedule.ema_decay) == (
        64,
        "constant",
        False,
        0.0,
    )
    assert (augment.translate, augment.scale, augment.rotate_deg, augment.flip) == (0.1, 0.1, 20.0, 0.0)
    assert (augment.occluder.min_px, augment.occluder.max_px) == (20, 50)
    assert (config.input.size_px, config.input.contrast_normalization, config.loss.target_sigma_px) == (
        80,
        "batch",
        0.0,
    )
    assert config.validation.augment
    assert config.compute.precision == "fp32"


def test_keys_of_the_file_win_over_the_recipe(tmp_path: Path) -> None:
    text = "recipe: paper\ndata: {uri: x}\naugment: {rotate_deg: 40}\n"
    config = load_train_config(written(tmp_path, text))
    assert (config.augment.rotate_deg, config.optimizer.name) == (40.0, "adadelta")


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        ({"name": "adadelta", "weight_decay": 1e-4}, "weight_decay belongs to muon and adamw"),
        ({"name": "adamw", "l2_encoder": 1e-6}, "l2_encoder and l2_branches belong to adadelta"),
        ({"name": "muon", "l2_branches": 1e-6}, "with muon set weight_decay"),
    ],
)
def test_weights_decay_in_one_way(tmp_path: Path, optimizer: dict[str, Any], problem: str) -> None:
    assert problem in message(tmp_path, yaml.safe_dump({"data": {"uri": "x"}, "optimizer": optimizer}))


# Another legal value of every option.
OTHER_VALUES: dict[str, Any] = {
    "recipe": "paper",
    "seed": 1,
    "data.uri": "elsewhere",
    "data.train_split": "val",
    "data.val_split": "train",
    "data.num_train": 10,
    "data.num_val": 10,
    "data.balance_by": "pose",
    "input.size_px": 40,
    "input.contrast_normalization": "none",
    "input.color": True,
    "model.name": "sumnet",
    "model.branches": 3,
    "model.channels": 8,
    "model.skip": True,
    "model.layer_preset": "300w",
    "model.mask": "011111",
    "model.upsampling": "learned",
    "model.zero_non_pooled": True,
    "augment.translate": 0.0,
    "augment.scale": 0.0,
    "augment.rotate_deg": 0.0,
    "augment.occluder.min_px": 0,
    "augment.occluder.max_px": 40,
    "augment.flip": 0.5,
    "loss.target_sigma_px": 1.0,
    "loss.name": "l2",
    "loss.points_outside": "ignore",
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.0,
    "optimizer.l2_encoder": 1e-6,
    "optimizer.l2_branches": 1e-6,
    "schedule.epochs": 2,
    "schedule.batch_size": 32,
    "schedule.lr_schedule": "constant",
    "schedule.warmup_fraction": 0.0,
    "schedule.ema_decay": 0.9,
    "schedule.reshuffle": False,
    "validation.augment": False,
    "validation.every_epochs": 2,
    "validation.save": "every",
    "compute.device": "cuda",
    "compute.precision": "bf16",
    "compute.channels_last": True,
    "compute.threads": 1,
}
NO_PART_OF_A_RUN = {
    "data.uri",
    "validation.save",
    "compute.device",
    "compute.precision",
    "compute.channels_last",
    "compute.threads",
}


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_run_id_is_that_of_all_that_can_change_a_result() -> None:
    def config(path: str = "", value: object = None) -> TrainConfig:
        document: dict[str, Any] = {"data": {"uri": "x"}, "model": {"name": "rcn"}}
        if path.startswith("optimizer.l2_"):
            document["optimizer"] = {"name": "adadelta", "weight_decay": 0.0}
        for key in reversed(path.split(".") if path else []):
            value = {key: value}
        return TrainConfig.model_validate(merge(document, value) if isinstance(value, dict) else document)

    plain = config()
    assert leaves(plain.model_dump()).keys() == OTHER_VALUES.keys(), "a new option needs another value here"
    same = {path for path, value in OTHER_VALUES.items() if config(path, value).run_id == plain.run_id}
    assert same == NO_PART_OF_A_RUN
    adadelta = config("optimizer.l2_encoder", 0.0)
    assert (
        len({adadelta.run_id, *(config(f"optimizer.l2_{part}", 1e-6).run_id for part in ("encoder", "branches"))}) == 3
    )


def test_a_mask_is_quoted_and_fits(tmp_path: Path) -> None:
    assert "a mask needs quotes, as in '0011'" in message(
        tmp_path, "data: {uri: x}\nmodel: {branches: 4, mask: 0011}\n"
    )
    assert "needs one digit for each of the 4 branches" in message(
        tmp_path, "data: {uri: x}\nmodel: {branches: 4, mask: '011'}\n"
    )
    fits = load_train_config(written(tmp_path, "data: {uri: x}\nmodel: {branches: 4, mask: '0011'}\n"))
    assert fits.model.kept_branches == (True, True, False, False)
