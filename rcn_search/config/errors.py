"""Errors of configurations: file, line and key of each problem, what is wrong and what is allowed."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError

from rcn_search.errors import RcnSearchError

KeyPath = tuple[str | int, ...]
Lines = dict[KeyPath, str]
"""Where each key was set: ``line 3`` of the file, or ``--set 'seed=1'``."""
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


def explain(error: ValidationError, model: type[BaseModel], *, source: str, lines: Lines) -> str:
    """Describe every problem of a document in one line: file, line, key, what is wrong and what is allowed."""
    return "\n".join(dict.fromkeys(_explain_problem(problem, source, lines, model) for problem in error.errors()))


def _explain_problem(problem: Any, source: str, lines: Lines, model: type[BaseModel]) -> str:
    path, schemas = _locate(problem, model)
    where = location(source, lines, path)
    key = ".".join(map(str, path)) or "(top)"
    if problem["type"] == "extra_forbidden":
        allowed = sorted({name for schema in schemas for name in schema.get("properties", {})})
        guess = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else "."
        return f"{where}: unknown key {key!r}{hint} Allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{where}: {key} is required"
    if problem["type"].startswith("union_tag_"):
        tag = f"{key}.{problem['ctx']['discriminator'].strip(chr(39))}"
        if problem["type"] == "union_tag_not_found":
            return f"{where}: {tag} is required where {key} is given"
        return f"{where}: {tag} = {problem['ctx']['tag']!r}: must be one of {problem['ctx']['expected_tags']}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _locate(problem: Any, model: type[BaseModel]) -> tuple[KeyPath, list[Schema]]:
    """Find the key of a problem, and the JSON schemas allowed there (for an unknown key: those of its section).

    Pydantic's location also contains the names of union members, which the document does not.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Schema] = schema.get("$defs", {})
    path: list[str | int] = []
    schemas, alternatives = [schema], _alternatives(schema, definitions)
    for part in problem["loc"]:
        chosen = [each["discriminator"]["mapping"].get(part) for each in schemas if "discriminator" in each]
        if any(chosen):
            schemas = [{"$ref": reference} for reference in chosen if reference]
        elif children := [child for each in alternatives if (child := _child(each, part)) is not None]:
            schemas = children
            path.append(part)
        alternatives = [alternative for each in schemas for alternative in _alternatives(each, definitions)]
    if problem["type"] == "extra_forbidden":
        path.append(problem["loc"][-1])
    return tuple(path), alternatives


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
