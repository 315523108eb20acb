from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.inference.export import latency_table
from tests.conftest import CommandLine


def test_export_is_evaluated_and_submitted_like_any_network(
    cli: CommandLine, checkpoint: Path, synthetic_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for the whole way, because tracing takes seconds."""
    monkeypatch.setattr(latency_table, "BATCH_SIZES", (1,))
    monkeypatch.setattr(latency_table, "num_cpus", lambda: 1)
    printed = cli.run("export", checkpoint, "--to", "onnx", "--out", "a.onnx", "--data", synthetic_uri)
    assert "24 faces of val: points differ from PyTorch by" in printed
    assert "ONNX Runtime 1" in printed
    assert "→ a.onnx," in printed
    Path("leaderboard").mkdir()
    line = ("--data", synthetic_uri, "--leaderboard", "leaderboard", "--submit")
    ours = cli.run("evaluate", checkpoint, *line, "--predictions", "p.parquet")
    exported = cli.run("evaluate", "a.onnx", *line)
    assert ", ONNX Runtime on synthetic" in exported
    assert exported.partition("protocol")[2].partition("→")[0] == ours.partition("protocol")[2].partition("→")[0]
    assert "ONNX Runtime" in cli.run("leaderboard", "--dataset", "synthetic")
    assert "the decoder of a.onnx is argmax" in cli.fail("evaluate", "a.onnx", *line, "--decoder", "median")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.xml"], "a.xml must end in .onnx"),
        (["--out", "a.onnx", "--tta", "multiview"], "nine windows"),
        (["--out", "a.onnx", "--data", "nowhere"], "nowhere"),
    ],
)
def test_export_refuses_bad_input(cli: CommandLine, checkpoint: Path, options: list[str], message: str) -> None:
    assert message in cli.fail("export", checkpoint, "--to", "onnx", *options)
