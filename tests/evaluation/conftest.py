from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.evaluation.predictions import Predictions
from rcn_search.keypoints import keypoint_schema

META = {
    "dataset": "aflw",
    "subset": "test",
    "split": "aflw",
    "fingerprint": "f" * 64,
    "grid_px": 80,
    "run_id": "0123456789ab",
    "method": "a method",
}

# A face in the unit square of its face box: eyes 0.25 apart, so 20 cells of an 80-cell grid.
FACE = np.array([[0.375, 0.4], [0.625, 0.4], [0.5, 0.55], [0.4, 0.7], [0.6, 0.7]])


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Where a picture goes."""
    return str(tmp_path / "picture.png")


@pytest.fixture
def make_predictions() -> Callable[..., Predictions]:
    """Perfect predictions of N equal faces: a face box of 120 px in the crop, the crop twice as large in its image."""

    def make(num_images: int = 3, keypoints: str = "five", **changes: Any) -> Predictions:
        num_points = keypoint_schema(keypoints).num_points
        face = np.resize(FACE, (num_points, 2))
        shape = (num_images, num_points, 2)
        crop = np.broadcast_to(20 + 120 * face, shape).astype(np.float32)
        image = (100 + 2 * crop).astype(np.float32)
        fields: dict[str, Any] = {
            "image_id": np.array([f"image{i}" for i in range(num_images)], dtype=np.str_),
            "group": np.array([f"group{i}" for i in range(num_images)], dtype=np.str_),
            "box": np.tile(np.float32([100, 100, 320, 320]), (num_images, 1)),
            "face_box": np.tile(np.float32([20, 20, 120, 120]), (num_images, 1)),
            "visible": np.ones(shape[:2], dtype=np.bool_),
            "true_crop_nk2": crop,
            "pred_crop_nk2": crop.copy(),
            "true_image_nk2": image,
            "pred_image_nk2": image.copy(),
            "pred_cell_nk2": np.floor(np.broadcast_to(80 * face, shape) + 1e-4).astype(np.int16),
            "confidence_nk": np.full(shape[:2], 0.5, dtype=np.float32),
            "attributes": {"pose": np.arange(num_images).astype(np.int8)},
            "meta": META | {"keypoints": keypoints},
        }
        return Predictions(**fields | changes)

    return make
