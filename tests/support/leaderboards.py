from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.evaluation.predictions import Predictions
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.leaderboard.per_image import ImageSet, store_errors
from rcn_search.leaderboard.published import PUBLISHED
from rcn_search.leaderboard.records import Entry, add_entry


def entry(**changes: Any) -> Entry:
    """An entry of a trained network, with changes."""
    fields: dict[str, Any] = {
        "method": "RCN 6 branches",
        "protocol": rcn2016("aflw", "test", "five"),
        "error_pct": 5.433,
        "ci_low_pct": 5.31,
        "ci_high_pct": 5.56,
        "num_images": 2995,
        "run_id": "0123456789ab",
        "config": {"seed": 0, "model": {"name": "rcn"}},
        "fingerprint": "f" * 64,
        "num_params": 310_229,
        "multiply_adds": 115_000_000,
        "epochs": 15,
        "train_s": 812.5,
        "hardware": "2 CPU cores",
        "code_version": "0.1.0",
        "created": datetime(2026, 11, 22, 12, tzinfo=UTC),
        "num_test_evaluations": 1,
        "predictions_sha256": "0" * 64,
    }
    return Entry(**fields | changes)


def add_measured_entry(leaderboard: str, error_pct_n: Any, *, first_image: int = 0, **changes: Any) -> str:
    """Add an entry with per-image errors to a leaderboard; each image is a group of its own."""
    errors = np.asarray(error_pct_n, dtype=np.float64)
    names = np.array([f"image{first_image + n}" for n in range(len(errors))])
    images = ImageSet(image_id_n=names, group_n=names, attributes={"pose": (np.arange(len(errors)) % 3).astype("i1")})
    per_image = store_errors(leaderboard, images, errors)
    finite = errors[np.isfinite(errors)]
    measured = {"error_pct": float(finite.mean()), "num_images": len(finite), **per_image}
    return add_entry(leaderboard, entry(**measured | changes))


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., Entry]:
    return entry


@pytest.fixture
def leaderboard(store: str) -> str:
    """A leaderboard at each kind of storage, with an empty folder of published rows."""
    storage.write_bytes(storage.join(store, PUBLISHED, ".gitkeep"), b"")  # object stores have no empty folders
    return store


@pytest.fixture(scope="session")
def add_measured() -> Callable[..., str]:
    return add_measured_entry


@pytest.fixture(scope="session")
def faces() -> Predictions:
    """Perfect predictions of three equal faces, 60 pixels between the eyes in their images."""
    num_images = 3
    face = np.array([[45.0, 48], [75, 48], [60, 66], [48, 84], [72, 84]])
    crop = np.tile(20 + face, (num_images, 1, 1)).astype(np.float32)
    names = np.array([f"image{n}" for n in range(num_images)])
    meta = {"dataset": "aflw", "subset": "test", "split": "aflw", "fingerprint": "f" * 64, "keypoints": "five"}
    return Predictions(
        image_id=names,
        group=names,
        box=np.tile(np.float32([100, 100, 320, 320]), (num_images, 1)),
        face_box=np.tile(np.float32([20, 20, 120, 120]), (num_images, 1)),
        visible=np.ones((num_images, 5), dtype=np.bool_),
        true_crop_nk2=crop,
        pred_crop_nk2=crop.copy(),
        true_image_nk2=100 + 2 * crop,
        pred_image_nk2=100 + 2 * crop,
        pred_cell_nk2=np.floor((crop - 20) / 1.5).astype(np.int16),
        confidence_nk=np.ones((num_images, 5), dtype=np.float32),
        meta=meta | {"grid_px": 80, "run_id": "0123456789ab", "method": "a method"},
    )
