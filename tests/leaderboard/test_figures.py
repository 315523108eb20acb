from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search.evaluation.protocol import rcn2016

Add = Callable[..., str]
STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def leaderboard(tmp_path: Path, add_measured: Add) -> str:
    leaderboard = str(tmp_path / "leaderboard")
    points = [(5.0 + k, 4.9, 6.1) for k in range(4)] + [None]
    for number, method in enumerate(("$A_1$ <b>", "B")):
        errors = np.random.default_rng(number).gamma(4, 1.4, 200) + number
        add_measured(leaderboard, errors, method=method, points=points)
        add_measured(leaderboard, errors, method=method, points=points, protocol=rcn2016("afw", "test", "five"))
    add_measured(leaderboard, np.ones(200), method="no points")
    return leaderboard


@pytest.mark.parametrize("kind", ["ced", "bars", "keypoints"])
def test_figure_suffix_selects_file_type(cli: Any, leaderboard: str, kind: str) -> None:
    for end, start in STARTS.items():
        output = cli.run("leaderboard", "figure", kind, "$A_1$ <b>", "B", "--dataset", "aflw", "--out", f"f.{end}")
        assert output == f"2 entries → f.{end}"
        assert Path(f"f.{end}").read_bytes().startswith(start)
    svg = Path("f.svg").read_text()
    assert "$A_1$ &lt;b&gt;" in svg  # neither a formula nor markup
    assert "rcn2016: five points" in svg


def test_figure_two_protocols_is_refused(cli: Any, leaderboard: str) -> None:
    line = ("leaderboard", "figure", "ced", "B", "--out", "f.png")
    assert "all entries of a picture must have the same protocol; these differ in dataset: a" in cli.fail(*line)
    assert "'B' has no entry under subpixel of any data set" in cli.fail(*line, "--protocol", "subpixel")
    assert "f.gif must end in one of .png, .svg, .pdf" in cli.fail(*line[:-1], "f.gif")
    assert "no points has no errors by keypoint" in cli.fail(
        "leaderboard", "figure", "keypoints", "no points", "--out", "f.png"
    )
    assert not list(Path().glob("f.*"))
