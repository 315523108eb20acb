"""Training configurations, study files, and values of ``--set``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rcn_search.config.loading import load_train_config
from rcn_search.study.loading import load_study_config
from tests.fuzz.mutations import HOSTILE_TEXTS, HOSTILE_VALUES, TEXT, Mutate
from tests.fuzz.oracle import Target, Wrong

TRAIN = """\
recipe: fast
seed: 3
data:
  uri: data/mtfl
  num_train: 100
input: {size_px: 80, contrast_normalization: batch}
model:
  name: rcn
  branches: 5
  channels: 16
augment: {translate: 0.1, occluder: {min_px: 0, max_px: 50}}
optimizer: {name: adamw, lr: 1.0e-3, weight_decay: 0.01}
schedule: {epochs: 3, batch_size: 32, reshuffle: true}
compute: {threads: 1, precision: fp32}
"""
STUDY = """\
study: {name: tiny, seed: 1}
base:
  data: {uri: data/mtfl}
  model: {name: rcn}
  validation: {augment: false}
search:
  model.branches: {int: [2, 6]}
  model.skip: {choice: [true, false], when: {model.branches: [4, 5]}}
  optimizer.lr: {float: [1.0e-3, 1.0e-2], log: true}
  model.channels:
    - {choice: [paper, 16], when: {model.branches: [4, 5, 6]}}
    - {int: [8, 32], step: 8}
initial_trials:
  - {model.branches: 5, model.skip: false, optimizer.lr: 4.0e-3, model.channels: paper}
sampler: {name: tpe, num_startup_trials: 4}
scheduler: {name: asha, grace_epochs: 1, reduction_factor: 2}
constraints: {parameters: 1000000}
budget: {trials: 12, epochs: 4, max_concurrent: 2}
"""
RUNS = """\
study: {name: fixed}
base: {data: {uri: data/mtfl}, model: {name: rcn}}
runs:
  small: {model.channels: 8}
  large: {model.channels: 16}
seeds_per_run: {small: 2}
budget: {epochs: 2}
"""


def _scalars(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every plain scalar as it is written, by the keys that lead to it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _scalars(value, (*path, str(number)))
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        yield path, node.value


def _value_at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list | tuple) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return None
    return document


def _check_numbers(text: str, accepted: Any) -> None:
    """A number of the configuration is the one that is written, read as decimals; no octal, sexagesimal or ``on``."""
    for path, written in _scalars(yaml.compose(text, yaml.SafeLoader)):
        value = _value_at(accepted, path)
        if isinstance(value, bool):
            if written.lower() not in ("true", "false"):
                raise Wrong(f"{'.'.join(path)}: {written!r} was read as {value}")
        elif isinstance(value, int | float) and _number(written) != value:
            raise Wrong(f"{'.'.join(path)}: {written!r} was read as {value!r}")


def _number(written: str) -> float | None:
    """A number on which YAML 1.1, YAML 1.2 and people agree, or None."""
    digits = written.lstrip("+-").lower()
    if "_" in written or (digits[:1] == "0" and digits[1:2].isdigit()):
        return None
    try:
        return int(written, 16) if digits.startswith("0x") else float(written)
    except ValueError:
        return None


def _read_train(folder: Path, content: bytes) -> None:
    path = folder / "train.yaml"
    path.write_bytes(content)
    config = load_train_config(str(path))
    _check_numbers(content.decode("utf-8-sig"), config.model_dump())


def _read_study(folder: Path, content: bytes) -> None:
    path = folder / "study.yaml"
    path.write_bytes(content)
    config = load_study_config(str(path))
    _check_numbers(content.decode("utf-8-sig"), {"base": config.base_config.model_dump()})


KEYS = ("seed", "schedule.epochs", "data.uri", "model.branches", "optimizer.lr", "schedule.reshuffle", "augment")


def _edit_override(content: bytes, random: Any) -> bytes:
    if random.randrange(3) == 0:
        return bytes(TEXT(content, random))
    value = random.choice([*HOSTILE_TEXTS, *map(str, HOSTILE_VALUES), "{a: 1}", "[1, 2", "'x", "a #b", "[" * 500])
    return f"{random.choice(KEYS)}={value}".encode("utf-8", "replace")


def _read_override(folder: Path, content: bytes) -> None:
    path = folder / "train.yaml"
    path.write_text(TRAIN)
    override = content.decode("utf-8", "replace")
    key, _, written = override.partition("=")
    config = load_train_config(str(path), [override]).model_dump()
    value = _value_at(config, tuple(key.strip().split(".")))
    if key.strip() == "data.uri" and str(value) != written.strip().strip("'\""):
        raise Wrong(f"data.uri = {written!r} was read as {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_numbers(f"value: {written}", {"value": value})


def _target(name: str, seeds: tuple[str, ...], read: Any, mutate: Mutate = TEXT, **options: Any) -> Target:
    return Target(
        name=name, prepare=lambda folder: [seed.encode() for seed in seeds], mutate=mutate, read=read, **options
    )


TARGETS = (
    _target(
        "train.yaml",
        (TRAIN,),
        _read_train,
        names=("train.yaml",),
        hostile=lambda: [
            b"data: {uri: x}\n" + b"".join(b"k%d: 1\n" % number for number in range(10_000)),
            b"seed: !!bool maybe\n",
            b"seed: !!timestamp x\n",
            b"seed: 2001-02-30\n",
            b"seed: " + b"9" * 5_000,
            b"[" * 50_000,
            *(
                TRAIN.replace("epochs: 3", f"epochs: {text}").encode()
                for text in ("010", "018", "1:30", "on", "1_0", "0x10", "0b1", ".inf", "3.0", "true")
            ),
            *(TRAIN.replace("seed: 3", f"seed: {text}").encode() for text in ("0123", "yes", "1e3", "+3", "~")),
        ],
    ),
    _target("study.yaml", (STUDY, RUNS), _read_study, names=("study.yaml",)),
    _target(
        "--set",
        ("schedule.epochs=5", "data.uri=/data/x", "model={name: sumnet}", "optimizer.lr=1e-2"),
        _read_override,
        _edit_override,
        names=("--set", "train.yaml"),
        hostile=lambda: [
            b"data.uri=/data/run #3",
            b"schedule.epochs=010",
            b"schedule.epochs=1:30",
            b"seed=" + b"[" * 500,
            b"seed=on",
        ],
    ),
)
