"""Write the site: linked pages before the pages that link to them, so that a reader never follows a dead link."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment

from rcn_search import __version__, storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.location import PROJECT_LEADERBOARD
from rcn_search.leaderboard.render_text import render
from rcn_search.leaderboard.site import charts
from rcn_search.leaderboard.site.entries import Histories, entry_view
from rcn_search.leaderboard.site.faces import NO_FACES, FaceSource
from rcn_search.leaderboard.site.files import write_file
from rcn_search.leaderboard.site.tables import NUM_STATIC, TableView, measured_view, published_view
from rcn_search.leaderboard.site.urls import slug, table_pages
from rcn_search.leaderboard.table import Leaderboard, LeaderboardTable
from rcn_search.pages import ASSETS as SHARED_ASSETS
from rcn_search.pages import asset_files, page_environment
from rcn_search.printable import printable

STAMP = "stamp.txt"
ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class TablePage:
    """A table, the path of its page, and its rows."""

    table: LeaderboardTable
    path: str
    measured: TableView
    published: TableView


@dataclass
class Site:
    """A site in a local folder. It can be written again and again as the leaderboard grows.

    Pages show learning curves of the runs in ``histories`` and, with ``faces``, pictures of faces. If ``live``, they
    reload when the leaderboard has changed, which needs the server.
    """

    folder: Path
    histories: Histories = field(default_factory=dict)
    faces: FaceSource | None = None
    live: bool = False
    _written: set[str] = field(default_factory=set)

    def write(self, leaderboard: Leaderboard) -> int:
        """Write all pages; the number of pages. `RcnSearchError` if the folder holds something other than a site."""
        self._claim_folder()
        for asset in asset_files(SHARED_ASSETS, ASSETS):
            self._put(f"assets/{asset.name}", asset.read_text(encoding="utf-8"))
        pages = [
            TablePage(table, path, measured_view(table), published_view(table))
            for table, path in zip(leaderboard.tables, table_pages(leaderboard.tables), strict=True)
        ]
        problems = _portable_problems(leaderboard)
        common = {"problems": problems, "live": self.live, "version": __version__, "written": datetime.now(UTC)}
        num_entry_pages = self._write_entries(leaderboard, pages, common)
        for page in pages:
            self._put(page.path, self._table_page(leaderboard, page, pages, common))
        self._put("leaderboard.csv", render(leaderboard, "csv"))
        self._put("leaderboard.json", render(leaderboard, "json"))
        self._put("index.html", self._render("index.html", root="", datasets=_by_dataset(pages), **common))
        self._put(STAMP, uuid.uuid4().hex)
        return num_entry_pages + len(pages) + 1

    def _claim_folder(self) -> None:
        is_used = self.folder.exists() and any(self.folder.iterdir())
        if is_used and not (self.folder / STAMP).exists():
            raise RcnSearchError(
                f"{self.folder} holds files that are not a site; name an empty or a new folder with --out"
            )
        if not is_used:
            self._put(STAMP, "")

    def _write_entries(self, leaderboard: Leaderboard, pages: Sequence[TablePage], common: dict[str, Any]) -> int:
        """Write pages of entries. Entries never change, so a page is written once, unless new seeds were added."""
        num_pages, common = 0, common | {"problems": ()}  # problems are the leaderboard's, not the entry's
        for table_page in pages:
            for view in table_page.measured.rows:
                assert view.page is not None
                num_pages += 1
                key = f"{view.page} {view.row.seeds}"
                if key in self._written:
                    continue
                content = entry_view(view.row, self.histories)
                if content.config_file and content.config_file not in self._written:
                    self._put(content.config_file, content.config_yaml)
                    self._written.add(content.config_file)
                faces = self.faces.faces_of(leaderboard.uri, content.entry, self.folder) if self.faces else NO_FACES
                html = self._render("entry.html", root="../", view=content, page=table_page, faces=faces, **common)
                self._put(view.page, html)
                self._written.add(key)
        return num_pages

    def _table_page(
        self, leaderboard: Leaderboard, page: TablePage, pages: Sequence[TablePage], common: dict[str, Any]
    ) -> str:
        table = page.table
        split = (table.dataset, table.subset)
        return self._render(
            "table.html",
            root="",
            page=page,
            protocols=[other for other in pages if (other.table.dataset, other.table.subset) == split],
            subsets=_subsets(page, pages),
            ced=charts.ced_chart(leaderboard.uri, table),
            cost=charts.cost_chart(table),
            evaluations=leaderboard.test_evaluations.get(split),
            blocks=[
                ("measured", page.measured, self._script_data(page.measured, "measured")),
                ("published", page.published, self._script_data(page.published, "published")),
            ],
            num_static=NUM_STATIC,
            slug=slug,
            **common,
        )

    def _script_data(self, view: TableView, kind: str) -> dict[str, Any]:
        """Make the data that the script sorts and filters by, with the HTML of rows beyond the first ones."""
        row = self._environment.get_template("row.html")
        return {
            "keys": [[cell.key for cell in row_view.cells] for row_view in view.rows],
            "methods": [row_view.row.method for row_view in view.rows],
            "origins": [row_view.row.origin for row_view in view.rows],
            "texts": [row_view.text for row_view in view.rows],
            "more": [row.render(view=row_view, kind=kind, columns=view.columns) for row_view in view.rows[NUM_STATIC:]],
        }

    def _render(self, template: str, **values: Any) -> str:
        assets = f"{values['root']}assets/"
        page = self._environment.get_template(template)
        return page.render(assets=assets, subject="leaderboard", portable=True, **values)

    @cached_property
    def _environment(self) -> Environment:
        return page_environment("rcn_search.leaderboard.site")

    def _put(self, name: str, content: str) -> None:
        write_file(self.folder, name, content.encode(errors="backslashreplace"))


def _portable_problems(leaderboard: Leaderboard) -> list[str]:
    """Make local paths relative to the leaderboard, because pages are read on other machines."""
    lines = [printable(line) for line in leaderboard.problems]
    if storage.is_local(leaderboard.uri):
        folder = storage.local_path(leaderboard.uri)
        for path in (leaderboard.uri, str(folder), str(folder.absolute()), str(PROJECT_LEADERBOARD)):
            lines = [line.replace(f"{path}/", "").removeprefix(f"{path}: ") for line in lines]
    return lines


def _by_dataset(pages: Sequence[TablePage]) -> dict[str, dict[str, list[TablePage]]]:
    """Group by data set, then by subset; data sets with more measured rows come first."""
    groups: dict[str, dict[str, list[TablePage]]] = {}
    num_rows: Counter[str] = Counter()
    for page in pages:
        groups.setdefault(page.table.dataset, {}).setdefault(page.table.subset, []).append(page)
        num_rows[page.table.dataset] += len(page.measured.rows)
    return dict(sorted(groups.items(), key=lambda item: (-num_rows[item[0]], item[0])))


def _subsets(page: TablePage, pages: Sequence[TablePage]) -> list[tuple[str, TablePage]]:
    """List for each subset of the data set its table of the same protocol, or else its first table."""
    table, by_subset = page.table, dict[str, TablePage]()
    for other_page in pages:
        other = other_page.table
        if other.dataset != table.dataset:
            continue
        same = other.protocol_name == table.protocol_name and (other.protocol is None) == (table.protocol is None)
        listed = by_subset.get(other.subset)
        if listed is None or (same and listed.table.protocol_name != table.protocol_name):
            by_subset[other.subset] = other_page
    by_subset[table.subset] = page
    return sorted(by_subset.items())
