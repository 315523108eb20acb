from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from rcn_search.cli.main import app
from rcn_search.cli.options import Tta
from rcn_search.evaluation.predictions import read_predictions
from rcn_search.inference.config import Augmentation
from tests.conftest import CommandLine


def test_tta_option_has_all_augmentations() -> None:
    assert [name.value for name in Tta] == [*get_args(Augmentation)]


def test_evaluate_records_inference_options(cli: CommandLine, checkpoint: Path, synthetic_uri: str) -> None:
    line = ("evaluate", checkpoint, "--data", synthetic_uri, "--predictions", "p.parquet")
    assert "median decoding, flip averaged, 9 views on synthetic" in cli.run(
        *line, "--decoder", "median", "--tta", "flip", "--tta", "multiview"
    )
    meta = read_predictions("p.parquet").meta
    assert (meta["decoder"], meta["tta"]) == ("median", "flip+multiview")


def test_evaluate_submit_records_inference_options(cli: CommandLine, checkpoint: Path, synthetic_uri: str) -> None:
    Path("leaderboard").mkdir()
    line = ("evaluate", checkpoint, "--data", synthetic_uri, "--predictions", "p.parquet", "--submit")
    cli.run(*line, "--decoder", "soft-argmax", "--leaderboard", "leaderboard")
    documents = [json.loads(path.read_text()) for path in Path("leaderboard/entries").iterdir()]
    assert [document["made_with"] for document in documents] == [{"decoder": "soft-argmax", "tta": "none"}] * 2


def test_evaluate_refuses_unknown_tta(cli: CommandLine, checkpoint: Path, synthetic_uri: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(checkpoint), "--data", synthetic_uri, "--tta", "turn"])
    assert result.exit_code == 2
    assert all(word in result.stderr for word in ("--tta", "turn", "flip", "multiview"))


def test_evaluate_test_split_without_leaderboard_makes_the_users_own(
    cli: CommandLine, checkpoint: Path, synthetic_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RCN_SEARCH_LEADERBOARD")
    line = ("evaluate", checkpoint, "--data", synthetic_uri, "--predictions", "p.parquet")
    assert "test evaluation" not in cli.run(*line)
    assert not Path("leaderboard").exists()
    assert "test evaluation no. 1 of this split on leaderboard" in cli.run(*line, "--split", "test")
    assert len([*Path("leaderboard/test_evaluations/synthetic-test").iterdir()]) == 1
