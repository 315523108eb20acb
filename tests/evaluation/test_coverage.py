from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.predictions import Predictions, read_predictions, write_predictions
from rcn_search.evaluation.protocol import rcn2016, subpixel
from rcn_search.evaluation.score import score

SUBPIXEL, GRID = subpixel("aflw", "test", "five"), rcn2016("aflw", "test", "five")


def moved(make_predictions: Callable[..., Predictions], **changes: object) -> Predictions:
    """Four images whose points are 0, 1, 2, 3 and 4 px to the right, with eyes 60 px apart; radii of 2 px."""
    perfect = make_predictions(4)
    pred_image_nk2 = perfect.pred_image_nk2 + np.stack([np.arange(5), np.zeros(5)], axis=1).astype(np.float32)
    radius_nk = np.full((4, 5), 2, np.float32)
    return make_predictions(4, **{"pred_image_nk2": pred_image_nk2, "radius_nk": radius_nk, **changes})


@pytest.mark.parametrize("protocol", [SUBPIXEL, GRID], ids=lambda protocol: protocol.name)
def test_score_counts_points_at_the_radius_as_held(make_predictions: Callable[..., Predictions], protocol) -> None:
    scored = score(moved(make_predictions), protocol)
    assert scored.coverage.pct == pytest.approx(60)
    assert scored.radius.pct == pytest.approx(100 * 2 / 60)


def test_score_of_points_that_do_not_count_is_left_out(make_predictions: Callable[..., Predictions]) -> None:
    visible = np.ones((4, 5), np.bool_)
    visible[:, 3:] = False
    assert score(moved(make_predictions, visible=visible), SUBPIXEL).coverage.pct == 100


def test_score_has_no_coverage_without_radii_or_on_their_own_images(
    make_predictions: Callable[..., Predictions],
) -> None:
    predictions = moved(make_predictions)
    assert score(moved(make_predictions, radius_nk=None), SUBPIXEL).coverage is None
    calibration = {"fingerprint": predictions.meta["fingerprint"], "split": predictions.meta["split"]}
    for fitted_on, has_coverage in ((calibration, False), (calibration | {"split": "val"}, True)):
        meta = predictions.meta | {"calibration": fitted_on}
        assert (score(moved(make_predictions, meta=meta), SUBPIXEL).coverage is not None) is has_coverage


def test_predictions_keep_radii_and_refuse_what_is_no_length(
    make_predictions: Callable[..., Predictions], tmp_path
) -> None:
    predictions, uri = moved(make_predictions), str(tmp_path / "p.parquet")
    write_predictions(predictions, uri)
    np.testing.assert_array_equal(read_predictions(uri).radius_nk, predictions.radius_nk)
    for value in (-1, np.nan, np.inf):
        with pytest.raises(RcnSearchError, match="radius_nk has values that are no lengths"):
            moved(make_predictions, radius_nk=np.full((4, 5), value, np.float32))
