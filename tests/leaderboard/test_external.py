"""Predictions of other systems, scored with the ground truth of a drawn data set."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rcn_search.data.dataset import open_dataset
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.leaderboard.external import AddedPredictions, ModelFacts, add_predictions
from rcn_search.leaderboard.external_join import _match_images, join_ground_truth
from rcn_search.leaderboard.formats import ExternalPredictions
from rcn_search.leaderboard.table import build_leaderboard


@pytest.fixture
def external(synthetic_uri: str) -> ExternalPredictions:
    """The ground truth of the test split, moved right by 2 pixels of the original image."""
    split = open_dataset(synthetic_uri).split("test")
    scale = split.box_n4[:, None, 2:] / 160
    points = split.points_nk2.numpy() * scale + split.box_n4[:, None, :2] + np.array([2.0, 0.0])
    return dict(zip(split.image_id_n.tolist(), points.astype(np.float64), strict=True))


def as_csv(external: ExternalPredictions, path: Path, prefix: str = "") -> str:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", *(f"{axis}{k}" for k in range(5) for axis in "xy")])
        writer.writerows([prefix + name, *points.reshape(-1)] for name, points in external.items())
    return str(path)


def add(uri: str, data_uri: str, leaderboard: str, method: str = "Rival", **options: object) -> AddedPredictions:
    return add_predictions(uri, data_uri, "test", leaderboard=leaderboard, method=method, **options)  # type: ignore[arg-type]


def test_add_predictions_external_csv_is_scored(
    external: ExternalPredictions, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> None:
    added = add(
        as_csv(external, tmp_path / "a.csv"),
        synthetic_uri,
        leaderboard,
        normalizers=["box"],
        model=ModelFacts(source="a paper"),
    )
    assert (added.warnings, added.num_test_evaluations) == ([], 1)
    assert [protocol.name for protocol, _ in added.scores] == ["rcn2016", "subpixel", "subpixel-box"]
    by_hand = []
    split = open_dataset(synthetic_uri).split("test")
    for points, box in zip(split.points_nk2.numpy().astype(float), split.box_n4, strict=True):
        eyes_px = np.linalg.norm((points[0] - points[1]) * box[2:] / 160)
        by_hand.append(100 * 2.0 / eyes_px)
    assert added.scores[1][1].error.pct == pytest.approx(np.mean(by_hand), rel=1e-4)
    tables = build_leaderboard(leaderboard).tables
    assert {table.protocol_name: str(table.rows[0].rank) for table in tables} == {
        **{"rcn2016": "1", "subpixel": "1", "subpixel-box": "1"}
    }
    (row,) = tables[1].rows
    assert (row.origin, row.method) == ("reproduced", "Rival")
    assert row.entry is not None
    assert row.entry.source == "a paper"


def test_add_predictions_pixel_offset_moves_points(
    external: ExternalPredictions, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> None:
    added = add(
        as_csv({k: v - 2 for k, v in external.items()}, tmp_path / "a.csv"),
        synthetic_uri,
        leaderboard,
        pixel_offset=2.0,
    )
    unshifted = add(as_csv(external, tmp_path / "b.csv"), synthetic_uri, leaderboard)
    assert added.scores[1][1].error.pct == pytest.approx(unshifted.scores[1][1].error.pct, rel=1e-4)


def test_add_predictions_native_file_uses_ground_truth_of_data_set(
    external: ExternalPredictions, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> None:
    """A file that stores its own predictions as ground truth scores no better."""
    joined = join_ground_truth(external, synthetic_uri, "test", method="m", run_id="r", pixel_offset=0)
    honest = joined.predictions
    meta = honest.meta | {"dataset": "other"}
    cheat = replace(honest, true_crop_nk2=honest.pred_crop_nk2, true_image_nk2=honest.pred_image_nk2, meta=meta)
    uri = str(tmp_path / "p.parquet")
    write_predictions(cheat, uri)
    expected = add(as_csv(external, tmp_path / "a.csv"), synthetic_uri, leaderboard).scores
    assert add(uri, synthetic_uri, leaderboard).scores == expected
    write_predictions(_first(honest, 3), uri)
    with pytest.raises(ValueError, match=r"3 images of split 'test' .* are not the 24 images of 'test'"):
        add(uri, synthetic_uri, leaderboard)


def _first(predictions: Predictions, count: int) -> Predictions:
    arrays = {name: values[:count] for name, values in vars(predictions).items() if isinstance(values, np.ndarray)}
    return replace(
        predictions, **arrays, attributes={name: values[:count] for name, values in predictions.attributes.items()}
    )


def test_add_predictions_missing_images_warns_and_gives_no_rank(
    external: ExternalPredictions, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> None:
    first, second = list(external)[:2]
    given = {name: points for name, points in external.items() if name != first} | {"stranger.png": external[first]}
    given[second] = np.full((5, 2), np.nan)
    added = add(as_csv(given, tmp_path / "a.csv"), synthetic_uri, leaderboard)
    assert added.warnings == [
        f"1 images have no prediction, so the method gets no rank: {first}",
        "1 predictions are for images outside the split: stranger.png",
    ]
    for table in build_leaderboard(leaderboard).tables:
        assert table.rows[0].rank is None
        assert table.rows[0].no_rank_reason == "no rank: 2 images without a finite prediction"


@pytest.mark.parametrize("prefix", ["", "./", "/home/me/data/", "C:\\data\\"])
def test_join_ground_truth_matches_path_suffix(external: ExternalPredictions, synthetic_uri: str, prefix: str) -> None:
    joined = join_ground_truth(
        {prefix + name: points for name, points in external.items()},
        *(synthetic_uri, "test"),
        method="m",
        run_id="r",
        pixel_offset=0,
    )
    assert joined.coverage_warnings() == []


def test_join_ground_truth_two_predictions_for_one_image_uses_none(
    external: ExternalPredictions, synthetic_uri: str
) -> None:
    name, *_ = external
    given = {other: points for other, points in external.items() if other != name}
    joined = join_ground_truth(
        given | {f"a/{name}": external[name], f"b/{name}": external[name]},
        *(synthetic_uri, "test"),
        method="m",
        run_id="r",
        pixel_offset=0,
    )
    assert joined.missing == [name]
    assert sorted(joined.extra) == [f"a/{name}", f"b/{name}"]


def test_match_images_ambiguous_name_is_ignored() -> None:
    points = np.zeros((5, 2))
    ids = ["indoor/1.png", "outdoor/1.png", "outdoor/2.png"]
    given = {"1.png": points, "2.png": points, "x/indoor/1.png": points}
    assert _match_images(given, ids) == {0: "x/indoor/1.png", 2: "2.png"}


def test_join_ground_truth_unmatched_or_wrong_points_is_refused(
    external: ExternalPredictions, synthetic_uri: str
) -> None:
    options = {"method": "m", "run_id": "r", "pixel_offset": 0.0}
    with pytest.raises(
        ValueError, match="none of the 1 predictions is for an image of split 'test'; predictions are named x"
    ):
        join_ground_truth({"x": np.zeros((5, 2))}, synthetic_uri, "test", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has 4 points; 'five' has 5"):
        join_ground_truth({name: points[:4] for name, points in external.items()}, synthetic_uri, "test", **options)  # type: ignore[arg-type]
