from __future__ import annotations

import numpy as np
import pytest

from rcn_search.data.dataset import open_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.external.faces import ExternalPredictions
from rcn_search.leaderboard.external.join import JoinedPredictions, join_ground_truth


def join(external: ExternalPredictions, data_uri: str, pixel_offset: float = 0.0) -> JoinedPredictions:
    dataset = open_dataset(data_uri)
    return join_ground_truth(external, dataset, "test", method="m", run_id="r", pixel_offset=pixel_offset)


def test_join_ground_truth_gives_points_in_all_coordinates(truth: ExternalPredictions, synthetic_uri: str) -> None:
    joined = join({f"/home/me/{name}": points - 2 for name, points in truth.items()}, synthetic_uri, pixel_offset=2)
    predictions = joined.predictions
    assert (joined.missing, joined.incomplete, joined.extra, joined.coverage_notes()) == ([], [], [], [])
    np.testing.assert_allclose(predictions.pred_image_nk2, predictions.true_image_nk2, atol=1e-4)
    np.testing.assert_allclose(predictions.pred_crop_nk2, predictions.true_crop_nk2, atol=1e-4)
    face_box = predictions.face_box[:, None]
    cells = np.floor((predictions.true_crop_nk2 - face_box[..., :2]) / face_box[..., 2:3] * 80)
    assert np.mean(predictions.pred_cell_nk2 != cells) < 0.01  # where a point lies on the edge of a cell
    assert predictions.meta["shift_px"] == 2


def test_join_ground_truth_notes_what_did_not_join(truth: ExternalPredictions, synthetic_uri: str) -> None:
    first, second, third, *others = truth
    given = {name: truth[name] for name in others} | {f"a/{first}": truth[first], f"b/{first}": truth[first]}
    given |= {second: np.full((5, 2), np.nan), f"other{third}": truth[third]}
    given |= {f"stranger{n}.png": truth[third] for n in range(20)}
    joined = join(given, synthetic_uri)
    assert joined.missing == [first, third]
    assert joined.incomplete == [second]
    missing, incomplete, extra = joined.coverage_notes()
    assert missing == f"images without a prediction: 2 ({first}, {third})"
    assert incomplete == f"images of which points have no prediction: 1 ({second})"
    assert extra.startswith(f"predictions for images that the split does not have: 23 (a/{first}, b/{first}, other")
    assert extra.endswith("stranger6.png and 13 more)")


def test_join_ground_truth_without_any_match_is_refused(truth: ExternalPredictions, synthetic_uri: str) -> None:
    points = next(iter(truth.values()))
    with pytest.raises(RcnSearchError, match=r"none of the 20 predictions is for an image of .* and 10 more"):
        join({f"x{n}": points for n in range(20)}, synthetic_uri)
