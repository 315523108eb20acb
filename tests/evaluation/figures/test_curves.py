from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rcn_search.evaluation.figures.curves import plot_ced, plot_error_curve


def pixels(uri: str) -> np.ndarray:
    with Image.open(uri) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def num_near(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    """Pixels close to a color."""
    return int((np.abs(picture - color).max(axis=-1) < 40).sum())


def test_plot_error_curve_draws_error_and_loss(uri: str) -> None:
    history = [{"epoch": epoch, "val_error_pct": 10 / epoch} for epoch in (1, 2, 3)]
    plot_error_curve(history, uri)
    without_loss = pixels(uri)
    plot_error_curve([row | {"loss": 5.0} for row in history], uri)
    orange = (0xD5, 0x5E, 0x00)
    assert num_near(without_loss, orange) == 0 < num_near(pixels(uri), orange)
    plot_error_curve(history[:1], uri)
    with pytest.raises(ValueError, match="no epoch"):
        plot_error_curve([], uri)


def test_plot_ced_draws_each_method(uri: str) -> None:
    plot_ced({"one $method": np.array([1.0, 2, 30]), "another": np.array([5.0])}, uri)
    picture = pixels(uri)
    assert num_near(picture, (0x00, 0x72, 0xB2)) > 0
    assert num_near(picture, (0xD5, 0x5E, 0x00)) > 0
    for errors in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="bad: no errors to plot"):
            plot_ced({"bad": np.array(errors)}, uri)
