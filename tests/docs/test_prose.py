"""The form of README and documentation: lines that fit, a README of one page, links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.documents import PAGES, REPOSITORY, name

MAX_COLUMNS = 120
MAX_README_LINES = 130


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_fit(page: Path):
    """Tables and printed output excepted."""
    in_output, too_long = False, []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.lstrip().startswith("```"):
            in_output = line.strip() == "```text"
        elif len(line) > MAX_COLUMNS and not in_output and not line.lstrip().startswith("|"):
            too_long.append(number)
    assert not too_long, f"{name(page)}: over {MAX_COLUMNS} columns on lines {too_long}"


def test_readme_is_one_page():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", [page for page in PAGES if "docs" not in name(page)], ids=name)
def test_relative_links_lead_to_files(page: Path):
    """Those of docs/ are checked by the strict build of the site."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_paths_that_the_documentation_names_exist():
    """Files of the repository in code spans: `rcn_search/…`, `tests/…`, and modules relative to the package."""
    missing = set()
    for page in PAGES:
        if name(page) == "CHANGELOG.md":
            continue
        for path in re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|yaml|md|csv))`", page.read_text()):
            if not any((root / path).exists() for root in (REPOSITORY, REPOSITORY / "rcn_search")):
                missing.add(f"{name(page)}: {path}")
    assert not missing


def defined_names(path: Path) -> set[str]:
    """Functions, classes and methods of a module, as ``function``, ``Class`` or ``Class.method``."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
    return names


def test_functions_that_the_architecture_page_names_exist():
    page = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([^`]+)` \| ([^|]+) \|", page, re.MULTILINE)
    assert len(rows) > 60
    missing = [
        f"{path}: {function}"
        for path, functions in rows
        for function in re.findall(r"`([^`]+)`", functions)
        if function not in defined_names(REPOSITORY / "rcn_search" / path)
    ]
    assert not missing


def test_paths_of_an_image_and_a_trial_are_as_short_as_the_page_says():
    page = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text()
    for heading, most in (("one image", 25), ("one trial", 45)):
        part = page.partition(f"## The path of {heading}")[2].partition("\n## ")[0]
        files = set(re.findall(r"^\| \d+ \| `([^`]+)`", part, re.MULTILINE))
        assert f": {len(files)} files" in part
        assert len(files) <= most
