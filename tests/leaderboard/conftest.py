from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from rcn_search.evaluation.protocol import rcn2016
from rcn_search.leaderboard.entry import Entry, add_entry
from rcn_search.leaderboard.per_image import Images, put_errors


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


@pytest.fixture
def add_measured(make_entry: Callable[..., Entry]) -> Callable[..., str]:
    """Put an entry with the errors of its images on a board; each image is a group of its own."""

    def add(board: str, error_pct_n: Any, *, first_image: int = 0, **changes: Any) -> str:
        errors = np.asarray(error_pct_n, dtype=np.float64)
        names = np.array([f"image{first_image + n}" for n in range(len(errors))])
        images = Images(image_id_n=names, group_n=names, attributes={"pose": (np.arange(len(errors)) % 3).astype("i1")})
        per_image = put_errors(board, images, errors)
        kept = errors[np.isfinite(errors)]
        measured = {"error_pct": float(kept.mean()), "num_images": len(kept), **per_image._asdict()}
        return add_entry(board, make_entry(**measured | changes))

    return add
