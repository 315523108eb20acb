from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rcn_search.data.synthetic.degradation import _DIRECTIONS, _move, _reduce
from rcn_search.data.synthetic.enlarge import enlarge, enlarge_fourfold
from rcn_search.data.synthetic.traits import choose


@pytest.mark.parametrize(("small", "large"), [(60, 224), (7, 20), (10, 33)])
def test_enlarge_equals_pillow_bit_for_bit(small: int, large: int) -> None:
    rng = np.random.default_rng(0)
    layers_lrc = (rng.normal(size=(4, small, small)) * [[[0.01]], [[1.0]], [[200.0]], [[1e6]]]).astype(np.float32)
    for layer, larger in zip(layers_lrc, enlarge(layers_lrc, large), strict=True):
        expected = Image.fromarray(layer).resize((large, large), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(larger, np.asarray(expected))


def test_enlarge_fourfold_equals_pillow_bit_for_bit() -> None:
    layer_rc = np.random.default_rng(1).integers(0, 256, (56, 40), np.uint8)
    expected = Image.fromarray(layer_rc).resize((160, 224), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(enlarge_fourfold(layer_rc), np.asarray(expected))


def test_reduce_equals_the_box_filter_of_pillow() -> None:
    canvas = Image.fromarray(np.random.default_rng(2).integers(0, 256, (200, 200), np.uint8))
    np.testing.assert_array_equal(
        np.asarray(_reduce(canvas)), np.asarray(canvas.resize((160, 160), Image.Resampling.BOX))
    )


@pytest.mark.parametrize("direction", _DIRECTIONS)
def test_move_equals_a_kernel_of_pillow(direction: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (160, 160), np.uint8))
    kernel, steps = np.zeros((5, 5), int), np.arange(-2, 3)
    kernel[2 - direction[0] * steps, 2 + direction[1] * steps] = 1  # Pillow's kernels stand upside down
    expected = image.filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist(), scale=5))
    np.testing.assert_array_equal(np.asarray(_move(image, *direction)), np.asarray(expected))


def test_choose_equals_choice_of_numpy() -> None:
    probabilities = [0.25, 0.1, 0.2, 0.1, 0.35]
    ours, numpys = np.random.default_rng(4), np.random.default_rng(4)
    assert [choose(ours, probabilities) for _ in range(200)] == [numpys.choice(5, p=probabilities) for _ in range(200)]
