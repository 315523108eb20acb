from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rcn_search.config.network_target import TargetError, allow_target, import_target, is_allowed
from tests.support.configs import config_error
from tests.support.networks import WriteModule


def test_allowed_prefix_ends_at_a_dot_or_a_colon(write_module: WriteModule) -> None:
    allow_target("lab.nets")
    assert is_allowed("lab.nets:Tiny")
    assert is_allowed("lab.nets.small:Tiny.Inner")
    for other in ("lab.netsonly:Tiny", "lab:nets", "other:Tiny"):
        assert not is_allowed(other), other
    allow_target("")
    assert not is_allowed("other:Tiny")


def test_import_target_runs_no_code_that_is_not_allowed(write_module: WriteModule, tmp_path: Path) -> None:
    name = write_module(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(TargetError, match=f"give --allow-target {name}"):
        import_target(f"{name}:Tiny")
    assert not (tmp_path / "ran").exists()
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "has no 'Tiny'"),
        ("import a_package_that_nobody_has", "needs 'a_package_that_nobody_has', which is not installed"),
        ("1 / 0", r"importing \w+ raised ZeroDivisionError: division by zero \(.*nets_of_a_user_\d+.py, line 1\)"),
        ("def Tiny(:", "raised SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "raised RuntimeError: two lines"),
    ],
)
def test_import_target_that_fails_says_why(write_module: WriteModule, source: str, problem: str) -> None:
    name = write_module(source)
    allow_target(name)
    with pytest.raises(TargetError, match=problem):
        import_target(f"{name}:Tiny")


def test_import_target_of_a_missing_module_says_where_it_is_looked_for(write_module: WriteModule) -> None:
    allow_target("there")
    with pytest.raises(TargetError, match=r"there is no module 'there' here: install it, or name its folder in PYTHON"):
        import_target("there.is.none:Tiny")


@pytest.mark.parametrize("target", ["nets", "nets:", ":Tiny", "nets:Tiny()", "../nets:Tiny", "nets.py:Ti ny", "né:T"])
def test_custom_network_with_a_target_of_another_form_is_refused(tmp_path: Path, target: str) -> None:
    text = f"data: {{uri: x}}\nmodel: {{name: custom, target: '{target}'}}\n"
    assert "write it as package.module:Class, as in nets:Tiny" in config_error(tmp_path, text)


def test_custom_network_with_arguments_that_are_given_is_refused(tmp_path: Path) -> None:
    text = "data: {uri: x}\nmodel: {name: custom, target: 'nets:Tiny', args: {num_points: 3}}\n"
    assert "num_points is given by the data set" in config_error(tmp_path, text)
    text = "data: {uri: x}\nmodel: {name: custom, args: {a: 1}}\n"
    assert "model.target is required" in config_error(tmp_path, text)
