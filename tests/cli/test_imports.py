"""Which packages commands import: those that take a second are imported by the commands that need them alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rcn_search.cli import main
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study

SLOW = {"fsspec", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "ray", "scipy", "tensorboardX", "torch"}
_PROGRAM = """
import json, sys
from rcn_search.cli.main import app
for command in json.loads(sys.argv[1]):
    try:
        app(command)
    except SystemExit:
        pass
    print("imported", *{name.partition(".")[0] for name in sys.modules}, flush=True)
"""


def imported_by(*commands: list[str]) -> list[set[str]]:
    """Return the slow packages that are imported after each of the commands, run one after another in a process."""
    import json

    done = subprocess.run([sys.executable, "-c", _PROGRAM, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("imported ")]
    assert len(lines) == len(commands), done.stdout + done.stderr
    return [SLOW & {*line} for line in lines]


@pytest.fixture(scope="module")
def study_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("imports")
    (folder / "study.yaml").write_text(STUDY.format(data="nowhere"))
    study = Study.start(str(folder / "study"), load_study_config(str(folder / "study.yaml")), "f")
    study.ask()
    return study.uri


STUDY = """
study: {{name: imports}}
base: {{data: {{uri: {data}}}, model: {{name: rcn, branches: 4}}}}
search: {{optimizer.lr: {{float: [1.0e-3, 1.0e-2]}}}}
budget: {{trials: 2, epochs: 1}}
"""


def test_commands_import_what_they_need_alone(study_uri: str, synthetic_uri: str, tmp_path: Path) -> None:
    after_help, after_data, after_board = imported_by(
        ["--help"], ["data", "info", synthetic_uri], ["leaderboard", "--leaderboard", str(tmp_path)]
    )
    assert not after_help
    assert after_data <= {"numpy", "pyarrow"}
    assert after_board <= {"numpy", "pyarrow"}
    (after_status,) = imported_by(["study", "status", study_uri])
    assert after_status <= {"numpy", "optuna"}


def test_tune_that_is_refused_imports_neither_ray_nor_torch(
    study_uri: str, synthetic_uri: str, tmp_path: Path, write_study: Callable[..., str]
) -> None:
    """What is wrong with a study file, a data set or an option is told before the seconds that Ray takes."""
    wrong, nowhere, good = tmp_path / "wrong.yaml", tmp_path / "nowhere.yaml", tmp_path / "good.yaml"
    wrong.write_text(STUDY.format(data=synthetic_uri).replace("epochs", "epoch"))
    nowhere.write_text(STUDY.format(data=tmp_path / "nowhere"))
    good.write_text(STUDY.format(data=synthetic_uri))
    commands = [["tune", str(path), "--study", study_uri] for path in (wrong, nowhere, good)]
    callback = ["tune", str(good), "--study", str(tmp_path / "study"), "--set", "callbacks.mlflow={}"]
    for imported in imported_by(*commands, callback):
        assert imported <= {"numpy", "optuna", "pyarrow"}


def test_main_builds_the_command_that_is_called_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[list[str]] = []
    monkeypatch.setattr(main, "build_app", lambda names: lambda: built.append([*names]))
    for arguments in (["study", "status", "x"], ["--help"], ["--version"], [], ["stduy"]):
        monkeypatch.setattr("sys.argv", ["rcn-search", *arguments])
        main.main()
    assert built == [["study"], *[[*main.COMMANDS]] * 4]


def test_search_process_imports_no_torch() -> None:
    code = "import sys, rcn_search.search.tune_run; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {*done.stdout.split()}
    assert {"ray", "tensorboardX"} <= imported
    assert not {"torch", "scipy"} & imported
