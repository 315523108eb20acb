from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import validate
from rcn_search.config.schema import FrozenModel
from tests.support.configs import TRAIN_YAML, config_error

RCN_KEYS = "branches, channels, layer_preset, mask, name, skip, upsampling, zero_non_pooled"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "data: {uri: x}\nschedule:\n  epoch: 3\n",
            3,
            "unknown key 'schedule.epoch'; did you mean 'epochs'? "
            "Allowed here: batch_size, ema_decay, epochs, lr_schedule, reshuffle, warmup_fraction",
        ),
        (
            "data: {uri: x}\nzebra: 1\n",
            2,
            "unknown key 'zebra'. Allowed here: augment, checkpoint, compute, data, init, ",
        ),
        # Only the keys of the chosen kind are offered: `auxiliary` is one of tcdcn's.
        (
            "data: {uri: x}\nmodel:\n  name: rcn\n  auxiliary: true\n",
            4,
            "unknown key 'model.auxiliary': auxiliary belongs to model.name = tcdcn, not rcn. Remove it, or set the "
            f"whole section, as in --set 'model={{name: rcn}}'. Allowed here: {RCN_KEYS}",
        ),
        (
            "data: {uri: x}\naugment:\n  occluder:\n    mx_px: 3\n",
            4,
            "unknown key 'augment.occluder.mx_px'; did you mean 'max_px'? Allowed here: count, max_px, min_px",
        ),
        (TRAIN_YAML.replace("5", "9"), 5, "model.branches = 9: an input of 80 px has at most 7, of 80, 40"),
        (TRAIN_YAML.replace("5", "10"), 5, "model.branches = 10: input should be less than or equal to 9"),
        (TRAIN_YAML.replace("5", "0"), 5, "model.branches = 0: input should be greater than or equal to 1"),
        (TRAIN_YAML.replace("rcn", "cnn"), 3, "model.name = 'cnn': must be one of 'rcn', 'sumnet', 'tcdcn'"),
        ("data: {uri: x}\nrecipe: quick\n", 2, "recipe = 'quick': input should be 'fast' or 'paper'"),
        ("data: {uri: x}\nrecipe: [fast]\n", 2, "recipe = ['fast']: input should be 'fast' or 'paper'"),
        ("data: {uri: x}\noptimizer: {lr: .nan}\n", 2, "optimizer.lr = nan: input should be a finite number"),
        ("data: {uri: x}\naugment:\n  occluder: {min_px: 30, max_px: 20}\n", 3, "min_px 30 is larger than max_px 20"),
        ("data:\n  num_train: 5\n", 1, "data.uri is required"),
        ("a: 1\nb: {c: 1, c: 2}\n", 2, "key 'c' appears twice"),
        ("a: 1\na: 2\n", 2, "key 'a' appears twice"),
        ("a: &x [1]\nb: *x\n", 2, "YAML aliases are not allowed here"),
    ],
)
def test_explain_names_line_key_and_allowed_values(tmp_path: Path, text: str, line: int, problem: str) -> None:
    assert config_error(tmp_path, text).startswith(f"{tmp_path}/config.yaml, line {line}: ")
    assert problem in config_error(tmp_path, text)


def test_explain_union_without_name_or_with_wrong_key(tmp_path: Path) -> None:
    for document, problem in [
        ({"scheduler": {"grace": 3}}, "f, line 7: scheduler.name is required where scheduler is given"),
        ({"scheduler": {"name": "asha", "graze": 3}}, "unknown key 'scheduler.graze'; did you mean 'grace'?"),
        ({"scheduler": {"name": "none", "grace": 3}}, "scheduler.name = asha, not none. Remove it"),
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


def test_explain_thousands_of_unknown_keys_names_ten_and_counts_the_others(tmp_path: Path) -> None:
    text = "data: {uri: x}\nseeds: 1\n" + "".join(f"key{n}: 1\n" for n in range(10_000))
    started = time.process_time()
    problems = config_error(tmp_path, text).splitlines()
    assert time.process_time() - started < 1
    assert len(problems) == 11
    assert problems[0].startswith(f"{tmp_path}/config.yaml, line 2: unknown key 'seeds'; did you mean 'seed'?")
    assert problems[10] == "and 9,991 more problems"


def test_explain_shows_the_beginning_of_a_long_value_or_key(tmp_path: Path) -> None:
    for text in (f"data: {{uri: x}}\nseed: {'x' * 10_000}\n", f"data: {{uri: x}}\n{'x' * 500}: 1\n"):
        assert len(config_error(tmp_path, text)) < 700


def test_explain_keys_of_another_network_says_how_to_change_the_network(tmp_path: Path) -> None:
    text = "data: {uri: x}\nmodel: {name: rcn, branches: 5, skip: true}\n"
    problems = config_error(tmp_path, text, "model.name=tcdcn").splitlines()
    assert problems[0] == (
        f"{tmp_path}/config.yaml, line 2: unknown key 'model.branches': branches belongs to model.name = rcn or "
        "sumnet, not tcdcn. Remove it, or set the whole section, as in --set 'model={name: tcdcn}'. "
        "Allowed here: auxiliary, auxiliary_weight, name, task_stop_threshold"
    )
    assert "skip belongs to model.name = rcn, not tcdcn" in problems[1]


def test_explain_lists_every_problem_once(tmp_path: Path) -> None:
    problems = config_error(tmp_path, "data: {uri: x}\nmodel: {name: rcn, channels: 3}\nseed: -1\n").splitlines()
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "seed = -1: input should be greater than or equal to 0",
        "model.channels = 3: input should be 'paper'",
        "model.channels = 3: input should be greater than or equal to 4",
    ]


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
def test_explain_invalid_override_names_the_override(
    tmp_path: Path, overrides: list[str], place: str, problem: str
) -> None:
    assert config_error(tmp_path, TRAIN_YAML, *overrides).startswith(f"{tmp_path}/config.yaml{place}: {problem}")
