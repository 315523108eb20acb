from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rcn_search.evaluation.figures.schema_drawing import draw_schema, place_points
from rcn_search.keypoint_schemas.document import parse_schema
from rcn_search.keypoints import FIVE, IBUG68, KeypointSchema


@pytest.mark.parametrize("schema", [FIVE, IBUG68], ids=lambda schema: schema.name)
def test_place_points_flip_pairs_lie_opposite(schema: KeypointSchema) -> None:
    points_k2 = place_points(schema)
    np.testing.assert_allclose(points_k2[list(schema.flip)] * [-1, 1], points_k2, atol=1e-9)
    distance_kk = np.linalg.norm(points_k2[:, None] - points_k2, axis=2) + np.eye(schema.num_points)
    assert distance_kk.min() > 0.1, "no two points in one place"
    assert np.isfinite(points_k2).all()


@pytest.mark.parametrize("points", [["a"], ["a", "b", "c", "d"]], ids=len)
def test_draw_schema_without_edges_and_pairs(tmp_path: Path, points: list[str]) -> None:
    schema = parse_schema({"name": "plain", "points": points, "flip": []})
    draw_schema(schema, str(tmp_path / "plain.png"))
    pixels = np.asarray(Image.open(tmp_path / "plain.png").convert("L"))
    assert (pixels < 64).sum() > 100 * len(points)
