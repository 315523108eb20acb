from __future__ import annotations

import numpy as np
import pytest

from rcn_search.data.crops import Box
from rcn_search.data.photo_borders import edge_codes, photo_rectangle

SIZE = (100, 80)
BOX = Box(-20, -10, 100, 100)  # leaves the photograph by 20 left, 10 above, 10 below; 32, 16 and 16 pixels of the crop
FACE_BOX = Box(10, 20, 130, 130)  # sees padding left (10 < 32) and below (160 - 150 < 16), not above (20 > 16)


def test_photo_rectangle_excludes_padding() -> None:
    np.testing.assert_array_equal(photo_rectangle(BOX, SIZE), np.array([32, 16, 128, 128], np.float32))
    np.testing.assert_array_equal(photo_rectangle(Box(5, 5, 50, 50), SIZE), [0, 0, 160, 160])
    np.testing.assert_allclose(photo_rectangle(Box(70, -5, 40, 40), SIZE), [0, 20, 120, 140])


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ((9.9, 40), 1),
        ((10, 40), 0),
        ((50, 5), 0),  # padded above, but the face box no longer sees it: cleared
        ((97, 40), 3),  # never padded on the right: stays
        ((96.9, 40), 0),
        ((50, 77), 4),
        ((50, 76.9), 0),
        ((5, 5), 1),  # corners: the first side, left top right bottom, that is not cleared; never a sum
        ((98, 5), 3),
        ((5, 78), 1),
        ((98, 78), 3),
        ((-4, 40), 1),
        ((50, 85), 4),
    ],
)
def test_edge_codes_near_each_side(point: tuple[float, float], code: int) -> None:
    codes = edge_codes(np.array([[50.0, 40.0], point]), SIZE, BOX, FACE_BOX)
    assert codes.tolist() == [0, code]
    assert codes.dtype == np.uint8


def test_edge_codes_at_top_if_padding_is_in_the_face_box() -> None:
    assert edge_codes(np.array([[50.0, 5.0], [5.0, 5.0]]), SIZE, BOX, Box(40, 15, 100, 100)).tolist() == [2, 2]


def test_edge_codes_without_padding_are_zero() -> None:
    assert edge_codes(np.array([[1.0, 1.0], [99.0, 79.0]]), SIZE, Box(0, 0, 80, 80), FACE_BOX).tolist() == [0, 0]
