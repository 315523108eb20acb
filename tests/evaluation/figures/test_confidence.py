from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.figures.confidence import bin_by_confidence
from rcn_search.evaluation.predictions import Predictions, write_predictions
from rcn_search.evaluation.protocol import subpixel
from tests.conftest import CommandLine

PROTOCOL = subpixel("aflw", "test", "five")


def unsure(make_predictions: Callable[..., Predictions], num_images: int = 40, **changes: object) -> Predictions:
    """Points that are the farther off, the less confident they are: by 6 px without confidence; eyes 60 px apart."""
    confidence_nk = np.random.default_rng(0).random((num_images, 5)).astype(np.float32)
    shift_nk2 = np.stack([6 * (1 - confidence_nk), np.zeros_like(confidence_nk)], axis=2)
    pred = make_predictions(num_images).pred_image_nk2 + shift_nk2
    radius_nk = np.full((num_images, 5), 3, np.float32)
    fields = {"confidence_nk": confidence_nk, "pred_image_nk2": pred, "radius_nk": radius_nk}
    return make_predictions(num_images, **(fields | changes))


def test_bin_by_confidence_medians_and_quantiles(make_predictions: Callable[..., Predictions]) -> None:
    bins = bin_by_confidence(unsure(make_predictions), PROTOCOL)
    assert bins.num_points_b.tolist() == [50] * 4
    np.testing.assert_allclose(bins.median_pct_b, 10 * (1 - bins.confidence_b), rtol=1e-3)
    assert (np.diff(bins.confidence_b) > 0).all()
    assert (bins.p90_pct_b > bins.median_pct_b).all()
    np.testing.assert_allclose(bins.radius_pct_b, 5)
    assert bin_by_confidence(unsure(make_predictions, radius_nk=None), PROTOCOL).radius_pct_b is None


def test_bin_by_confidence_of_equal_confidences_is_refused(make_predictions: Callable[..., Predictions]) -> None:
    with pytest.raises(RcnSearchError, match="'a method' have the same confidence"):
        bin_by_confidence(make_predictions(10), PROTOCOL)


def test_figures_confidence_draws_a_picture(
    cli: CommandLine, make_predictions: Callable[..., Predictions], tmp_path: Path
) -> None:
    out = tmp_path / "confidence.png"
    write_predictions(unsure(make_predictions), str(tmp_path / "p.parquet"))
    assert "1 methods on 40 images" in cli.run("figures", "confidence", tmp_path / "p.parquet", "--out", out)
    pixels = np.asarray(Image.open(out).convert("L"))
    assert (pixels < 128).mean() > 0.005
