from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.score import protocols_for
from rcn_search.leaderboard.external.preview import Preview, preview

Change = Callable[[np.ndarray], np.ndarray]


def look(predictions: Predictions, change: Change = lambda points: points) -> Preview:
    changed = replace(predictions, pred_image_nk2=change(predictions.true_image_nk2.copy()).astype(np.float32))
    return preview(changed, protocols_for(changed))


def test_preview_shows_the_points_of_the_first_picture_that_counts(faces: Predictions) -> None:
    """The eyes of every face are 60 px apart."""

    def change(points_nk2: np.ndarray) -> np.ndarray:
        points_nk2[0] = np.nan
        points_nk2[1:] += [[3, 0], [0, 6], [0, 9], [12, 0], [15, 0]]
        return points_nk2

    seen = look(replace(faces, visible=faces.visible & [True, True, True, True, False]), change)
    assert seen.image_id == "image1"
    assert [point.keypoint for point in seen.points] == ["left_eye", "right_eye", "nose", "left_mouth"]
    assert seen.points[1].true_px == (290, 236)
    assert seen.points[1].predicted_px == (290, 242)
    assert [point.distance_px for point in seen.points] == [3, 6, 9, 12]
    assert (seen.median_px, seen.median_pct, seen.normalizer) == (7.5, 12.5, "eye_centers")
    assert (seen.hint, seen.implausible) == ("", "")


def test_preview_implausible_distances_are_refused(faces: Predictions) -> None:
    assert look(faces, lambda points: points + [[10, 14]] * 5).implausible == ""
    implausible = look(faces, lambda points: points + [[40, 30]] * 5)
    assert implausible.implausible == "the median error is 83 % of eye_centers; more than 30 % is not plausible"
    assert implausible.hint.startswith("all points may be off by (40.00, 30.00) px")

    def one_far_away(points_nk2: np.ndarray) -> np.ndarray:
        points_nk2[2, 3] = 1e6
        return points_nk2

    assert look(faces, one_far_away).implausible == (
        "the mean error is 157,092 % of eye_centers; more than 100 % is not plausible"
    )


def test_preview_without_an_image_to_score_is_refused(faces: Predictions) -> None:
    with pytest.raises(RcnSearchError, match=r"no image to score under rcn2016: \{'non-finite prediction': 3\}"):
        preview(replace(faces, pred_crop_nk2=faces.pred_crop_nk2 * np.nan), protocols_for(faces))
    with pytest.raises(RcnSearchError, match=r"no image to score under subpixel: \{'non-finite prediction': 3\}"):
        look(faces, lambda points: points * np.nan)


def test_preview_unknown_normalizer_is_refused(faces: Predictions) -> None:
    with pytest.raises(RcnSearchError, match="'five' points have no normalizer 'pupils'"):
        preview(faces, protocols_for(faces, ["pupils"]))
