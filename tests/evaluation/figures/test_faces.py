from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.evaluation.figures.faces import draw_faces
from rcn_search.keypoints import FIVE, IBUG68, KeypointSchema


def pixels(uri: str) -> np.ndarray:
    with Image.open(uri) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def num_near(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    """Pixels close to a color."""
    return int((np.abs(picture - color).max(axis=-1) < 40).sum())


TRUE, PRED, LINK = (0x2E, 0xE6, 0xA8), (0xFF, 0x5A, 0x4F), (0xFF, 0xD8, 0x4D)


@pytest.mark.parametrize("schema", [FIVE, IBUG68])
@pytest.mark.parametrize("color", [(), (3,)])
def test_draw_faces_draws_points_at_their_positions(uri: str, schema: KeypointSchema, color: tuple[int, ...]) -> None:
    images = np.full((3, 160, 160, *color), 128, dtype=np.uint8)
    true_nk2 = np.random.default_rng(0).uniform(10, 70, (3, schema.num_points, 2))
    draw_faces(images, true_nk2, None, uri, schema, num_columns=3)
    alone = pixels(uri)
    assert alone.shape == (256, 3 * 248 + 8, 3)
    assert num_near(alone, PRED) == num_near(alone, LINK) == 0
    assert num_near(alone[:128], TRUE) > 0  # all points lie in the upper left quarter
    assert num_near(alone[128:], TRUE) == 0
    draw_faces(images, true_nk2, true_nk2 + 60, uri, schema, num_columns=3, captions=["4.2 %", "[b]", ""])
    both = pixels(uri)
    assert num_near(both[100:256], PRED) > 0
    assert num_near(both, LINK) > 0


def test_draw_faces_skips_points_that_are_not_finite(uri: str) -> None:
    true_nk2 = np.full((1, 5, 2), 80.0)
    pred_nk2 = np.full((1, 5, 2), np.nan)
    pred_nk2[0, 0] = 1e30
    draw_faces(np.zeros((1, 160, 160), dtype=np.uint8), true_nk2, pred_nk2, uri, FIVE)
    assert num_near(pixels(uri)[:248], PRED) == 0
    draw_faces(np.zeros((1, 160, 160), dtype=np.uint8), true_nk2, np.full_like(pred_nk2, np.nan), uri, FIVE)
    assert num_near(pixels(uri), LINK) == 0
    true_nk2[:] = np.nan
    draw_faces(np.zeros((1, 160, 160), dtype=np.uint8), true_nk2, None, uri, FIVE)
    assert num_near(pixels(uri), TRUE) == 0


def test_draw_faces_svg_has_vector_points_and_text(tmp_path: Path) -> None:
    uri = str(tmp_path / "picture.svg")
    true_nk2 = np.full((2, 5, 2), 80.0)
    draw_faces(np.zeros((2, 160, 160), dtype=np.uint8), true_nk2, true_nk2, uri, FIVE, captions=["4.2 %", "[b]"])
    drawn = Path(uri).read_text()
    assert ">4.2 %</text>" in drawn
    assert ">[b]</text>" in drawn
    assert drawn.lower().count("fill: #2ee6a8") >= 2 * 5 + 1  # and one of the legend
    assert drawn.count("<image") == 1


def test_draw_faces_rejects_mismatched_points(uri: str) -> None:
    with pytest.raises(ValueError, match="no face"):
        draw_faces(np.zeros((0, 160, 160), dtype=np.uint8), np.zeros((0, 5, 2)), None, uri, FIVE)
    with pytest.raises(ValueError, match=r"\(1, 68, 2\) are not 1 faces of schema 'five'"):
        draw_faces(np.zeros((1, 160, 160), dtype=np.uint8), np.zeros((1, 68, 2)), None, uri, FIVE)
