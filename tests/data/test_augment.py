from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from rcn_search.config.schema import AugmentConfig, InputConfig, OccluderConfig
from rcn_search.data.augment import (
    NO_AUGMENTATION,
    InputPipeline,
    augment_face_boxes,
    draw_black_rectangles,
    flip_attributes,
    inverse_by_cofactors,
    random_draws,
    shift_flipped_points,
    to_channels,
    unwarp_points,
    warp_images,
    warp_points,
)
from rcn_search.data.contrast_normalization import contrast_normalize
from rcn_search.data.shards import DatasetError
from rcn_search.keypoints import FIVE

BOX = torch.tensor([[10.0, 20.0, 120.0, 120.0]])
CENTER = torch.tensor([70.0, 80.0])


def blob_image(x: float, y: float) -> torch.Tensor:
    """(1, 160, 160) uint8 gray with a round spot whose center is at x, y."""
    pixel = torch.arange(160) + 0.5
    return (255 * torch.exp(-((pixel[None, :] - x) ** 2 + (pixel[:, None] - y) ** 2) / 50)).byte()[None]


def center_of_mass(image_hw: torch.Tensor) -> torch.Tensor:
    """x, y of the spot, 0..1 across the picture."""
    pixel = (torch.arange(len(image_hw)) + 0.5) / len(image_hw)
    return torch.stack([(image_hw.sum(0) * pixel).sum(), (image_hw.sum(1) * pixel).sum()]) / image_hw.sum()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_warp_points_follow_the_warped_image(seed: int, flip: float) -> None:
    options = AugmentConfig(
        translate=0.1, scale=0.2, rotate_deg=60, flip=flip, occluder=OccluderConfig(min_px=0, max_px=0)
    )
    window = augment_face_boxes(BOX, random_draws(1, seed=seed, epoch=0), options)
    point = torch.tensor([[[82.0, 65.0]]])
    warped = warp_images(blob_image(82, 65)[:, None], window, 80)[0, 0]
    torch.testing.assert_close(warp_points(point, window)[0, 0], center_of_mass(warped), atol=3e-3, rtol=0)


def test_warp_points_without_augmentation_maps_the_face_box_to_the_window() -> None:
    window = augment_face_boxes(BOX, random_draws(1, seed=0, epoch=0), NO_AUGMENTATION)
    corners = torch.tensor([[[10.0, 20.0], [130.0, 20.0], [130.0, 140.0]]])
    torch.testing.assert_close(warp_points(corners, window), torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]]))
    torch.testing.assert_close(unwarp_points(warp_points(corners, window), window), corners)


def test_warp_points_of_flipped_window_renumbers_points() -> None:
    draws = random_draws(1, seed=0, epoch=0)
    options = NO_AUGMENTATION.model_copy(update={"flip": 1.0})
    points = torch.tensor([[[50.0, 60.0], [90.0, 60.0], [70.0, 80.0], [55.0, 100.0], [85.0, 100.0]]])
    flipped = warp_points(points, augment_face_boxes(BOX, draws, options), torch.tensor(FIVE.flip))
    plain = warp_points(points, augment_face_boxes(BOX, draws, NO_AUGMENTATION))
    torch.testing.assert_close(flipped, plain)  # this face is symmetric about the middle of its box
    assert flipped[0, 0, 0] < flipped[0, 1, 0]


def test_shift_flipped_points_keeps_labels_where_they_are() -> None:
    """Labels counted from 1 lie half a pixel, here 4 crop pixels, right of the pupil before and after a flip."""
    draws = random_draws(1, seed=0, epoch=0)
    options = NO_AUGMENTATION.model_copy(update={"flip": 1.0, "rotate_deg": 40.0})
    pupils = torch.tensor([[[50.0, 60.0], [90.0, 60.0]]])
    pixel_b, offset = torch.tensor([8.0]), torch.tensor([4.0, 0.0])
    window = augment_face_boxes(BOX, draws, options)
    labels = warp_points(shift_flipped_points(pupils + offset, draws, pixel_b, flip=1.0), window)
    axes_in_flipped_b22 = torch.tensor([[-1.0], [1.0]]) * window.axes_b22
    to_the_right = axes_in_flipped_b22.inverse() @ offset / 2
    torch.testing.assert_close(labels - warp_points(pupils, window), to_the_right[:, None].expand(1, 2, 2))


def test_shift_flipped_points_not_flipped_changes_nothing() -> None:
    draws, points, pixel_b = random_draws(1, seed=0, epoch=0), torch.tensor([[[50.0, 60.0]]]), torch.tensor([8.0])
    torch.testing.assert_close(shift_flipped_points(points, draws, pixel_b, flip=1e-9), points, rtol=0, atol=0)


def test_augment_face_boxes_covers_exactly_the_configured_ranges() -> None:
    draws = random_draws(4000, seed=3, epoch=0)
    options = AugmentConfig(translate=0.1, scale=0.15, rotate_deg=30, flip=0.25)
    window = augment_face_boxes(BOX.expand(4000, 4), draws, options)
    shift = (window.center_b2 - CENTER) / 120
    half = torch.linalg.det(window.axes_b22).abs().sqrt() / 60
    angle = torch.rad2deg(torch.atan2(-window.axes_b22[:, 0, 1], window.axes_b22[:, 1, 1]))
    assert 0.098 < shift.abs().max() <= 0.1
    assert 0.85 <= half.min() < 0.852
    assert 1.148 < half.max() <= 1.15
    assert 29.8 < angle.abs().max() <= 30.001
    assert abs(window.is_flipped_b.float().mean() - 0.25) < 0.03


def test_random_draws_depend_only_on_seed_epoch_and_row() -> None:
    table = random_draws(100, seed=5, epoch=2)
    torch.testing.assert_close(random_draws(60, seed=5, epoch=2), table[:60])
    for other in (random_draws(100, seed=6, epoch=2), random_draws(100, seed=5, epoch=3)):
        assert (other != table).float().mean() > 0.99


@pytest.mark.parametrize(("size_px", "sides"), [(80, (20, 50)), (40, (10, 25))])
def test_draw_black_rectangles_stay_inside_with_sides_in_range(size_px: int, sides: tuple[int, int]) -> None:
    draws = random_draws(3000, seed=0, epoch=0)
    black = (
        draw_black_rectangles(torch.ones(3000, 2, size_px, size_px), draws, OccluderConfig(min_px=20, max_px=50)) == 0
    )
    assert torch.equal(black[:, 0], black[:, 1])
    black = black[:, 0]
    heights, widths = black.any(2).sum(1), black.any(1).sum(1)
    for lengths in (heights, widths):
        assert (int(lengths.min()), int(lengths.max())) == sides
    assert torch.equal(black.sum((1, 2)), heights * widths)
    assert (heights != widths).any()
    assert black[:, 0].any()
    assert black[:, -1].any()


def test_flip_attributes_exchanges_left_and_right_poses() -> None:
    classes = {"pose": torch.tensor([0, 1, 2, 3, 4]), "smile": torch.tensor([0, 1, 0, 1, 0])}
    flipped = flip_attributes(classes, torch.tensor([True, True, True, False, False]))
    assert flipped["pose"].tolist() == [4, 3, 2, 3, 4]
    assert flipped["smile"].tolist() == [0, 1, 0, 1, 0]
    assert flip_attributes({}, torch.tensor([True])) == {}


def test_input_pipeline_occludes_before_contrast_normalization() -> None:
    """As in the paper's code, so that normalization sees the edge of the rectangle."""
    augment = NO_AUGMENTATION.model_copy(update={"occluder": OccluderConfig(min_px=40, max_px=40)})
    pipeline = InputPipeline(input=InputConfig(), augment=augment)
    image = torch.randint(0, 256, (1, 160, 160), generator=torch.Generator().manual_seed(3)).byte()
    draws, points = random_draws(1, seed=0, epoch=0), torch.zeros(1, 5, 2)
    window = augment_face_boxes(BOX, draws, augment)
    black = draw_black_rectangles(warp_images(image[:, None], window, 80), draws, augment.occluder)
    inputs, _ = pipeline(image, points, BOX, draws)
    torch.testing.assert_close(inputs, contrast_normalize(black, "image"))


def test_warp_images_outside_of_the_crop_is_black() -> None:
    window = augment_face_boxes(
        torch.tensor([[100.0, 100.0, 120.0, 120.0]]), random_draws(1, seed=0, epoch=0), NO_AUGMENTATION
    )
    warped = warp_images(torch.full((1, 1, 160, 160), 200, dtype=torch.uint8), window, 80)[0, 0]
    assert warped[:39, :39].min() == 200
    assert warped[42:, :].max() == 0


def test_input_pipeline_result_does_not_depend_on_the_batch() -> None:
    pipeline = InputPipeline(input=InputConfig(), augment=AugmentConfig(), flip_k=torch.tensor(FIVE.flip))
    image = torch.cat([blob_image(60, 60), blob_image(90, 70), blob_image(20, 110)])
    points, box, draws = torch.rand(3, 5, 2) * 160, BOX.expand(3, 4), random_draws(3, seed=0, epoch=0)
    together = pipeline(image, points, box, draws)
    alone = pipeline(image[1:2], points[1:2], box[1:2], draws[1:2])
    torch.testing.assert_close(together[0][1:2], alone[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(together[1][1:2], alone[1])
    assert math.isclose(float(together[0].mean()), 0.5, abs_tol=0.1)


def color_images(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 160, 160, 3), generator=torch.Generator().manual_seed(seed)).byte()


def test_to_channels_of_color_crops_equals_the_gray_import() -> None:
    color = color_images(0)
    color[0].view(-1, 3)[:4096] = torch.cartesian_prod(*3 * [torch.arange(0, 256, 17).byte()])  # corners too
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in color.numpy()])
    assert torch.equal(to_channels(color, False), torch.from_numpy(expected)[:, None])


@pytest.mark.parametrize("normalization", ["image", "batch", "none"])
def test_input_pipeline_treats_each_color_channel_like_gray(normalization: Literal["image", "batch", "none"]) -> None:
    color = color_images(1)
    points, box, draws = torch.rand(3, 5, 2) * 160, BOX.expand(3, 4), random_draws(3, seed=0, epoch=0)
    augment = AugmentConfig(flip=0.5)
    in_color = InputPipeline(input=InputConfig(contrast_normalization=normalization, color=True), augment=augment)
    in_gray = InputPipeline(input=InputConfig(contrast_normalization=normalization), augment=augment)
    image_b3hw, color_points = in_color(color, points, box, draws)
    assert image_b3hw.shape == (3, 3, 80, 80)
    for channel in range(3):
        image_b1hw, gray_points = in_gray(color[..., channel], points, box, draws)
        torch.testing.assert_close(image_b3hw[:, channel : channel + 1], image_b1hw, atol=1e-5, rtol=0)
        assert torch.equal(color_points, gray_points)
    from_color, _ = in_gray(color, points, box, draws)
    from_gray, _ = in_gray(to_channels(color, False)[:, 0], points, box, draws)
    assert torch.equal(from_color, from_gray)


def test_input_pipeline_color_of_gray_crops_is_refused() -> None:
    pipeline = InputPipeline(input=InputConfig(color=True), augment=NO_AUGMENTATION)
    with pytest.raises(DatasetError, match=r"input\.color is true, but .* gray; import it again with --color"):
        pipeline(blob_image(60, 60), torch.rand(1, 5, 2), BOX, random_draws(1, seed=0, epoch=0))


def test_inverse_by_cofactors_is_that_of_lapack() -> None:
    """A GPU takes it; a window may be turned by any angle and flipped."""
    angle_b, half_b = torch.linspace(-4, 4, 101), torch.linspace(20, 160, 101)
    cosine, sine = half_b * angle_b.cos(), half_b * angle_b.sin()
    for flip in (1, -1):
        axes_b22 = torch.stack([torch.stack([cosine * flip, -sine], 1), torch.stack([sine * flip, cosine], 1)], 1)
        torch.testing.assert_close(inverse_by_cofactors(axes_b22), torch.linalg.inv(axes_b22), rtol=1e-5, atol=1e-8)
