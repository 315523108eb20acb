from __future__ import annotations

import csv
import errno
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from rcn_search import __version__
from rcn_search.cli.console import command, stop_on_signal
from rcn_search.cli.main import app
from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import load_train_config
from rcn_search.errors import RcnSearchError
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study
from rcn_search.training.checkpoint import read_checkpoint
from rcn_search.training.exit_status import Interrupted, TrainingFailed
from rcn_search.training.trainer import Trainer
from tests.support.checkpoints import write_checkpoint


@pytest.fixture(scope="module")
def config(synthetic_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file: two epochs of three steps."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    document = {
        "data": {"uri": synthetic_uri},
        "model": {"branches": 2, "channels": 8},
        "schedule": {"epochs": 2, "batch_size": 32},
        "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def checkpoint(config: Path) -> Path:
    """Of a finished run."""
    Trainer(load_train_config(str(config)), str(config.parent / "run")).train()
    return config.parent / "run" / "best.safetensors"


@pytest.fixture
def study_file(config: Path, tmp_path: Path) -> Path:
    """A study over that configuration."""
    path = tmp_path / "study.yaml"
    base = yaml.safe_load(config.read_text())
    del base["schedule"]["epochs"], base["compute"]["threads"]
    document = {
        "study": {"name": "tiny"},
        "base": {**base, "validation": {"augment": False}},
        "search": {"model.branches": {"int": [2, 3]}},
        "budget": {"trials": 2, "epochs": 1},
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


# --- from a configuration to the board --------------------------------------------------------------------------------


def test_trained_evaluated_entered_ranked(cli, config: Path, synthetic_uri: str, tmp_path: Path) -> None:
    printed = cli.run("train", config, "--out", "run", "--set", "schedule.epochs=3")
    assert re.search(r"rcn with [\d,]+ parameters on cpu, fp32, 1 threads → \S+/run ", printed)
    for epoch in (1, 2, 3):
        assert re.search(rf"epoch {epoch}/3 loss +[\d.]+ validation +[\d.]+ % +\d+ images/s +0 min left", printed)
    best = re.search(r"best validation error ([\d.]+) % → (\S+/run/best.safetensors)", printed)
    assert best is not None
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert float(best[1]) == pytest.approx(min(report["val_error_pct"] for report in history), abs=0.005)

    on_val = cli.run("evaluate", "run/best.safetensors", "--data", synthetic_uri)
    assert re.search(r"rcn2016 [\d.]+ [\d.]+ – [\d.]+ 24 0 subpixel [\d.]+ ", on_val)
    assert "→ run/predictions-val.parquet" in on_val
    assert "look number" not in on_val
    assert not Path("leaderboard").exists()

    test = ["evaluate", "run/best.safetensors", "--data", synthetic_uri, "--split", "test"]
    assert "look number 1 at this test split" in cli.run(*test, "--leaderboard", "elsewhere")
    entered = cli.run(*test, "--leaderboard", "elsewhere", "--submit", "--method", "Tiny, first")
    assert "Tiny, first on synthetic" in entered
    assert "look number 2 at this test split" in entered
    assert len(re.findall(r"→ elsewhere/entries/\S+\.json", entered)) == 2
    error_pct = float(re.search(r"rcn2016 ([\d.]+)", entered)[1])  # type: ignore[index]

    board = ["leaderboard", "--leaderboard", "elsewhere", "--dataset", "synthetic"]
    as_json = json.loads(CliRunner().invoke(app, [*board, "--format", "json"]).stdout)
    by_protocol = {row["protocol"]: row for row in as_json}
    assert by_protocol.keys() == {"rcn2016", "subpixel"}
    ours = by_protocol["rcn2016"]
    assert (ours["method"], ours["dataset"], ours["subset"], ours["origin"]) == (
        "Tiny, first",
        "synthetic",
        "test",
        "ours",
    )
    assert ours["error_pct"] == pytest.approx(error_pct, abs=0.005)
    as_csv = [*csv.DictReader(io.StringIO(CliRunner().invoke(app, [*board, "--format", "csv"]).stdout))]
    assert [row["method"] for row in as_csv] == ["Tiny, first"] * 2
    for format in ("markdown", "table"):
        printed = cli.run(*board, "--format", format)
        assert "Tiny, first" in printed
        assert f"{error_pct:.2f}" in printed


def test_published_rows_stand_beside(cli) -> None:
    rows = json.loads(CliRunner().invoke(app, ["leaderboard", "--dataset", "aflw", "--format", "json"]).stdout)
    assert {row["origin"] for row in rows} == {"reported", "reproduced"}
    assert "RCN 6 branches, occlusion" in {row["method"] for row in rows}
    assert "RCN 6 branches, occlusion" in cli.run("leaderboard", "--dataset", "aflw")


def test_damaged_entries_are_left_out_loudly(cli, tmp_path: Path) -> None:
    entries = tmp_path / "leaderboard" / "entries"
    entries.mkdir(parents=True)
    (entries / "mine.json").write_text("{}")
    result = CliRunner().invoke(app, ["leaderboard", "--format", "json"])
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {entries}/mine.json is left out: ")
    assert json.loads(result.stdout)


# --- existing runs ----------------------------------------------------------------------------------------------------


def test_train_resumes_an_interrupted_run_only_with_resume(cli, config: Path, tmp_path: Path) -> None:
    steps_left = [4]  # of six: the run stops in its second epoch

    def should_stop() -> bool:
        steps_left[0] -= 1
        return steps_left[0] == 0

    with pytest.raises(Interrupted):
        Trainer(load_train_config(str(config)), str(tmp_path / "run"), should_stop=should_stop).train()
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = ("train", config, "--out", "run")
    assert cli.fail(*again) == (
        f"{tmp_path}/run already holds a run; resume it with --resume, or choose another folder"
    )
    assert "whose configuration differs from that of run" in cli.fail(*again, "--resume", "--set", "seed=1")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    resumed = cli.run(*again, "--resume")
    assert "resumed after 1 of 2 epochs" in resumed
    assert "epoch 2/2" in resumed
    assert "epoch 1/2" not in resumed
    assert "resumed after 2 of 2 epochs best validation error" in cli.run(*again, "--resume")


@pytest.mark.parametrize(
    "overrides",
    [["compute.device=cuda:31"], ["data.num_val=1000"], ["input.size_px=40", "model.branches=7"], ["data.uri=nowhere"]],
    ids=str,
)
def test_train_that_cannot_start_leaves_no_run(cli, config: Path, overrides: list[str]) -> None:
    """So the corrected command works without --resume."""
    cli.fail("train", config, "--out", "run", *(word for override in overrides for word in ("--set", override)))
    assert not Path("run").exists()


def test_train_resume_on_missing_device_fails(cli, config: Path, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint.parent, tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    info, tensors = read_checkpoint(str(last))
    settings = info.state["settings"] | {"device": "cuda:31"}
    write_checkpoint(str(last), info.model_copy(update={"state": info.state | {"settings": settings}}), tensors)
    assert "device 'cuda:31' cannot be used here" in cli.fail("train", config, "--out", "run", "--resume")


def test_train_without_out_uses_the_run_id(cli, config: Path) -> None:
    shorter = "schedule.epochs=1"
    run_id = load_train_config(str(config), [shorter]).run_id
    printed = cli.run("train", config, "--set", shorter)
    assert f"→ {Path.cwd()}/runs/rcn-{run_id}/best.safetensors" in printed


def test_a_study_that_exists_is_refused(cli, study_file: Path, tmp_path: Path) -> None:
    study = Study.start(str(tmp_path / "study"), load_study_config(str(study_file)), data_fingerprint="f")
    assert study.ask() is not None
    assert "holds a study already; add --resume to resume it" in cli.fail("tune", study_file, "--study", "study")


# --- what a user gets wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("train gone.yaml", "gone.yaml: no such file"),
        ("train {config} --set schedule.epoch=1", "unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        ("train {config} --set model.branches=9", "model.branches = 9: input should be less than or equal to 7"),
        ("train {config} --set epochs", "--set 'epochs': expected key=value"),
        ("train {config} --set data.uri=nowhere", "no data set at nowhere: manifest.json is missing"),
        ("train {config} --set data.num_train=97", "97 rows of the split 'train' of 'synthetic', which has 96"),
        ("train {config} --set data.val_split=aflw", "has no split 'aflw'; it has: train, val, test"),
        ("train {config} --set data.val_split=test", "data.val_split: 'test' of {synthetic} is a test split"),
        ("train {config} --set data.train_split=test", "data.train_split: 'test' of {synthetic} is a test split"),
        ("train {config} --set compute.threads=0", "compute.threads"),
        ("train {config} --set compute.device=meta", "device 'meta' cannot be used here"),
        ("train {config} --out /proc/nothing", "/proc/nothing cannot be used"),
        ("train {config} --set compute.device=cuda:31", "device 'cuda:31' cannot be used here"),
        ("train {config} --set input.size_px=40 --set model.branches=7", "7 branches do not fit an input of 40 px"),
        ("train {config} --out {config}", "File exists"),
        ("tune gone.yaml", "gone.yaml: no such file"),
        ("tune {study} --set search=[]", "search = []: input should be a valid dictionary"),
        ("tune {study} --set budget.trials=0", "budget.trials = 0: input should be greater than or equal to 1"),
        ("tune {study} --set base.model.branchs=3", "unknown key 'model.branchs'; did you mean 'branches'?"),
        ("tune {study} --data nowhere", "no data set at {here}/nowhere"),
        ("tune {study} --set base.data.val_split=test", "data.val_split: 'test' of {synthetic} is a test split"),
        (
            "tune {study} --set test.split=test --set test.method=A --leaderboard /proc/nothing",
            "/proc/nothing cannot",
        ),
        ("tune {study} --resume", "there is no study at {here}/studies/tiny; tune without --resume starts one"),
        ("evaluate gone.safetensors --data {synthetic}", "no checkpoint at gone.safetensors"),
        ("evaluate {checkpoint} --data nowhere", "no data set at nowhere"),
        ("evaluate {checkpoint} --data {synthetic} --split aflw", "has no split 'aflw'; it has: train, val, test"),
        ("evaluate {config} --data {synthetic}", "config.yaml is not a readable safetensors file"),
        ("evaluate {pickle} --data {synthetic}", "weights.pt is not a readable safetensors file"),
        ("evaluate {checkpoint} --data {synthetic} --device quantum", "device 'quantum' cannot be used here"),
        ("evaluate {checkpoint} --data {synthetic} --submit --split test --leaderboard {config}", "Not a directory"),
        ("figures faces {config} --data {synthetic}", "config.yaml is not a readable Parquet file"),
    ],
)
def test_what_a_user_gets_wrong_is_explained(
    cli, config: Path, study_file: Path, checkpoint: Path, synthetic_uri: str, tmp_path: Path, line: str, problem: str
) -> None:
    torch.save(torch.zeros(1), tmp_path / "weights.pt")
    names = {
        "config": config,
        "study": study_file,
        "checkpoint": checkpoint,
        "synthetic": synthetic_uri,
        "pickle": tmp_path / "weights.pt",
        "here": tmp_path,
    }
    assert problem.format(**names) in cli.fail(*line.format(**names).split())
    assert not (tmp_path / "leaderboard").exists()
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("search", "problem"),
    [
        ({"model.branches": {"int": [5, 9]}}, "model.branches = 9: input should be less than or equal to 7"),
        ({"model.brnches": {"int": [1, 2]}}, "unknown key 'model.brnches'; did you mean 'branches'?"),
    ],
)
def test_an_impossible_space_is_refused_with_its_line(
    cli, study_file: Path, search: dict[str, object], problem: str
) -> None:
    document = yaml.safe_load(study_file.read_text()) | {"search": search}
    study_file.write_text(yaml.safe_dump(document, sort_keys=False))
    message = cli.fail("tune", study_file)
    assert problem in message
    (line,) = re.findall(r"study\.yaml, line (\d+)", message)
    assert next(iter(search)) in study_file.read_text().splitlines()[int(line) - 1]


def test_without_a_board_a_test_is_not_looked_at(
    cli, checkpoint: Path, synthetic_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RCN_SEARCH_LEADERBOARD")
    monkeypatch.setattr("rcn_search.leaderboard.location.REPOSITORY_BOARD", Path("nowhere"))
    line = ("evaluate", checkpoint, "--data", synthetic_uri, "--predictions", "p.parquet")
    assert "no leaderboard: there is no folder ./leaderboard; name one with --leaderboard" in cli.fail(
        *line, "--split", "test"
    )
    assert not Path("p.parquet").exists()
    assert cli.run(*line)


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (RcnSearchError("a remedy"), 1, "error: a remedy\n"),
        (ConfigError("a.yaml, line 3: wrong"), 1, "error: a.yaml, line 3: wrong\n"),
        (
            OSError(errno.ENOSPC, "Full"),
            1,
            "error: Full; free some space, then continue a run or a study with --resume\n",
        ),
        (FileNotFoundError(errno.ENOENT, "None", "a/b.csv"), 1, "error: a/b.csv: None; check the path\n"),
        (
            PermissionError(errno.EACCES, "Denied", "/root/x"),
            1,
            "error: /root/x: Denied; name another file or folder, or change its permissions\n",
        ),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Refused"),
            1,
            "error: Refused; check the address, the network and that the server is running\n",
        ),
        (PermissionError("s3://b/k: no. Check the key"), 1, "error: s3://b/k: no. Check the key\n"),
        (TrainingFailed("the loss became nan"), 1, "error: the loss became nan\n"),
        (Interrupted("stopped after epoch 3"), 130, "stopped after epoch 3\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (RcnSearchError("a[/b] [red]c"), 1, "error: a[/b] [red]c\n"),
    ],
)
def test_command_turns_errors_of_users_into_a_message_and_an_exit_code(
    outcome: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def ends() -> None:
        raise outcome

    with pytest.raises(SystemExit) as ended:
        ends()
    assert ended.value.code == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "fault",
    [
        ZeroDivisionError(),
        ValueError("invalid literal for int()"),
        RuntimeError("shapes do not match"),
        OSError("nobody knows"),
        OSError(errno.EBADF, "Bad file descriptor"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # for Click, which ends quietly
    ],
    ids=repr,
)
def test_command_keeps_the_traceback_of_a_fault_of_the_program(fault: Exception) -> None:
    @command
    def breaks() -> None:
        raise fault

    with pytest.raises(type(fault)) as raised:
        breaks()
    assert raised.value is fault


def test_version_and_help(cli) -> None:
    assert cli.run("--version") == __version__
    for name in ("train", "tune", "reproduce", "evaluate", "leaderboard", "data", "figures"):
        assert name in cli.run("--help")
        assert cli.run(name, "--help")


def test_help_is_there_at_once() -> None:
    """Nothing that takes seconds to import is imported before a command needs it."""
    slow = {"torch", "ray", "matplotlib", "pyarrow", "optuna"}
    line = "import sys, rcn_search.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert not slow & {*loaded}


def test_stop_on_signal_only_requests_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with stop_on_signal() as should_stop:
            assert not should_stop()
            signal.raise_signal(number)
            assert should_stop()
            signal.raise_signal(signal.SIGTERM)  # a cluster that hurries is not a person who insists
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "stopping after this step; once more to stop at once" in capsys.readouterr().err


def test_train_interrupted_by_a_signal_can_be_resumed(config: Path, tmp_path: Path) -> None:
    """Through a process of its own, as a person would."""
    long = "schedule.epochs=10000"
    line = [sys.executable, "-m", "rcn_search", "train", str(config), "--out", str(tmp_path / "run"), "--set", long]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        for printed in training.stdout:
            if printed.startswith("epoch   1/10000"):
                training.send_signal(signal.SIGINT)
                break
        _, said = training.communicate()
    assert training.returncode == 130
    assert re.fullmatch(r"stopping after this step; once more to stop at once\nstopped after .*\n", said)
    resumed = Trainer(load_train_config(str(config), [long]), str(tmp_path / "run"), resume=True)
    epochs_done = resumed.num_epochs_done
    assert resumed.state.num_steps_done >= 3 * epochs_done >= 3
    assert resumed.train_epoch().epoch == epochs_done + 1
    assert resumed.state.num_steps_done == 3 * (epochs_done + 1)
