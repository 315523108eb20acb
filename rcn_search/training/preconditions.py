"""Check that data set and workers are suitable for a configuration, before anything is loaded."""

from __future__ import annotations

from rcn_search.config.schema import DataConfig, TrainConfig
from rcn_search.data.shards import DatasetError, Manifest
from rcn_search.errors import RcnSearchError


def check_splits(data: DataConfig, manifest: Manifest) -> None:
    """Check that training and validation use no test split, of which every evaluation must be counted."""
    for key, split in (("train_split", data.train_split), ("val_split", data.val_split)):
        if split in manifest.test_splits:
            raise DatasetError(
                f"data.{key}: {split!r} of {data.uri} is a test split, which must not be used for training or "
                "validation; choose another split, and use this one with rcn-search evaluate"
            )


def check_requirements(config: TrainConfig, manifest: Manifest, num_workers: int) -> None:
    """Check that a run can be trained on its data set by a number of workers.

    Raises:
        DatasetError: Training or validation uses a test split, or the data set lacks color or an attribute that the
            configuration needs.
        RcnSearchError: The configuration does not allow several workers.
    """
    data = config.data
    check_splits(data, manifest)
    if config.input.channels > manifest.channels:
        raise DatasetError(f"input.color is true, but {data.uri} is gray; import it again with --color")
    if data.balance_by and data.balance_by not in manifest.attributes:
        known = ", ".join(manifest.attributes) or "none"
        raise DatasetError(f"data.balance_by: {data.uri} has no attribute {data.balance_by!r}; it has: {known}")
    if num_workers > 1 and config.input.contrast_normalization == "batch":
        raise RcnSearchError(
            "input.contrast_normalization: batch needs the whole batch, but each worker has only a part of it; train "
            "with one worker, or set input.contrast_normalization to image"
        )
