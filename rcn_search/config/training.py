"""Configuration of the training: loss, optimizer, schedule, validation and where it is computed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rcn_search.config.frozen_model import FrozenModel
from rcn_search.storage import refuse_user_info


class InitConfig(FrozenModel):
    """Weights that a training starts from, in place of random ones. A name alone is ``weights``."""

    weights: Annotated[str, AfterValidator(refuse_user_info)] = Field(
        min_length=1,
        description="Packaged weights, folder of a run, or path or URI of a checkpoint, of the same network. If it has "
        "other points, only the head starts anew.",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Hash of the weights; `train --from` and `tune` fill it in. Other weights are refused.",
    )
    layer_lr_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The learning rate of each layer is that of the next one times this, so that layers near the "
        "image change less (Howard and Ruder 2018, sec. 3.2); those of a new head have the full rate.",
    )


class LossConfig(FrozenModel):
    """Loss. Networks that return points, as TCDCN, have the squared distance, or wing if that is its name."""

    name: Literal["nll", "l2", "wing", "adaptive_wing"] = Field(
        "nll",
        description="Negative log-likelihood of the true cell under a softmax over the map; squared distance between "
        "the map's mean position and the true point, or its Wing loss (Feng et al. 2018); Adaptive Wing loss of the "
        "map's sigmoid (Wang et al. 2019).",
    )
    points_outside: Literal["border", "ignore"] = Field(
        "border", description="Train points outside the input at its border (paper: MTFL), or ignore them (300-W)."
    )
    target_sigma_px: float = Field(
        0.0,
        ge=0,
        le=8,
        description="Width of a Gaussian target around the true pixel (nll and adaptive_wing); 0: the paper's single "
        "pixel.",
    )

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.name == "adaptive_wing" and self.target_sigma_px == 0:
            raise ValueError("adaptive_wing needs target_sigma_px above 0, as 1.5: its targets are Gaussians")
        return self


class OptimizerConfig(FrozenModel):
    """Optimizer and weight decay."""

    name: Literal["muon", "adamw", "adadelta"] = Field("muon", description="Algorithm; adadelta is the paper's.")
    lr: float = Field(4e-3, gt=0, le=10, description="Peak learning rate; the step multiplier of adadelta.")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Decoupled decay, never of biases (muon and adamw).")
    l2_encoder: float = Field(0.0, ge=0, le=1, description="Coefficient of squared encoder weights (adadelta).")
    l2_branches: float = Field(0.0, ge=0, le=1, description="Coefficient of all other squared weights (adadelta).")

    @model_validator(mode="after")
    def _check_decay(self) -> Self:
        if self.name == "adadelta" and self.weight_decay:
            raise ValueError("weight_decay belongs to muon and adamw; with adadelta set l2_encoder and l2_branches")
        if self.name != "adadelta" and (self.l2_encoder or self.l2_branches):
            raise ValueError(f"l2_encoder and l2_branches belong to adadelta; with {self.name} set weight_decay")
        return self


class ScheduleConfig(FrozenModel):
    """Length of the training, and the learning rate over it."""

    epochs: int = Field(15, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(64, ge=1, le=65_536, description="Images in an optimizer step.")
    lr_schedule: Literal["one_cycle", "constant"] = Field("one_cycle", description="Course of the learning rate.")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of steps in which the rate rises (one_cycle).")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="Decay of the moving average of weights that is validated and saved; 0: none."
    )
    reshuffle: bool = Field(True, description="Draw a new order of the images every epoch; the paper keeps one order.")


class ValidationConfig(FrozenModel):
    """Validation, whose error selects epochs and trials."""

    augment: bool = Field(True, description="Augment the images once, with a fixed seed, as the paper's code does.")
    every_epochs: int = Field(1, ge=1, description="Epochs between validations; the last epoch is always validated.")
    save: Literal["best", "every"] = Field(
        "best", description="Weights to save: those of the best epoch, or of every validated epoch as well."
    )


class CheckpointConfig(FrozenModel):
    """When a run is saved, which is not part of its identity."""

    every_s: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="Seconds between saves, each after an epoch; 0: after every epoch. The last epoch is always saved. "
        "A run that is killed repeats what it trained since, with the same result.",
    )


class ComputeConfig(FrozenModel):
    """Hardware and speed, which are not part of a run's identity; ``auto`` is resolved by a short measurement."""

    device: str = Field("auto", description="PyTorch device, such as cpu or cuda; auto: a GPU where there is one.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="Number format of the network's arithmetic.")
    channels_last: bool | Literal["auto"] = Field("auto", description="Memory layout NHWC instead of NCHW.")
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="CPU threads of the training.")
    recombination: tuple[Literal["transposed", "separate", "concatenated"], ...] | Literal["auto"] = Field(
        "auto",
        description="Form in which each recombination of an RCN is computed, coarsest first; all forms give the same "
        "maps. auto: measured where another compute option is measured, too, else all transposed.",
    )
    step: Literal["auto", "eager", "graph", "compiled"] = Field(
        "auto",
        description="How a training step runs: operation by operation (eager), on a GPU as a CUDA graph, or compiled "
        "by PyTorch, which takes half a minute before the first step. Several workers, and custom networks, whose code "
        "may do anything, always take eager steps.",
    )
