"""Errors of configurations: file, line and key of each problem, what is wrong and what is allowed."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from rcn_search.errors import RcnSearchError
from rcn_search.storage import hide_user_info
from rcn_search.yaml_document import KeyPath as KeyPath
from rcn_search.yaml_document import Lines as Lines

MAX_PROBLEMS = 10
"""Problems of a document that are described; the others are counted."""
_MAX_SHOWN = 120
Schema = dict[str, Any]


class ConfigError(RcnSearchError):
    """A configuration that a user can correct; the message says where it is wrong and what is allowed."""


def nearest_line(lines: Lines, path: KeyPath) -> str:
    """Find where a key or the nearest section around it was set; empty if nothing was."""
    return next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), "")


def location(source: str, lines: Lines, path: KeyPath) -> str:
    """Describe the location of a key for messages: the source, `nearest_line`, and overrides within a section."""
    within = [line for key, line in lines.items() if key[: len(path)] == path and line.startswith("--set")]
    return ", ".join(dict.fromkeys(filter(None, (source, nearest_line(lines, path), *within))))


def shorten(value: Any) -> str:
    """Show a value in a message, of a long one the beginning."""
    text = hide_user_info(value if isinstance(value, str) else repr(value))
    shown = repr(text[:_MAX_SHOWN]) if isinstance(value, str) else text[:_MAX_SHOWN]
    return shown if len(text) <= _MAX_SHOWN else f"{shown}…"


def explain(error: ValidationError, model: type[BaseModel], *, source: str, lines: Lines) -> str:
    """Describe the first problems of a document, a line for each: file, line, key, what is wrong and what is allowed.

    The other problems are counted, so that thousands of them take neither time nor space.
    """
    messages: dict[str, None] = {}
    problems = error.errors(include_url=False)
    num_described = 0
    for problem in problems:
        messages[_explain_problem(problem, source, lines, model)] = None
        num_described += 1
        if len(messages) == MAX_PROBLEMS:
            break
    num_more = len(problems) - num_described
    return "\n".join([*messages, *([f"and {num_more:,} more problems"] if num_more else [])])


def summarize(error: ValidationError) -> str:
    """Describe the first problem of a stored record in one line, and count the others."""
    first, *others = error.errors(include_url=False)
    key = ".".join(map(str, first["loc"]))[:_MAX_SHOWN]
    message = first["msg"].removeprefix("Value error, ")
    named = f"{key} = {shorten(first['input'])}: " if key and first["type"] != "missing" else f"{key}: " if key else ""
    more = f" (and {len(others):,} more problems)" if others else ""
    return f"{named}{message[:1].lower()}{message[1:]}{more}"


def _explain_problem(problem: Any, source: str, lines: Lines, model: type[BaseModel]) -> str:
    place = _locate(problem, model)
    where = location(source, lines, place.path)
    key = ".".join(map(str, place.path))[:_MAX_SHOWN] or "(top)"
    if problem["type"] == "extra_forbidden":
        return f"{where}: {_explain_unknown_key(key, place)}"
    if problem["type"] == "missing":
        return f"{where}: {key} is required"
    if problem["type"].startswith("union_tag_"):
        tag = f"{key}.{problem['ctx']['discriminator'].strip(chr(39))}"
        if problem["type"] == "union_tag_not_found":
            return f"{where}: {tag} is required where {key} is given"
        return f"{where}: {tag} = {shorten(problem['ctx']['tag'])}: must be one of {problem['ctx']['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ")
    if not place.path and problem["type"] == "value_error":  # a rule between sections; its message begins with a key
        named = tuple(message.partition(" = ")[0].split("."))
        return f"{location(source, lines, named)}: {message}"
    return f"{where}: {key} = {shorten(problem['input'])}: {message[:1].lower()}{message[1:]}"


def _explain_unknown_key(key: str, place: _Place) -> str:
    name = str(place.path[-1])
    allowed = sorted({name for schema in place.schemas for name in schema.get("properties", {})})
    allowed_here = f"Allowed here: {', '.join(allowed)}"
    if place.other_members:
        section = ".".join(map(str, place.path[:-1]))
        return (
            f"unknown key {key!r}: {name} belongs to {section}.name = {' or '.join(place.other_members)}, not "
            f"{place.member}. Remove it, or set the whole section, as in --set '{section}={{name: {place.member}}}'. "
            f"{allowed_here}"
        )
    guess = difflib.get_close_matches(name, allowed, n=1)
    return f"unknown key {key!r}{f'; did you mean {guess[0]!r}?' if guess else '.'} {allowed_here}"


class _Place(NamedTuple):
    """The key of a problem, and the JSON schemas allowed there (for an unknown key: those of its section).

    Within a union whose members have names: the name that was given, and those of members that know the unknown key.
    """

    path: KeyPath
    schemas: list[Schema]
    member: str = ""
    other_members: tuple[str, ...] = ()


@cache
def _schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _locate(problem: Any, model: type[BaseModel]) -> _Place:
    """Find the key of a problem. Pydantic's location also contains names of union members, the document does not."""
    schema = _schema_of(model)
    definitions: dict[str, Schema] = schema.get("$defs", {})
    path: list[str | int] = []
    member, members = "", {}
    schemas, alternatives = [schema], _alternatives(schema, definitions)
    for part in problem["loc"]:
        mappings = [each["discriminator"]["mapping"] for each in schemas if "discriminator" in each]
        chosen = [mapping[part] for mapping in mappings if part in mapping]
        if chosen:
            member, members = str(part), {name: ref for mapping in mappings for name, ref in mapping.items()}
            schemas = [{"$ref": reference} for reference in chosen]
        elif children := [child for each in alternatives if (child := _child(each, part)) is not None]:
            member, members = "", {}
            schemas = children
            path.append(part)
        alternatives = [alternative for each in schemas for alternative in _alternatives(each, definitions)]
    if problem["type"] != "extra_forbidden":
        return _Place(tuple(path), alternatives)
    name = str(problem["loc"][-1])
    others = (
        other
        for other, reference in members.items()
        if name in definitions[reference.rsplit("/", 1)[-1]].get("properties", {})
    )
    return _Place((*path, name), alternatives, member, tuple(others))


def _child(schema: Schema, part: str | int) -> Schema | None:
    """Look up the schema of a key or an index, also where any key or index is allowed."""
    properties: Schema = schema.get("properties", {})
    any_key = schema.get("additionalProperties") or schema.get("items")
    return properties.get(str(part), any_key if isinstance(any_key, dict) else None)


def _alternatives(schema: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    """List the members of a union at any depth, references resolved."""
    if "$ref" in schema:
        return [definitions[schema["$ref"].rsplit("/", 1)[-1]]]
    options = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    return [alternative for option in options for alternative in _alternatives(option, definitions)] or [schema]
