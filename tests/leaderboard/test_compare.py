from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.evaluation.paired import paired_difference, seeded_difference
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.leaderboard.compare import compare
from rcn_search.leaderboard.lookup import find_entries, hash_prediction_files, load_current_entries
from rcn_search.leaderboard.records import Entry, add_entry
from rcn_search.leaderboard.rescore import rescore
from rcn_search.leaderboard.table import load_errors

Add = Callable[..., str]
Make = Callable[..., Entry]
BASE = np.random.default_rng(0).gamma(4, 1.4, 300)
OTHER = np.abs(BASE + np.random.default_rng(1).normal(0.4, 1, 300))
NAMES = np.array([f"image{n}" for n in range(300)])


def entry_id(uri: str) -> str:
    return Path(uri).stem


def test_compare_two_entries_gives_paired_difference(add_measured: Add, leaderboard: str) -> None:
    first = add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, OTHER, method="B")
    (comparison,) = compare(leaderboard, load_current_entries(leaderboard), entry_id(first), "B")
    assert comparison.difference == paired_difference(BASE, OTHER, NAMES)
    assert (comparison.methods, comparison.num_images, comparison.num_seeds) == (("A", "B"), 300, (1, 1))
    assert str(comparison).startswith("A is better than B by 0.")
    assert ", p = 0.0002" in str(comparison)
    (back,) = compare(leaderboard, load_current_entries(leaderboard), "B", "A")
    assert str(back).startswith("A is better than B by 0.")


def test_compare_equal_errors_reports_no_significant_difference(add_measured: Add, leaderboard: str) -> None:
    add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, np.abs(BASE + np.random.default_rng(2).normal(0, 1, 300)), method="B")
    (comparison,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert str(comparison).startswith("no significant difference: ")


def test_compare_several_seeds_averages_them(add_measured: Add, leaderboard: str) -> None:
    seeds = [BASE, BASE + 0.3]
    for seed, errors in enumerate(seeds):
        add_measured(leaderboard, errors, method="A", config={"seed": seed})
    add_measured(leaderboard, BASE + 5, method="A", config={"seed": 1}, epochs=99)  # again the same weights
    add_measured(leaderboard, OTHER, method="B")
    (comparison,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert comparison.num_seeds == (2, 1)
    by_id = sorted(load_current_entries(leaderboard).items())
    first_of = {entry.config["seed"]: entry for _, entry in reversed(by_id) if entry.method == "A"}
    expected = np.stack([load_errors(leaderboard, first_of[seed]) for seed in sorted(first_of)])
    assert comparison.difference.mean == pytest.approx(seeded_difference(expected, OTHER[None], NAMES).mean)


def test_compare_seed_in_name_is_one_method(add_measured: Add, leaderboard: str) -> None:
    for seed in range(2):
        add_measured(leaderboard, BASE + 0.1 * seed, method=f"A, seed {seed}", config={"seed": seed})
    add_measured(leaderboard, OTHER, method="B")
    (both,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    (one,) = compare(leaderboard, load_current_entries(leaderboard), "A, seed 1", "B")
    assert (both.num_seeds, both.methods) == ((2, 1), ("A", "B"))
    assert (one.num_seeds, one.methods) == ((1, 1), ("A, seed 1", "B"))


def test_compare_ambiguous_name_lists_the_ids(add_measured: Add, leaderboard: str) -> None:
    first = add_measured(leaderboard, BASE, method="A", config={"seed": 0, "epochs": 1})
    add_measured(leaderboard, OTHER, method="A", config={"seed": 0, "epochs": 2})
    add_measured(leaderboard, OTHER, method="B")
    with pytest.raises(ValueError, match=r"2 different results are called 'A'; name one by its id:\n  2026") as error:
        compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert entry_id(first) in str(error.value)


def test_compare_incomparable_rows_gives_the_reason(add_measured: Add, make_entry: Make, leaderboard: str) -> None:
    add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, OTHER[:200], method="part")
    add_entry(leaderboard, make_entry(method="old"))
    add_measured(leaderboard, BASE, method="pupils", protocol=subpixel("aflw", "test", "five", "box"))
    add_measured(leaderboard, BASE, method="elsewhere", protocol=rcn2016("afw", "test", "five"))
    for other, message in {
        "part": "measured on different images, 300 and 200 of them",
        "old": "the leaderboard has no per-image errors of old",
        "pupils": r"measured differently \(normalizer: eye centers or box; grid: 80×80 or sub-pixel; threshold: 10",
        "elsewhere": r"measured differently \(dataset: aflw or afw\)$",
        "PART": "no entry and no method is called 'PART'; similar methods: 'part'",
        "A": "'A' and 'A' are the same row",
    }.items():
        with pytest.raises(ValueError, match=message):
            compare(leaderboard, load_current_entries(leaderboard), "A", other)


# --- rescore ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def predicted(make_entry: Make, leaderboard: str) -> Callable[..., Entry]:
    """An entry of schema version 1 with a prediction file of faces 60 pixels between the eyes, in the leaderboard."""
    uri = storage.join(leaderboard, "predictions", "old.parquet")

    def make(predictions: Predictions, **changes: Any) -> Entry:
        sha256 = write_predictions(predictions, uri)
        fields = {"schema_version": 1, "predictions_sha256": sha256, "predictions_uri": uri, "num_images": 3}
        return make_entry(**fields | {"protocol": subpixel("aflw", "test", "five")} | changes)

    return make


@pytest.fixture
def predictions(faces: Predictions) -> Predictions:
    return replace(faces, pred_image_nk2=faces.true_image_nk2 + np.float32([6, 0]))  # 6 of 60 px: 10 %


def test_rescore_old_entry_adds_per_image_errors(predicted: Make, predictions: Predictions, leaderboard: str) -> None:
    old = entry_id(add_entry(leaderboard, predicted(predictions, error_pct=10.0)))
    current = load_current_entries(leaderboard)
    (result,) = rescore(leaderboard, current, current, predictions={})
    ((new_id, entry),) = load_current_entries(leaderboard).items()
    assert entry_id(result.uri) == new_id != old
    assert (entry.replaces, entry.schema_version, entry.num_test_evaluations) == (old, 3, 1)
    np.testing.assert_allclose(load_errors(leaderboard, entry), 10, rtol=1e-6)
    (again,) = rescore(
        leaderboard, load_current_entries(leaderboard), load_current_entries(leaderboard), predictions={}
    )
    assert (again.uri, again.reason) == ("", "is on the leaderboard under subpixel already")


def test_rescore_other_normalizer_adds_an_entry(predicted: Make, predictions: Predictions, leaderboard: str) -> None:
    add_entry(leaderboard, predicted(predictions, error_pct=10.0))
    current = load_current_entries(leaderboard)
    (result,) = rescore(leaderboard, current, current, normalizer="diagonal", predictions={})
    both = load_current_entries(leaderboard)
    assert len(both) == 2
    scored = both[entry_id(result.uri)]
    assert (scored.protocol.name, scored.replaces) == ("subpixel-diagonal", None)
    assert scored.error_pct < 10
    (wrong,) = rescore(leaderboard, current, current, normalizer="pupils", predictions={})
    assert "no normalizer 'pupils'" in wrong.reason


def test_rescore_changed_or_missing_predictions_adds_nothing(
    predicted: Make, predictions: Predictions, leaderboard: str, tmp_path: Path
) -> None:
    entry = predicted(predictions, error_pct=9.0)
    add_entry(leaderboard, entry)
    current = load_current_entries(leaderboard)
    (other,) = rescore(leaderboard, current, current, predictions={})
    assert other.reason.startswith("has predictions that now score 10.0000 %, not 9.0000 %")
    assert entry.predictions_uri is not None
    moved = tmp_path / "moved" / "moved.parquet"
    storage.write_bytes(str(moved), storage.read_bytes(entry.predictions_uri))
    storage.delete(entry.predictions_uri)
    (gone,) = rescore(leaderboard, current, current, predictions={})
    assert f"(then at {entry.predictions_uri}), which is not in the leaderboard; name it with --pred" in gone.reason
    (moved_result,) = rescore(
        leaderboard, current, current, normalizer="box", predictions=hash_prediction_files([str(moved.parent)])
    )
    assert moved_result.uri
    storage.write_bytes(entry.predictions_uri, moved.read_bytes() + b"x")
    (altered,) = rescore(leaderboard, current, current, normalizer="diagonal", predictions={})
    assert "which is not in the leaderboard" in altered.reason


def test_compare_across_protocols_names_the_rescore_command(
    predicted: Make, predictions: Predictions, add_measured: Add, leaderboard: str
) -> None:
    stored = entry_id(add_entry(leaderboard, predicted(predictions, error_pct=10.0)))
    add_measured(leaderboard, BASE[:3], method="boxed", protocol=subpixel("aflw", "test", "five", "box"))
    with pytest.raises(ValueError, match=f"rescore {stored} --protocol subpixel-box --leaderboard {leaderboard}"):
        compare(leaderboard, load_current_entries(leaderboard), "RCN 6 branches", "boxed")


def test_find_entries_accepts_file_name(add_measured: Add, leaderboard: str) -> None:
    uri = add_measured(leaderboard, BASE, method="A")
    current = load_current_entries(leaderboard)
    assert find_entries(current, uri) == find_entries(current, "A") == current
