"""Every command line of README, documentation, help texts, study files and Makefile is one that the program accepts."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import typer

from rcn_search.cli.main import app
from rcn_search.cli.tune import tune_command
from tests.support.documents import CommandLine, command_lines

ROOT = typer.main.get_command(app)
UsageError = typer.BadParameter.__mro__[1]  # Typer does not export it


def tune_program() -> Any:
    """What ``python -m rcn_search.tune`` runs."""
    program = typer.Typer()
    program.command()(tune_command)
    return typer.main.get_command(program)


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    below = getattr(command, "commands", {}).items()
    return [(" ".join(path), command), *(each for key, child in below for each in commands(child, (*path, key)))]


def help_examples() -> list[CommandLine]:
    """The examples in the help text of each command."""
    lines = []
    for path, command in commands(ROOT):
        text = inspect.cleandoc((command.callback.__doc__ if command.callback else "") or "")
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        examples = [part for part in paragraphs if re.match(r"Examples?:", part)]
        for example in examples:
            lines += [
                CommandLine(f"help of {path or 'rcn-search'}", line.strip())
                for line in re.split(r"(?=\brcn-search )", example.partition(":")[2])
                if line.strip().startswith("rcn-search ")
            ]
    return lines


def accept(command: Any, words: list[str], *, abridged: bool) -> None:
    """Parse the words as the program would, without running anything.

    Raises:
        UsageError: The program would refuse them.
    """
    if abridged:  # check only that what is written exists
        below = getattr(command, "commands", {})
        words = [word for word in words if "…" not in word]
        if below and words and not words[0].startswith("-") and words[0] != "COMMAND":
            if words[0] not in below:
                raise UsageError(f"No such command: {words[0]}")
            return accept(below[words[0]], words[1:], abridged=True)
        known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
        for word in words:
            if word.startswith("--") and word.partition("=")[0] not in known:
                raise UsageError(f"No such option: {word}")
        return None
    try:
        context = command.make_context("rcn-search", list(words))
    except typer.Exit:
        return None  # --help, --version
    if hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        if rest:
            _, child, below = command.resolve_command(context, rest)
            assert child is not None
            return accept(child, below, abridged=False)
        if not command.invoke_without_command:
            raise UsageError("a command is missing")
    return None


def test_command_lines_are_found_in_every_kind_of_file():
    sources = {line.source.partition("/")[0] for line in command_lines()}
    assert {"README.md", "docs", "Makefile", "configs", "search_spaces"} <= sources
    assert len(help_examples()) > 20


@pytest.mark.parametrize("line", command_lines() + help_examples(), ids=lambda line: f"{line.source}: {line.text}")
def test_command_line_is_accepted(line: CommandLine):
    command = tune_program() if line.program == "python -m rcn_search.tune" else ROOT
    try:
        accept(command, line.arguments, abridged=line.is_abridged)
    except UsageError as error:
        pytest.fail(f"{line.text}\n{error.format_message()}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rcn-search tune a.yaml --go-on", "No such option"),
        ("rcn-search tune", "Missing argument"),
        ("rcn-search evaluate a --data b --decoder peak", "not one of"),
        ("rcn-search evaluate … --enter", "o such option"),
        ("rcn-search stduy best a", "No such command"),
    ],
)
def test_wrong_command_line_is_refused(text: str, message: str):
    line = CommandLine("", text)
    with pytest.raises(UsageError) as refusal:
        accept(ROOT, line.arguments, abridged=line.is_abridged)
    assert message.lower() in refusal.value.format_message().lower()
