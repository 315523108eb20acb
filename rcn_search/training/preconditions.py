"""Check that data set and workers are suitable for a configuration, before anything is loaded."""

from __future__ import annotations

from rcn_search.config.schema import DataConfig, TrainConfig
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.errors import RcnSearchError


def check_splits(data: DataConfig, manifest: Manifest) -> None:
    """Check that training and validation use no test split, of which every evaluation must be counted.

    Raises:
        DatasetError: Training or validation uses a test split.
    """
    for key, split in (("train_split", data.train_split), ("val_split", data.val_split)):
        if split in manifest.test_splits:
            raise DatasetError(
                f"data.{key}: {split!r} of {data.uri} is a test split, which must not be used for training or "
                "validation; choose another split, and use this one with rcn-search evaluate"
            )


def check_requirements(config: TrainConfig, manifest: Manifest, num_workers: int) -> None:
    """Look before anything is read or built.

    Raises:
        DatasetError: As `check_splits`; or the data set has not the colour or the attribute that is asked for.
        RcnSearchError: Several workers cannot train as one does.
    """
    data = config.data
    check_splits(data, manifest)
    if config.input.channels > manifest.channels:
        raise DatasetError(f"{data.uri} is grey; for input.color import it again with --colour")
    if data.balance_by and data.balance_by not in manifest.attributes:
        has = ", ".join(manifest.attributes) or "none"
        raise DatasetError(f"data.balance_by: {data.uri} has no attribute {data.balance_by!r}; it has: {has}")
    if num_workers > 1 and config.input.contrast_normalization == "batch":
        raise RcnSearchError(
            "input.contrast_normalization: batch measures the contrast of a whole batch, but each of several workers "
            "sees a part of it: train with one worker, or set input.contrast_normalization to image"
        )
