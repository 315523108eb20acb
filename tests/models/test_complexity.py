from __future__ import annotations

from rcn_search.config.schema import DenoiserConfig, RcnConfig, SumNetConfig, TcdcnConfig
from rcn_search.models import build_model
from rcn_search.models.complexity import multiply_adds
from rcn_search.models.composite import FlipAverage, JointModel


def test_multiply_adds_of_rcn() -> None:
    # A single branch has no recombination: three 3x3 convolutions at 80x80.
    one = build_model(RcnConfig(branches=1), num_points=5)
    assert multiply_adds(one, 80) == 6_400 * 9 * (16 + 16 * 16 + 16 * 5)
    # The paper's form needs 115 million; for upsampled maps, a 3x3 kernel needs 4 instead of 9 products.
    assert 90e6 < multiply_adds(build_model(RcnConfig(), num_points=5), 80) < 95e6


def test_multiply_adds_of_every_model_is_positive() -> None:
    for model in (RcnConfig(upsampling="learned"), SumNetConfig(), TcdcnConfig(auxiliary=True)):
        assert multiply_adds(build_model(model, num_points=5), 80) > 1e6


def test_multiply_adds_of_the_paper_form() -> None:
    # About 1.9 billion in the paper's form.
    plain = build_model(RcnConfig(layer_preset="300w", branches=5, upsampling="bilinear"), num_points=68)
    per_pixel = [640 - 64, 36_864, 36_864, 36_864, 36_864]
    per_pixel[4] += 25 * 64 * 64 + 4_096
    per_pixel[3] += 25 * 128 * 64
    per_pixel[2] += 25 * 128 * 64 + 4_096
    per_pixel[1] += 25 * 128 * 64 + 4_096
    per_pixel[0] += 25 * 128 * 64 + 2 * 4_096 + 64 * 68
    expected = sum(products * (80 >> level) ** 2 for level, products in enumerate(per_pixel))
    assert multiply_adds(plain, 80) == expected
    assert 1.91e9 < expected < 1.92e9
    tiled = build_model(RcnConfig(layer_preset="300w", branches=5), num_points=68)
    assert 0.70 < multiply_adds(tiled, 80) / expected < 0.72


def test_multiply_adds_of_sumnet_and_tcdcn() -> None:
    sumnet = build_model(SumNetConfig(branches=1), num_points=5)
    assert multiply_adds(sumnet, 80) == 6_400 * 9 * (16 + 16 * 16 + 16 * 5)
    convolutions = 25 * 16 * 36**2 + 9 * 16 * 48 * 16**2 + 9 * 48 * 64 * 6**2 + 4 * 64 * 64 * 2**2
    assert multiply_adds(build_model(TcdcnConfig(), num_points=5), 80) == convolutions + 25_600 + 1_000


def test_multiply_adds_of_flip_average_doubles() -> None:
    network = build_model(RcnConfig(branches=1), num_points=5)
    assert multiply_adds(FlipAverage(network, [1, 0, 2, 4, 3]), 80) == 2 * multiply_adds(network, 80)


def test_multiply_adds_of_color_triples_the_first_convolution() -> None:
    gray, color = (build_model(RcnConfig(branches=1), num_points=5, in_channels=c) for c in (1, 3))
    assert multiply_adds(color, 80) - multiply_adds(gray, 80) == 2 * 6_400 * 9 * 16


def test_multiply_adds_of_denoiser_is_of_the_dense_form() -> None:
    config = DenoiserConfig(kernel_px=3, channels=4, num_corrupted_points=2)
    denoiser = build_model(config, num_points=5, input_px=40)
    per_pixel = 9 * 5 * 4 + 2 * 9 * 4 * 4 + 4 * 5
    assert multiply_adds(denoiser, 40) == per_pixel * 1_600
    network = build_model(RcnConfig(branches=1, channels=4), num_points=5, input_px=40)
    assert multiply_adds(JointModel(network, denoiser), 40) == multiply_adds(network, 40) + per_pixel * 1_600
