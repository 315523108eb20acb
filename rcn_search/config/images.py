"""Configuration of the images: which data set, how they enter the network, how they are augmented."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rcn_search.config.drawing import DrawnFacesConfig
from rcn_search.config.frozen_model import FrozenModel
from rcn_search.storage import refuse_user_info

PAPER_INPUT_PX = 80
"""Input size of the paper; lengths in pixels of augmentations are those of such an input."""

IMAGE_SIZE_PX = 160
"""Side of a stored crop."""
MIN_INPUT_PX, MAX_INPUT_PX = 40, 256
"""Sides of network inputs."""


class DataConfig(FrozenModel):
    """Data set and splits."""

    uri: Annotated[str, AfterValidator(refuse_user_info)] = Field(
        min_length=1, description="Folder or s3:// URI of an imported data set."
    )
    train_split: str = Field("train", description="Split to train on.")
    val_split: str = Field("val", description="Split to validate on.")
    num_train: int | None = Field(None, ge=1, description="Train on the first N images only, for quick searches.")
    num_val: int | None = Field(None, ge=1, description="Validate on the first N images only.")
    balance_by: str | None = Field(
        None, description="Attribute, such as pose: each class is shown in proportion to the square root of its size."
    )
    drawn: DrawnFacesConfig | None = Field(
        None, description="Train on drawn faces of these ranges, and validate on the images of the data set."
    )


def _check_size(size_px: int) -> int:
    if size_px % 2 or not MIN_INPUT_PX <= size_px <= MAX_INPUT_PX:
        raise ValueError(
            f"should be an even number from {MIN_INPUT_PX} to {MAX_INPUT_PX}. Crops are stored larger, so that "
            "augmentation can move and turn the face in them; with data import --crop-px up to 512 pixels"
        )
    return size_px


class InputConfig(FrozenModel):
    """Network input."""

    size_px: Annotated[int, AfterValidator(_check_size)] = Field(
        80,
        description="Side of the input and of the probability maps, in pixels: an even number from 40 to 256; the "
        "paper's is 80.",
    )
    color: bool = Field(False, description="Red, green and blue instead of gray; needs a data set imported in color.")
    contrast_normalization: Literal["image", "batch", "none"] = Field(
        "image",
        description="Local contrast normalization with a threshold per image or per batch (as in the paper); with none "
        "the input is only standardized.",
    )

    @property
    def channels(self) -> int:
        """Number of input channels: 3 in color, 1 in gray."""
        return 3 if self.color else 1


class OccluderConfig(FrozenModel):
    """Black rectangles inside each image; their sides are independent and uniform (Honari et al. 2016, sec. 3)."""

    min_px: int = Field(20, ge=0, le=80, description="Shortest side, in pixels of an 80-pixel input.")
    max_px: int = Field(50, ge=0, le=80, description="Longest side, in pixels of an 80-pixel input; 0: no rectangle.")
    count: int = Field(1, ge=1, le=8, description="Rectangles in each image; the paper has one.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_px > self.max_px:
            raise ValueError(f"min_px {self.min_px} is larger than max_px {self.max_px}")
        return self


class PhotometricConfig(FrozenModel):
    """Random changes of the gray values; each amount is uniform up to the given one, and by default there are none."""

    brightness: float = Field(0.0, ge=0, le=1, description="Largest change of brightness, up or down, 1 being white.")
    contrast: float = Field(0.0, ge=0, le=1, description="Largest relative change of contrast, up or down.")
    gamma: float = Field(0.0, ge=0, le=3, description="Exponents from 1 / (1 + gamma) to 1 + gamma.")
    noise: float = Field(0.0, ge=0, le=0.5, description="Largest standard deviation of Gaussian noise, 1 being white.")
    blur_px: float = Field(0.0, ge=0, le=8, description="Largest deviation of a blur, in pixels of an 80-pixel input.")
    downscale: float = Field(0.0, ge=0, le=0.9, description="Largest share of the resolution lost on each axis.")
    jpeg_quality: int = Field(100, ge=5, le=100, description="Lowest quality of a loss like that of JPEG; 100: none.")
    gray: float = Field(0.0, ge=0, le=1, description="Fraction of color images that become gray.")


class AugmentConfig(FrozenModel):
    """Random changes of the face box, drawn for each image and epoch from the seed, the epoch and the row."""

    translate: float = Field(0.1, ge=0, le=0.5, description="Largest shift on each axis, relative to the box side.")
    scale: float = Field(0.1, ge=0, le=0.5, description="Largest relative change of the box side, up or down.")
    rotate_deg: float = Field(40.0, ge=0, le=180, description="Largest rotation in degrees, either way.")
    occluder: OccluderConfig = Field(OccluderConfig(), description="Black rectangles drawn over each image.")
    photometric: PhotometricConfig = Field(PhotometricConfig(), description="Changes of the gray values.")
    flip: float = Field(0.0, ge=0, le=1, description="Fraction of images flipped left to right, points renumbered.")
    flip_label_origin: Literal[0, 1] = Field(
        0,
        description="Number of the first pixel in the labels: x of a flipped point becomes W - x with 0, W + 1 - x "
        "with 1, in pixels of the photograph. MTFL and AFLW count from 1.",
    )
