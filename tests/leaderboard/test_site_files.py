"""The site's files are written in its own folder only, whatever links lie there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.site.files import write_file
from rcn_search.leaderboard.table import build_leaderboard


def test_write_file_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "site"
    victim.write_text("mine")
    folder.mkdir()
    for name in ("index.html", ".index.html.tmp"):
        (folder / name).symlink_to(victim)
    write_file(folder, "index.html", b"page")
    assert victim.read_text() == "mine"
    assert not (folder / "index.html").is_symlink()
    assert (folder / "index.html").read_bytes() == b"page"
    assert sorted(os.listdir(folder)) == [".index.html.tmp", "index.html"]  # noqa: PTH208


@pytest.mark.parametrize("kind", ["link", "file"])
def test_write_file_folder_that_is_a_link_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "site").mkdir()
    entry = tmp_path / "site" / "entry"
    entry.symlink_to(tmp_path / "elsewhere") if kind == "link" else entry.write_text("")
    with pytest.raises(RcnSearchError, match="site/entry is a link or a file"):
        write_file(tmp_path / "site", "entry/x.html", b"page")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_write_file_failure_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    write_file(tmp_path / "site", "a/b.html", b"before")
    (tmp_path / "site" / "a" / "c.html").mkdir()
    with pytest.raises(OSError, match="html"):
        write_file(tmp_path / "site", "a/c.html", b"page")
    assert sorted(path.name for path in (tmp_path / "site" / "a").iterdir()) == ["b.html", "c.html"]


def test_site_write_stays_in_its_folder(tmp_path: Path, add_measured: Callable[..., str]) -> None:
    leaderboard, victim = str(tmp_path / "leaderboard"), tmp_path / "victim"
    add_measured(leaderboard, [4.0, 5.0])
    victim.mkdir()
    site = Site(tmp_path / "linked")
    (tmp_path / "linked").symlink_to(tmp_path / "site")  # the folder that the user names may be a link
    (tmp_path / "site").mkdir()
    site.write(build_leaderboard(leaderboard))
    assert (tmp_path / "site" / "index.html").exists()
    (tmp_path / "site" / "faces").symlink_to(victim)
    write_file(tmp_path / "site", "index.html", b"")
    with pytest.raises(RcnSearchError, match="faces is a link"):
        write_file(tmp_path / "site", "faces/0.png", b"")
    assert not list(victim.iterdir())
