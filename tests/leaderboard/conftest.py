from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from rcn_search.evaluation.protocol import rcn2016
from rcn_search.leaderboard.entry import Entry


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    def make(**changes: Any) -> Entry:
        fields: dict[str, Any] = {
            "method": "RCN 6 branches",
            "protocol": rcn2016("aflw", "test", "five"),
            "error_pct": 5.433,
            "ci_low_pct": 5.31,
            "ci_high_pct": 5.56,
            "num_images": 2995,
            "run_id": "0123456789ab",
            "config": {"seed": 0, "model": {"kind": "rcn"}},
            "fingerprint": "f" * 64,
            "num_params": 310_229,
            "multiply_adds": 115_000_000,
            "epochs": 15,
            "train_s": 812.5,
            "hardware": "2 CPU cores",
            "code_version": "0.1.0",
            "created": datetime(2026, 11, 22, 12, tzinfo=UTC),
            "test_looks": 1,
            "predictions_sha256": "0" * 64,
        }
        return Entry(**fields | changes)

    return make
