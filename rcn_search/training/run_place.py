"""The place of a training run: whose it is, and what there is to go on from."""

from __future__ import annotations

from rcn_search import storage
from rcn_search.config import TrainConfig
from rcn_search.training.checkpoint import Checkpoint, read_checkpoint
from rcn_search.training.outcome import CONFIG_NAME, LAST_NAME

_EXISTS = "{} holds a run already; add --resume to go on with it"


class RunExistsError(ValueError):
    """There is a run at this place already, or another one than the one to be resumed."""


def saved_run(out: str, config: TrainConfig, data_fingerprint: str, *, resume: bool) -> Checkpoint | None:
    """What the run at ``out`` is to go on from, if there is anything.

    Raises:
        RunExistsError: Without ``resume``: there is a run. With it: it is another one, or of other data.
        CheckpointError: The checkpoint is damaged.
    """
    place = storage.join(out, CONFIG_NAME)
    if not storage.exists(place):
        return None
    if not resume:
        raise RunExistsError(_EXISTS.format(out))
    there = storage.read_json(place).get("run_id")
    if there != config.run_id:
        raise RunExistsError(f"{out} holds run {there}, of another configuration than {config.run_id}")
    last = storage.join(out, LAST_NAME)
    if not storage.exists(last):
        return None
    saved = read_checkpoint(last)
    if saved.info.data_fingerprint != data_fingerprint:
        raise RunExistsError(
            f"{out} was trained on data {saved.info.data_fingerprint}; {config.data.uri} is {data_fingerprint}"
        )
    return saved


def claim_run(out: str, config: TrainConfig, *, resume: bool) -> None:
    """Make ``out`` the place of this run; last of all, for what cannot start is no run.

    Raises:
        RunExistsError: Without ``resume``: there is a run, which another process has just started.
    """
    document = {"run_id": config.run_id, "config": config.model_dump(mode="json")}
    try:
        storage.write_json(storage.join(out, CONFIG_NAME), document, if_absent=True)
    except storage.ObjectExistsError:
        if not resume:
            raise RunExistsError(_EXISTS.format(out)) from None
