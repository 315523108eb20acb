"""Every option of a training run, as frozen models: what is not written here cannot be set.

`TrainConfig` is the identity of a run. It is stored, fully resolved, beside every result, and `TrainConfig.run_id`
hashes everything in it that can change the result (all but `ComputeConfig`, which says where and how fast).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

IMAGE_SIZE_PX = 160
"""Side of a stored crop (rcn.md 1.4, stage A)."""


class FrozenModel(BaseModel):
    """Base of every section: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(FrozenModel):
    """Which images: a data set and its splits."""

    uri: str = Field(min_length=1, description="Folder or s3:// URI of an imported data set.")
    train_split: str = "train"
    val_split: str = "val"
    num_train: int | None = Field(None, ge=1, description="Train on the first N images only (quick searches).")
    num_val: int | None = Field(None, ge=1, description="Validate on the first N images only.")
    balance_by: str | None = Field(
        None, description="Attribute, such as pose: of a class with a quarter of the faces, half as many are shown."
    )


Decoder = Literal["argmax", "median", "soft-argmax"]
"""From a map to a cell: the largest value, as in the paper; the least expected distance; the mean position."""


class InputConfig(FrozenModel):
    """What the network sees."""

    size_px: Literal[40, 80] = Field(80, description="Side of the input and of the probability maps.")
    color: bool = Field(False, description="Red, green and blue instead of grey; the data set must hold colour.")
    contrast_normalization: Literal["image", "batch", "none"] = Field(
        "image",
        description="Local contrast normalization: threshold per image, per batch (the paper), or standardised only.",
    )

    @property
    def channels(self) -> int:
        """Of an input."""
        return 3 if self.color else 1


Branches = Annotated[int, Field(ge=1, le=7, description="Resolutions, finest first: 80, 40, 20, 10, 5, 2, 1.")]
Width = Annotated[int, Field(ge=4, le=256)]
Layers = Literal["mtfl", "300w"]
"""Which of the paper's two lists of layers: narrow and 3x3, or 64 channels wide with the kernels of rcn.md 4.3, 4.6."""


def _quoted(value: Any) -> Any:
    if isinstance(value, int):  # YAML reads 0011 as the octal number 9
        raise ValueError("a mask needs quotes, as in '0011'")
    return value


Mask = Annotated[str, BeforeValidator(_quoted), Field(pattern="^[01]{1,7}$")]


class BranchesConfig(FrozenModel):
    """What RCN and SumNet have in common."""

    branches: Branches = 6
    layer_preset: Layers = Field("mtfl", description="The paper's layers for MTFL, or its wider ones for 300-W.")
    channels: Literal["paper"] | Width = Field("paper", description="The paper's list, or one width for every layer.")
    mask: Mask | None = Field(None, description="Branches kept, coarsest first as in Table 1 ('0011'); none: all.")

    @model_validator(mode="after")
    def _mask_fits(self) -> Self:
        if self.mask is not None and (len(self.mask) != self.branches or "1" not in self.mask):
            raise ValueError(f"mask {self.mask!r}: one digit for each of the {self.branches} branches, at least one 1")
        return self

    @property
    def kept(self) -> tuple[bool, ...]:
        """Whether each branch is there, finest first."""
        return tuple(digit == "1" for digit in reversed(self.mask or "1" * self.branches))


class RcnConfig(BranchesConfig):
    """Recombinator Network (rcn.md 4.1 to 4.4)."""

    name: Literal["rcn"] = "rcn"
    skip: bool = Field(False, description="Each branch receives the maps of all coarser branches.")
    upsampling: Literal["tile", "bilinear", "learned"] = Field("tile", description="From a coarse map to a fine one.")
    zero_non_pooled: bool = Field(
        False, description="In the recombination, encoder maps keep only the values that pooling took (rcn.md 4.3)."
    )

    @model_validator(mode="after")
    def _skip_has_no_gaps(self) -> Self:
        if self.skip and self.mask is not None and "0" in self.mask:
            raise ValueError("a mask is for the plain network: skip connections have nothing to skip from")
        return self


class SumNetConfig(BranchesConfig):
    """SumNet (rcn.md 4.5, 4.6): per-branch maps, upsampled, weighted and summed."""

    name: Literal["sumnet"] = "sumnet"
    branches: Annotated[int, Field(ge=1, le=6)] = 6
    upsampling: Literal["tile", "bilinear"] = Field("tile", description="From a coarse map to a fine one.")
    fusion_weights: Literal["map", "pixel"] = Field(
        "map", description="One weight per branch and keypoint, or per pixel too."
    )


class TcdcnConfig(FrozenModel):
    """TCDCN (rcn.md 10.3): coordinate regression, with auxiliary attributes of the face or without."""

    name: Literal["tcdcn"] = "tcdcn"
    auxiliary: bool = Field(
        False, description="Also learn the attributes the data set has (gender, smile, glasses, pose)."
    )
    auxiliary_weight: float = Field(0.1, ge=0, le=100, description="Weight of each auxiliary cross-entropy.")
    task_stop_threshold: float | None = Field(
        None, gt=0, description="Task-wise early stopping: an attribute is dropped when its criterion exceeds this."
    )

    @model_validator(mode="after")
    def _tasks_to_stop(self) -> Self:
        if self.task_stop_threshold is not None and not self.auxiliary:
            raise ValueError("task_stop_threshold needs auxiliary: true; without attributes there is no task to stop")
        return self


class DenoiserConfig(FrozenModel):
    """Keypoint denoiser (rcn.md 4.7, 7): one-hot maps, some of them wrong, to logits of the true positions."""

    name: Literal["denoiser"] = "denoiser"
    kernel_px: int = Field(45, ge=3, le=79, description="Side of the three large kernels; odd.")
    channels: Annotated[int, Field(ge=4, le=256)] = 64
    num_corrupted_points: int = Field(
        35, ge=1, le=1000, description="Points of each face that are put at a random place."
    )

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.kernel_px % 2 == 0:
            raise ValueError(f"kernel_px {self.kernel_px} has no middle: make it odd")
        return self


ModelConfig = Annotated[RcnConfig | SumNetConfig | TcdcnConfig | DenoiserConfig, Field(discriminator="name")]


class OccluderConfig(FrozenModel):
    """One black rectangle per image, sides independent and uniform, placed fully inside (rcn.md 3)."""

    min_px: int = Field(20, ge=0, le=80, description="Shortest side, in pixels of an 80-pixel input.")
    max_px: int = Field(50, ge=0, le=80, description="Longest side; 0 for no rectangle.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_px > self.max_px:
            raise ValueError(f"min_px {self.min_px} is larger than max_px {self.max_px}")
        return self


class AugmentConfig(FrozenModel):
    """Jitter of the face box, drawn anew for each image and epoch from (seed, epoch, row)."""

    translate: float = Field(0.1, ge=0, le=0.5, description="Shift of the box, +- this share of its side, per axis.")
    scale: float = Field(0.1, ge=0, le=0.5, description="Side of the box times 1 +- this.")
    rotate_deg: float = Field(40.0, ge=0, le=180, description="Rotation of the box, +- degrees.")
    occluder: OccluderConfig = OccluderConfig()
    flip: float = Field(0.0, ge=0, le=1, description="Share of images mirrored (points renumbered by the schema).")


class LossConfig(FrozenModel):
    """What is minimised: spatial softmax NLL for maps, squared distance for coordinates."""

    name: Literal["nll", "l2"] = Field(
        "nll", description="For maps: NLL of the true cell, or squared distance of the map's mean position."
    )
    points_outside: Literal["border", "ignore"] = Field(
        "border", description="Points outside the window: trained at its border (MTFL), or left out (300-W)."
    )
    target_sigma_px: float = Field(
        0.0, ge=0, le=8, description="Width of a Gaussian target around the true pixel; 0 is the paper's single pixel."
    )


class OptimizerConfig(FrozenModel):
    """How weights move."""

    name: Literal["muon", "adamw", "adadelta"] = "muon"
    lr: float = Field(
        4e-3, gt=0, le=10, description="Peak learning rate (AdaDelta: the step multiplier, 1 in the paper)."
    )
    weight_decay: float = Field(
        1e-4, ge=0, le=1, description="Decoupled decay of weights, never of biases (muon, adamw)."
    )
    l2_encoder: float = Field(
        0.0, ge=0, le=1, description="Coefficient of the summed squares of encoder weights (adadelta)."
    )
    l2_branches: float = Field(0.0, ge=0, le=1, description="The same for all other weights.")

    @model_validator(mode="after")
    def _decay_in_one_way(self) -> Self:
        if self.name == "adadelta" and self.weight_decay:
            raise ValueError("weight_decay belongs to muon and adamw; with adadelta set l2_encoder and l2_branches")
        if self.name != "adadelta" and (self.l2_encoder or self.l2_branches):
            raise ValueError(f"l2_encoder and l2_branches belong to adadelta; with {self.name} set weight_decay")
        return self


class ScheduleConfig(FrozenModel):
    """How long, and how the learning rate moves."""

    epochs: int = Field(15, ge=1, le=100_000)
    batch_size: int = Field(64, ge=1, le=65_536)
    lr_schedule: Literal["one_cycle", "constant"] = "one_cycle"
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of all steps spent raising the learning rate.")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Moving average of the weights that is validated and kept; 0: none."
    )
    reshuffle: bool = Field(True, description="New order every epoch (the paper's code keeps one order).")


class ValidationConfig(FrozenModel):
    """How the validation error that selects epochs and trials is measured."""

    augment: bool = Field(
        True, description="Jitter and occlude the validation images once, by a fixed seed, as the paper's code does."
    )
    every_epochs: int = Field(1, ge=1, description="Epochs between validations; the last epoch is always validated.")
    save: Literal["best", "every"] = Field(
        "best", description="Weights kept: of the best epoch, or of every validated one too (epoch-0001.safetensors)."
    )


class ComputeConfig(FrozenModel):
    """Where and how fast; not part of a run's identity. ``auto`` is settled by a short measured probe."""

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="CPU threads of the training process."
    )


class TrainConfig(FrozenModel):
    """One training run, fully resolved."""

    recipe: Literal["fast", "paper"] = "fast"
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataConfig
    input: InputConfig = InputConfig()
    model: ModelConfig = RcnConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="before")
    @classmethod
    def _rcn_by_default(cls, document: Any) -> Any:
        """``model: {branches: 5}`` means an RCN, as no model at all does."""
        model = document.get("model") if isinstance(document, dict) else None
        return {**document, "model": {"name": "rcn", **model}} if isinstance(model, dict) else document

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that name this run: the hash of everything that can change its result.

        The place of the data is left out: its content is named by the fingerprint that stands beside the run id. So are
        the options of `ADDED_LATER` at their defaults: a run from before them can still be gone on with.
        """
        document = self.model_dump(mode="json", exclude={"compute": True, "data": {"uri"}, "validation": {"save"}})
        for section, options in ADDED_LATER.items():
            for name, default in options.items():
                if document[section].get(name, default) == default:
                    document[section].pop(name, None)
        return canonical_hash(document)[:12]


# Keys that came after run ids had been given, by section, with their defaults: at its default a key is left out of the
# hash, so that older runs keep their ids. A default here may never change.
ADDED_LATER: dict[str, dict[str, Any]] = {}


def canonical_hash(document: Any) -> str:
    """SHA-256 of a JSON document, independent of key order and white space."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
