"""Configuration of the training: loss, optimizer, schedule, validation and where it is computed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rcn_search.config.frozen_model import FrozenModel


class LossConfig(FrozenModel):
    """Loss of networks that return maps; TCDCN always has the squared distance of its coordinates."""

    name: Literal["nll", "l2"] = Field(
        "nll",
        description="Negative log-likelihood of the true cell under a softmax over the map, or squared distance "
        "between the map's mean position and the true point.",
    )
    points_outside: Literal["border", "ignore"] = Field(
        "border", description="Train points outside the input at its border (paper: MTFL), or ignore them (300-W)."
    )
    target_sigma_px: float = Field(
        0.0, ge=0, le=8, description="Width of a Gaussian target around the true pixel; 0: the paper's single pixel."
    )


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


class ComputeConfig(FrozenModel):
    """Hardware and speed, which are not part of a run's identity; ``auto`` is resolved by a short measurement."""

    device: str = Field("auto", description="PyTorch device, such as cpu or cuda; auto: a GPU where there is one.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="Number format of the network's arithmetic.")
    channels_last: bool | Literal["auto"] = Field("auto", description="Memory layout NHWC instead of NCHW.")
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="CPU threads of the training.")
