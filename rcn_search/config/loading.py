"""Load `TrainConfig` from YAML files and ``key=value`` overrides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rcn_search import resources, storage
from rcn_search.config.errors import ConfigError, KeyPath, Lines, explain
from rcn_search.config.schema import TrainConfig

MAX_YAML_BYTES = 1_000_000
Model = TypeVar("Model", bound=BaseModel)
RECIPES: dict[str, dict[str, Any]] = {
    "fast": {},
    "paper": {
        "input": {"contrast_normalization": "batch"},
        "augment": {"rotate_deg": 20.0},
        "optimizer": {"name": "adadelta", "lr": 1.0, "weight_decay": 0.0, "l2_encoder": 1e-6, "l2_branches": 1e-12},
        "schedule": {"epochs": 200, "lr_schedule": "constant", "reshuffle": False},
        "compute": {"precision": "fp32"},
    },
}
"""Keys that a recipe sets before the user's own are merged over them; ``fast`` is the defaults of `TrainConfig`."""


def read_yaml(uri: str) -> tuple[dict[str, Any], Lines]:
    """Read a YAML mapping, or one that comes with the package, and the line, from 1, of each of its keys.

    Only plain data is built (safe YAML). Aliases are refused, so that a small file cannot become a large document, and
    so are duplicate keys.

    Raises:
        ConfigError: The file is missing, too large, not YAML, or not a mapping.
    """
    content = _read(uri)
    if len(content) > MAX_YAML_BYTES:
        raise ConfigError(f"{uri} has {len(content):,} bytes; a configuration may have {MAX_YAML_BYTES:,}")
    try:
        text = content.decode()
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else "?"
                raise ConfigError(f"{uri}, line {line}: YAML aliases are not allowed here")
        node = yaml.compose(text, yaml.SafeLoader)
        lines = dict(_key_lines(node, (), uri))
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{uri}: not valid YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{uri}: expected keys and values at the top, found a {type(document).__name__}")
    return document, lines


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError) as error:
        if packaged := resources.find_config(uri):
            return packaged.read_bytes()
        reason = f"{uri} is a folder" if isinstance(error, IsADirectoryError) else f"{uri}: no such file"
    studies, configs = (", ".join(resources.config_names(name)) for name in (resources.STUDIES, resources.CONFIGS))
    raise ConfigError(
        f"{reason}; name a YAML file, or one that comes with the package: {studies} (studies), {configs} (trainings)"
    )


def _key_lines(node: yaml.Node | None, path: KeyPath, uri: str) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = f"line {key.start_mark.line + 1}"
            if name in seen:
                raise ConfigError(f"{uri}, {line}: key {name!r} appears twice")
            seen.add(name)
            yield (*path, name), line
            yield from _key_lines(value, (*path, name), uri)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), f"line {item.start_mark.line + 1}"
            yield from _key_lines(item, (*path, index), uri)


def load_train_config(uri: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load a training configuration and apply ``key.path=value`` overrides.

    Raises:
        ConfigError: The file cannot be read (`read_yaml`), a key is unknown, or a value is out of its range.
    """
    document, lines = read_yaml(uri)
    for override in overrides:
        apply_override(document, override, lines)
    return resolve_train_config(document, source=uri, lines=lines)


def apply_override(document: dict[str, Any], override: str, lines: Lines) -> None:
    """Set one ``key.path=value`` in ``document``, and its location in ``lines``; the value is read as YAML.

    Raises:
        ConfigError: The override does not have that form.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r}: expected key=value, as in schedule.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    path = tuple(key.strip().split("."))
    section: Any = document
    for parent in path[:-1]:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override!r}: {parent} is a value, not a section with keys")
    section[path[-1]] = value
    for replaced in [known for known in lines if known[: len(path)] == path]:
        del lines[replaced]
    lines[path] = f"--set {override!r}"


def resolve_train_config(document: dict[str, Any], *, source: str, lines: Lines | None = None) -> TrainConfig:
    """Merge ``document`` over its recipe and validate the result.

    Raises:
        ConfigError: A key is unknown, or a value is out of its range.
    """
    recipe = document.get("recipe", "fast")
    base = RECIPES.get(recipe, {}) if isinstance(recipe, str) else {}
    return validate(TrainConfig, merge(base, document), source=source, lines=lines or {})


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Merge ``top`` over ``base``, mapping by mapping; neither is changed."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def validate(model: type[Model], document: dict[str, Any], *, source: str, lines: Lines) -> Model:
    """Validate plain data as a ``model``; ``source`` and ``lines`` say in messages where its keys were set.

    Raises:
        ConfigError: The document is not valid; the message has one line per problem.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain(error, model, source=source, lines=lines)) from None
