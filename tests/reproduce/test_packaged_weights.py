from __future__ import annotations

import json
from pathlib import Path

import pytest

from rcn_search import resources
from rcn_search.evaluation.packaged_weights import verify_weights
from rcn_search.inference.predictor import load
from tests.conftest import CommandLine

TINY = (
    *("--set", "model={name: rcn, branches: 2, channels: 4}", "--set", "schedule.epochs=1"),
    *("--set", "compute={precision: fp32, channels_last: false, threads: 1}", "--faces", "24", "--held-out", "12"),
)


def test_weights_train_makes_weights_that_verify_and_resumes(
    cli: CommandLine, mtfl_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    monkeypatch.setattr(resources, "resource_path", lambda name: Path(__file__).parents[2] / name)
    line = ("weights", "train", "rcn5-drawn", "--out", tmp_path / "out", "--seeds", "2", *TINY)
    text = cli.run(*line, "--measure", f"{mtfl_uri}:aflw")
    assert "training 2 of 2" in text
    assert verify_weights("rcn5-drawn") == []
    card = json.loads((tmp_path / "weights/rcn5-drawn.json").read_text())
    assert [score["protocol"]["dataset"] for score in card["scores"]] == ["synthetic"] * 2 + ["aflw"] * 2
    assert card["num_seeds"] == 2
    errors = [
        json.loads((tmp_path / f"out/seed-{seed}/history.json").read_text())[-1]["best_error_pct"] for seed in (0, 1)
    ]
    assert card["val_error_pct"] == min(errors)
    assert load("rcn5-drawn").radius_table is not None
    assert len(list((tmp_path / "out/leaderboard/test_evaluations/aflw-test").iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("rcn9-drawn",), "there is no recipe for 'rcn9-drawn', only for rcn5-drawn and rcn68-drawn"),
        (("rcn5-drawn", "--measure", "data/mtfl"), "must name a data set and its test split, as in data/mtfl:aflw"),
    ],
)
def test_weights_train_refuses_unknown_names_and_splits(
    cli: CommandLine, options: tuple[str, ...], message: str
) -> None:
    assert message in cli.fail("weights", "train", *options)


def test_weights_train_split_that_is_no_test_split_is_refused_before_faces_are_drawn(
    cli: CommandLine, mtfl_uri: str, tmp_path: Path
) -> None:
    line = ("weights", "train", "rcn5-drawn", "--out", tmp_path / "out", "--measure")
    assert "'val' is no test split" in cli.fail(*line, f"{mtfl_uri}:val")
    assert "has 'five' points; the weights have 'ibug68' points" in cli.fail(
        "weights", "train", "rcn68-drawn", "--out", tmp_path / "out", "--measure", f"{mtfl_uri}:aflw"
    )
    assert not (tmp_path / "out").exists()
