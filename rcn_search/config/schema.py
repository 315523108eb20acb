"""The configuration of a training run: every key that can be set, as frozen models.

`TrainConfig` is the identity of a run. It is stored, fully resolved, beside every result. Its sections are defined in
`rcn_search.config.images`, `rcn_search.config.model` and `rcn_search.config.training`; import them from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rcn_search.config.frozen_model import FrozenModel, canonical_hash
from rcn_search.config.images import (
    IMAGE_SIZE_PX,
    MAX_INPUT_PX,
    MIN_INPUT_PX,
    AugmentConfig,
    DataConfig,
    InputConfig,
    OccluderConfig,
    PhotometricConfig,
)
from rcn_search.config.model import (
    BranchesConfig,
    CustomConfig,
    DenoiserConfig,
    HeadName,
    ModelConfig,
    RcnConfig,
    SumNetConfig,
    TcdcnConfig,
    TimmConfig,
)
from rcn_search.config.training import (
    CheckpointConfig,
    ComputeConfig,
    InitConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
    ValidationConfig,
)

__all__ = [
    "IMAGE_SIZE_PX",
    "MAX_INPUT_PX",
    "MIN_INPUT_PX",
    "AugmentConfig",
    "BranchesConfig",
    "CheckpointConfig",
    "ComputeConfig",
    "CustomConfig",
    "DataConfig",
    "Decoder",
    "DenoiserConfig",
    "FrozenModel",
    "HeadName",
    "InitConfig",
    "InputConfig",
    "LossConfig",
    "ModelConfig",
    "OccluderConfig",
    "OptimizerConfig",
    "RcnConfig",
    "ScheduleConfig",
    "SumNetConfig",
    "TcdcnConfig",
    "TimmConfig",
    "TrainConfig",
    "canonical_hash",
]

Decoder = Literal["argmax", "median", "soft-argmax"]
"""From a map to a cell: the largest value, as in the paper; the least expected distance; the mean position."""


def _init_of_a_name(value: Any) -> Any:
    return {"weights": value} if isinstance(value, str) else value


class TrainConfig(FrozenModel):
    """One training run, fully resolved."""

    recipe: Literal["fast", "paper"] = Field("fast", description="Set of defaults for all other keys.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the initial weights, the order and the augmentation.")
    data: DataConfig = Field(description="Data set and splits.")
    input: InputConfig = Field(InputConfig(), description="Network input.")
    model: ModelConfig = Field(RcnConfig(), description="Network; name is rcn where it is left out.")
    augment: AugmentConfig = Field(AugmentConfig(), description="Augmentation of the training images.")
    loss: LossConfig = Field(LossConfig(), description="Loss.")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="Optimizer.")
    init: Annotated[InitConfig | None, BeforeValidator(_init_of_a_name)] = Field(
        None, description="Weights to start from; random ones where it is left out."
    )
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="Epochs, batches and learning rate.")
    validation: ValidationConfig = Field(ValidationConfig(), description="Validation.")
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="When the run is saved.")
    compute: ComputeConfig = Field(ComputeConfig(), description="Hardware and speed.")

    @model_validator(mode="before")
    @classmethod
    def _name_the_default_model(cls, document: Any) -> Any:
        """Read ``model: {branches: 5}`` as an RCN, which is also the default of ``model``."""
        model = document.get("model") if isinstance(document, dict) else None
        return {**document, "model": {"name": "rcn", **model}} if isinstance(model, dict) else document

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if isinstance(self.model, BranchesConfig | DenoiserConfig):
            self.model.check_size(self.input.size_px)
        return self

    def identity(self) -> dict[str, Any]:
        """Return all keys that can change the result of a run, as a JSON document."""
        exclude: Any = {"checkpoint": True, "compute": True, "data": {"uri"}, "validation": {"save"}}
        if self.init and self.init.sha256:  # which names the weights, wherever they are
            exclude["init"] = {"weights"}
        return self.model_dump(mode="json", exclude=exclude)

    @property
    def run_id(self) -> str:
        """Name of this run in 12 hexadecimal digits: the hash of everything that can change its result.

        The URI of the data is left out, because the fingerprint beside the run id names its content. Keys of
        `ADDED_LATER` are left out at their defaults, so that a run from before them keeps its id.
        """
        document = self.identity()
        for path, default in ADDED_LATER.items():
            *sections, key = path.split(".")
            holder = document
            for section in sections:
                holder = holder[section]
            if holder.get(key, default) == default:
                holder.pop(key, None)
        return canonical_hash(document)[:12]


# Path of the key -> default of every key that was added after the first run ids had been given. Add each new key here;
# its default may never change, and neither may that of a key that was there from the start.
ADDED_LATER: dict[str, Any] = {
    "init": None,
    "data.drawn": None,
    "augment.flip_label_origin": 0,
    "augment.occluder.count": 1,
    "augment.photometric": PhotometricConfig().model_dump(),
}
