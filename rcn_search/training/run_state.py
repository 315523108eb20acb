"""What ``last.safetensors`` holds beside its tensors: everything else from which a run is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from rcn_search import storage
from rcn_search.config.errors import summarize
from rcn_search.config.frozen_model import FrozenModel
from rcn_search.training.checkpoint import CheckpointError, CheckpointInfo
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.epoch_report import EpochReport
from rcn_search.training.exit_status import BEST_NAME
from rcn_search.training.history import PART_EPOCHS, part_uri
from rcn_search.training.tcdcn_task_stopping import StoppingState

_PART = TypeAdapter(tuple[EpochReport, ...])


class RunState(FrozenModel):
    """State of a run; ``partial_loss`` and ``partial_s`` are those of the steps of an epoch that was interrupted.

    ``history`` is the rest after the parts that are files of their own (see `rcn_search.training.history`).
    """

    settings: ComputeSettings
    num_workers: int = Field(1, ge=1)
    steps_done: int = Field(ge=0)
    partial_loss: float
    partial_s: float = Field(ge=0)
    task_stopping: StoppingState = StoppingState()
    history: tuple[EpochReport, ...]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        first = self.history[0].epoch if self.history else 1
        if first < 1 or (first - 1) % PART_EPOCHS:
            raise ValueError(f"its history begins with epoch {first}, which is never the first one")
        _check_numbers(self.history, first)
        return self

    @property
    def num_parts(self) -> int:
        """Number of parts before the rest; none before a whole history, as earlier versions wrote it."""
        return (self.history[0].epoch - 1) // PART_EPOCHS if self.history else 0


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


def read_run_history(out: str, uri: str, state: RunState, num_epochs: int) -> list[EpochReport]:
    """Read all epochs of the run at ``out``, of which its checkpoint at ``uri`` has ``num_epochs``.

    Raises:
        CheckpointError: A part of the history is missing or damaged, or the checkpoint has another number of epochs.
    """
    num_before = state.history[0].epoch - 1 if state.history else 0
    if num_epochs != num_before + len(state.history):
        raise CheckpointError(
            f"{uri} is damaged: {state.steps_done:,} steps are {num_epochs} epochs, and its history has "
            f"{num_before + len(state.history)}; restore it from a copy"
        )
    parts = [_read_part(out, number) for number in range(state.num_parts)]
    return [report for part in (*parts, state.history) for report in part]


def _read_part(out: str, number: int) -> tuple[EpochReport, ...]:
    uri = part_uri(out, number)
    try:
        reports = _PART.validate_python(storage.read_json(uri))
        _check_numbers(reports, number * PART_EPOCHS + 1)
        if len(reports) != PART_EPOCHS:
            raise ValueError(f"it holds {len(reports)} epochs, not {PART_EPOCHS}")
    except FileNotFoundError:
        raise CheckpointError(f"{uri} is missing; restore it from a copy") from None
    except ValidationError as error:
        raise CheckpointError(f"{uri} is damaged: {summarize(error)}; restore it from a copy") from None
    except ValueError as error:
        raise CheckpointError(f"{uri} is damaged: {error}; restore it from a copy") from None
    return reports


def _check_numbers(reports: Sequence[EpochReport], first: int) -> None:
    for number, report in enumerate(reports, start=first):
        if report.epoch != number:
            raise ValueError(f"epoch {report.epoch} of its history stands where epoch {number} is expected")
