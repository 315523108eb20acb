"""History of a run: its epochs, in parts that are written once and a rest that is written with each checkpoint.

    history-000128.json   epochs 1 to 128
    history-000256.json   epochs 129 to 256
    history.json          the epochs since, at least one; the whole history of a run of up to 128 epochs

Object storage cannot append to an object. This way no save takes longer than the one before, however long the run is.
`last.safetensors` holds the same rest, and a part is written before the first checkpoint that leaves its epochs out.
"""

from __future__ import annotations

import re
from typing import Any

from rcn_search import storage
from rcn_search.training.exit_status import HISTORY_NAME

PART_EPOCHS = 128
_PART_NAME = re.compile(r"history-\d{6}\.json")
_MAX_PARTS = 1_000
"""Of the longest schedule, 100,000 epochs, and more."""


def num_parts(num_epochs: int) -> int:
    """Number of parts beside the rest, which holds at least one epoch."""
    return max(0, num_epochs - 1) // PART_EPOCHS


def part_uri(folder: str, number: int) -> str:
    """URI of a part, counted from 0, in the folder of a run."""
    return storage.join(folder, f"history-{(number + 1) * PART_EPOCHS:06d}.json")


def is_part(name: str) -> bool:
    """Whether an object in the folder of a run is a part of its history."""
    return _PART_NAME.fullmatch(name) is not None


def part_uris_before(folder: str, rest: object) -> list[str]:
    """URIs of the parts before a rest, a list of epochs; none if it is damaged, which those who validate it will see.

    Histories of earlier versions are whole, so they have no part before them.
    """
    first = rest[0].get("epoch") if isinstance(rest, list) and rest and isinstance(rest[0], dict) else 1
    if not isinstance(first, int) or not 1 <= first <= _MAX_PARTS * PART_EPOCHS or (first - 1) % PART_EPOCHS:
        return []
    return [part_uri(folder, number) for number in range((first - 1) // PART_EPOCHS)]


def read_history(folder: str) -> list[tuple[str, Any]]:
    """Read the documents of a history with their URIs, in order. They are to be validated by the caller.

    Raises:
        FileNotFoundError: The run has saved no epoch, or a part is missing.
        StorageError: A document is not JSON, or too large.
    """
    uri = storage.join(folder, HISTORY_NAME)
    rest = storage.read_json(uri)
    return [*((part, storage.read_json(part)) for part in part_uris_before(folder, rest)), (uri, rest)]
