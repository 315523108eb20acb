"""YAML files and ``key=value`` overrides into `TrainConfig`; errors name the key, the line and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError

MAX_YAML_BYTES = 1_000_000
KeyPath = tuple[str | int, ...]
Lines = dict[KeyPath, str]
"""Where each key was set: ``line 3`` of the file, or ``--set 'seed=1'``."""
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
"""What a recipe sets before the user's own keys are laid over it; ``fast`` is the defaults of `TrainConfig`."""


class ConfigError(RcnSearchError):
    """A configuration that a user got wrong; the message says where and what is allowed."""


def read_yaml(uri: str) -> tuple[dict[str, Any], Lines]:
    """A YAML mapping and the line (from 1) of each of its keys.

    Only plain data is built (safe YAML), aliases are refused so that a small file cannot become a large one, and a
    key that stands twice is an error.

    Raises:
        ConfigError: The file is missing, too large, not YAML, or not a mapping.
    """
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        raise ConfigError(f"{uri}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{uri} is a folder; name a YAML file") from None
    if len(content) > MAX_YAML_BYTES:
        raise ConfigError(f"{uri}: {len(content):,} bytes; a configuration has at most {MAX_YAML_BYTES:,}")
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


def _key_lines(node: yaml.Node | None, path: KeyPath, uri: str) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = f"line {key.start_mark.line + 1}"
            if name in seen:
                raise ConfigError(f"{uri}, {line}: key {name!r} stands twice")
            seen.add(name)
            yield (*path, name), line
            yield from _key_lines(value, (*path, name), uri)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), f"line {item.start_mark.line + 1}"
            yield from _key_lines(item, (*path, index), uri)


def load_train_config(uri: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a training configuration and lay ``key.path=value`` overrides over it.

    Raises:
        ConfigError: See `read_yaml`; or an unknown key, or a value out of its range.
    """
    document, lines = read_yaml(uri)
    for override in overrides:
        apply_override(document, override, lines)
    return resolve_train_config(document, source=uri, lines=lines)


def apply_override(document: dict[str, Any], override: str, lines: Lines) -> None:
    """Set one ``key.path=value`` in place, and in ``lines`` that it was set so; the value is read as YAML.

    Raises:
        ConfigError: It is not of that form.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r}: expected key=value, as in schedule.epochs=3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error
    path = tuple(key.strip().split("."))
    *parents, leaf = path
    place = document
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {parent} is a value, it has no keys of its own")
        place = child
    place[leaf] = value
    for known in [known for known in lines if known[: len(path)] == path]:
        del lines[known]
    lines[path] = f"--set {override!r}"


def nearest_line(lines: Lines, path: KeyPath) -> str:
    """Where a key was set, or the nearest section around it; empty if none was."""
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), "")


def place_of(source: str, lines: Lines, path: KeyPath) -> str:
    """For messages: `nearest_line` and, of a section, the overrides within it."""
    within = [line for key, line in lines.items() if key[: len(path)] == path and line.startswith("--set")]
    return ", ".join(dict.fromkeys(filter(None, (source, nearest_line(lines, path), *within))))


def resolve_train_config(document: dict[str, Any], *, source: str, lines: Lines | None = None) -> TrainConfig:
    """Lay ``document`` over its recipe and validate.

    Raises:
        ConfigError: An unknown key, or a value out of its range.
    """
    recipe = document.get("recipe", "fast")
    base = RECIPES.get(recipe, {}) if isinstance(recipe, str) else {}
    return validate(TrainConfig, merge(base, document), source=source, lines=lines or {})


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``, mapping by mapping; neither is changed."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def validate(model: type[Model], document: dict[str, Any], *, source: str, lines: Lines) -> Model:
    """``document`` as a ``model``.

    Raises:
        ConfigError: One line per problem: file, line, key, what is wrong and what is allowed.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [_explain(problem, source, lines, model) for problem in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(problems))) from None


def _explain(problem: Any, source: str, lines: Lines, model: type[BaseModel]) -> str:
    path, places = _locate(problem, model)
    where = place_of(source, lines, path)
    key = ".".join(map(str, path)) or "(top)"
    if problem["type"] == "extra_forbidden":
        allowed = sorted({name for place in places for name in place.get("properties", {})})
        guess = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else "."
        return f"{where}: unknown key {key!r}{hint} Allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{where}: {key} is required"
    if problem["type"] == "union_tag_not_found":
        tag = problem["ctx"]["discriminator"].strip("'")
        return f"{where}: {key}.{tag} is required where {key} is given"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"


Schema = dict[str, Any]


def _locate(problem: Any, model: type[BaseModel]) -> tuple[KeyPath, list[Schema]]:
    """Where a problem is in the document, and the JSON schemas of what may stand there (of an unknown key: around it).

    Pydantic's location also has the names of union members, which the document has not.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Schema] = schema.get("$defs", {})
    path: list[str | int] = []
    places, alternatives = [schema], _alternatives(schema, definitions)
    for part in problem["loc"]:
        chosen = [place["discriminator"]["mapping"].get(part) for place in places if "discriminator" in place]
        if any(chosen):
            places = [{"$ref": reference} for reference in chosen if reference]
        elif below := [child for place in alternatives if (child := _below(place, part)) is not None]:
            places = below
            path.append(part)
        alternatives = [each for place in places for each in _alternatives(place, definitions)]
    if problem["type"] == "extra_forbidden":
        path.append(problem["loc"][-1])
    return tuple(path), alternatives


def _below(place: Schema, part: str | int) -> Schema | None:
    """The schema of a key or an index, also where any key or index is allowed."""
    properties: Schema = place.get("properties", {})
    any_key = place.get("additionalProperties") or place.get("items")
    return properties.get(str(part), any_key if isinstance(any_key, dict) else None)


def _alternatives(place: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    if "$ref" in place:
        return [definitions[place["$ref"].rsplit("/", 1)[-1]]]
    options = [*place.get("anyOf", []), *place.get("oneOf", []), *place.get("allOf", [])]
    return [each for option in options for each in _alternatives(option, definitions)] or [place]
