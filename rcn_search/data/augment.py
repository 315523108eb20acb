"""Jitter of whole batches on the device: the face box of each crop, moved, warped to the network input, and occluded.

Every random number of an image is a function of (seed, epoch, row) alone, so a run is the same on one worker or many,
straight or resumed.

Shape letters: b images, c channels, k points, h rows, w columns, n rows of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rcn_search.config.schema import AugmentConfig, InputConfig, OccluderConfig
from rcn_search.data.lcn import contrast_normalise
from rcn_search.data.shards import DatasetError

# Columns of a table of draws.
_SCALE, _SHIFT_X, _SHIFT_Y, _ROTATE, _FLIP, _HEIGHT, _WIDTH, _TOP, _LEFT, _NUM_DRAWS = range(10)

_RIGHT_PROFILE = 4
PAPER_INPUT_PX = 80
"""Occluder sides are given in pixels of an input of this size."""

NO_JITTER = AugmentConfig(translate=0, scale=0, rotate_deg=0, occluder=OccluderConfig(min_px=0, max_px=0), flip=0)


def draw_table(num_rows: int, *, seed: int, epoch: int) -> Tensor:
    """All random numbers of one epoch, U[0,1): (n, draws) float32."""
    generator = np.random.default_rng([seed, epoch, 0])
    return torch.from_numpy(generator.random((num_rows, _NUM_DRAWS), dtype=np.float32))


class Frame(NamedTuple):
    """Where the input window of each image lies in its crop.

    Attributes:
        centre_b2: Centre x, y in crop pixels.
        axes_b22: Columns are the crop vectors of half the window's width and half its height.
    """

    centre_b2: Tensor
    axes_b22: Tensor

    @property
    def mirrored_b(self) -> Tensor:
        """Which windows show a mirror image: (b,) bool."""
        mirrored_b: Tensor = torch.linalg.det(self.axes_b22) < 0
        return mirrored_b


def jitter(face_box_b4: Tensor, draws_bd: Tensor, options: AugmentConfig) -> Frame:
    """Move the face boxes: translate, scale about the moved centre, rotate about it (rcn.md 3), mirror.

    Args:
        face_box_b4: x, y, width, height in crop pixels.
        draws_bd: Rows of a `draw_table`.
        options: Ranges.
    """
    signed = 2 * draws_bd - 1
    side_b = face_box_b4[:, 2]
    shift_b2 = signed[:, [_SHIFT_X, _SHIFT_Y]] * options.translate * side_b[:, None]
    centre_b2 = face_box_b4[:, :2] + face_box_b4[:, 2:] / 2 + shift_b2
    half_b = side_b / 2 * (1 + options.scale * signed[:, _SCALE])
    angle_b = torch.deg2rad(options.rotate_deg * signed[:, _ROTATE])
    cosine, sine = half_b * angle_b.cos(), half_b * angle_b.sin()
    mirror = torch.where(draws_bd[:, _FLIP] < options.flip, -1.0, 1.0)
    axes_b22 = torch.stack([torch.stack([cosine * mirror, -sine], 1), torch.stack([sine * mirror, cosine], 1)], 1)
    return Frame(centre_b2, axes_b22)


def channels_of(image: Tensor, colour: bool) -> Tensor:
    """Stored crops as (b, c, 160, 160) uint8, c = 3 where ``colour``.

    Colour becomes grey by the integer rule with which Pillow, hence an import without --colour, makes grey: the pixels
    are the same.

    Args:
        image: (b, 160, 160) grey or (b, 160, 160, 3) colour, uint8.
        colour: Whether colour is wanted.

    Raises:
        DatasetError: Colour is wanted of grey crops.
    """
    if image.ndim == 3:
        if colour:
            raise DatasetError("input.colour is true but the data set is grey; import it again with --colour")
        return image[:, None]
    if colour:
        return image.permute(0, 3, 1, 2)
    red, green, blue = image.int().unbind(3)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).byte()[:, None]


def warp_images(image_bchw: Tensor, frame: Frame, size_px: int) -> Tensor:
    """Bilinear view of each crop through its window, black outside the crop: (b, c, size, size) float32, 0..255.

    No antialiasing, as in the paper's code (a factor of about 1.6 at 80 pixels).
    """
    crop_px = image_bchw.shape[-1]
    theta = torch.cat([frame.axes_b22, (frame.centre_b2 - crop_px / 2)[:, :, None]], dim=2) * (2 / crop_px)
    grid = F.affine_grid(theta, [len(theta), 1, size_px, size_px], align_corners=False)
    warped: Tensor = F.grid_sample(image_bchw.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped


def warp_points(points_bk2: Tensor, frame: Frame, flip_k: Tensor | None = None) -> Tensor:
    """Points of the crop in the window, 0..1 across it (outside it: beyond), renumbered where it is mirrored."""
    inverse = torch.linalg.inv(frame.axes_b22)
    relative: Tensor = (points_bk2 - frame.centre_b2[:, None]) @ inverse.transpose(1, 2)
    if flip_k is not None:
        relative = torch.where(frame.mirrored_b[:, None, None], relative[:, flip_k], relative)
    return relative / 2 + 0.5


def mirrored_attributes(attributes: dict[str, Tensor], mirrored_b: Tensor) -> dict[str, Tensor]:
    """Classes (b,) as they are seen: MTFL's poses go from 0, left profile, to 4, right profile; others have no side."""
    if "pose" not in attributes:
        return attributes
    pose_b = attributes["pose"]
    return {**attributes, "pose": torch.where(mirrored_b, _RIGHT_PROFILE - pose_b, pose_b)}


def unwarp_points(points_bk2: Tensor, frame: Frame) -> Tensor:
    """The inverse of `warp_points` for windows that are not mirrored: window coordinates 0..1 to crop pixels."""
    return (points_bk2 * 2 - 1) @ frame.axes_b22.transpose(1, 2) + frame.centre_b2[:, None]


def black_rectangles(image_bchw: Tensor, draws_bd: Tensor, options: OccluderConfig) -> Tensor:
    """One black rectangle per image: integer sides uniform on the range, inclusive, placed fully inside (rcn.md 3)."""
    if options.max_px == 0:
        return image_bchw
    size_px = image_bchw.shape[-1]
    lowest, highest = (round(side * size_px / PAPER_INPUT_PX) for side in (options.min_px, options.max_px))
    length = lowest + (draws_bd[:, [_HEIGHT, _WIDTH]] * (highest - lowest + 1)).floor()
    start = (draws_bd[:, [_TOP, _LEFT]] * (size_px - length + 1)).floor()
    pixel = torch.arange(size_px, device=image_bchw.device)
    inside = (pixel >= start[:, :, None]) & (pixel < (start + length)[:, :, None])
    return image_bchw.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0.0)


@dataclass(frozen=True, kw_only=True)
class InputPipeline:
    """Crops and points to network inputs and targets.

    Attributes:
        input: Size, colour and normalisation.
        augment: Ranges of the jitter; `NO_JITTER` for a test.
        flip_k: The schema's mirror permutation, on the device.
    """

    input: InputConfig
    augment: AugmentConfig
    flip_k: Tensor | None = None

    def __call__(
        self, image: Tensor, points_bk2: Tensor, face_box_b4: Tensor, draws_bd: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Network input (b, c, size, size) float32 and points (b, k, 2), 0..1 across it.

        Args:
            image: uint8 crops (b, 160, 160) or (b, 160, 160, 3).
            points_bk2: In crop pixels.
            face_box_b4: In crop pixels.
            draws_bd: Rows of a `draw_table`.

        Raises:
            DatasetError: Colour is wanted of grey crops.
        """
        frame = jitter(face_box_b4, draws_bd, self.augment)
        warped = warp_images(channels_of(image, self.input.colour), frame, self.input.size_px)
        warped = black_rectangles(warped, draws_bd, self.augment.occluder)
        return contrast_normalise(warped, self.input.lcn), warp_points(points_bk2, frame, self.flip_k)


def window_images(image: Tensor, frame: Frame, options: InputConfig) -> Tensor:
    """Network input (b, c, size, size) float32 of crops as `InputPipeline` takes them, through windows that are given.

    Raises:
        DatasetError: Colour is wanted of grey crops.
    """
    return contrast_normalise(warp_images(channels_of(image, options.colour), frame, options.size_px), options.lcn)
