"""Load `TrainConfig` from YAML files and ``key=value`` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rcn_search import resources, storage
from rcn_search.config.errors import ConfigError, Lines, explain, shorten
from rcn_search.config.schema import TrainConfig
from rcn_search.yaml_document import MAX_DEPTH, YamlError, parse_yaml, plain_value

MAX_YAML_BYTES = 1_000_000
_YAML_INDICATORS = tuple("[]{}'\"!&*|>%@`")
"""Characters with which a YAML scalar without quotes cannot begin."""
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

    See `rcn_search.yaml_document` for what is read, and its bounds.

    Raises:
        ConfigError: The file is missing, too large, not YAML, or not a mapping.
    """
    content = _read(uri)
    if len(content) > MAX_YAML_BYTES:
        raise ConfigError(f"{uri} has more than {MAX_YAML_BYTES:,} bytes, the most that a configuration may have")
    try:
        document, lines = parse_yaml(content.decode("utf-8-sig"), uri)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{uri}, line {line}: not valid YAML: it is not text in UTF-8") from None
    except YamlError as error:
        raise ConfigError(str(error)) from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{uri}: expected keys and values at the top, found a {type(document).__name__}")
    return document, lines


def _read(uri: str) -> bytes:
    try:
        return storage.read_range(uri, 0, MAX_YAML_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        if packaged := resources.find_config(uri):
            return packaged.read_bytes()
        reason = f"{uri} is a folder" if isinstance(error, IsADirectoryError) else f"{uri}: no such file"
    studies, configs = (", ".join(resources.config_names(name)) for name in (resources.STUDIES, resources.CONFIGS))
    raise ConfigError(
        f"{reason}; name a YAML file, or one that comes with the package: {studies} (studies), {configs} (trainings)"
    )


def load_train_config(uri: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load a training configuration and apply ``key.path=value`` overrides.

    Raises:
        ConfigError: The file cannot be read (`read_yaml`), a key is unknown, or a value is out of its range.
    """
    document, lines = read_yaml(uri)
    for override in overrides:
        apply_override(document, override, lines)
    return resolve_train_config(document, source=uri, lines=lines)


def load_options(model: type[Model], overrides: Sequence[str]) -> Model:
    """Make options of ``key=value`` overrides alone.

    Raises:
        ConfigError: A key is unknown, or a value is out of its range.
    """
    document: dict[str, Any] = {}
    lines: Lines = {}
    for override in overrides:
        apply_override(document, override, lines)
    return validate(model, document, source="--set", lines=lines)


def apply_override(document: dict[str, Any], override: str, lines: Lines) -> None:
    """Set one ``key.path=value`` in ``document``, and its location in ``lines``.

    A value that begins with a bracket, a brace or a quote is read as YAML. Any other one is a scalar without quotes,
    of which all characters count, also `` #``.

    Raises:
        ConfigError: The override does not have that form.
    """
    key, separator, text = override.partition("=")
    place = f"--set {shorten(override)}"
    if not separator or not key.strip():
        raise ConfigError(f"{place}: expected key=value, as in schedule.epochs=3")
    path = tuple(key.strip().split("."))
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{place}: a key with {len(path):,} parts; at most {MAX_DEPTH} are read")
    value = _override_value(text.strip(), place)
    section: Any = document
    for parent in path[:-1]:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{place}: {parent} is a value, not a section with keys")
    section[path[-1]] = value
    for replaced in [known for known in lines if known[: len(path)] == path]:
        del lines[replaced]
    lines[path] = place


def _override_value(text: str, place: str) -> Any:
    try:
        if not text.startswith(_YAML_INDICATORS):
            return plain_value(text)
        return parse_yaml(text, place, is_override=True)[0]
    except YamlError as error:
        message = str(error)
        raise ConfigError(
            message if message.startswith(place) else f"{place}: {shorten(text)[1:-1]} {message}"
        ) from None


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
