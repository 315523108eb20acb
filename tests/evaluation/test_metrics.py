from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcn_search.evaluation import metrics
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import EvaluationProtocol, named_protocol, rcn2016, subpixel
from rcn_search.evaluation.score import score

RCN2016 = rcn2016("aflw", "test", "five")
SUBPIXEL = subpixel("aflw", "test", "five")

# The face of `make_predictions`, in its face box.
FACE = np.array([[0.375, 0.4], [0.625, 0.4], [0.5, 0.55], [0.4, 0.7], [0.6, 0.7]])

Make = Callable[..., Predictions]


def test_image_errors_perfect_method_is_zero(make_predictions: Make) -> None:
    for protocol in (RCN2016, SUBPIXEL):
        scored = score(make_predictions(), protocol)
        assert scored.error == scored.p90 == scored.p99 == scored.failure_rate == (0, 0, 0)
        assert scored.auc == (100, 100, 100)
        assert (scored.num_images, scored.excluded) == (3, {})


def test_image_errors_rcn2016_by_hand(make_predictions: Make) -> None:
    predictions = make_predictions(2)
    predictions.pred_cell_nk2[0, 0] += np.array([3, 4], dtype=np.int16)  # 5 cells; the eyes are 20 cells apart: 25 %
    predictions.pred_cell_nk2[1, 4] += np.array([0, -2], dtype=np.int16)  # 10 %
    errors = metrics.image_errors(predictions, RCN2016)
    np.testing.assert_allclose(errors.error_pct_nk, [[25, 0, 0, 0, 0], [0, 0, 0, 0, 10]], rtol=1e-6)
    np.testing.assert_allclose(errors.error_pct_n, [5, 2], rtol=1e-6)
    assert score(predictions, RCN2016).error.pct == pytest.approx(3.5)


def test_image_errors_rcn2016_rounds_true_points_down_to_a_cell(make_predictions: Make) -> None:
    predictions = make_predictions(1)
    cell_px = 120 / 80
    predictions.true_crop_nk2[0, 2] += 0.6 * cell_px  # 40.6, 44.6 of the grid: still cell 40, 44
    assert score(predictions, RCN2016).error.pct == 0
    predictions.true_crop_nk2[0, 2] += 0.6 * cell_px  # the next cell, to the right and below
    assert score(predictions, RCN2016).error.pct == pytest.approx(100 * np.sqrt(2) / 20 / 5)


def test_image_errors_rcn2016_clamps_true_points_but_not_the_normalizer(make_predictions: Make) -> None:
    predictions = make_predictions(1)
    predictions.true_crop_nk2[0, 0] = [20 - 60, 68]  # half a face box left of the face box: cell 0, row 32
    predictions.true_crop_nk2[0, 1] = [20 + 60, 68]
    predictions.pred_cell_nk2[0, 0] = [8, 32]
    predictions.pred_cell_nk2[0, 1] = [40, 32]
    errors = metrics.image_errors(predictions, RCN2016)
    np.testing.assert_allclose(errors.error_pct_nk, [[10, 0, 0, 0, 0]], rtol=1e-6)  # 8 cells of 80


def test_image_errors_rcn2016_clamps_to_the_last_cell(make_predictions: Make) -> None:
    predictions = make_predictions(1)
    predictions.true_crop_nk2[0, 2] = [1000, 140]  # beyond the right edge, and on the lower one
    predictions.pred_cell_nk2[0, 2] = [79, 79]
    assert score(predictions, RCN2016).error.pct == 0


def test_image_errors_hidden_points_count_for_rcn2016_only(make_predictions: Make) -> None:
    predictions = make_predictions(1)
    predictions.visible[0, 2] = False
    predictions.pred_cell_nk2[0, 2] += np.array([2, 0], dtype=np.int16)
    predictions.pred_image_nk2[0, 2] += np.array([6, 0], dtype=np.float32)  # of 60 px between the eyes
    predictions.pred_image_nk2[0, 3] += np.array([0, 12], dtype=np.float32)
    assert score(predictions, RCN2016).error.pct == pytest.approx(10 / 5)
    assert score(predictions, SUBPIXEL).error.pct == pytest.approx(20 / 4)
    np.testing.assert_allclose(
        metrics.image_errors(predictions, SUBPIXEL).error_pct_nk, [[0, 0, np.nan, 20, 0]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("normalizer", "length_px"),
    [
        ("eye_centers", 80),  # between the midpoints of the corners
        ("outer_eye_corners", 120),
        ("pupils", 70),  # the lids pull the mean of six points inwards
        ("box", np.sqrt(200 * 128)),
        ("diagonal", np.hypot(200, 128)),
    ],
)
def test_image_errors_normalizers_by_hand(make_predictions: Make, normalizer: str, length_px: float) -> None:
    true_k2 = np.full((68, 2), 100.0, dtype=np.float32)
    true_k2[36], true_k2[39] = (40, 50), (80, 50)
    true_k2[42], true_k2[45] = (120, 50), (160, 50)
    true_k2[[37, 38, 40, 41]] = (67.5, 50)
    true_k2[[43, 44, 46, 47]] = (132.5, 50)
    true_k2[0], true_k2[16], true_k2[8] = (0, 60), (200, 60), (100, 178)
    pred_k2 = true_k2 + np.float32([3, 4])
    predictions = make_predictions(1, "ibug68", true_image_nk2=true_k2[None], pred_image_nk2=pred_k2[None])
    protocol = subpixel("300w", "full", "ibug68", normalizer)  # type: ignore[arg-type]
    assert score(predictions, protocol).error.pct == pytest.approx(100 * 5 / length_px)


@pytest.mark.parametrize(("length_px", "excluded"), [(1.0, ""), (0.9375, metrics.TINY_NORMALIZER)])
def test_image_errors_normalizer_of_exactly_one_pixel_counts(
    make_predictions: Make, length_px: float, excluded: str
) -> None:
    predictions = make_predictions(1)
    for name in ("true_crop_nk2", "true_image_nk2"):
        points_k2 = getattr(predictions, name)[0]
        points_k2[:2] = np.array([[64, 64], [64 + length_px, 64]])
    assert metrics.image_errors(predictions, SUBPIXEL).excluded_n.tolist() == [excluded]


@pytest.mark.parametrize("protocol", [RCN2016, SUBPIXEL])
def test_image_errors_excluded_images_are_counted_by_reason(
    make_predictions: Make, protocol: EvaluationProtocol
) -> None:
    predictions = make_predictions(7)
    for name in ("true_crop_nk2", "true_image_nk2"):
        points_nk2 = getattr(predictions, name)
        points_nk2[0, 2] = np.inf
        points_nk2[1, :2] = points_nk2[1, 0]  # both eyes in one place
        points_nk2[2, :2] = points_nk2[2, 0] + np.array([[0, 0], [0.9, 0]])  # and almost
    predictions.pred_crop_nk2[3, 4] = predictions.pred_image_nk2[3, 4] = np.inf
    predictions.pred_crop_nk2[0, 4] = predictions.pred_image_nk2[0, 4] = np.nan  # the truth is to blame first
    errors = metrics.image_errors(predictions, protocol)
    assert errors.excluded_n.tolist() == [
        metrics.NON_FINITE_TRUTH,
        *[metrics.TINY_NORMALIZER] * 2,
        metrics.NON_FINITE_PREDICTION,
        *[""] * 3,
    ]
    assert errors.excluded == {
        metrics.NON_FINITE_PREDICTION: 1,
        metrics.NON_FINITE_TRUTH: 1,
        metrics.TINY_NORMALIZER: 2,
    }
    scored = score(predictions, protocol)
    assert (scored.num_images, scored.error.pct, scored.excluded) == (3, 0, errors.excluded)


def test_image_errors_hidden_points_may_be_non_finite(make_predictions: Make) -> None:
    predictions = make_predictions(2)
    predictions.visible[0, 2] = predictions.visible[1, 0] = False
    predictions.true_image_nk2[0, 2] = predictions.pred_image_nk2[0, 2] = np.nan
    predictions.true_image_nk2[1, 0] = np.nan  # an eye: there is no normalizer
    errors = metrics.image_errors(predictions, SUBPIXEL)
    assert errors.excluded_n.tolist() == ["", metrics.NON_FINITE_NORMALIZER]


def test_image_errors_image_without_visible_point_or_face_box_is_excluded(make_predictions: Make) -> None:
    predictions = make_predictions(2)
    predictions.visible[0] = False
    predictions.face_box[1, 2:] = 0
    assert metrics.image_errors(predictions, SUBPIXEL).excluded == {metrics.NO_VISIBLE_POINT: 1}
    assert metrics.image_errors(predictions, RCN2016).excluded == {metrics.NON_FINITE_TRUTH: 1}


def test_score_without_included_image_fails(make_predictions: Make) -> None:
    predictions = make_predictions(2)
    predictions.visible[:] = False
    with pytest.raises(ValueError, match=r"no image to score under subpixel: \{'no visible point': 2\}"):
        score(predictions, SUBPIXEL)
    with pytest.raises(ValueError, match="the prediction file is empty"):
        score(make_predictions(0), RCN2016)


def test_image_errors_rejects_other_keypoints_or_grid(make_predictions: Make) -> None:
    predictions = make_predictions()
    with pytest.raises(ValueError, match="'five' points; rcn2016 here needs 'ibug68'"):
        score(predictions, rcn2016("300w", "full", "ibug68"))
    with pytest.raises(ValueError, match="no normalizer 'pupils'; they have eye_centers"):
        score(predictions, subpixel("aflw", "test", "five", "pupils"))
    predictions.meta["grid_px"] = 40
    with pytest.raises(ValueError, match=r"cells of a 40 px grid; rcn2016 needs one of 80 px\. Train with"):
        score(predictions, RCN2016)


def test_failure_rate_and_auc_by_hand() -> None:
    error_pct_n = np.array([2.0, 8.0, 10.0, 12.0])
    assert metrics.failure_rate_pct(error_pct_n, 10.0) == 25  # the tie at 10 is no failure
    assert metrics.auc_pct(error_pct_n, 10.0) == pytest.approx(100 * (0.8 + 0.2 + 0 + 0) / 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=20), st.floats(0.5, 20))
def test_auc_equals_the_area_under_the_step_curve(errors: list[float], threshold_pct: float) -> None:
    error_pct_n = np.array(errors)
    edges = np.sort(np.concatenate([[0.0, threshold_pct], error_pct_n[error_pct_n < threshold_pct]]))
    heights = [np.mean(error_pct_n <= left) for left in edges[:-1]]
    area = 100 * float(np.dot(heights, np.diff(edges))) / threshold_pct
    assert metrics.auc_pct(error_pct_n, threshold_pct) == pytest.approx(area, abs=1e-9)


def test_bootstrap_interval_agrees_with_theory() -> None:
    errors = np.random.default_rng(0).gamma(4, 1.5, 3000)
    low, high = metrics.bootstrap_interval(errors, np.arange(3000).astype(str)) or (0, 0)
    margin = 1.96 * errors.std() / np.sqrt(3000)
    assert low == pytest.approx(errors.mean() - margin, abs=0.01)
    assert high == pytest.approx(errors.mean() + margin, abs=0.01)


def test_bootstrap_interval_repeated_images_of_a_group_do_not_narrow_it() -> None:
    errors = np.repeat(np.random.default_rng(0).gamma(4, 1.5, 100), 25)
    apart = metrics.bootstrap_interval(errors, np.arange(2500).astype(str)) or (0, 0)
    together = metrics.bootstrap_interval(errors, np.repeat(np.arange(100), 25).astype(str)) or (0, 0)
    assert together[1] - together[0] == pytest.approx(5 * (apart[1] - apart[0]), rel=0.1)


def test_bootstrap_interval_weighs_groups_by_their_images() -> None:
    low, high = metrics.bootstrap_interval(np.array([1.0, 1, 1, 9]), np.array(["a", "a", "a", "b"])) or (0, 0)
    assert (low, high) == (1, 9)  # from "only a" to "only b"; never beyond


def test_bootstrap_interval_is_seeded_and_needs_two_groups() -> None:
    errors, groups = np.array([1.0, 2, 4, 8]), np.array(list("abcd"))
    assert metrics.bootstrap_interval(errors, groups) == metrics.bootstrap_interval(errors, groups)
    order = [2, 0, 3, 1]
    assert metrics.bootstrap_interval(errors[order], groups[order]) == metrics.bootstrap_interval(errors, groups)
    assert metrics.bootstrap_interval(errors, np.array(list("aaaa"))) is None


def test_image_errors_predictions_are_clipped_to_the_photograph(make_predictions: Make) -> None:
    """A face box of 120 px, a photograph from x = 44 to y = 125: cells 16 and, from below, 80 - 10."""
    away = np.array([[0, 0], [79, 79], [10, 75], [40, 40], [79, 5]], dtype=np.int16)
    found = make_predictions(
        1, pred_cell_nk2=away[None], photo_n4=np.float32([[44, 0, 116, 125]]), edge_nk=np.zeros((1, 5), np.uint8)
    )
    true = np.array([[30, 32], [50, 32], [40, 44], [32, 56], [48, 56]])
    moved = np.array([[16, 0], [79, 70], [16, 70], [40, 40], [79, 5]])
    expected = 100 * np.linalg.norm(moved - true, axis=1) / 20
    np.testing.assert_allclose(metrics.image_errors(found, RCN2016).error_pct_nk[0], expected, rtol=1e-5)


def test_image_errors_points_annotated_at_an_edge_are_moved_to_it(make_predictions: Make) -> None:
    edge = np.array([[1, 2, 3, 4, 0]], dtype=np.uint8)
    found = make_predictions(1, photo_n4=np.float32([[44, 35, 81, 90]]), edge_nk=edge)
    true = np.array([[30, 32], [50, 32], [40, 44], [32, 56], [48, 56]])
    moved = np.array([[16, 32], [50, 10], [70, 44], [32, 70], [48, 56]])
    expected = 100 * np.linalg.norm(moved - true, axis=1) / 20
    np.testing.assert_allclose(metrics.image_errors(found, RCN2016).error_pct_nk[0], expected, rtol=1e-5)


def test_image_errors_points_at_the_end_of_a_face_box_within_the_photograph_keep_its_last_edge(
    make_predictions: Make,
) -> None:
    edge = np.array([[0, 3, 0, 4, 0]], dtype=np.uint8)
    found = make_predictions(1, photo_n4=np.float32([[0, 0, 160, 160]]), edge_nk=edge)
    errors = metrics.image_errors(found, RCN2016).error_pct_nk[0]
    np.testing.assert_allclose(errors[[1, 3]], [100 * (80 - 50) / 20, 100 * (80 - 56) / 20], rtol=1e-5)


def test_image_errors_49_points_use_the_eye_centers_of_68(make_predictions: Make) -> None:
    """The subset has no contour and no inner corners of the mouth."""
    cells = make_predictions(2, "ibug68").pred_cell_nk2.copy()
    cells[0, [3, 60, 64]] += 30  # do not count
    cells[1, 30] += np.array([3, 4], dtype=np.int16)
    found = make_predictions(2, "ibug68", pred_cell_nk2=cells)
    protocol = named_protocol("rcn2016-49", "300w", "common", "ibug49")
    errors = metrics.image_errors(found, protocol)
    assert errors.error_pct_n[0] == 0
    assert np.isfinite(errors.error_pct_nk).sum(axis=1).tolist() == [49, 49]
    eyes = 80 * np.resize(FACE, (68, 2))
    ocular = np.linalg.norm(eyes[[36, 39]].mean(0) - eyes[[42, 45]].mean(0))
    assert errors.error_pct_n[1] == pytest.approx(100 * 5 / ocular / 49, rel=1e-4)
    with pytest.raises(ValueError, match="the predictions have 'five' points; rcn2016-49 here needs 'ibug49'"):
        metrics.image_errors(make_predictions(1), protocol)


@pytest.mark.parametrize("protocol", [RCN2016, SUBPIXEL], ids=lambda protocol: protocol.name)
def test_image_errors_points_that_are_not_labeled_do_not_count(
    make_predictions: Make, protocol: EvaluationProtocol
) -> None:
    """They are NaN and not visible; an image whose normalizer needs one is excluded."""
    predictions = make_predictions()
    for values in (predictions.true_crop_nk2, predictions.true_image_nk2):
        values[0, 3] = values[1, 0] = np.nan
    predictions.visible[0, 3] = predictions.visible[1, 0] = False
    predictions.pred_image_nk2[0, 2] += 10
    predictions.pred_cell_nk2[0, 2] += 10
    errors = metrics.image_errors(predictions, protocol)
    assert errors.excluded_n.tolist() == ["", metrics.NON_FINITE_NORMALIZER, ""]
    assert np.isnan(errors.error_pct_nk[0]).tolist() == [False, False, False, True, False]
    assert errors.error_pct_n[0] == pytest.approx(errors.error_pct_nk[0, 2] / 4)
    assert errors.error_pct_n[0] > 1
