"""What an exported file says of itself: JSON under the key ``rcn_search`` of its metadata."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from rcn_search.errors import RcnSearchError
from rcn_search.training.checkpoint import CheckpointInfo

METADATA_KEY = "rcn_search"
VERSION = 1


class ExportedInfo(BaseModel):
    """Where an exported network comes from, and how it was checked.

    Attributes:
        checkpoint: Header of the checkpoint: configuration, keypoint schema, fingerprint of the data, radius table.
        checkpoint_sha256: Hash of the checkpoint; None if it was not a file.
        inference: Decoder and test-time augmentation, which are in the graph (`InferenceConfig.record`).
        license: License of the weights, as whoever exported them states it.
        max_difference_px: Largest distance of a point from that of PyTorch, in crop pixels, on ``num_compared`` faces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    version: int = VERSION
    checkpoint: CheckpointInfo
    checkpoint_sha256: str | None = None
    inference: dict[str, str]
    license: str
    num_params: int
    multiply_adds: int
    max_difference_px: float | None = None
    num_compared: int = 0


def parse_exported_info(text: str | None, uri: str) -> ExportedInfo:
    """Read the metadata of an exported file.

    Raises:
        RcnSearchError: The file has none, or that of another version.
    """
    if not text:
        raise RcnSearchError(
            f"{uri} was not exported by rcn-search, so that its inputs and points are unknown: export a checkpoint "
            "with rcn-search export"
        )
    try:
        document: Any = json.loads(text)
        if document["version"] != VERSION:
            raise RcnSearchError(f"it is of version {document['version']}; this rcn-search reads version {VERSION}")
        return ExportedInfo.model_validate(document)
    except (ValueError, KeyError, TypeError) as error:
        raise RcnSearchError(f"{uri}: this rcn-search cannot read its metadata: {error}") from error
