"""The ledger of looks at a test split, newest first."""

from __future__ import annotations

from pydantic import ValidationError

from rcn_search import storage
from rcn_search.leaderboard.records import TEST_LOOKS, TestLook

MAX_SHOWN = 50


def load_looks(board: str, dataset: str, subset: str) -> tuple[int, list[TestLook]]:
    """How many looks there were, and the newest of those that can be read."""
    folder = storage.join(board, TEST_LOOKS, f"{dataset}-{subset}")
    names = [name for name in storage.list_names(folder) if name.endswith(".json")]  # they begin with the time
    looks = []
    for name in reversed(names[-MAX_SHOWN:]):
        try:
            looks.append(TestLook.model_validate(storage.read_json(storage.join(folder, name))))
        except (ValidationError, ValueError, OSError):
            continue  # it still counts
    return len(names), looks
