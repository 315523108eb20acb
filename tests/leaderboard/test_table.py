from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.evaluation.metrics import NON_FINITE_PREDICTION
from rcn_search.evaluation.protocol import EvaluationProtocol, rcn2016, subpixel
from rcn_search.leaderboard import per_image
from rcn_search.leaderboard import table as table_module
from rcn_search.leaderboard.records import Entry, add_entry, load_entries
from rcn_search.leaderboard.table import Leaderboard, LeaderboardTable, build_leaderboard

Make = Callable[..., Entry]
Add = Callable[..., str]
AFLW = rcn2016("aflw", "test", "five")


def table_of(
    leaderboard: Leaderboard, protocol: EvaluationProtocol | None, dataset: str = "aflw", subset: str = "test"
) -> LeaderboardTable:
    (table,) = (
        table
        for table in leaderboard.tables
        if (table.dataset, table.subset, table.protocol) == (dataset, subset, protocol)
    )
    return table


def ranks(table: LeaderboardTable) -> list[tuple[str, str]]:
    return [(str(row.rank or ""), row.method) for row in table.rows]


def base_errors(num_images: int = 400, seed: int = 0) -> Any:
    return np.random.default_rng(seed).gamma(4, 1.4, num_images)


def test_build_leaderboard_places_entries_among_published_rows(add_measured: Add, store: str) -> None:
    """Rows are ordered by error, but only rows measured on the same images have a rank."""
    add_measured(store, np.full(4, 5.62), method="Mine")
    table = table_of(build_leaderboard(store), AFLW)
    assert ranks(table)[:3] == [
        ("", "RCN 6 branches, occlusion"),
        ("1", "Mine"),
        ("", "RCN 6 branches, occlusion, skip"),
    ]
    assert [row.origin for row in table.rows[:3]] == ["reported", "ours", "reported"]


def test_build_leaderboard_insignificant_difference_shares_rank(add_measured: Add, leaderboard: str) -> None:
    base, noise = base_errors(), np.random.default_rng(1)
    for method, shift in (("a", 1.0), ("b", 1.01), ("c", 0.0), ("d", 3.0)):
        add_measured(leaderboard, base + noise.normal(shift, 0.3, 400), method=method)
    (table,) = build_leaderboard(leaderboard).tables
    assert ranks(table) == [("1", "c"), ("2–3", "a"), ("2–3", "b"), ("4", "d")]
    assert table.images_sha256 == (table.rows[0].entry and table.rows[0].entry.images_sha256)


def test_build_leaderboard_other_images_have_no_rank(add_measured: Add, leaderboard: str) -> None:
    """A method that left out half of the images has a row and no rank."""
    add_measured(leaderboard, base_errors(), method="a")
    add_measured(leaderboard, base_errors() + 1, method="b")
    add_measured(leaderboard, base_errors()[:200] / 2, method="half")
    (table,) = build_leaderboard(leaderboard).tables
    assert ranks(table) == [("", "half"), ("1", "a"), ("2", "b")]
    assert table.rows[0].no_rank_reason == "no rank: its 200 images are not those of the ranked rows"


def test_build_leaderboard_excluded_images_are_ignored(add_measured: Add, leaderboard: str) -> None:
    errors = base_errors()
    errors[3] = np.nan
    for method, shift in (("a", 0.0), ("b", 1.0)):
        add_measured(leaderboard, errors + shift, method=method, excluded={"normalizer under 1 px": 1})
    assert ranks(build_leaderboard(leaderboard).tables[0]) == [("1", "a"), ("2", "b")]


def test_build_leaderboard_without_per_image_errors_has_no_rank(
    make_entry: Make, add_measured: Add, leaderboard: str
) -> None:
    add_entry(leaderboard, make_entry(method="old", error_pct=1.0))
    add_measured(leaderboard, base_errors(), method="new")
    (table,) = build_leaderboard(leaderboard).tables
    assert ranks(table) == [("", "old"), ("1", "new")]
    assert "leaderboard rescore" in table.rows[0].no_rank_reason


def test_build_leaderboard_ranks_only_best_rows(
    add_measured: Add, leaderboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "MAX_RANKED", 2)
    for number in range(3):
        add_measured(leaderboard, base_errors() + number, method=str(number))
    (table,) = build_leaderboard(leaderboard).tables
    assert ranks(table) == [("1", "0"), ("2", "1"), ("", "2")]


@pytest.mark.parametrize("kind", ["errors", "images"])
@pytest.mark.parametrize("damage", ["missing", "torn", "changed"])
def test_build_leaderboard_damaged_errors_give_no_rank_and_problem(
    add_measured: Add, leaderboard: str, kind: str, damage: str
) -> None:
    add_measured(leaderboard, base_errors(), method="a")
    add_measured(leaderboard, base_errors(seed=7) + 1, method="b", first_image=0 if kind == "errors" else 50)
    entry = next(entry for entry in load_entries(leaderboard)[0].values() if entry.method == "b")
    if kind == "errors":
        uri = storage.join(leaderboard, "per_image_errors", f"{entry.errors_sha256}.npy")
    else:
        uri = storage.join(leaderboard, "image_sets", f"{entry.images_sha256}.json")
        # Now most rows are of these images.
        add_measured(leaderboard, base_errors(seed=8) + 1, method="c", first_image=50)
    content = storage.read_bytes(uri)
    per_image._image_set.cache_clear()
    storage.delete(uri)
    if damage == "torn":
        storage.write_bytes(uri, content[:200])
    if damage == "changed":
        changed = content.replace(b"image7", b"image8") if kind == "images" else content[:-1] + b"\x00"
        storage.write_bytes(uri, changed)
    shown = build_leaderboard(leaderboard)
    rows = {row.method: row for row in shown.tables[0].rows}
    assert rows["b"].rank is None
    assert "cannot be read" in rows["b"].no_rank_reason
    assert uri in shown.problems[0] or "missing" in shown.problems[0]
    assert rows["a"].rank is not None


def test_build_leaderboard_errors_of_other_entry_are_refused(
    add_measured: Add, make_entry: Make, leaderboard: str
) -> None:
    """An entry that names the errors of a better method has no rank."""
    add_measured(leaderboard, base_errors(), method="good")
    add_measured(leaderboard, base_errors(), method="thief", error_pct=9.0)
    shown = build_leaderboard(leaderboard)
    assert ranks(shown.tables[0]) == [("1", "good"), ("", "thief")]
    assert "not those of its entry" in shown.problems[0]


def test_build_leaderboard_shows_mean_over_seeds(add_measured: Add, leaderboard: str) -> None:
    for seed, shift in ((0, 0.0), (1, 1.0), (2, 2.0)):
        config = {"seed": seed, "model": {"name": "rcn"}, "compute": {"threads": seed + 1}}
        add_measured(leaderboard, np.full(400, 5.0) + shift, config=config)
    again = {"seed": 2, "model": {"name": "rcn"}}  # a second evaluation of the same weights
    add_measured(leaderboard, np.full(400, 5.0), config=again, epochs=16)
    add_measured(leaderboard, np.full(400, 5.0), config={"seed": 0, "model": {"name": "sumnet"}})
    add_measured(leaderboard, np.full(400, 5.0), config={"seed": 3, "model": {"name": "rcn"}}, method="Other")
    rows = build_leaderboard(leaderboard).tables[0].rows
    seeds = {
        row.seeds for row in rows if row.method != "Other" and row.entry and row.entry.config["model"]["name"] == "rcn"
    }
    (statistics,) = seeds
    assert statistics is not None
    assert statistics.num == 3
    assert statistics.sd_pct == pytest.approx(np.std([5, 6, 5], ddof=1))
    assert {
        row.seeds for row in rows if row.method == "Other" or (row.entry and row.entry.config["model"]["name"] != "rcn")
    } == {None}


def test_drop_superseded_drops_replaced_entry(make_entry: Make, add_measured: Add, leaderboard: str) -> None:
    errors = base_errors()
    old = add_entry(leaderboard, make_entry(error_pct=float(errors.mean()), num_images=400)).rpartition("/")[2][:-5]
    add_measured(leaderboard, errors, replaces=old)
    (row,) = build_leaderboard(leaderboard).tables[0].rows
    assert row.rank == (1, 1)
    assert row.entry is not None
    assert row.entry.replaces == old


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "Better"},
        {"run_id": "ffff"},
        {"predictions_sha256": "1" * 64},
        {"error_pct": 4.0},
        {"num_test_evaluations": 0},
    ],
)
def test_drop_superseded_keeps_entry_with_other_result(
    make_entry: Make, add_measured: Add, leaderboard: str, changes: dict[str, Any]
) -> None:
    errors = base_errors()
    old = add_entry(leaderboard, make_entry(error_pct=float(errors.mean()), num_images=400)).rpartition("/")[2][:-5]
    add_measured(leaderboard, errors, replaces=old, **changes)
    assert len(build_leaderboard(leaderboard).tables[0].rows) == 2


def test_build_leaderboard_has_one_table_per_protocol(make_entry: Make, leaderboard: str) -> None:
    protocols = [
        AFLW,
        rcn2016("afw", "test", "five"),
        rcn2016("aflw", "other", "five"),
        subpixel("aflw", "test", "five"),
        AFLW.model_copy(update={"box_source": "detector"}),
    ]
    for protocol in protocols:
        add_entry(leaderboard, make_entry(protocol=protocol))
    shown = build_leaderboard(leaderboard)
    assert {table.protocol for table in shown.tables} == set(protocols)
    assert all(len(table.rows) == 1 for table in shown.tables)


def test_build_leaderboard_published_row_without_protocol_has_no_rank(store: str) -> None:
    table = table_of(build_leaderboard(store), None)
    assert {row.method for row in table.rows} == {"TSPM", "CDM", "ESR", "RCPR", "SDM", "TCDCN"}
    assert {row.rank for row in table.rows} == {None}
    assert table.protocol_name == "not stated"


def test_build_leaderboard_unpredicted_images_give_no_rank(add_measured: Add, leaderboard: str) -> None:
    errors = base_errors()
    add_measured(leaderboard, errors, method="fair")
    errors[0] = np.nan
    add_measured(leaderboard, errors / 2, method="cheat", excluded={NON_FINITE_PREDICTION: 1})
    table = build_leaderboard(leaderboard).tables[0]
    assert ranks(table) == [("", "cheat"), ("1", "fair")]
    assert table.rows[0].no_rank_reason == "no rank: 1 images without a finite prediction"


def test_build_leaderboard_tables_with_entries_come_first(make_entry: Make, store: str) -> None:
    add_entry(store, make_entry(protocol=rcn2016("zoo", "test", "five")))
    leaderboard = build_leaderboard(store)
    assert leaderboard.tables[0].dataset == "zoo"
    assert leaderboard.tables[1].dataset == "300w"


def test_select_keeps_one_data_set(store: str) -> None:
    leaderboard = build_leaderboard(store)
    assert {table.subset for table in leaderboard.select("300w").tables} >= {"common", "challenging", "full"}
    assert {table.subset for table in leaderboard.select("300w", "full").tables} == {"full"}
    assert leaderboard.select("nowhere").tables == ()


def test_build_leaderboard_lists_problems(make_entry: Make, leaderboard: str) -> None:
    add_entry(leaderboard, make_entry())
    storage.write_bytes(storage.join(leaderboard, "entries", "x.json"), b"{")
    storage.write_bytes(storage.join(leaderboard, "published", "x.csv"), b"method\nM\n")
    shown = build_leaderboard(leaderboard)
    assert [len(table.rows) for table in shown.tables] == [1]
    assert [name in problem for name, problem in zip(("x.json", "x.csv"), shown.problems, strict=True)] == [True, True]


@pytest.mark.every_store
def test_build_leaderboard_own_published_rows_replace_project_rows(store: str) -> None:
    header = "method,year,dataset,subset,keypoints,protocol,normalizer,error_pct,source,note\n"
    row = "M,2016,aflw,test,five,rcn2016,eye_centers,5.5,S,\n"
    storage.write_bytes(storage.join(store, "published", "table.csv"), (header + row).encode())
    (table,) = build_leaderboard(store).tables
    assert [(row.method, row.error_pct) for row in table.rows] == [("M", 5.5)]


def test_build_leaderboard_missing_uri_is_a_problem(store: str) -> None:
    """Otherwise a mistyped URI would look like a leaderboard without entries."""
    assert build_leaderboard(store).problems == (f"there is no leaderboard at {store}: only published rows are shown",)
