"""What ``last.safetensors`` holds beside its tensors: everything else from which a run is resumed."""

from __future__ import annotations

from typing import Self

from pydantic import Field, ValidationError, model_validator

from rcn_search.config.errors import summarize
from rcn_search.config.frozen_model import FrozenModel
from rcn_search.training.checkpoint import CheckpointError, CheckpointInfo
from rcn_search.training.compute_probe import ComputeSettings
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME
from rcn_search.training.tcdcn_task_stopping import StoppingState


class RunState(FrozenModel):
    """State of a run; ``partial_loss`` and ``partial_s`` are those of the steps of an epoch that was interrupted."""

    settings: ComputeSettings
    num_workers: int = Field(1, ge=1)
    steps_done: int = Field(ge=0)
    partial_loss: float
    partial_s: float = Field(ge=0)
    task_stopping: StoppingState = StoppingState()
    history: tuple[EpochReport, ...]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for number, report in enumerate(self.history, start=1):
            if report.epoch != number:
                raise ValueError(f"epoch {report.epoch} of its history stands where epoch {number} is expected")
        return self


def read_run_state(uri: str, info: CheckpointInfo) -> RunState:
    """Read the state in the header of the checkpoint at ``uri``.

    Raises:
        CheckpointError: It is no checkpoint of a run, or its state is damaged.
    """
    if info.kind != "run":
        raise CheckpointError(
            f"{uri} holds weights alone, as {BEST_NAME} does, and no run can be resumed from it; restore it from a "
            "copy, or train anew in another folder"
        )
    try:
        return RunState.model_validate(info.state)
    except ValidationError as error:
        raise CheckpointError(f"{uri} is damaged: state: {summarize(error)}; restore it from a copy") from None
