"""MkDocs hook that writes the reference pages from the code: commands, configuration keys, study file keys, Python API.

Nothing under reference/ that can be read off the Typer application, the pydantic models or `rcn_search.__all__` is
written by hand.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import rcn_search
from rcn_search.cli.main import app
from rcn_search.config.schema import TrainConfig
from rcn_search.study.space import study_config
from rcn_search.study.space.parameter import Scalar

SCALARS = {"NoneType": "`null`", "str": "text", "int": "integer", "float": "number", "bool": "`true`, `false`"}
"""Types of values in words."""
HIDE_HEADING = "    options:\n      show_root_heading: false\n      show_root_toc_entry: false"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/training-config.md": training_config_page(),
        "reference/study-file.md": study_file_page(),
        "reference/api.md": api_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


# Commands


def commands_page() -> str:
    """Every command with its arguments, options and examples, as its --help prints them."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands",
        "Generated from the program. `rcn-search COMMAND --help` prints the same.",
        "Exit codes: 0, 1 (an error, which the message explains), 2 (invalid command line), "
        "130 (interrupted; can be resumed).",
        "`python -m rcn_search.tune` is `rcn-search tune`, in the form that `ray job submit` takes.",
    ]
    for path, command in walk_commands(root, ()):
        if not hasattr(command, "commands") or command.invoke_without_command:
            parts += command_section(path, command)
    return "\n\n".join(parts) + "\n"


def walk_commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below (and including) one, with the words that call it."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk_commands(child, (*path, name))


def command_section(path: tuple[str, ...], command: Any) -> list[str]:
    """Heading, description, examples and a table of parameters."""
    heading = f"## {' '.join(('rcn-search', *path))}"
    text, examples = split_examples(command.callback.__doc__ or command.help or "" if command.callback else "")
    parts = [heading, escape(text)]
    if examples:
        parts.append("```sh\n" + "\n".join(examples) + "\n```")
    rows = [parameter_row(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        parts.append(table(("Parameter", "Default", "Meaning"), rows))
    return parts


def split_examples(doc: str) -> tuple[str, list[str]]:
    """A docstring without its lines ``Example: …``, and these."""
    text: list[str] = []
    examples: list[str] = []
    for paragraph in inspect.cleandoc(doc).split("\n\n"):
        joined = " ".join(line.strip() for line in paragraph.splitlines())
        label, _, rest = joined.partition(":")
        if label.strip() in ("Example", "Examples"):
            examples += [line.strip() for line in rest.split("\\b") if line.strip()]
        else:
            text.append(joined.replace("\\b", "").strip())
    return "\n\n".join(filter(None, text)), examples


def parameter_row(parameter: Any) -> tuple[str, str, str]:
    """One row: how it is written, its default, what it means."""
    text, choices = parameter.help or "", choices_of(parameter.type_descriptor.annotation)
    if choices:
        text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    if not parameter.opts[0].startswith("-"):
        name = parameter.metavar or parameter.name.upper()
        return f"`{name if parameter.required else f'[{name}]'}`", "", escape_cell(text)
    name = " ".join([*parameter.opts, *([] if parameter.is_flag else [parameter.metavar or value_name(parameter)])])
    if parameter.multiple:
        text += " May be given more than once."
    hidden = parameter.is_flag or parameter.default in (None, "") or callable(parameter.default)
    default = "required" if parameter.required else "" if hidden else f"`{parameter.default}`"
    return f"`{escape_cell(name)}`", default, escape_cell(text)


def choices_of(annotation: Any) -> list[str]:
    """The values that a parameter is limited to."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation) if value]
    return [choice for argument in get_args(annotation) for choice in choices_of(argument)]


def value_name(parameter: Any) -> str:
    """What stands for an option's value."""
    names = {int: "N", float: "X", str: "TEXT"}
    annotation = parameter.type_descriptor.annotation
    kinds = [annotation, *get_args(annotation)]
    return next((names[kind] for kind in kinds if kind in names), "VALUE")


# Configuration keys


def training_config_page() -> str:
    """Every key of a training configuration."""
    parts = [
        "# Training configuration",
        "Generated from the code. A training configuration is a YAML file for `rcn-search train`, the `base` of a "
        "[study file](study-file.md), and what stands in every checkpoint and leaderboard entry. An unknown key is an "
        "error that names the file, the line and the allowed keys. Any key can be set on the command line: "
        "`--set schedule.epochs=3`.",
        "`recipe` chooses the defaults: `fast` is the column *Default* below, `paper` overrides it with:",
        f"```yaml\n{recipe_yaml()}```",
        *model_sections(TrainConfig, "", set()),
    ]
    return "\n\n".join(parts) + "\n"


def recipe_yaml() -> str:
    """What the paper's recipe sets."""
    import yaml

    from rcn_search.config import loading

    return yaml.safe_dump(loading.RECIPES["paper"], sort_keys=False)


def study_file_page() -> str:
    """Every key of a study file."""
    parts = [
        "# Study file",
        "Generated from the code. One YAML file describes a study: what is fixed (`base`, a "
        "[training configuration](training-config.md)), what is searched, and how. How to write one: "
        "[Write a search space](../how-to/write-a-search-space.md).",
        *model_sections(study_model(), "", {TrainConfig}, documented_keys(study_config.__doc__ or "")),
    ]
    return "\n\n".join(parts) + "\n"


def study_model() -> type[BaseModel]:
    """The model of a whole study file: the one that has both ``search`` and ``budget``."""
    for _, value in inspect.getmembers(study_config, inspect.isclass):
        if issubclass(value, BaseModel) and {"search", "budget"} <= value.model_fields.keys():
            return value
    raise LookupError(f"{study_config.__name__} has no model with the fields search and budget")


def documented_keys(doc: str) -> dict[str, str]:
    """Keys and their meaning from a docstring with lines ``key: meaning``, continued by indented ones."""
    entries = re.findall(r"^(\w+): +(.*(?:\n +.*)*)", inspect.cleandoc(doc), re.MULTILINE)
    return {key: " ".join(meaning.split()) for key, meaning in entries}


def model_sections(
    model: type[BaseModel], path: str, seen: set[type[BaseModel]], meanings: dict[str, str] | None = None
) -> list[str]:
    """A table of a model's keys, then a section for each model that its keys may hold.

    Args:
        model: Model of the section.
        path: Dotted key of the section.
        seen: Models that have a section already.
        meanings: Meanings of the keys whose fields have no description.
    """
    rows, sections = [], []
    for name, field in model.model_fields.items():
        key = field.alias or name
        child_path = f"{path}.{key}" if path else key
        meaning = escape_cell(field.description or (meanings or {}).get(key, ""))
        rows.append((f"`{key}`", escape_cell(type_text(field)), default_text(field), meaning))
        children = list(models_in(field.annotation))
        sections += [(child_path, child, len(children) > 1) for child in children]
    parts = [table(("Key", "Values", "Default", "Meaning"), rows)]
    for child_path, child, is_choice in sections:
        if child in seen:
            continue
        seen.add(child)
        discriminator = child.model_fields["name"].default if is_choice and "name" in child.model_fields else ""
        title = f"`{child_path}`" + (f" with `name: {discriminator}`" if discriminator else "")
        parts += [f"{'###' if '.' in child_path else '##'} {title}", escape(first_paragraph(child))]
        parts += model_sections(child, child_path, seen)
    return parts


def first_paragraph(model: type[BaseModel]) -> str:
    """The first paragraph of a model's own docstring."""
    doc = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
    return " ".join(doc.split())


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's annotation names, at any depth."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from models_in(argument)


def type_text(field: FieldInfo) -> str:
    """The values that a key takes, with the limits of numbers."""
    text = annotation_text(field.annotation)
    limits = [limit_text(constraint) for constraint in field.metadata]
    return ", ".join([text, *filter(None, limits)])


def annotation_text(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [limit_text(part) for argument in arguments[1:] for part in getattr(argument, "metadata", [argument])]
        return ", ".join([annotation_text(arguments[0]), *filter(None, limits)])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value) if not isinstance(value, str) else value}`" for value in arguments)
    if origin in (Union, UnionType):
        if set(get_args(Scalar)) <= set(arguments):
            return "value"
        return " or ".join(dict.fromkeys(annotation_text(each) for each in arguments))
    if origin is dict:
        return f"mapping to {annotation_text(arguments[1])}"
    if origin in (list, tuple):
        inner = [annotation_text(each) for each in arguments if each is not Ellipsis]
        return f"{'list' if Ellipsis in arguments else 'two'} of " + " and ".join(dict.fromkeys(inner))
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "section"
    return SCALARS.get(getattr(annotation, "__name__", ""), "value")


def limit_text(constraint: Any) -> str:
    """A limit of a number or a length."""
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (limit := getattr(constraint, attribute, None)) is not None:
            return f"{sign} {limit:,}" if isinstance(limit, int) and limit < 2**31 else f"{sign} {limit}"
    return ""


def default_text(field: FieldInfo) -> str:
    """The default of a key, in YAML."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True) if field.default_factory is None else PydanticUndefined
    if default is PydanticUndefined or isinstance(default, BaseModel) or default in ({}, ()):
        return ""
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


# Python API


def api_page() -> str:
    """One entry for each public name of the package."""
    parts = [
        "# Python API",
        "Generated from the docstrings. Everything here is `import rcn_search`; importing it loads neither torch nor "
        "Ray, which come with the first use of a name that needs them.",
    ]
    for name in sorted(public_names(), key=str.lower):
        value = getattr(rcn_search, name)
        target = f"{value.__module__}.{getattr(value, '__qualname__', name)}"
        parts += [f"## {name}", f"::: {target}\n{HIDE_HEADING}"]
    return "\n\n".join(parts) + "\n"


def public_names() -> list[str]:
    """The names that the package exports, less its version."""
    return [name for name in getattr(rcn_search, "__all__", []) if not name.startswith("_")]


# Markdown


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escape(text: str) -> str:
    """Docstring markup to Markdown: ``code`` to `code`, and nothing that could be taken for a tag."""
    return text.replace("``", "`").replace("<", "&lt;")


def escape_cell(text: str) -> str:
    """The same within a table."""
    return escape(" ".join(text.split())).replace("|", "\\|")
