"""Every number of a score against plain Python that shares no code with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from rcn_search.evaluation import bootstrap
from rcn_search.evaluation.bootstrap import bootstrap_intervals, resample_groups
from rcn_search.evaluation.metrics import bootstrap_interval, cumulative_errors, image_errors
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, rcn2016, subpixel
from rcn_search.evaluation.score import score

Make = Callable[..., Predictions]
NUM_SETS = 120
EXACT = 1e-12

# Point indices as the 300-W papers print them, less one.
EYES = {
    ("five", "eye_centers"): ([0], [1]),
    ("ibug68", "eye_centers"): ([36, 39], [42, 45]),
    ("ibug68", "outer_eye_corners"): ([36], [45]),
    ("ibug68", "pupils"): ([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]),
}


def random_set(make: Make, rng: np.random.Generator, keypoints: str, *, num_images: int | None = None) -> Predictions:
    """Faces as they come: some far off, some points hidden, some eyes in one place, some answers missing."""
    count = num_images or int(rng.integers(3, 9))
    found = make(count, keypoints)
    found.group[:] = [f"g{value}" for value in rng.integers(0, max(2, count // 2), count)]
    for true, pred in ((found.true_image_nk2, found.pred_image_nk2), (found.true_crop_nk2, found.pred_crop_nk2)):
        true += rng.normal(0, 8, true.shape).astype(np.float32)
        pred[:] = true + rng.normal(0, rng.choice([1, 4, 15], (count, 1, 1)), true.shape).astype(np.float32)
    found.pred_cell_nk2[:] += rng.integers(-6, 7, found.pred_cell_nk2.shape).astype(np.int16)
    found.visible[:] = rng.random(found.visible.shape) < 0.85
    found.attributes["pose"][:] = rng.integers(0, 3, count)
    if rng.random() < 0.3:
        found.true_image_nk2[0] = found.true_crop_nk2[0] = 50.0  # the normalizer is nothing
    if rng.random() < 0.3:
        found.pred_image_nk2[1, -1] = found.pred_crop_nk2[1, -1] = np.nan
    return found


@dataclass
class Face:
    """One image in plain numbers: errors by point, their mean, and its class; no errors where it does not count."""

    by_point: dict[int, float]
    error: float
    pose: int


def plain_faces(found: Predictions, protocol: EvaluationProtocol) -> list[Face]:
    faces = []
    for n in range(len(found)):
        by_point = plain_errors(found, protocol, n)
        if by_point:
            faces.append(Face(by_point, sum(by_point.values()) / len(by_point), int(found.attributes["pose"][n])))
    return faces


def plain_errors(found: Predictions, protocol: EvaluationProtocol, n: int) -> dict[int, float]:
    grid = protocol.grid_px
    true: list[tuple[float, float]] = []
    frame: list[tuple[float, float]] = []
    for k in range(found.schema.num_points):
        if grid is None:
            x, y = (float(value) for value in found.true_image_nk2[n, k])
            frame.append((x, y))
            true.append((x, y))
        else:
            left, top, width, _ = (float(value) for value in found.face_box[n])
            x, y = (float(value) for value in found.true_crop_nk2[n, k])
            x, y = (x - left) / width * grid, (y - top) / width * grid
            frame.append((x, y))
            true.append(tuple(math.floor(min(max(value, 0.0), 0.99999 * grid)) for value in (x, y)))  # type: ignore[arg-type]
    counts = [k for k in range(len(true)) if grid is not None or found.visible[n, k]]
    if not counts:
        return {}
    if protocol.normalizer in ("box", "diagonal"):
        xs, ys = [frame[k][0] for k in counts], [frame[k][1] for k in counts]
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        norm = math.sqrt(width * height) if protocol.normalizer == "box" else math.sqrt(width**2 + height**2)
    else:
        (ax, ay), (bx, by) = (
            (sum(frame[k][0] for k in eye) / len(eye), sum(frame[k][1] for k in eye) / len(eye))
            for eye in EYES[found.schema.name, protocol.normalizer]
        )
        norm = math.sqrt((ax - bx) ** 2 + (ay - by) ** 2)
    asked = found.pred_image_nk2 if grid is None else found.pred_crop_nk2
    if norm < 1 or any(not math.isfinite(float(value)) for k in counts for value in asked[n, k]):
        return {}
    errors = {}
    for k in counts:
        px, py = (float(value) for value in (found.pred_image_nk2 if grid is None else found.pred_cell_nk2)[n, k])
        errors[k] = 100 * math.sqrt((px - true[k][0]) ** 2 + (py - true[k][1]) ** 2) / norm
    return errors


def plain_percentile(values: Iterable[float], percent: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


PROTOCOLS = [
    rcn2016("aflw", "test", "five"),
    rcn2016("300w", "full", "ibug68"),
    *(subpixel("aflw", "test", "five", each) for each in ("eye_centers", "box", "diagonal")),  # type: ignore[arg-type]
    *(subpixel("300w", "full", "ibug68", each) for each in ("outer_eye_corners", "pupils", "box")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("seed", range(NUM_SETS))
def test_score_agrees_with_plain_loops(make_predictions: Make, seed: int) -> None:
    protocol = PROTOCOLS[seed % len(PROTOCOLS)]
    found = random_set(make_predictions, np.random.default_rng(seed), protocol.keypoints)
    faces = plain_faces(found, protocol)
    threshold = protocol.threshold_pct
    errors = [face.error for face in faces]
    scored = score(found, protocol, num_resamples=10)
    assert scored.num_images == len(faces)
    assert scored.num_images + sum(scored.excluded.values()) == len(found)
    expected = {
        "error": sum(errors) / len(errors),
        "auc": 100 * sum(max(0.0, threshold - error) for error in errors) / len(errors) / threshold,
        "failure_rate": 100 * sum(1 for error in errors if error > threshold) / len(errors),
        **{f"p{percent}": plain_percentile(errors, percent) for percent in (90, 95, 99)},
    }
    for name, value in expected.items():
        assert getattr(scored, name).pct == pytest.approx(value, rel=EXACT, abs=EXACT), name
    for k, point in enumerate(scored.points):
        counted = [face.by_point[k] for face in faces if k in face.by_point]
        assert (point is None) == (not counted)
        if point:
            assert point.pct == pytest.approx(sum(counted) / len(counted), rel=EXACT)
    poses = {face.pose for face in faces}
    assert list(scored.parts) == [f"pose {pose}" for pose in sorted(poses)]
    for pose in poses:
        of_pose = [face.error for face in faces if face.pose == pose]
        part = scored.parts[f"pose {pose}"]
        assert (part.num_images, part.error.pct) == (
            len(of_pose),
            pytest.approx(sum(of_pose) / len(of_pose), rel=EXACT),
        )


def test_score_error_at_the_threshold_is_no_failure_and_adds_no_area(make_predictions: Make) -> None:
    found = make_predictions(4)
    found.pred_cell_nk2[0] += np.array([2, 0], dtype=np.int16)  # 2 of 20 cells: 10 %
    found.pred_cell_nk2[1] += np.array([3, 0], dtype=np.int16)
    protocol = rcn2016("aflw", "test", "five")
    assert image_errors(found, protocol).error_pct_n[0] == pytest.approx(10, abs=1e-5)
    at = protocol.model_copy(update={"threshold_pct": float(image_errors(found, protocol).error_pct_n[0])})
    scored = score(found, at, num_resamples=10)
    assert (scored.failure_rate.pct, scored.auc.pct) == (25, 50)
    failed = np.array([0.0, 100, 0, 0])
    assert scored.failure_rate[1:] == bootstrap_interval(failed, found.group, num_resamples=10)


def test_score_intervals_equal_separate_bootstraps(make_predictions: Make) -> None:
    """Each column by itself, and percentiles by drawing the images out one by one."""
    found = random_set(make_predictions, np.random.default_rng(3), "five", num_images=40)
    protocol = subpixel("aflw", "test", "five")
    scored = score(found, protocol, num_resamples=400)
    errors = image_errors(found, protocol)
    error_n, group_n = errors.error_pct_n[errors.is_included_n], found.group[errors.is_included_n]
    names, index_n = np.unique(group_n, return_inverse=True)
    drawn: list[list[float]] = []
    for count_bg in resample_groups(len(names), 400):
        for count_g in count_bg:
            items = [error for error, g in zip(error_n, index_n, strict=True) for _ in range(count_g[g])]
            over = [100.0 * (item > 10) for item in items]
            drawn.append([float(np.mean(items)), *np.percentile(items, [90, 95, 99]).tolist(), float(np.mean(over))])
    for got, column in zip(
        (scored.error, scored.p90, scored.p95, scored.p99, scored.failure_rate), np.array(drawn).T, strict=True
    ):
        np.testing.assert_allclose(got[1:], np.quantile(column, [0.025, 0.975]), rtol=1e-9)
    assert scored.error[1:] == pytest.approx(bootstrap_interval(error_n, group_n, num_resamples=400))
    assert scored.auc.low_pct is not None
    assert scored.auc.low_pct < scored.auc.pct < (scored.auc.high_pct or 0)


def test_score_intervals_of_area_points_and_parts_are_of_their_columns(make_predictions: Make) -> None:
    found = random_set(make_predictions, np.random.default_rng(3), "five", num_images=40)
    protocol = subpixel("aflw", "test", "five").model_copy(update={"threshold_pct": 4.0})
    scored = score(found, protocol, num_resamples=200)
    errors = image_errors(found, protocol)
    included_n = errors.is_included_n
    error_n, group_n = errors.error_pct_n[included_n], found.group[included_n]

    def interval(values_n: object) -> object:
        return bootstrap_interval(np.asarray(values_n, np.float64), group_n, num_resamples=200)

    assert scored.auc[1:] == pytest.approx(interval(100 * np.maximum(0, 4 - error_n) / 4))
    assert scored.failure_rate[1:] == pytest.approx(interval(100 * (error_n > 4)))
    for k, point in enumerate(scored.points):
        assert point is not None
        assert point[1:] == pytest.approx(interval(errors.error_pct_nk[included_n, k])), k
    for pose in range(3):
        of_pose_n = np.where(found.attributes["pose"][included_n] == pose, error_n, np.nan)
        assert scored.parts[f"pose {pose}"].error[1:] == pytest.approx(interval(of_pose_n)), pose


def test_score_with_an_excluded_image_is_that_of_the_others(make_predictions: Make) -> None:
    found = random_set(make_predictions, np.random.default_rng(5), "five", num_images=20)
    found.true_image_nk2[7] = 50.0  # no distance between the eyes
    found.group[7] = "a group of its own"
    others_n = np.arange(20) != 7
    arrays = {each.name: getattr(found, each.name) for each in fields(found)}
    kept = {name: values[others_n] for name, values in arrays.items() if isinstance(values, np.ndarray)}
    without = replace(found, **kept, attributes={"pose": found.attributes["pose"][others_n]})
    protocol = subpixel("aflw", "test", "five")
    scored = score(found, protocol, num_resamples=200)
    assert scored.num_images < 20
    assert replace(scored, excluded={}) == replace(score(without, protocol, num_resamples=200), excluded={})


def test_bootstrap_batches_do_not_change_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    values_nc = np.random.default_rng(0).gamma(4, 1.5, (50, 3))
    groups = np.arange(50).astype(str)
    whole = bootstrap_intervals(values_nc, groups, percentiles=[90], num_resamples=300)
    monkeypatch.setattr(bootstrap, "_BATCH", 1_000)
    assert bootstrap_intervals(values_nc, groups, percentiles=[90], num_resamples=300) == whole


def test_bootstrap_single_group_has_no_interval() -> None:
    values_nc = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, np.nan]])
    means, (percentile,) = bootstrap_intervals(values_nc, np.array(list("abc")), percentiles=[50], num_resamples=50)
    assert means[1] is None
    assert means[0] is not None
    assert percentile is not None
    assert bootstrap_intervals(values_nc, np.array(list("aaa")), percentiles=[50]) == ([None, None], [None])


def test_cumulative_errors_ties_make_one_step() -> None:
    errors, shares = cumulative_errors(np.array([2.0, 1.0, 2.0, 5.0]), end_pct=8.0)
    assert (errors.tolist(), shares.tolist()) == ([0, 1, 2, 5, 8], [0, 25, 75, 100, 100])
