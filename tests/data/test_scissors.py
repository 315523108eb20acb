from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from rcn_search.data.synthetic.scissors import POINTS, SCHEMA, SIZE, draw_scissors, main
from rcn_search.keypoint_schemas.document import parse_schema


@pytest.mark.parametrize("seed", range(12))
def test_draw_scissors_points_are_in_the_picture_and_on_their_sides(seed: int) -> None:
    image, points_k2 = draw_scissors(seed)
    assert image.size == SIZE
    assert ((points_k2 > 0) & (points_k2 < SIZE)).all()
    named = dict(zip(POINTS, points_k2, strict=True))
    for pair in ("tip", "ring", "end"):
        assert named[f"{pair}_left"][0] < named[f"{pair}_right"][0]
    assert named["tip_left"][1] < named["pivot"][1] < named["ring_left"][1]
    assert np.array_equal(np.asarray(draw_scissors(seed)[0]), np.asarray(image))


def test_main_writes_pictures_table_and_schema(tmp_path: Path) -> None:
    main([str(tmp_path / "scissors"), "--count", "2", "--seed", "7"])
    assert parse_schema(yaml.safe_load((tmp_path / "scissors/schema.yaml").read_text())).names == POINTS
    assert parse_schema(yaml.safe_load(SCHEMA)).default_normalizer == "length"
    with (tmp_path / "scissors/points.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    _, points_k2 = draw_scissors(8)
    assert float(rows[1]["pivot_x"]) == pytest.approx(points_k2[2, 0], abs=0.01)
    assert (tmp_path / "scissors" / rows[1]["image"]).is_file()
