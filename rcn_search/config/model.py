"""Configuration of the networks; ``name`` selects one of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from rcn_search.config.frozen_model import FrozenModel, canonical_hash

Width = Annotated[int, Field(ge=4, le=256)]


def _require_quotes(value: Any) -> Any:
    if isinstance(value, int):  # YAML reads 0011 as the octal number 9
        raise ValueError("a mask needs quotes, as in '0011'")
    return value


class BranchesConfig(FrozenModel):
    """Keys that RCN and SumNet share."""

    branches: int = Field(
        6,
        ge=1,
        le=9,
        description="Number of resolutions, each half of the one before, down to one pixel at most. Of an input of 80 "
        "pixels: 80, 40, 20, 10, 5, 2, 1.",
    )
    channels: Literal["paper"] | Width = Field("paper", description="The preset's widths, or one width for all layers.")
    mask: Annotated[str, BeforeValidator(_require_quotes), Field(pattern="^[01]{1,9}$")] | None = Field(
        None, description="Branches to keep, coarsest first as in the paper's Table 1: '0011'. By default all."
    )

    @model_validator(mode="after")
    def _check_mask(self) -> Self:
        if self.mask is not None and (len(self.mask) != self.branches or "1" not in self.mask):
            raise ValueError(
                f"mask {self.mask!r} needs one digit for each of the {self.branches} branches and at least one 1"
            )
        return self

    def check_size(self, input_px: int) -> None:
        """Check that the smallest branch of an input has a pixel; ValueError if not."""
        if self.branches > (most := input_px.bit_length()):
            sides = ", ".join(str(input_px >> level) for level in range(most))
            raise ValueError(
                f"model.branches = {self.branches}: an input of {input_px} px has at most {most}, of {sides} px"
            )

    @property
    def kept_branches(self) -> tuple[bool, ...]:
        """Whether the network has each branch, finest first."""
        return tuple(digit == "1" for digit in reversed(self.mask or "1" * self.branches))


class RcnConfig(BranchesConfig):
    """Recombinator Network (Honari et al. 2016, sec. 3.2)."""

    name: Literal["rcn"] = Field("rcn", description="Network.")
    layer_preset: Literal["mtfl", "300w", "300w-3x3"] = Field(
        "mtfl",
        description="The paper's layers: narrow with 3x3 kernels for MTFL, or 64 channels wide for 300-W, with 5x5 and "
        "1x1 kernels as in the public code or 3x3 as in Fig. 1.",
    )
    skip: bool = Field(False, description="Each branch receives the maps of all coarser branches.")
    upsampling: Literal["tile", "bilinear", "learned"] = Field("tile", description="From a coarse map to a finer one.")
    zero_non_pooled: bool = Field(False, description="Recombine only those encoder values that max pooling selected.")

    @model_validator(mode="after")
    def _check_skip(self) -> Self:
        if self.skip and self.mask is not None and "0" in self.mask:
            raise ValueError("a mask needs skip: false, because skip connections use every coarser branch")
        return self


class SumNetConfig(BranchesConfig):
    """SumNet: the maps of all branches, upsampled, weighted and summed (Honari et al. 2016, sec. 3.1)."""

    name: Literal["sumnet"] = Field("sumnet", description="Network.")
    layer_preset: Literal["mtfl", "300w"] = Field(
        "mtfl", description="The paper's layers: narrow with 3x3 kernels for MTFL, or 64 channels wide for 300-W."
    )
    upsampling: Literal["tile", "bilinear"] = Field("tile", description="From a coarse map to a finer one.")
    fusion_weights: Literal["map", "pixel"] = Field(
        "map", description="One weight for each branch and keypoint, or one for each pixel as well."
    )


class TcdcnConfig(FrozenModel):
    """TCDCN: regression of coordinates, optionally with attributes of the face (Zhang et al., ECCV 2014)."""

    name: Literal["tcdcn"] = Field("tcdcn", description="Network.")
    auxiliary: bool = Field(
        False, description="Learn the data set's attributes (gender, smile, glasses, pose) as auxiliary tasks."
    )
    auxiliary_weight: float = Field(0.1, ge=0, le=100, description="Weight of each auxiliary cross-entropy.")
    task_stop_threshold: float | None = Field(
        None, gt=0, description="Task-wise early stopping: drop an attribute when its criterion exceeds this value."
    )

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        if self.task_stop_threshold is not None and not self.auxiliary:
            raise ValueError("task_stop_threshold needs auxiliary: true; without attributes there is no task to stop")
        return self


class DenoiserConfig(FrozenModel):
    """Keypoint denoiser: from one-hot maps, some of them wrong, to the true positions (Honari et al. 2016, sec. 4)."""

    name: Literal["denoiser"] = Field("denoiser", description="Network.")
    kernel_px: int = Field(
        45, ge=3, le=255, description="Side of the three large kernels; an odd number below twice the input's side."
    )
    channels: Width = Field(64, description="Width of the three large layers.")
    num_corrupted_points: int = Field(35, ge=1, le=1000, description="Points per face that training moves at random.")

    def check_size(self, input_px: int) -> None:
        """Check that the kernels are not larger than the map and its surroundings; ValueError if they are."""
        if self.kernel_px >= 2 * input_px:
            raise ValueError(f"model.kernel_px = {self.kernel_px} must be below twice input.size_px = {input_px}")

    @model_validator(mode="after")
    def _check_kernel(self) -> Self:
        if self.kernel_px % 2 == 0:
            raise ValueError(f"kernel_px {self.kernel_px} must be odd, so that the kernel has a center")
        return self


NETWORK_ARGUMENTS = ("num_points", "input_px", "in_channels")
"""Arguments of a custom network that are given by the data set and by the section input."""


def _check_target(target: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", target, re.ASCII):
        raise ValueError("write it as package.module:Class, as in nets:Tiny")
    return target


def _check_argument_name(name: str) -> str:
    if name in NETWORK_ARGUMENTS:
        raise ValueError(f"{name} is given by the data set and by the section input")
    if not name.isidentifier():
        raise ValueError("the name of an argument is a Python identifier")
    return name


class CustomConfig(FrozenModel):
    """A network of your own: a class of PyTorch modules that is imported by its name."""

    name: Literal["custom"] = Field("custom", description="Network.")
    target: Annotated[str, AfterValidator(_check_target)] = Field(
        max_length=200,
        description="Class of the network, as package.module:Class, in an installed package or on PYTHONPATH. It is "
        "called with num_points, input_px, in_channels and args.",
    )
    args: dict[Annotated[str, AfterValidator(_check_argument_name)], JsonValue] = Field(
        {}, description="Further keyword arguments of the class; searched as model.args.NAME."
    )

    def __hash__(self) -> int:
        return hash(canonical_hash(self.model_dump(mode="json")))


HeadName = Literal["heatmap", "simcc", "coordinates"]
"""From features to keypoints: `rcn_search.models.heads`."""


def _refuse_download(pretrained: Any) -> Any:
    if pretrained is not False:
        raise ValueError(
            "must be false: weights are not downloaded, and files of other projects are not read; to start from "
            "weights of this package, use train --from, or base.init in a study"
        )
    return pretrained


class TimmConfig(FrozenModel):
    """A backbone of timm (ResNet, HRNet, MobileNet, …) with a head; needs the extra timm."""

    name: Literal["timm"] = Field("timm", description="Network.")
    backbone: str = Field(
        "resnet18",
        pattern=r"^[a-z0-9_]{1,80}$",
        description="Name in timm of an architecture of convolutional features, as in resnet18, hrnet_w18_small_v2 or "
        "mobilenetv3_small_100.",
    )
    head: HeadName = Field(
        "heatmap",
        description="A map for each point; two classifications, of its column and its row; or regression of x and y.",
    )
    feature_stride: Literal[4, 8, 16, 32] = Field(
        32, description="Features to take: input pixels to one of theirs. 4 for HRNet, whose finest features it is."
    )
    map_stride: Literal[2, 4, 8, 16, 32] = Field(
        4,
        description="Of heatmap and simcc: deconvolutions double the side of the features until one of their pixels is "
        "this many of the input.",
    )
    deconv_channels: Width = Field(256, description="Width of the deconvolutions.")
    pretrained: Annotated[Literal[False], BeforeValidator(_refuse_download)] = Field(
        False, description="Weights are random: none are downloaded."
    )

    @model_validator(mode="after")
    def _check_strides(self) -> Self:
        if self.map_stride > self.feature_stride and self.head != "coordinates":
            raise ValueError(
                f"map_stride {self.map_stride} must not be over feature_stride {self.feature_stride}: deconvolutions "
                "only enlarge features"
            )
        return self


ModelConfig = Annotated[
    RcnConfig | SumNetConfig | TcdcnConfig | DenoiserConfig | CustomConfig | TimmConfig, Field(discriminator="name")
]
