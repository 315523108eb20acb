from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from scipy.ndimage import gaussian_filter
from torch import Tensor

from rcn_search.config.images import PhotometricConfig
from rcn_search.config.schema import AugmentConfig, InputConfig, OccluderConfig
from rcn_search.data.augment import (
    NO_AUGMENTATION,
    InputPipeline,
    appearance_draws,
    draw_black_rectangles,
    random_draws,
)
from rcn_search.data.photometric import (
    NUM_PHOTOMETRIC_DRAWS,
    blur_matrix,
    change_photometry,
    compress,
    downscale_matrix,
    gaussian_noise,
)

EVERYTHING = PhotometricConfig(
    brightness=0.2, contrast=0.4, gamma=0.5, noise=0.1, blur_px=2, downscale=0.7, jpeg_quality=20, gray=0.5
)


def pictures(num: int, channels: int = 1, size_px: int = 80) -> Tensor:
    """Smooth gray or color images (num, channels, size, size), 0..255."""
    coarse = torch.rand(num, channels, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    return F.interpolate(coarse, size=(size_px, size_px), mode="bicubic").clamp(0, 255)


def draws(num: int, seed: int = 0) -> Tensor:
    return torch.rand(num, NUM_PHOTOMETRIC_DRAWS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_change_photometry_of_an_image_does_not_depend_on_its_batch(channels: int) -> None:
    images, draws_bd = pictures(6, channels), draws(6)
    together = change_photometry(images, draws_bd, EVERYTHING)
    assert together.min() >= 0
    assert together.max() <= 255
    assert ((together - images).abs().mean(dim=(1, 2, 3)) > 1).all()
    alone = torch.cat([change_photometry(images[[i]], draws_bd[[i]], EVERYTHING) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma"])
def test_change_photometry_light_covers_exactly_its_range(name: str) -> None:
    images = torch.full((4000, 1, 2, 2), 100.0)
    images[:, :, :, 1] = 140.0
    changed = change_photometry(images, draws(4000), PhotometricConfig.model_validate({name: 0.2}))
    dark, bright = changed[:, 0, 0, 0], changed[:, 0, 0, 1]
    amount, lowest, highest = {
        "brightness": ((dark - 100) / 255, -0.2, 0.2),
        "contrast": ((bright - dark) / 40, 0.8, 1.2),
        "gamma": ((dark / 255).log() / torch.tensor(100 / 255).log(), 1 / 1.2, 1.2),
    }[name]
    assert lowest <= amount.min() + 1e-4 < lowest + 1e-2
    assert highest - 1e-2 < amount.max() - 1e-4 <= highest


def test_change_photometry_turns_the_given_fraction_of_color_images_gray() -> None:
    changed = change_photometry(pictures(400, 3, size_px=8), draws(400), PhotometricConfig(gray=0.3))
    is_gray_b = (changed[:, 0] == changed[:, 1]).all(dim=(1, 2))
    assert abs(is_gray_b.float().mean() - 0.3) < 0.06
    gray = pictures(5)
    assert torch.equal(change_photometry(gray, draws(5), PhotometricConfig(gray=1.0)), gray)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_blur_matrix_blurs_as_scipy_away_from_the_edge(sigma: float) -> None:
    image = pictures(1)[0, 0]
    matrix = blur_matrix(torch.tensor([sigma]), 80)[0]
    inner = slice(20, 60)
    ours, theirs = matrix @ image @ matrix.T, gaussian_filter(image.double().numpy(), sigma, truncate=6)
    np.testing.assert_allclose(ours.numpy()[inner, inner], theirs[inner, inner], atol=0.02)
    torch.testing.assert_close(matrix.sum(1), torch.ones(80))
    torch.testing.assert_close(blur_matrix(torch.zeros(1), 80)[0], torch.eye(80))


def test_downscale_matrix_of_half_is_averaging_and_linear_interpolation() -> None:
    image = pictures(1)
    matrix = downscale_matrix(torch.tensor([0.5]), 80)[0]
    expected = F.interpolate(F.avg_pool2d(image, 2), size=(80, 80), mode="bilinear")
    torch.testing.assert_close(matrix @ image @ matrix.T, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.73, 0.31, 0.1])
def test_downscale_matrix_keeps_brightness_and_place(scale: float) -> None:
    matrix = downscale_matrix(torch.tensor([scale]), 80)[0]
    torch.testing.assert_close(matrix.sum(1), torch.ones(80))
    ramp = torch.arange(80.0)
    away_from_the_edge = slice(int(2 / scale), 80 - int(2 / scale))
    assert ((matrix @ ramp - ramp)[away_from_the_edge].abs() < 0.5 / scale).all()
    assert abs((matrix @ ramp - ramp).mean()) < 0.3 / scale
    if scale == 1:
        torch.testing.assert_close(matrix, torch.eye(80))


def test_gaussian_noise_is_normal_and_independent() -> None:
    like = torch.zeros(40, 1, 80, 80)
    noise = gaussian_noise(torch.linspace(0, 0.99, 40), like)
    assert stats.kstest(noise.flatten().numpy()[::7], "norm").pvalue > 1e-3
    for shifted in (noise.roll(1, 0), noise.roll(1, 2), noise.roll(1, 3)):
        assert abs(float((noise * shifted).mean())) < 0.01
    assert torch.equal(gaussian_noise(torch.linspace(0, 0.99, 40)[7:8], like[:1])[0], noise[7])


@pytest.mark.parametrize("quality", [10, 40, 50, 90])
@pytest.mark.parametrize("size_px", [80, 64])
def test_compress_loses_what_a_jpeg_file_loses(quality: int, size_px: int) -> None:
    image = pictures(1, size_px=size_px).round()
    noisy = (image + 20 * gaussian_noise(torch.tensor([0.3]), image)).round().clamp(0, 255)
    file = io.BytesIO()
    Image.fromarray(noisy[0, 0].byte().numpy()).save(file, "jpeg", quality=quality)
    theirs = np.asarray(Image.open(file), dtype=np.float32)
    ours = compress(noisy, torch.tensor([float(quality)]))[0, 0].numpy()
    # Decoders round to whole gray values, and some coefficients fall on either side of a half.
    assert np.abs(ours - theirs).mean() < 0.9
    assert np.abs(noisy[0, 0].numpy() - theirs).mean() > 1.5


def test_compress_leaves_no_pixel_out_where_blocks_do_not_fit() -> None:
    image = pictures(1, size_px=42)
    torch.testing.assert_close(compress(image, torch.tensor([100.0])), image, rtol=0, atol=2.5)


def test_input_pipeline_draws_the_configured_number_of_rectangles() -> None:
    options = AugmentConfig(occluder=OccluderConfig(min_px=5, max_px=10, count=4))
    draws_bd = torch.cat([random_draws(500, seed=1, epoch=0), appearance_draws(500, options, seed=1, epoch=0)], dim=1)
    black = draw_black_rectangles(torch.ones(500, 1, 80, 80), draws_bd, options.occluder)[:, 0] == 0
    one = draw_black_rectangles(torch.ones(500, 1, 80, 80), draws_bd, OccluderConfig(min_px=5, max_px=10))[:, 0] == 0
    assert (black | ~one).all(), "the first rectangle is that of the paper's augmentation"
    assert 3.6 < black.sum() / one.sum() <= 4


def test_input_pipeline_changes_photometry_before_occlusion() -> None:
    photometric = PhotometricConfig(brightness=0.5, blur_px=3)
    options = NO_AUGMENTATION.model_copy(
        update={"photometric": photometric, "occluder": OccluderConfig(min_px=30, max_px=30)}
    )
    draws_bd = torch.cat([random_draws(20, seed=0, epoch=0), appearance_draws(20, options, seed=0, epoch=0)], dim=1)
    crops = pictures(20, size_px=160)[:, 0].byte()
    box = torch.tensor([[40.0, 40, 80, 80]]).expand(20, 4)
    pipeline = InputPipeline(input=InputConfig(contrast_normalization="none"), augment=options)
    inputs, _ = pipeline(crops, torch.zeros(20, 5, 2), box, draws_bd)
    black = inputs == inputs.amin(dim=(2, 3), keepdim=True)
    assert (black.sum(dim=(1, 2, 3)) >= 900).all(), "the rectangle stays black and sharp"


def test_appearance_draws_are_none_unless_needed_and_depend_on_seed_epoch_and_row() -> None:
    assert appearance_draws(7, AugmentConfig(), seed=0, epoch=0).shape == (7, 0)
    options = AugmentConfig(photometric=PhotometricConfig(noise=0.1))
    table = appearance_draws(100, options, seed=5, epoch=2)
    torch.testing.assert_close(appearance_draws(60, options, seed=5, epoch=2), table[:60])
    for other in ((6, 2), (5, 3)):
        assert (appearance_draws(100, options, seed=other[0], epoch=other[1]) != table).float().mean() > 0.99
