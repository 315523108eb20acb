"""Weights that the trials of a study start from: read, named and compared with the network before anything starts."""

from __future__ import annotations

from rich.console import Console

from rcn_search.keypoints import KeypointSchema
from rcn_search.study.space.study_config import StudyConfig, overlay


def with_start_weights(config: StudyConfig, schema: KeypointSchema, console: Console) -> StudyConfig:
    """Fill in ``base.init.sha256``, so that all trials of a study start from the same weights, also when it is resumed.

    What of them fits the network is printed, unless the search changes the network or runs have weights of their own.

    Raises:
        CheckpointError: The weights are missing, damaged, or of another network.
    """
    base = config.base_config
    if base.init is None or any(key.split(".")[0] == "init" for run in config.runs.values() for key in run):
        return config
    from rcn_search.training.start_weights import read_start_weights, with_weights_hash  # imports torch

    resolved = with_weights_hash(base).init
    assert resolved is not None
    keys = [*config.search, *(key for run in config.runs.values() for key in run)]
    if not any(key.startswith(("model.", "input.")) for key in keys):
        console.print(str(read_start_weights(base, schema)), soft_wrap=True, markup=False, highlight=False)
    return config.model_copy(update={"base": overlay(config.base, {"init.sha256": resolved.sha256})})
