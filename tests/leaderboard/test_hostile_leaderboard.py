"""Every type of object damaged, one at a time and all at once: each sound row is shown, and each damaged object named.

The damaged objects are those of `tests.support.hostile_objects`.
"""

from __future__ import annotations

import csv
import io
import os
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rcn_search.evaluation.predictions import Predictions, encode_predictions
from rcn_search.evaluation.protocol import subpixel
from rcn_search.leaderboard import objects, per_image
from rcn_search.leaderboard.compare import compare
from rcn_search.leaderboard.lookup import load_current_entries
from rcn_search.leaderboard.packing import pack
from rcn_search.leaderboard.records import Entry, add_entry
from rcn_search.leaderboard.render import print_leaderboard
from rcn_search.leaderboard.render_text import render
from rcn_search.leaderboard.rescore import rescore
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.site.serve import leaderboard_version, rebuild_on_change
from rcn_search.leaderboard.table import Leaderboard, build_leaderboard
from rcn_search.leaderboard.test_evaluations import record_test_evaluation
from rcn_search.printable import PlainConsole
from rcn_search.storage import object_store
from tests.support.hostile_objects import HEADER, HOSTILE, put, sha256

Make = Callable[..., Entry]
SOUND = ["Packed 0", "Packed 1", "Loose 0", "Loose 1"]
PAGE = "aflw-test-rcn2016-five.html"
ERRORS = np.random.default_rng(0).gamma(9.0, 0.6, 40)


@pytest.fixture
def leaderboard(tmp_path: Path, add_measured: Callable[..., str], monkeypatch: pytest.MonkeyPatch, cli: object) -> Path:
    """Two rows in a pack, two loose ones, a published one, and a test evaluation; caches of its own."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "leaderboard"
    for number, method in enumerate(SOUND):
        if method == "Loose 0":
            record_test_evaluation(str(folder), dataset="aflw", subset="test", method="Packed", run_id="a", who="me")
            pack(str(folder))
        add_measured(str(folder), ERRORS * (1 + 0.3 * number), method=method)
    put(
        folder / "published",
        "sound.csv",
        f"{HEADER}Printed,2020,aflw,test,five,rcn2016,eye_centers,80,5.1,paper,\n".encode(),
    )
    forget()
    return folder


def forget() -> None:
    """Forget what this process has read, as another one has."""
    objects._packs.clear()
    per_image._image_set.cache_clear()


def check_shown(leaderboard: Leaderboard, named: list[str]) -> None:
    """Check that a leaderboard holds all sound rows, ranked, and a problem for each damaged object."""
    rows = {row.method: row for table in leaderboard.tables for row in table.rows if table.subset == "test"}
    assert {*SOUND, "Printed"} <= rows.keys()
    assert [str(rows[method].rank) for method in SOUND] == ["1", "2", "3", "4"], leaderboard.problems
    assert leaderboard.test_evaluations["aflw", "test"].newest[0].who == "me"
    for each in named:
        assert any(each in problem for problem in leaderboard.problems), (each, leaderboard.problems)


def check_harmless(text: str) -> None:
    """Check that text holds all sound rows and no character that a terminal obeys."""
    assert all(method in text for method in SOUND)
    assert [character for character in text if character != "\n" and unicodedata.category(character)[0] == "C"] == []


def check_terminal(leaderboard: Leaderboard) -> None:
    """Check what is printed and exported."""
    stream = io.StringIO()
    print_leaderboard(leaderboard, PlainConsole(file=stream, width=300))
    check_harmless(stream.getvalue())
    for output in ("markdown", "latex", "csv", "json"):
        check_harmless(render(leaderboard, output))  # type: ignore[arg-type]


def check_site(leaderboard: Leaderboard, folder: Path) -> None:
    """Check the pages."""
    Site(folder).write(leaderboard)
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert all(method in page for method in (*SOUND, "Printed"))
    assert ("problems" in page) == bool(leaderboard.problems)


@pytest.mark.parametrize("kind", HOSTILE)
def test_damaged_object_is_named_and_the_rest_is_shown(leaderboard: Path, make_entry: Make, kind: str) -> None:
    named = HOSTILE[kind](leaderboard, make_entry)
    for _ in range(2):  # without a cache and with it
        forget()
        shown = build_leaderboard(str(leaderboard))
        check_shown(shown, [named])
    assert leaderboard_version(str(leaderboard)) == leaderboard_version(str(leaderboard))
    check_terminal(shown)


@pytest.fixture
def all_damaged(leaderboard: Path, make_entry: Make) -> tuple[Path, list[str]]:
    """A leaderboard with all damaged objects, and what names them."""
    named = [damage(leaderboard, make_entry) for damage in HOSTILE.values()]
    forget()
    return leaderboard, named


def test_all_objects_damaged_terminal_and_site_show_the_rest(
    all_damaged: tuple[Path, list[str]], tmp_path: Path, cli: object
) -> None:
    folder, named = all_damaged
    shown = build_leaderboard(str(folder))
    check_shown(shown, named)
    assert len(shown.problems) > 25
    check_terminal(shown)
    check_site(shown, tmp_path / "site")
    output = cli.run("leaderboard", "--leaderboard", folder, "--format", "csv")  # type: ignore[attr-defined]
    check_harmless(output)
    cli.run("leaderboard", "build-site", "--leaderboard", folder, "--out", "pages")  # type: ignore[attr-defined]
    assert "Loose 1" in (tmp_path / "pages" / PAGE).read_text(encoding="utf-8")


def test_all_objects_damaged_server_shows_the_rest_and_what_is_added(
    all_damaged: tuple[Path, list[str]], tmp_path: Path, add_measured: Callable[..., str]
) -> None:
    folder, _ = all_damaged
    site, stop, problems = Site(tmp_path / "site", live=True), threading.Event(), list[str]()
    written = leaderboard_version(str(folder))
    site.write(build_leaderboard(str(folder)))
    add_measured(str(folder), ERRORS * 5, method="Added")

    class StopWhenWritten(threading.Event):
        """Lets the loop run until the page has the new row."""

        def wait(self, timeout: float | None = None) -> bool:
            return "Added" in (tmp_path / "site" / PAGE).read_text(encoding="utf-8") or bool(problems)

    stop = StopWhenWritten()
    rebuild_on_change(site, str(folder), written=written, stop=stop, on_problem=problems.append)
    assert problems == []
    page = (tmp_path / "site" / PAGE).read_text(encoding="utf-8")
    assert all(method in page for method in (*SOUND, "Printed", "Added"))


def test_published_text_is_escaped_where_it_is_printed(leaderboard: Path) -> None:
    row = "{},2020,aflw,test,five,rcn2016,eye_centers,80,5.2,=paper,+note\n"
    text = HEADER + "".join(map(row.format, ("=1+1", "\u202eright to left", "[/x]", "http://me:secret@host/")))
    put(leaderboard / "published", "odd.csv", text.encode())
    shown = build_leaderboard(str(leaderboard))
    check_shown(shown, [])
    assert shown.problems == ()
    check_terminal(shown)
    cells = [cell for line in csv.reader(io.StringIO(render(shown, "csv"))) for cell in line]
    assert {"'=1+1", "'=paper", "'+note", "[/x]", "\\u202eright to left", "http://host/"} <= {*cells}
    assert not [cell for cell in cells if cell[:1] in "=+-@" and cell]


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an object store or a server is asked for anything."""
    monkeypatch.setattr(object_store, "_connect", lambda uri: pytest.fail(f"connected to {uri}"))


def places(folder: Path, outside: Path) -> list[str]:
    """Places of predictions that must not be opened: devices, pipes, servers, other folders."""
    os.mkfifo(outside / "pipe.parquet")
    (folder / "predictions").mkdir(exist_ok=True)
    os.mkfifo(folder / "predictions" / "pipe.parquet")
    (folder / "predictions" / "zero.parquet").symlink_to("/dev/zero")
    return [
        *("/dev/zero", str(outside / "pipe.parquet"), "http://127.0.0.1:9/x.parquet", "foo://x.parquet", "s3://b/x"),
        *(
            f"{folder}/../outside.parquet",
            "file:///dev/zero",
            "~nobody-there/x.parquet",
            "a\0b.parquet",
            "s3:/x.parquet",
        ),
        *(f"{folder}/predictions/pipe.parquet", f"{folder}/predictions/zero.parquet"),
        f"{folder}-2/x.parquet",
    ]


def test_predictions_of_an_entry_are_read_inside_the_leaderboard_only(
    leaderboard: Path, tmp_path: Path, make_entry: Make, faces: Predictions, no_requests: None
) -> None:
    content = encode_predictions(faces)
    put(leaderboard / "predictions", f"{sha256(content)}.parquet", content)
    (tmp_path / "outside.parquet").write_bytes(content)
    common = {"protocol": subpixel("aflw", "other", "five"), "error_pct": 0.0, "num_images": 3, "config": {}}
    damaged = put(leaderboard / "predictions", f"{sha256(b'PAR1')}.parquet", b"PAR1")[:64]
    add_entry(str(leaderboard), make_entry(**common, method="Damaged", predictions_sha256=damaged))
    add_entry(str(leaderboard), make_entry(**common, method="Good", predictions_sha256=sha256(content)))
    hostile = replace(faces, meta=faces.meta | {"method": "elsewhere"})
    wanted = sha256(encode_predictions(hostile))
    (tmp_path / "outside.parquet").write_bytes(encode_predictions(hostile))
    for number, uri in enumerate(places(leaderboard, tmp_path)):
        add_entry(
            str(leaderboard),
            make_entry(
                **common, method=f"Evil {number}", predictions_sha256=wanted, predictions_uri=uri, epochs=number
            ),
        )
    current = load_current_entries(str(leaderboard))
    chosen = {key: entry for key, entry in current.items() if entry.protocol.subset == "other"}
    results = {
        chosen[result.entry_id].method: result
        for key in chosen
        for result in rescore(str(leaderboard), {}, {key: chosen[key]}, predictions={})
    }
    assert results["Good"].uri
    assert "not a readable Parquet file" in results["Damaged"].reason
    refused = [result for method, result in results.items() if method.startswith("Evil")]
    assert len(refused) == 13
    for result in refused:
        assert not result.uri
        assert "which is not in the leaderboard" in result.reason or "device or a pipe" in result.reason
    with pytest.raises(ValueError, match="not comparable"):
        compare(str(leaderboard), load_current_entries(str(leaderboard)), "Evil 0", "Loose 0")


def test_rescore_all_command_skips_and_names_entries_whose_predictions_are_elsewhere(
    leaderboard: Path, make_entry: Make, faces: Predictions, no_requests: None, cli: object
) -> None:
    content = encode_predictions(faces)
    put(leaderboard / "predictions", f"{sha256(content)}.parquet", content)
    common = {"protocol": subpixel("aflw", "other", "five"), "error_pct": 0.0, "num_images": 3, "config": {}}
    add_entry(str(leaderboard), make_entry(**common, method="Evil", predictions_uri="foo://x.parquet"))
    add_entry(str(leaderboard), make_entry(**common, method="Good", predictions_sha256=sha256(content)))
    output = cli.run("leaderboard", "rescore", "--all", "--leaderboard", leaderboard)  # type: ignore[attr-defined]
    assert "(then at foo://x.parquet), which is not in the leaderboard" in output
    assert "1 of 6 entries scored again" in output
