"""The place of a training run: whose it is, and what there is to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.training.checkpoint import Checkpoint, read_checkpoint
from rcn_search.training.distributed import Workers
from rcn_search.training.exit_status import CONFIG_NAME, LAST_NAME

_SEEN_WITHIN_S, _LOOK_EVERY_S = 75.0, 1.0
"""What one machine has just written to NFS may not be there for another one for up to a minute (acdirmax in nfs(5))."""
Seen = TypeVar("Seen")
_EXISTS = "{} holds a run already; add --resume to go on with it"


class RunExistsError(RcnSearchError):
    """There is a run at this place already, or another one than the one to be resumed."""


def saved_run(
    out: str, config: TrainConfig, data_fingerprint: str, workers: Workers, *, resume: bool
) -> Checkpoint | None:
    """What the run at ``out`` is to go on from, if there is anything.

    Raises:
        RunExistsError: Without ``resume``: there is a run. With it: it is another one, or of other data.
        CheckpointError: The checkpoint is damaged.
        ValueError: Another worker than the first sees another checkpoint.
    """
    return _seen_by_all(
        out,
        lambda: _saved(out, config, data_fingerprint, resume=resume or not workers.is_first),
        lambda saved: f"{saved.info.state['steps_done']} steps" if saved else "no checkpoint",
        workers,
    )


def _saved(out: str, config: TrainConfig, data_fingerprint: str, *, resume: bool) -> Checkpoint | None:
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


def claim_run(out: str, config: TrainConfig, workers: Workers, *, resume: bool) -> None:
    """Make ``out`` the place of this run; last of all, for what cannot start is no run.

    Raises:
        RunExistsError: Without ``resume``: there is a run, which another process has just started.
        ValueError: Another worker than the first does not see it.
    """
    place = storage.join(out, CONFIG_NAME)
    if workers.is_first:
        document = {"run_id": config.run_id, "config": config.model_dump(mode="json")}
        try:
            storage.write_json(place, document, if_absent=True)
        except storage.ObjectExistsError:
            if not resume:
                raise RunExistsError(_EXISTS.format(out)) from None
    _seen_by_all(
        out,
        lambda: workers.is_first or storage.exists(place),
        lambda there: "a run" if there else "nothing",
        workers,
    )


def _seen_by_all(out: str, look: Callable[[], Seen], say: Callable[[Seen], str], workers: Workers) -> Seen:
    """What is found at ``out``, the same for all workers: the first one looks first, the others until they see that."""
    if workers.is_first:
        seen = look()
        workers.agreed(say(seen))
        return seen
    first, give_up = workers.agreed(""), time.monotonic() + _SEEN_WITHIN_S
    while (own := say(seen := look())) != first:
        if time.monotonic() > give_up:
            raise ValueError(
                f"{out} is not one folder for all workers: the first sees {first} there, worker {workers.rank} {own}; "
                "name a folder that their machines share, or s3://…"
            )
        time.sleep(_LOOK_EVERY_S)
    return seen
