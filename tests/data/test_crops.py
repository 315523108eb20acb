from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from rcn_search.data.crops import Box, crop_photo, crop_to_image, enclosing_box, four_point_box, image_to_crop

FACE = np.array([[100.0, 100.0], [140.0, 100.0], [120.0, 120.0], [105.0, 140.0], [135.0, 140.0]])


def test_four_point_box_in_a_large_image() -> None:
    # e = 40, m = 40; the four points span 40 x 40; margin trunc(40 * 1.25) = 50.
    assert four_point_box(FACE, (400, 400), 1.25) == Box(50, 50, 140, 140)


def test_four_point_box_grows_the_shorter_side() -> None:
    points = FACE.copy()
    points[[3, 4], 1] = 133  # height 33, width 40: y0 -= ceil(7 / 2), y1 += floor(7 / 2); margin trunc(40 * 0.95) = 38
    assert four_point_box(points, (400, 400), 0.95) == Box(100 - 38, 100 - 4 - 38, 116, 116)


def test_four_point_box_at_the_border_is_shifted_inside() -> None:
    assert four_point_box(FACE - 80, (400, 400), 1.25) == Box(0, 0, 140, 140)
    assert four_point_box(FACE + np.array([240, 200]), (400, 400), 1.25) == Box(260, 250, 140, 140)


@pytest.mark.parametrize(
    ("size", "expected"), [((139, 400), (0, 51, 139)), ((400, 120), (60, 0, 120)), ((120, 130), (0, 5, 120))]
)
def test_four_point_box_in_a_small_image_is_cut_square(size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    box = four_point_box(FACE, size, 1.25)
    assert (box.x, box.y, box.width) == expected
    assert box.width == box.height


@pytest.mark.parametrize("seed", range(200))
def test_four_point_box_of_random_points_is_square_and_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = rng.integers(60, 300, 2).tolist()
    points = rng.uniform(0, 1, (5, 2)) * [width, height]
    box = four_point_box(points, (width, height), 1.25)
    assert box.width == box.height > 0
    assert 0 <= box.x <= box.x + box.width <= width
    assert 0 <= box.y <= box.y + box.height <= height


def test_enclosing_box_follows_the_68_point_rule() -> None:
    points = np.array([[10.5, 20.2], [50.1, 40.9]])
    # x 10..51 (41), y 20..41 (21): y0 -= 10, y1 += 10; s = 0.15 * 41 = 6.15
    assert enclosing_box(points, 1.3) == Box(math.floor(10 - 6.15), math.floor(10 - 6.15), 55, 55)


def test_image_to_crop_scales_to_160_pixels() -> None:
    np.testing.assert_allclose(image_to_crop(np.array([[60.0, 70.0]]), Box(50, 50, 80, 80)), [[20, 40]])


def test_crop_to_image_undoes_image_to_crop_of_each_face() -> None:
    points_nk2 = np.float32([[[60, 70], [61.5, 90]], [[10, 20], [30, 40]]])
    boxes = [Box(50, 55, 80, 80), Box(-10, 5, 320, 320)]
    crop_nk2 = np.stack([image_to_crop(points, box) for points, box in zip(points_nk2, boxes, strict=True)])
    np.testing.assert_allclose(crop_to_image(crop_nk2, np.float32(boxes)), points_nk2, rtol=1e-6)


@pytest.mark.parametrize("box", [Box(-30, 10, 100, 100), Box(40, -25, 90, 90), Box(-20, -20, 200, 200)])
def test_crop_photo_pads_with_black_before_resizing(box: Box) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    canvas = np.zeros((320, 350, 3), np.uint8)  # the photograph with 100 black pixels around it
    canvas[100:220, 100:250] = photo
    inside = canvas[100 + box.y : 100 + box.y + box.height, 100 + box.x : 100 + box.x + box.width]
    expected = Image.fromarray(inside).resize((160, 160), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(crop_photo(Image.fromarray(photo), box, color=True), np.asarray(expected))
    np.testing.assert_array_equal(crop_photo(Image.fromarray(photo), box), np.asarray(expected.convert("L")))
