"""Write the site: pages first, then the page that leads to them, so that a reader follows no link into nothing."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rcn_search import __version__, storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.location import REPOSITORY_LEADERBOARD
from rcn_search.leaderboard.render import render
from rcn_search.leaderboard.site import charts
from rcn_search.leaderboard.site.entries import Histories, entry_view
from rcn_search.leaderboard.site.faces import NO_FACES, FaceSource
from rcn_search.leaderboard.site.tables import NUM_STATIC, TableView, measured_view, published_view
from rcn_search.leaderboard.site.urls import slug, table_pages
from rcn_search.leaderboard.table import Leaderboard, LeaderboardTable
from rcn_search.leaderboard.test_evaluations import load_test_evaluations

STAMP = "stamp.txt"
ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class TablePage:
    """A table, its page, and where else one can go from there."""

    table: LeaderboardTable
    page: str
    measured: TableView
    published: TableView


@dataclass
class Site:
    """A site in a folder of this machine. It can be written again and again as the leaderboard grows.

    Attributes:
        folder: Where; made if need be.
        histories: Epochs of runs by their id, for learning curves.
        faces: Where pictures of faces come from; by default there are none.
        live: Whether pages load themselves anew when the leaderboard has changed; needs a server.
    """

    folder: Path
    histories: Histories = field(default_factory=dict)
    faces: FaceSource | None = None
    live: bool = False
    _kept: set[str] = field(default_factory=set)

    def write(self, leaderboard: Leaderboard) -> int:
        """Write all pages of ``leaderboard``.

        Returns:
            How many there are.

        Raises:
            RcnSearchError: The folder holds something else than a site.
        """
        self._claim()
        for asset in sorted(ASSETS.iterdir()):
            self._put(f"assets/{asset.name}", asset.read_text())
        places = [
            TablePage(table, page, measured_view(table), published_view(table))
            for table, page in zip(leaderboard.tables, table_pages(leaderboard.tables), strict=True)
        ]
        common = {
            "problems": _within(leaderboard),
            "live": self.live,
            "version": __version__,
            "written": datetime.now(UTC),
        }
        num_pages = self._write_entries(leaderboard, places, common)
        for place in places:
            self._put(place.page, self._table_page(leaderboard, place, places, common))
        self._put("leaderboard.csv", render(leaderboard, "csv"))
        self._put("leaderboard.json", render(leaderboard, "json"))
        index = self._render("index.html", root="", datasets=_by_dataset(places), summary=summary, **common)
        self._put("index.html", index)
        self._put(STAMP, uuid.uuid4().hex)
        return num_pages + len(places) + 1

    def _claim(self) -> None:
        there = self.folder.exists() and any(self.folder.iterdir())
        if there and not (self.folder / STAMP).exists():
            raise RcnSearchError(
                f"{self.folder} holds files that are not a site; name an empty or a new folder with --out"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not there:
            self._put(STAMP, "")

    def _write_entries(self, leaderboard: Leaderboard, places: Sequence[TablePage], common: dict[str, Any]) -> int:
        """Entries never change, so a page is written once, unless seeds have come to its method since."""
        num_pages, common = 0, common | {"problems": ()}  # which are the leaderboard's, not an entry's
        for place in places:
            for view in place.measured.rows:
                assert view.page is not None
                num_pages += 1
                key = f"{view.page} {view.row.seeds}"
                if key in self._kept:
                    continue
                shown = entry_view(view.row, self.histories)
                if shown.config_file and shown.config_file not in self._kept:
                    self._put(shown.config_file, shown.config_yaml)
                    self._kept.add(shown.config_file)
                faces = self.faces.faces_of(leaderboard.uri, shown.entry, self.folder) if self.faces else NO_FACES
                page = self._render("entry.html", root="../", view=shown, place=place, faces=faces, **common)
                self._put(view.page, page)
                self._kept.add(key)
        return num_pages

    def _table_page(
        self, leaderboard: Leaderboard, place: TablePage, places: Sequence[TablePage], common: dict[str, Any]
    ) -> str:
        table = place.table
        return self._render(
            "table.html",
            root="",
            place=place,
            protocols=[each for each in places if _of(each) == _of(place)],
            subsets=_subsets(place, places),
            ced=charts.ced_chart(leaderboard.uri, table),
            cost=charts.cost_chart(table),
            looks=load_test_evaluations(leaderboard.uri, table.dataset, table.subset),
            blocks=[
                ("measured", place.measured, self._data(place.measured, "measured")),
                ("published", place.published, self._data(place.published, "published")),
            ],
            num_static=NUM_STATIC,
            slug=slug,
            **common,
        )

    def _data(self, view: TableView, kind: str) -> dict[str, Any]:
        """What the script sorts and filters by; rows beyond the first ones as they will stand in the page."""
        row = self._environment.get_template("row.html")
        return {
            "keys": [[cell.key for cell in each.cells] for each in view.rows],
            "methods": [each.row.method for each in view.rows],
            "origins": [each.row.origin for each in view.rows],
            "texts": [each.text for each in view.rows],
            "more": [
                row.render(view=each, place=place, kind=kind, columns=view.columns)
                for place, each in enumerate(view.rows[NUM_STATIC:], NUM_STATIC)
            ],
        }

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)

    @cached_property
    def _environment(self) -> Environment:
        return Environment(
            loader=PackageLoader("rcn_search.leaderboard.site"),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def _put(self, name: str, content: str) -> None:
        """Whole or not at all for who reads; not synced to the disk, since all of it can be written again."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:100]}.tmp")
        temporary.write_text(content, encoding="utf-8", newline="\n")
        os.replace(temporary, path)  # noqa: PTH105


def _within(leaderboard: Leaderboard) -> list[str]:
    """The leaderboard's problems, with places on this machine told from the leaderboard on: pages are read elsewhere."""
    lines = list(leaderboard.problems)
    if storage.is_local(leaderboard.uri):
        folder = storage.local_path(leaderboard.uri)
        for place in (leaderboard.uri, str(folder), str(folder.absolute()), str(REPOSITORY_LEADERBOARD)):
            lines = [line.replace(f"{place}/", "").removeprefix(f"{place}: ") for line in lines]
    return lines


def summary(place: TablePage) -> dict[str, Any]:
    """The line of a table on the first page: the best of each kind."""
    measured, published = place.measured.rows, place.published.rows
    return {
        "measured": measured[0].row if measured else None,
        "published": published[0].row if published else None,
        "num_measured": len(measured),
        "num_published": len(published),
    }


def _by_dataset(places: Sequence[TablePage]) -> dict[str, dict[str, list[TablePage]]]:
    """By data set, then by subset: what has more measured rows comes first."""
    found: dict[str, dict[str, list[TablePage]]] = {}
    num_rows: Counter[str] = Counter()
    for place in places:
        found.setdefault(place.table.dataset, {}).setdefault(place.table.subset, []).append(place)
        num_rows[place.table.dataset] += len(place.measured.rows)
    return dict(sorted(found.items(), key=lambda item: (-num_rows[item[0]], item[0])))


def _of(place: TablePage) -> tuple[str, str]:
    return place.table.dataset, place.table.subset


def _subsets(place: TablePage, places: Sequence[TablePage]) -> list[tuple[str, TablePage]]:
    """For each subset of the data set, its table of the same protocol, or its first one."""
    table, found = place.table, dict[str, TablePage]()
    for each in places:
        if each.table.dataset == table.dataset:
            other = each.table
            same = other.protocol_name == table.protocol_name and (other.protocol is None) == (table.protocol is None)
            if other.subset not in found or (same and found[other.subset].table.protocol_name != table.protocol_name):
                found[other.subset] = each
    found[table.subset] = place
    return sorted(found.items())
