from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
OTHER = BASE + np.random.default_rng(1).normal(0.4, 1, 300)
NAMES = np.array([f"image{n}" for n in range(300)])


def entry_id(uri: str) -> str:
    return Path(uri).stem


def test_it_is_the_paired_difference(add_measured: Add, leaderboard: str) -> None:
    first = add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, OTHER, method="B")
    (verdict,) = compare(leaderboard, load_current_entries(leaderboard), entry_id(first), "B")
    assert verdict.difference == paired_difference(BASE, OTHER, NAMES)
    assert (verdict.methods, verdict.num_images, verdict.num_seeds) == (("A", "B"), 300, (1, 1))
    assert str(verdict).startswith("A is better than B by 0.")
    assert ", p = 0.0002" in str(verdict)
    (back,) = compare(leaderboard, load_current_entries(leaderboard), "B", "A")
    assert str(back).startswith("A is better than B by 0.")


def test_no_difference_is_said_to_be_none(add_measured: Add, leaderboard: str) -> None:
    add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, BASE + np.random.default_rng(2).normal(0, 1, 300), method="B")
    (verdict,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert str(verdict).startswith("no difference that chance does not explain: ")


def test_seeds_of_a_method_count_together(add_measured: Add, leaderboard: str) -> None:
    seeds = [BASE, BASE + 0.3]
    for seed, errors in enumerate(seeds):
        add_measured(leaderboard, errors, method="A", config={"seed": seed})
    add_measured(leaderboard, BASE + 5, method="A", config={"seed": 1}, epochs=99)  # a second look at the same weights
    add_measured(leaderboard, OTHER, method="B")
    (verdict,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert verdict.num_seeds == (2, 1)
    kept = sorted(load_current_entries(leaderboard).items())
    first_of = {entry.config["seed"]: entry for _, entry in reversed(kept) if entry.method == "A"}
    expected = np.stack([load_errors(leaderboard, first_of[seed]) for seed in sorted(first_of)])
    assert verdict.difference.mean == pytest.approx(seeded_difference(expected, OTHER[None], NAMES).mean)


def test_seeds_in_names_are_one_method(add_measured: Add, leaderboard: str) -> None:
    for seed in range(2):
        add_measured(leaderboard, BASE + 0.1 * seed, method=f"A, seed {seed}", config={"seed": seed})
    add_measured(leaderboard, OTHER, method="B")
    (both,) = compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    (one,) = compare(leaderboard, load_current_entries(leaderboard), "A, seed 1", "B")
    assert (both.num_seeds, both.methods) == ((2, 1), ("A", "B"))
    assert (one.num_seeds, one.methods) == ((1, 1), ("A, seed 1", "B"))


def test_a_name_of_several_results_is_refused(add_measured: Add, leaderboard: str) -> None:
    first = add_measured(leaderboard, BASE, method="A", config={"seed": 0, "epochs": 1})
    add_measured(leaderboard, OTHER, method="A", config={"seed": 0, "epochs": 2})
    add_measured(leaderboard, OTHER, method="B")
    with pytest.raises(ValueError, match=r"2 different results are called 'A'; name one by its id:\n  2026") as error:
        compare(leaderboard, load_current_entries(leaderboard), "A", "B")
    assert entry_id(first) in str(error.value)


def test_what_cannot_be_compared_is_refused_with_the_reason(
    add_measured: Add, make_entry: Make, leaderboard: str
) -> None:
    add_measured(leaderboard, BASE, method="A")
    add_measured(leaderboard, OTHER[:200], method="part")
    add_entry(leaderboard, make_entry(method="old"))
    add_measured(leaderboard, BASE, method="pupils", protocol=subpixel("aflw", "test", "five", "box"))
    add_measured(leaderboard, BASE, method="elsewhere", protocol=rcn2016("afw", "test", "five"))
    for other, message in {
        "part": "measured on different images, 300 and 200 of them",
        "old": "old has no errors by image on the leaderboard",
        "pupils": r"measured differently \(normalizer: eye centers or box; grid: 80×80 or sub-pixel; threshold: 10",
        "elsewhere": r"measured differently \(dataset: aflw or afw\)$",
        "PART": "no entry and no method is called 'PART'; methods like it: 'part'",
        "A": "'A' and 'A' are the same",
    }.items():
        with pytest.raises(ValueError, match=message):
            compare(leaderboard, load_current_entries(leaderboard), "A", other)


# --- predictions scored again -----------------------------------------------------------------------------------------


@pytest.fixture
def predicted(make_entry: Make, tmp_path: Path) -> Callable[..., Entry]:
    """An entry of schema version 1 with a prediction file of faces 60 pixels between the eyes."""
    sys_path = tmp_path / "p.parquet"

    def make(predictions: Predictions, **changes: Any) -> Entry:
        sha256 = write_predictions(predictions, str(sys_path))
        fields = {"schema_version": 1, "predictions_sha256": sha256, "predictions_uri": str(sys_path), "num_images": 3}
        return make_entry(**fields | {"protocol": subpixel("aflw", "test", "five")} | changes)

    return make


@pytest.fixture
def predictions(faces: Predictions) -> Predictions:
    return replace(faces, pred_image_nk2=faces.true_image_nk2 + np.float32([6, 0]))  # 6 of 60 px: 10 %


def test_an_old_entry_gets_its_errors(predicted: Make, predictions: Predictions, leaderboard: str) -> None:
    old = entry_id(add_entry(leaderboard, predicted(predictions, error_pct=10.0)))
    there = load_current_entries(leaderboard)
    (result,) = rescore(leaderboard, there, there, predictions={})
    ((new_id, entry),) = load_current_entries(leaderboard).items()
    assert entry_id(result.uri) == new_id != old
    assert (entry.replaces, entry.schema_version, entry.test_looks) == (old, 3, 1)
    np.testing.assert_allclose(load_errors(leaderboard, entry), 10, rtol=1e-6)
    (again,) = rescore(
        leaderboard, load_current_entries(leaderboard), load_current_entries(leaderboard), predictions={}
    )
    assert (again.uri, again.reason) == ("", "is on the leaderboard under subpixel already")


def test_another_normalizer_is_another_entry(predicted: Make, predictions: Predictions, leaderboard: str) -> None:
    add_entry(leaderboard, predicted(predictions, error_pct=10.0))
    there = load_current_entries(leaderboard)
    (result,) = rescore(leaderboard, there, there, normalizer="diagonal", predictions={})
    both = load_current_entries(leaderboard)
    assert len(both) == 2
    scored = both[entry_id(result.uri)]
    assert (scored.protocol.name, scored.replaces) == ("subpixel-diagonal", None)
    assert scored.error_pct < 10
    (wrong,) = rescore(leaderboard, there, there, normalizer="pupils", predictions={})
    assert "no normalizer 'pupils'" in wrong.reason


def test_predictions_that_changed_or_are_gone_change_nothing(
    predicted: Make, predictions: Predictions, leaderboard: str
) -> None:
    entry = predicted(predictions, error_pct=9.0)
    add_entry(leaderboard, entry)
    there = load_current_entries(leaderboard)
    (other,) = rescore(leaderboard, there, there, predictions={})
    assert other.reason.startswith("its predictions now score 10.0000 %, not 9.0000 %")
    path = Path(entry.predictions_uri or "")
    moved = path.rename(path.with_name("moved.parquet"))
    (gone,) = rescore(leaderboard, there, there, predictions={})
    assert "is not there; name it with --predictions" in gone.reason
    (found,) = rescore(
        leaderboard, there, there, normalizer="box", predictions=hash_prediction_files([str(moved.parent)])
    )
    assert found.uri
    write_predictions(predictions, str(moved))
    moved.write_bytes(moved.read_bytes() + b"x")
    (altered,) = rescore(leaderboard, there, there, normalizer="diagonal", predictions={})
    assert "is not there" in altered.reason


def test_across_protocols_the_command_that_helps_is_named(
    predicted: Make, predictions: Predictions, add_measured: Add, leaderboard: str
) -> None:
    stored = entry_id(add_entry(leaderboard, predicted(predictions, error_pct=10.0)))
    add_measured(leaderboard, BASE[:3], method="boxed", protocol=subpixel("aflw", "test", "five", "box"))
    with pytest.raises(ValueError, match=f"rescore {stored} --protocol subpixel-box --leaderboard {leaderboard}"):
        compare(leaderboard, load_current_entries(leaderboard), "RCN 6 branches", "boxed")


def test_entries_are_found_by_file_too(add_measured: Add, leaderboard: str) -> None:
    uri = add_measured(leaderboard, BASE, method="A")
    there = load_current_entries(leaderboard)
    assert find_entries(there, uri) == find_entries(there, "A") == there
