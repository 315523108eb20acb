"""Folder of a training run: which run owns it, and the checkpoint from which that run can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from rcn_search import storage
from rcn_search.config.differences import differences
from rcn_search.config.errors import summarize
from rcn_search.config.legacy import upgrade_config
from rcn_search.config.schema import FrozenModel, TrainConfig
from rcn_search.errors import RcnSearchError, list_first
from rcn_search.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from rcn_search.training.distributed import DistributedContext
from rcn_search.training.exit_status import CONFIG_NAME, LAST_NAME
from rcn_search.training.run_state import read_run_state

_VISIBLE_WITHIN_S, _POLL_INTERVAL_S = 75.0, 1.0
"""A file that one machine has written to NFS can be invisible to others for a minute (acdirmax in nfs(5))."""
Observed = TypeVar("Observed")


class RunRecord(FrozenModel):
    """Content of ``config.json``."""

    model_config = ConfigDict(extra="ignore")
    run_id: str = Field(max_length=40)
    config: dict[str, Any]


class RunExistsError(RcnSearchError):
    """The folder already holds a run, or a different run than the one to resume."""

    @classmethod
    def without_resume(cls, out: str) -> RunExistsError:
        """Create the error of a run that exists and was not to be resumed."""
        return cls(f"{out} already holds a run; resume it with --resume, or choose another folder")


def load_resumable_run(
    out: str, config: TrainConfig, data_fingerprint: str, distributed: DistributedContext, *, resume: bool
) -> Checkpoint | None:
    """Load the checkpoint from which the run at ``out`` is resumed; None if it starts from the beginning.

    Raises:
        RunExistsError: The folder holds a run and ``resume`` is false; or ``resume`` is true, and the run has another
            configuration or other data.
        CheckpointError: The checkpoint is damaged.
        RcnSearchError: Another worker does not see the checkpoint that worker 0 sees.
    """
    return _agree_across_workers(
        out,
        lambda: _read_last_checkpoint(out, config, data_fingerprint, resume=resume or not distributed.is_first),
        lambda checkpoint: f"{checkpoint.info.state['steps_done']} steps" if checkpoint else "no checkpoint",
        distributed,
    )


def _read_last_checkpoint(out: str, config: TrainConfig, data_fingerprint: str, *, resume: bool) -> Checkpoint | None:
    config_uri = storage.join(out, CONFIG_NAME)
    if not storage.exists(config_uri):
        return None
    if not resume:
        raise RunExistsError.without_resume(out)
    _check_same_run(out, config_uri, config)
    last_uri = storage.join(out, LAST_NAME)
    if not storage.exists(last_uri):
        return None
    checkpoint = read_checkpoint(last_uri)
    read_run_state(last_uri, checkpoint.info)
    if checkpoint.info.config.run_id != config.run_id:
        raise CheckpointError(
            f"{last_uri} is of run {checkpoint.info.config.run_id}, not of run {config.run_id} as {CONFIG_NAME}; "
            "restore it from a copy, or choose another folder"
        )
    if checkpoint.info.data_fingerprint != data_fingerprint:
        raise RunExistsError(
            f"{out} was trained on data with fingerprint {checkpoint.info.data_fingerprint}; {config.data.uri} has "
            f"{data_fingerprint}"
        )
    return checkpoint


def _check_same_run(out: str, config_uri: str, config: TrainConfig) -> None:
    """Check that the run in a folder is that of ``config``; else RunExistsError lists the keys that differ."""
    remedy = "restore it from a copy, or choose another folder"
    try:
        record = RunRecord.model_validate(storage.read_json(config_uri))
    except ValidationError as error:
        raise RcnSearchError(f"{config_uri} is damaged: {summarize(error)}; {remedy}") from None
    except storage.StorageError as error:
        if isinstance(error, OSError):
            raise
        raise RcnSearchError(f"{config_uri} is damaged: {error}; {remedy}") from None
    if record.run_id == config.run_id:
        return
    stored: dict[str, Any] = upgrade_config(record.config)
    with suppress(ValidationError):  # with the defaults of options that are newer than the run
        stored = TrainConfig.model_validate(stored).identity()
    changes = list(differences(stored, config.identity()))
    raise RunExistsError(
        f"{out} holds run {record.run_id}, and this is run {config.run_id}; what differs:\n  "
        + list_first(changes, "\n  ")
        + "\nGive the same file and the same --set as when the run was started, or choose another folder"
    )


def claim_run_folder(out: str, config: TrainConfig, distributed: DistributedContext, *, resume: bool) -> None:
    """Make ``out`` the folder of this run. Call it last, so that a run that cannot start leaves no trace."""
    config_uri = storage.join(out, CONFIG_NAME)
    if distributed.is_first:
        document = {"run_id": config.run_id, "config": config.model_dump(mode="json")}
        try:
            storage.write_json(config_uri, document, if_absent=True)
        except storage.ObjectExistsError:
            if not resume:
                raise RunExistsError.without_resume(out) from None
    _agree_across_workers(
        out,
        lambda: distributed.is_first or storage.exists(config_uri),
        lambda exists: "a run" if exists else "nothing",
        distributed,
    )


def _agree_across_workers(
    out: str, observe: Callable[[], Observed], describe: Callable[[Observed], str], distributed: DistributedContext
) -> Observed:
    """Observe the folder in worker 0, and in the other workers until they see the same."""
    if distributed.is_first:
        observed = observe()
        distributed.broadcast_text(describe(observed))
        return observed
    expected, deadline = distributed.broadcast_text(""), time.monotonic() + _VISIBLE_WITHIN_S
    while (description := describe(observed := observe())) != expected:
        if time.monotonic() > deadline:
            raise RcnSearchError(
                f"{out} is not one folder for all workers: worker 0 sees {expected}, worker {distributed.rank} sees "
                f"{description}; choose a folder that their machines share, or s3://…"
            )
        time.sleep(_POLL_INTERVAL_S)
    return observed
