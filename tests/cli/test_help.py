"""Help texts as a terminal of 80 columns shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rcn_search.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, part in getattr(command, "commands", {}).items():
        yield from commands(part, (*path, name))


def test_help_at_80_columns_cuts_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cut = []
    for path, command in commands(get_command(app)):
        metavars = " ".join(str(parameter.metavar) for parameter in command.params)
        for word in CliRunner().invoke(app, [*path, "--help"]).output.split():
            if word[:-1] and word.endswith("…") and word not in metavars:
                cut.append((*path, word))
    assert not cut


def test_arguments_have_names_in_capitals() -> None:
    arguments = [
        (*path, parameter.name, parameter.metavar)
        for path, command in commands(get_command(app))
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    assert len(arguments) > 20
    assert [each for each in arguments if not each[-1] or not any(letter.isupper() for letter in each[-1])] == []
