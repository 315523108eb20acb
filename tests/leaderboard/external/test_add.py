"""Predictions of other systems, checked and scored with the ground truth of a drawn data set."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.leaderboard.external.add import (
    AddedPredictions,
    CheckedPredictions,
    ModelFacts,
    add_predictions,
    check_predictions,
)
from rcn_search.leaderboard.external.faces import ExternalPredictions
from rcn_search.leaderboard.external.join import join_ground_truth
from rcn_search.leaderboard.published import PUBLISHED
from rcn_search.leaderboard.records import load_entries
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import load_test_evaluations


def as_csv(faces: ExternalPredictions, header: list[str] | None = None, order: Any = slice(None)) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header or ["image", *(f"{axis}{k}" for k in range(5) for axis in "xy")])
    writer.writerows([name, *points.reshape(-1)[order]] for name, points in faces.items())
    return stream.getvalue()


def as_spiga(faces: ExternalPredictions, landmarks: Callable[[np.ndarray], Any] = np.ndarray.tolist) -> str:
    return json.dumps([{"imgpath": name, "landmarks": landmarks(points)} for name, points in faces.items()])


def as_coco(faces: ExternalPredictions, **changes: Any) -> str:
    images = [{"id": number, "file_name": name} for number, name in enumerate(faces)]
    annotations = [
        {"image_id": number, "keypoints": np.insert(points, 2, 2, axis=1).ravel().tolist()}
        for number, points in enumerate(faces.values())
    ]
    return json.dumps({"images": images, "annotations": annotations} | changes)


@pytest.fixture
def check(synthetic_uri: str, tmp_path: Path) -> Callable[..., CheckedPredictions]:
    """Check the content of a file, or a file."""

    def checked(content: str | Path, **options: Any) -> CheckedPredictions:
        path = content if isinstance(content, Path) else tmp_path / "predictions"
        if isinstance(content, str):
            path.write_text(content)
        return check_predictions(str(path), synthetic_uri, "test", **{"method": "Rival"} | options)

    return checked


Check = Callable[..., CheckedPredictions]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A leaderboard on this machine, without published rows."""
    (tmp_path / "leaderboard" / PUBLISHED).mkdir(parents=True)
    return tmp_path / "leaderboard"


def error_pct(checked: CheckedPredictions, leaderboard: str) -> float:
    return add_predictions(checked, leaderboard).scores[1][1].error_pct


XY = np.arange(10)
BY_AXIS = [*XY[::2], *XY[1::2]]
EXCHANGED = XY.reshape(5, 2)[:, ::-1].ravel()
HEADER_BY_AXIS = ["image", *(f"{axis}{k}" for axis in "xy" for k in range(5))]
HEADER_EXCHANGED = ["image", *(f"{axis}{k}" for k in range(5) for axis in "yx")]


@pytest.mark.parametrize(
    "write",
    [
        as_csv,
        lambda truth: as_csv(truth, HEADER_BY_AXIS, BY_AXIS),
        lambda truth: as_csv(truth, ["image", *(f"{axis}{k}" for axis in "xy" for k in range(1, 6))], BY_AXIS),
        lambda truth: as_csv(truth, HEADER_EXCHANGED, EXCHANGED),
        lambda truth: as_csv(truth).replace("image,", "image,w,h,", 1).replace(".png,", ".png,160,160,"),
        as_spiga,
        as_coco,
        lambda truth: as_coco(truth).replace('"image_id": 1,', '"image_id": 1.0,'),
    ],
)
def test_truth_in_another_order_has_no_error(
    write: Callable[[ExternalPredictions], str], truth: ExternalPredictions, check: Check, folder: Path
) -> None:
    """W1 of the field trial: each of these gave 39 to 93 % and a rank."""
    named = {f"{name}.png": points for name, points in truth.items()}
    checked = check(write(named))
    assert checked.num_joined == 24
    assert checked.preview.median_px < 1e-4
    assert error_pct(checked, str(folder)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda truth: as_spiga(truth, lambda points: points.T.tolist()),
            "landmarks must be 5 pairs .*, not 2 lists of 5",
        ),
        (lambda truth: as_spiga(truth, lambda points: points.T.ravel().tolist()), "not a flat list of 10"),
        (lambda truth: as_spiga(truth, lambda points: [[True, "1_0"], *points.tolist()[1:]]), "True is not a number"),
        (lambda truth: as_coco(truth, images=[{"id": 0, "file_name": name} for name in truth]), "the id 0 of another"),
        (
            lambda truth: as_coco(truth, images=[{"id": str(n), "file_name": name} for n, name in enumerate(truth)]),
            "no image has the id 0; ids are like '0'",
        ),
        (lambda truth: as_csv(truth, ["image", *"abcdefghij"]), "unknown columns .*: a, b, c"),
        (lambda truth: as_csv(truth, ["image", *"0123456789"]), "the first line has numbers; it must be a header"),
        (lambda truth: as_csv({name: points * 1e30 for name, points in truth.items()}), "which is in no image"),
        (lambda truth: as_csv({name: points * np.nan for name, points in truth.items()}), "no image to score"),
        (lambda truth: as_csv({f"other/{n}": points for n, points in enumerate(truth.values())}), "none of the 24"),
    ],
)
def test_truth_that_is_not_clear_is_refused(
    write: Callable[[ExternalPredictions], str], message: str, truth: ExternalPredictions, check: Check
) -> None:
    with pytest.raises(RcnSearchError, match=message):
        check(write(truth))


def test_add_predictions_external_csv_is_scored(truth: ExternalPredictions, check: Check, leaderboard: str) -> None:
    moved = {name: points + np.array([2, 0]) for name, points in truth.items()}
    checked = check(as_csv(moved), normalizers=["box"], model=ModelFacts(source="a paper"))
    assert (checked.num_joined, checked.notes, checked.implausible) == (24, [], "")
    assert checked.preview.median_px == pytest.approx(2, abs=1e-3)
    assert checked.preview.hint.startswith("all points may be off by (2.00, 0.00) px;")
    added = add_predictions(checked, leaderboard)
    assert added.num_test_evaluations == 1
    assert [protocol.name for protocol, _ in added.scores] == ["rcn2016", "subpixel", "subpixel-box"]
    by_hand = [100 * 2.0 / np.linalg.norm(points[0] - points[1]) for points in truth.values()]
    assert added.scores[1][1].error.pct == pytest.approx(np.mean(by_hand), rel=1e-4)
    tables = build_leaderboard(leaderboard).tables
    assert {table.protocol_name: str(table.rows[0].rank) for table in tables} == {
        **{"rcn2016": "1", "subpixel": "1", "subpixel-box": "1"}
    }
    (row,) = tables[1].rows
    assert (row.origin, row.method) == ("reproduced", "Rival")
    assert row.entry is not None
    assert row.entry.source == "a paper"


def test_add_predictions_pixel_offset_moves_points(truth: ExternalPredictions, check: Check) -> None:
    moved = check(as_csv({name: points - 2 for name, points in truth.items()}), pixel_offset=2.0)
    assert moved.preview.median_px < 1e-3
    with pytest.raises(RcnSearchError, match="pixel offset nan; give a finite number"):
        check(as_csv(truth), pixel_offset=float("nan"))


def test_check_predictions_counts_and_writes_nothing(truth: ExternalPredictions, check: Check, tmp_path: Path) -> None:
    """Whatever an entry would refuse is refused before its evaluation is counted, too."""
    for options in (
        {"method": "a\x1bb"},
        {"normalizers": ["pupils"]},
        {"model": ModelFacts(latency_ms=-1)},
        {"model": ModelFacts(hardware="")},
    ):
        with pytest.raises(RcnSearchError):
            check(as_csv(truth), **options)
    check(as_csv(truth))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_add_predictions_implausible_is_refused_unless_forced(
    truth: ExternalPredictions, check: Check, folder: Path
) -> None:
    leaderboard = str(folder)
    checked = check(as_csv({name: points[:, ::-1] for name, points in truth.items()}))
    message = (
        r"the median error is \d+ % of eye_centers; more than 30 % is not plausible: x and y may be exchanged; .*0% .* "
        "add them with --force"
    )
    with pytest.raises(RcnSearchError, match=message):
        add_predictions(checked, leaderboard)
    assert not list(folder.rglob("*.json"))
    assert add_predictions(checked, leaderboard, force=True).num_test_evaluations == 1
    assert len(load_entries(leaderboard)[0]) == 2
    assert load_test_evaluations(leaderboard, "synthetic", "test")[0] == 1


def test_add_predictions_coco_zeros_are_counted_as_missing(
    truth: ExternalPredictions, check: Check, folder: Path
) -> None:
    """An image of zeros gave 30 % and a rank, one point of zeros 12 %."""
    document = json.loads(as_coco(truth))
    document["annotations"][0]["keypoints"] = [0] * 15
    document["annotations"][1]["keypoints"][3:6] = [0, 0, 0]
    checked = check(json.dumps(document))
    first, second, *_ = truth
    assert checked.notes == [f"images of which points have no prediction: 2 ({first}, {second})"]
    assert checked.num_joined == 24
    added = add_predictions(checked, str(folder))
    assert added.scores[1][1].excluded == {"non-finite prediction": 2}
    assert added.scores[1][1].error_pct == pytest.approx(0, abs=1e-4)
    for table in build_leaderboard(str(folder)).tables:
        assert table.rows[0].no_rank_reason == "no rank: 2 images without a finite prediction"


def test_check_predictions_notes_what_was_not_read(truth: ExternalPredictions, check: Check) -> None:
    first, *others = truth
    given = {name: truth[name] for name in others} | {"stranger": truth[first]}
    checked = check(as_csv(given).replace("image,", "w,image,", 1).replace("\n", "\n160,").removesuffix("160,"))
    assert checked.num_joined == 23
    assert checked.notes == [
        "columns not read: w",
        f"images without a prediction: 1 ({first})",
        "predictions for images that the split does not have: 1 (stranger)",
    ]


def test_check_predictions_native_file_uses_ground_truth_of_data_set(
    truth: ExternalPredictions, synthetic_uri: str, check: Check, folder: Path, tmp_path: Path
) -> None:
    """A file that stores its own predictions as ground truth scores no better."""
    external = {name: points + np.array([2, 0]) for name, points in truth.items()}
    dataset = open_dataset(synthetic_uri)
    honest = join_ground_truth(external, dataset, "test", method="m", run_id="r", pixel_offset=0).predictions
    meta = honest.meta | {"dataset": "other"}
    cheat = replace(honest, true_crop_nk2=honest.pred_crop_nk2, true_image_nk2=honest.pred_image_nk2, meta=meta)
    path = tmp_path / "own"  # recognized by its content
    write_predictions(cheat, str(path))
    leaderboard = str(folder)
    assert error_pct(check(path), leaderboard) == error_pct(check(as_csv(external)), leaderboard)
    write_predictions(_first(honest, 3), str(path))
    with pytest.raises(ValueError, match=r"3 images of split 'test' .* are not the 24 images of 'test'"):
        check(path)


def _first(predictions: Predictions, count: int) -> Predictions:
    arrays = {name: values[:count] for name, values in vars(predictions).items() if isinstance(values, np.ndarray)}
    return replace(
        predictions, **arrays, attributes={name: values[:count] for name, values in predictions.attributes.items()}
    )


def test_add_predictions_missing_images_give_no_rank(truth: ExternalPredictions, check: Check, folder: Path) -> None:
    leaderboard = str(folder)
    _, second, *others = truth
    given = {name: truth[name] for name in others} | {second: np.full((5, 2), np.nan)}
    added: AddedPredictions = add_predictions(check(as_csv(given)), leaderboard)
    assert added.scores[0][1].num_images == 22
    for table in build_leaderboard(leaderboard).tables:
        assert table.rows[0].rank is None
        assert table.rows[0].no_rank_reason == "no rank: 2 images without a finite prediction"
