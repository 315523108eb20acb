"""The examples in the docstrings of `rcn_search.study` give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import rcn_search.study

ROOT = Path(__file__).parents[2]
MODULES = [module.name for module in pkgutil.walk_packages(rcn_search.study.__path__, "rcn_search.study.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some read search_spaces/
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_interface_has_examples() -> None:
    documented = {name for name in MODULES if ">>>" in (importlib.import_module(name).__doc__ or "") or examples(name)}
    assert {f"rcn_search.study.{name}" for name in ("loading", "snapshot", "space.study_config")} <= documented


def examples(name: str) -> list[doctest.Example]:
    tests = doctest.DocTestFinder().find(importlib.import_module(name))
    return [example for test in tests for example in test.examples]
