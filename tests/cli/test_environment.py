"""Commands where something is missing that most machines have, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RCN_SEARCH = [sys.executable, "-m", "rcn_search"]
ASCII = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
# A process without a name, which may still read the interpreter and the data set in folders of another user.
NAMELESS = ["setpriv", "--reuid", "1000770000", "--regid", "0", "--clear-groups"]
NAMELESS += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def run(
    *line: object, environment: dict[str, str], prefix: list[str] | None = None, without: tuple[str, ...] = ()
) -> str:
    """What a command prints that must succeed, with variables set or taken away."""
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    command = [*(prefix or []), *RCN_SEARCH, *map(str, line)]
    done = subprocess.run(command, env=inherited | environment, capture_output=True, check=False)
    printed = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
    assert done.returncode == 0, printed
    assert "Traceback" not in printed
    return printed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["leaderboard", "--dataset", "aflw"], "AFLW test - rcn2016: five points, 80x80 whole pixels"),
        (["train", "--help"], "Train one model."),
    ],
    ids=["leaderboard", "help"],
)
def test_command_with_ascii_output_replaces_characters(line: list[str], words: str) -> None:
    printed = run(*line, environment=ASCII)
    assert words in printed
    assert printed.isascii()


def test_command_with_unknown_width_prints_whole_tables() -> None:
    assert "RCN 6 branches, occlusion" in run(
        "leaderboard", "--dataset", "aflw", "--limit", "3", environment={"COLUMNS": "0"}
    )


def test_command_in_deleted_working_directory_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f'rmdir "{folder}" && exec "$@"'
    line = ["sh", "-c", script, "sh", *RCN_SEARCH, "leaderboard"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: the working directory does not exist any more; change to another one with cd\n",
    )


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("setpriv") is None or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can run a process as a user without a name",
)
@pytest.mark.parametrize("home", ["/", "/dev/null", None], ids=str)
def test_train_and_evaluate_without_user_name_home_or_utf8(
    config: Path, synthetic_uri: str, tmp_path: Path, home: str | None
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)  # pytest's own are for their owner alone
    missing = ("USER", "LOGNAME", "LNAME", "USERNAME", "HOME", "RCN_SEARCH_CACHE")
    environment = {**ASCII, **({} if home is None else {"HOME": home})}
    probed = ("--set", "compute.precision=auto", "--set", "schedule.epochs=1")
    out, board = tmp_path / "run", tmp_path / "leaderboard"
    printed = run("train", config, "--out", out, *probed, prefix=NAMELESS, without=missing, environment=environment)
    assert f"-> {out}/best.safetensors" in printed
    assert "atplotlib" not in printed
    split = ("--data", synthetic_uri, "--split", "test", "--leaderboard", board, "--submit")
    run("evaluate", out / "best.safetensors", *split, prefix=NAMELESS, without=missing, environment=environment)
    (evaluation,) = (board / "test_evaluations" / "synthetic-test").iterdir()
    assert "uid 1000770000@" in evaluation.read_text()
