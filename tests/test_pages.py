"""Pages share one head, one policy for what they may load, and one place for colors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import rcn_search
from rcn_search.pages import ASSETS, asset_files, page_environment

PACKAGE = Path(rcn_search.__file__).parent


def test_page_environment_gives_every_package_the_same_head() -> None:
    values: dict[str, Any] = {"subject": "test", "problems": []}
    for package in ("leaderboard.site", "study_report", "inference.demo"):
        page = page_environment(f"rcn_search.{package}").get_template("page.html").render(assets="a/", **values)
        assert "script-src 'self';" in page
        assert '<link rel="stylesheet" href="a/page.css">' in page
    assert "script-src 'self' file:;" in page_environment("rcn_search.study_report").get_template("page.html").render(
        assets="", portable=True, **values
    )


def test_templates_leave_the_head_to_the_shared_one() -> None:
    own = [path for path in PACKAGE.rglob("templates/*.html") if "<head>" in path.read_text(encoding="utf-8")]
    assert [path.name for path in own] == ["page.html"]


def test_color_variables_are_defined_in_one_style_sheet() -> None:
    defining = [path.name for path in PACKAGE.rglob("*.css") if re.search(r"--paper:|light-dark\(", path.read_text())]
    assert defining == ["page.css"]


def test_asset_files_leaves_out_notes() -> None:
    names = [path.name for path in asset_files(ASSETS)]
    assert names == sorted(names)
    assert {"page.css", "site.css", "theme.js"} < set(names)
    assert "README.md" not in names
