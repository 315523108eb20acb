from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from rcn_search.config.errors import ConfigError, shorten
from rcn_search.config.loading import MAX_YAML_BYTES, load_train_config, merge, read_yaml, resolve_train_config
from rcn_search.config.schema import TrainConfig
from tests.support.configs import TRAIN_YAML, config_error, write_config

ROOT = Path(__file__).parents[2]


def test_load_train_config_merges_the_file_over_the_defaults(tmp_path: Path) -> None:
    config = load_train_config(write_config(tmp_path, TRAIN_YAML))
    expected = {"data": {"uri": "data/mtfl"}, "model": {"name": "rcn", "branches": 5}}
    assert config == TrainConfig.model_validate({**expected, "schedule": {"epochs": 3, "batch_size": 32}})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"- 1\n", "expected keys and values at the top, found a list"),
        (b"", "data is required"),
        (b"a: [1\n", "not valid YAML"),
        (b"a: 1\nb: \xff\n", "line 2: not valid YAML: it is not text in UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []\n", "YAML tags such as !!python/object/apply:os.getcwd are not"),
        (b"a: " + b"[" * 5_000 + b"]" * 5_000, "more than 32 lists or mappings within each other"),
        (b"#" * (MAX_YAML_BYTES + 1), "has more than 1,000,000 bytes, the most that a configuration may have"),
    ],
    ids=["list", "empty", "unclosed", "not UTF-8", "tag", "nested", "large"],
)
def test_load_train_config_of_an_unusable_file_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load_train_config(str(path))


def test_read_yaml_of_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.yaml: no such file"):
        read_yaml(str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match="is a folder; name a YAML file"):
        read_yaml(str(tmp_path))


def test_read_yaml_returns_the_line_of_each_key(tmp_path: Path) -> None:
    document, lines = read_yaml(write_config(tmp_path, "a:\n  b:\n    - 1\n    - c: 2\n"))
    assert document == {"a": {"b": [1, {"c": 2}]}}
    numbers = {("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4}
    assert lines == {key: f"line {number}" for key, number in numbers.items()}


def test_overrides_win_and_create_missing_sections(tmp_path: Path) -> None:
    config = load_train_config(
        write_config(tmp_path, TRAIN_YAML),
        ["schedule.epochs=7", "augment.occluder.max_px=0", "augment.occluder.min_px=0"],
    )
    assert (config.schedule.epochs, config.schedule.batch_size) == (7, 32)
    assert config.augment.occluder.max_px == 0
    assert load_train_config(write_config(tmp_path, TRAIN_YAML), ["model={name: tcdcn}"]).model.name == "tcdcn"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("schedule.epochs", "--set 'schedule.epochs': expected key=value, as in schedule.epochs=3"),
        ("=3", "--set '=3': expected key=value"),
        ("seed=[1", "--set 'seed=[1': not valid YAML"),
        ("data.uri.x=1", "--set 'data.uri.x=1': uri is a value, not a section with keys"),
        ("schedule.epoch=1", "unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        ("model.branches=9", "model.branches = 9: an input of 80 px has at most 7, of 80, 40, 20, 10, 5, 2, 1 px"),
    ],
)
def test_invalid_override_is_explained(tmp_path: Path, override: str, problem: str) -> None:
    assert problem in config_error(tmp_path, TRAIN_YAML, override)


# What PyYAML reads as another number, or as a number where a boolean was written.
NO_NUMBERS = ["010", "018", "1:30", "on", "yes", "true", "'8'", "1_000", "0b11", "0o17", "1" * 5_000, "[1]", "~"]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: value[:10])
def test_load_train_config_with_what_may_not_be_a_number_is_refused(tmp_path: Path, value: str) -> None:
    for section, key in [("schedule", "epochs"), ("optimizer", "lr")]:
        text = f"data: {{uri: x}}\n{section}:\n  {key}: {value}\n"
        assert re.match(rf"{tmp_path}/config.yaml, line 3: {section}.{key}\b", config_error(tmp_path, text))
        override = f"{section}.{key}={value}"
        message = config_error(tmp_path, TRAIN_YAML, override)
        assert f"--set {shorten(override)}: " in message
        assert len(message) < 500


def test_every_number_of_a_configuration_refuses_booleans_and_text() -> None:
    def numbers(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, field in model.model_fields.items():
            kinds = get_args(field.annotation) or (field.annotation,)
            if int in kinds or float in kinds:
                yield (*path, name), {"name": model.model_fields["name"].default} if path == ("model",) else {}
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from numbers(kind, (*path, name))

    found = dict(numbers(TrainConfig))
    assert {("seed",), ("model", "branches"), ("augment", "occluder", "min_px"), ("optimizer", "lr")} <= found.keys()
    for (*sections, key), name in found.items():
        for value in (True, "1", float("nan"), float("inf")):
            document: dict[str, Any] = {key: value, **name}
            for section in reversed(sections):
                document = {section: document}
            with pytest.raises(ConfigError, match=re.escape(f"{'.'.join((*sections, key))} = {value!r}")):
                resolve_train_config(merge({"data": {"uri": "x"}}, document), source="f")


def test_override_with_a_hash_or_a_colon_keeps_all_of_the_value(tmp_path: Path) -> None:
    for uri in ("/data/run #3", "#3", "a: b", "C:\\data", "~/data", "/ü ?%20"):
        assert load_train_config(write_config(tmp_path, TRAIN_YAML), [f"data.uri={uri}"]).data.uri == uri
    for uri in ("'a #3'", '"a #3"'):
        assert load_train_config(write_config(tmp_path, TRAIN_YAML), [f"data.uri={uri}"]).data.uri == "a #3"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed=[1] # one", "'# one' follows the value; put quotes around text"),
        ("seed=!!timestamp x", "YAML tags such as !!timestamp are not allowed here"),
        ("seed=!!bool maybe", "YAML tags such as !!bool are not allowed here"),
        ("seed=" + "[" * 500, "more than 32 lists or mappings within each other"),
        ("seed=" + "[" * 100_000, "more than 32 lists or mappings within each other"),
        (".".join(["a"] * 100_000) + "=1", "a key with 100,000 parts; at most 32 are read"),
        ("seed={a: 1, a: 2}", "key 'a' appears twice"),
        ("seed=*a", "YAML aliases are not allowed here"),
    ],
    ids=lambda text: text[:20],
)
def test_override_that_is_no_plain_data_is_refused(tmp_path: Path, override: str, problem: str) -> None:
    message = config_error(tmp_path, TRAIN_YAML, override)
    assert message.startswith(f"--set {shorten(override)}: ")
    assert problem in message
    assert len(message) < 500


def test_merge_changes_neither_side() -> None:
    base, top = {"a": {"b": 1, "c": 2}, "d": {"e": 1}}, {"a": {"b": 3}, "d": 4}
    assert merge(base, top) == {"a": {"b": 3, "c": 2}, "d": 4}
    assert (base, top) == ({"a": {"b": 1, "c": 2}, "d": {"e": 1}}, {"a": {"b": 3}, "d": 4})


def test_recipe_paper_has_the_papers_values(tmp_path: Path) -> None:
    """The values are those of docs/explanation/model-specification.md."""
    config = load_train_config(write_config(tmp_path, "recipe: paper\ndata: {uri: x}\n"))
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


def test_recipe_keys_are_overridden_by_the_file(tmp_path: Path) -> None:
    text = "recipe: paper\ndata: {uri: x}\naugment: {rotate_deg: 40}\n"
    config = load_train_config(write_config(tmp_path, text))
    assert (config.augment.rotate_deg, config.optimizer.name) == (40.0, "adadelta")


# Another legal value of every option.
