"""The documentation builds strictly, with all links checked, and the site asks no other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rcn_search.config.schema import TrainConfig
from tests.support.documents import REPOSITORY

LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["'](?P<src>[^"']+)"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\bhref=["']?(?P<href>[^"'\s>]+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_pages_load_nothing_from_other_hosts(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    elsewhere = {
        url
        for page in pages
        for match in LOADS.finditer(page.read_text())
        if re.match(r"(?:https?:)?//", url := match["src"] or match["href"])
    }
    styles = {
        url
        for sheet in site.rglob("*.css")
        for url in re.findall(r"url\(\s*['\"]?(https?:[^)'\"]+)", sheet.read_text())
    }
    assert not elsewhere | styles


def test_reference_has_every_command_and_key(site: Path):
    commands = (site / "reference" / "commands.html").read_text()
    for command in ("tune", "evaluate", "study status", "leaderboard build-site"):
        assert f"rcn-search {command}" in commands
    keys = (site / "reference" / "training-config.html").read_text()
    assert all(f"<code>{section}</code>" in keys for section in TrainConfig.model_fields)
    assert "<code>num_startup_trials</code>" in (site / "reference" / "study-file.html").read_text()


def test_public_api_is_documented(site: Path):
    import rcn_search

    page = (site / "reference" / "api.html").read_text()
    assert all(f'id="{public.lower()}"' in page for public in rcn_search.__all__ if not public.startswith("_"))
