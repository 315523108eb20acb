"""Augment whole batches on the device: move each face box, warp it to the network input, and occlude it.

The operations are those of docs/explanation/model-specification.md, "Augmentation". Every random number of an image is
a function of (seed, epoch, row) alone, so a run gives the same result on one worker or many, uninterrupted or resumed.

Shape letters: b images, c channels, k points, h rows, w columns, n rows of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.images import PAPER_INPUT_PX, PhotometricConfig
from rcn_search.config.schema import AugmentConfig, InputConfig, OccluderConfig
from rcn_search.data.contrast_normalization import contrast_normalize
from rcn_search.data.photometric import NUM_PHOTOMETRIC_DRAWS, change_photometry
from rcn_search.data.shards import DatasetError

# Columns of `random_draws`.
_SCALE, _SHIFT_X, _SHIFT_Y, _ROTATE, _FLIP, _HEIGHT, _WIDTH, _TOP, _LEFT, _NUM_DRAWS = range(10)
# Columns that `appearance_draws` adds.
_PHOTOMETRIC = slice(_NUM_DRAWS, _NUM_DRAWS + NUM_PHOTOMETRIC_DRAWS)
_MORE_RECTANGLES = _PHOTOMETRIC.stop

_APPEARANCE_STREAM = 3  # independent of the geometry (0), the order of an epoch (1) and the denoiser (2)
_RIGHT_PROFILE = 4  # highest of MTFL's poses, which begin with 0, left profile

NO_AUGMENTATION = AugmentConfig(translate=0, scale=0, rotate_deg=0, occluder=OccluderConfig(min_px=0, max_px=0), flip=0)


def random_draws(num_rows: int, *, seed: int, epoch: int) -> Tensor:
    """Draw all random numbers of one epoch: (n, d) float32, uniform in [0, 1), one row for each image."""
    generator = np.random.default_rng([seed, epoch, 0])
    return torch.from_numpy(generator.random((num_rows, _NUM_DRAWS), dtype=np.float32))


def appearance_draws(num_rows: int, options: AugmentConfig, *, seed: int, epoch: int) -> Tensor:
    """Draw what changes of the gray values and further rectangles need besides `random_draws`: (n, d), often d = 0."""
    if options.photometric == PhotometricConfig() and options.occluder.count == 1:
        return torch.empty(num_rows, 0)
    generator = np.random.default_rng([seed, epoch, _APPEARANCE_STREAM])
    num_draws = NUM_PHOTOMETRIC_DRAWS + 4 * (options.occluder.count - 1)
    return torch.from_numpy(generator.random((num_rows, num_draws), dtype=np.float32))


class InputWindow(NamedTuple):
    """The part of each crop that the network sees, a square that may be rotated and flipped."""

    center_b2: Tensor  # center x, y in crop pixels
    axes_b22: Tensor  # columns are the crop vectors of half the window's width and half its height

    @property
    def is_flipped_b(self) -> Tensor:
        """Whether each window is flipped left to right: (b,) bool."""
        (a_b, b_b), (c_b, d_b) = (row_b2.unbind(1) for row_b2 in self.axes_b22.unbind(1))
        return a_b * d_b - b_b * c_b < 0  # the determinant


def augment_face_boxes(face_box_b4: Tensor, draws_bd: Tensor, options: AugmentConfig) -> InputWindow:
    """Move face boxes (x, y, width, height in crop pixels), scale and rotate them about their center, flip some."""
    signed = 2 * draws_bd - 1
    side_b = face_box_b4[:, 2]
    shift_b2 = signed[:, _SHIFT_X : _SHIFT_Y + 1] * options.translate * side_b[:, None]
    center_b2 = face_box_b4[:, :2] + face_box_b4[:, 2:] / 2 + shift_b2
    half_b = side_b / 2 * (1 + options.scale * signed[:, _SCALE])
    angle_b = torch.deg2rad(options.rotate_deg * signed[:, _ROTATE])
    cosine, sine = half_b * angle_b.cos(), half_b * angle_b.sin()
    flip = torch.where(draws_bd[:, _FLIP] < options.flip, -1.0, 1.0)
    axes_b22 = torch.stack([torch.stack([cosine * flip, -sine], 1), torch.stack([sine * flip, cosine], 1)], 1)
    return InputWindow(center_b2, axes_b22)


def face_box_windows(face_box_b4: Tensor) -> InputWindow:
    """Return the face boxes as they are, neither moved nor flipped."""
    return augment_face_boxes(face_box_b4, face_box_b4.new_zeros(face_box_b4.shape[0], _NUM_DRAWS), NO_AUGMENTATION)


def to_channels(image: Tensor, color: bool) -> Tensor:
    """Put the channels of stored crops first: (b, c, 160, 160) uint8, c = 3 with ``color``, else 1.

    Color crops become gray by Pillow's integer rule, so they equal those of an import without --color.

    Raises:
        DatasetError: ``color`` is true and the crops are gray.
    """
    if image.ndim == 3:
        if color:
            raise DatasetError("input.color is true, but the data set is gray; import it again with --color")
        return image[:, None]
    if color:
        return image.permute(0, 3, 1, 2)
    red, green, blue = image.int().unbind(3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).byte()[:, None]


def warp_images(image_bchw: Tensor, window: InputWindow, size_px: int) -> Tensor:
    """Resample each crop in its window, without antialiasing as in the paper: (b, c, size, size), black outside it."""
    crop_px = image_bchw.shape[-1]
    theta = torch.cat([window.axes_b22, (window.center_b2 - crop_px / 2)[:, :, None]], dim=2) * (2 / crop_px)
    grid = F.affine_grid(theta, [theta.shape[0], 1, size_px, size_px], align_corners=False)
    warped: Tensor = F.grid_sample(image_bchw.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped


def warp_points(points_bk2: Tensor, window: InputWindow, flip_k: Tensor | None = None) -> Tensor:
    """Convert crop pixels to window coordinates, 0..1 inside; ``flip_k`` renumbers the points of flipped windows."""
    inverse = _inverse(window.axes_b22)
    relative: Tensor = (points_bk2 - window.center_b2[:, None]) @ inverse.transpose(1, 2)
    if flip_k is not None:
        relative = torch.where(window.is_flipped_b[:, None, None], relative[:, flip_k], relative)
    return relative / 2 + 0.5


def _inverse(matrix_b22: Tensor) -> Tensor:
    """Invert matrices that are not singular, without a check of that, for which a GPU would be waited for."""
    if matrix_b22.device.type == "cpu":
        inverse: Tensor = torch.linalg.inv_ex(matrix_b22).inverse
        return inverse
    return inverse_by_cofactors(matrix_b22)  # libraries of a GPU may wait for it while they factorize


def inverse_by_cofactors(matrix_b22: Tensor) -> Tensor:
    """Invert matrices by arithmetic alone; equal to `torch.linalg.inv` but for rounding."""
    (a_b, b_b), (c_b, d_b) = (row_b2.unbind(1) for row_b2 in matrix_b22.unbind(1))
    cofactors_b22 = torch.stack([torch.stack([d_b, -b_b], 1), torch.stack([-c_b, a_b], 1)], 1)
    return cofactors_b22 / (a_b * d_b - b_b * c_b)[:, None, None]


def shift_flipped_points(points_bk2: Tensor, draws_bd: Tensor, pixel_b: Tensor, flip: float) -> Tensor:
    """Move the points of images that will be flipped one pixel to the left: their labels count pixels from 1.

    Such labels lie half a pixel to the right of what they mark. A flip about the middle of the picture would put them
    as far to the left; with this one x becomes W + 1 - x, and labels of flipped images lie to the right as well.

    Args:
        points_bk2: True points in crop pixels.
        draws_bd: Random numbers of the images, as `random_draws`.
        pixel_b: Size of a pixel of the photograph in crop pixels.
        flip: Fraction of images that are flipped.
    """
    shift_b = torch.where(draws_bd[:, _FLIP] < flip, pixel_b, 0.0)
    return points_bk2 - torch.stack([shift_b, torch.zeros_like(shift_b)], dim=1)[:, None]


def flip_attributes(attributes: dict[str, Tensor], is_flipped_b: Tensor) -> dict[str, Tensor]:
    """Adapt the attribute classes (b,) to flipped images: a left pose becomes a right one, the others do not change."""
    if "pose" not in attributes:
        return attributes
    pose_b = attributes["pose"]
    return {**attributes, "pose": torch.where(is_flipped_b, _RIGHT_PROFILE - pose_b, pose_b)}


def unwarp_points(points_bk2: Tensor, window: InputWindow) -> Tensor:
    """Convert window coordinates 0..1 to crop pixels: the inverse of `warp_points` for windows that are not flipped."""
    return (points_bk2 * 2 - 1) @ window.axes_b22.transpose(1, 2) + window.center_b2[:, None]


def draw_black_rectangles(image_bchw: Tensor, draws_bd: Tensor, options: OccluderConfig) -> Tensor:
    """Draw black rectangles inside each image, with independent sides uniform on the closed range of ``options``."""
    if options.max_px == 0:
        return image_bchw
    size_px = image_bchw.shape[-1]
    lowest, highest = (round(side * size_px / PAPER_INPUT_PX) for side in (options.min_px, options.max_px))
    pixel = torch.arange(size_px, device=image_bchw.device)
    for number in range(options.count):
        first = _MORE_RECTANGLES + 4 * (number - 1) if number else _HEIGHT
        sides_b2, corner_b2 = draws_bd[:, first : first + 4].split(2, dim=1)
        length = lowest + (sides_b2 * (highest - lowest + 1)).floor()
        start = (corner_b2 * (size_px - length + 1)).floor()
        inside = (pixel >= start[:, :, None]) & (pixel < (start + length)[:, :, None])
        image_bchw = image_bchw.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0.0)
    return image_bchw


@dataclass(frozen=True, kw_only=True)
class InputPipeline:
    """Turn stored crops and points into network inputs and targets."""

    input: InputConfig
    augment: AugmentConfig  # ranges of the augmentation; `NO_AUGMENTATION` for none
    flip_k: Tensor | None = None  # flip permutation of the keypoint schema, on the device

    def __call__(
        self, image: Tensor, points_bk2: Tensor, face_box_b4: Tensor, draws_bd: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make the network inputs (b, c, size, size) float32 and their points (b, k, 2) in window coordinates 0..1.

        The crops are uint8 (b, 160, 160) or (b, 160, 160, 3); points and face boxes are in crop pixels.
        """
        window = augment_face_boxes(face_box_b4, draws_bd, self.augment)
        warped = warp_images(to_channels(image, self.input.color), window, self.input.size_px)
        if self.augment.photometric != PhotometricConfig():
            warped = change_photometry(warped, draws_bd[:, _PHOTOMETRIC], self.augment.photometric)
        warped = draw_black_rectangles(warped, draws_bd, self.augment.occluder)
        inputs = contrast_normalize(warped, self.input.contrast_normalization)
        return inputs, warp_points(points_bk2, window, self.flip_k)


def network_inputs(image: Tensor, window: InputWindow, options: InputConfig) -> Tensor:
    """Make the network inputs (b, c, size, size) float32 of crops as in `InputPipeline`, without augmentation."""
    warped = warp_images(to_channels(image, options.color), window, options.size_px)
    return contrast_normalize(warped, options.contrast_normalization)
