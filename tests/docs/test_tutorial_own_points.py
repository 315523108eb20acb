"""The three commands of docs/tutorial/own-points.md, run as they stand, but on few pictures and for two epochs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.documents import REPOSITORY

PAGE = REPOSITORY / "docs" / "tutorial" / "own-points.md"
SHORTER = "--set budget.trials=2 --set budget.epochs=2 --set scheduler.grace_epochs=1 --set budget.max_concurrent=1"


def page_commands() -> list[str]:
    """The shell lines of the page, in order."""
    text = PAGE.read_text()
    blocks = [part.partition("```")[0] for part in text.split("```sh\n")[1:]]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


def test_tutorial_commands_lead_to_a_searched_and_evaluated_model(ray_cluster: None, cli: Any, tmp_path: Path) -> None:
    draw, *commands = page_commands()
    program = shlex.split(draw.replace("--count 500", "--count 40"))
    assert program[0] == "python"
    subprocess.run([sys.executable, *program[1:]], check=True, cwd=tmp_path)
    output = {}
    for line in commands:
        words = shlex.split(line)
        assert words[0] == "rcn-search"
        output[words[1]] = cli.run(*words[1:], *(SHORTER.split() if words[1] == "tune" else []))
    assert "40 rows: 40 imported (train 24, val 8, test 8), 0 refused" in output["data"]
    assert "2 trials" in output["tune"]
    assert "subpixel-length" in output["evaluate"]
    (entry,) = [json.loads(path.read_text()) for path in (tmp_path / "leaderboard/entries").glob("*.json")]
    assert (entry["protocol"]["keypoints"], entry["protocol"]["normalizer"]) == ("scissors", "length")
    assert entry["num_test_evaluations"] == 1
    assert (tmp_path / "scissors.png").stat().st_size > 10_000
