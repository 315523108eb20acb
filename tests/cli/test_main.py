"""Several commands in a row, what a user can get wrong, and the options of the program itself."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from rcn_search import __version__
from rcn_search.cli.main import app
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study
from tests.conftest import CommandLine


def test_train_evaluate_submit_and_rank(cli: CommandLine, config: Path, synthetic_uri: str, tmp_path: Path) -> None:
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
    assert "test evaluation" not in on_val
    assert not Path("leaderboard").exists()

    test = ["evaluate", "run/best.safetensors", "--data", synthetic_uri, "--split", "test"]
    assert "test evaluation no. 1 of this split" in cli.run(*test, "--leaderboard", "elsewhere")
    submitted = cli.run(*test, "--leaderboard", "elsewhere", "--submit", "--method", "Tiny, first")
    assert "Tiny, first on synthetic" in submitted
    assert "test evaluation no. 2 of this split" in submitted
    assert len(re.findall(r"→ elsewhere/entries/\S+\.json", submitted)) == 2
    error_pct = float(re.search(r"rcn2016 ([\d.]+)", submitted)[1])  # type: ignore[index]

    shown = ["leaderboard", "--leaderboard", "elsewhere", "--dataset", "synthetic"]
    as_json = json.loads(CliRunner().invoke(app, [*shown, "--format", "json"]).stdout)
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
    as_csv = [*csv.DictReader(io.StringIO(CliRunner().invoke(app, [*shown, "--format", "csv"]).stdout))]
    assert [row["method"] for row in as_csv] == ["Tiny, first"] * 2
    for format in ("markdown", "table"):
        printed = cli.run(*shown, "--format", format)
        assert "Tiny, first" in printed
        assert f"{error_pct:.2f}" in printed


def test_leaderboard_shows_published_rows(cli: CommandLine) -> None:
    rows = json.loads(CliRunner().invoke(app, ["leaderboard", "--dataset", "aflw", "--format", "json"]).stdout)
    assert {row["origin"] for row in rows} == {"reported", "reproduced"}
    assert "RCN 6 branches, occlusion" in {row["method"] for row in rows}
    assert "RCN 6 branches, occlusion" in cli.run("leaderboard", "--dataset", "aflw")


def test_leaderboard_warns_of_damaged_entries(cli: CommandLine, tmp_path: Path) -> None:
    entries = tmp_path / "leaderboard" / "entries"
    entries.mkdir(parents=True)
    (entries / "mine.json").write_text("{}")
    result = CliRunner().invoke(app, ["leaderboard", "--format", "json"])
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {entries}/mine.json is left out: ")
    assert json.loads(result.stdout)


def test_tune_refuses_an_existing_study(cli: CommandLine, study_file: Path, tmp_path: Path) -> None:
    study = Study.start(str(tmp_path / "study"), load_study_config(str(study_file)), data_fingerprint="f")
    assert study.ask() is not None
    assert "already; resume it with --resume" in cli.fail("tune", study_file, "--study", "study")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("train gone.yaml", "gone.yaml: no such file"),
        ("train {config} --set schedule.epoch=1", "unknown key 'schedule.epoch'; did you mean 'epochs'?"),
        ("train {config} --set model.branches=9", "model.branches = 9: an input of 80 px has at most 7"),
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
        ("train {config} --set input.size_px=40 --set model.branches=7", "an input of 40 px has at most 6"),
        ("train {config} --out {config}", "File exists"),
        ("tune gone.yaml", "gone.yaml: no such file"),
        ("tune {study} --set search=[]", "search = []: input should be a valid dictionary"),
        ("tune {study} --set budget.trials=0", "budget.trials = 0: input should be greater than or equal to 1"),
        ("tune {study} --set base.model.branchs=3", "unknown key 'model.branchs'; did you mean 'branches'?"),
        ("tune {study} --data nowhere", "no data set at {here}/nowhere"),
        ("tune {study} --set base.data.val_split=test", "data.val_split: 'test' of {synthetic} is a test split"),
        ("tune {study} --set test.split=test --set test.method=A --leaderboard /proc/nothing", "/proc/nothing cannot"),
        ("tune {study} --resume", "no study at {here}/studies/tiny; rcn-search tune without --resume starts one"),
        ("evaluate gone.safetensors --data {synthetic}", "no checkpoint at gone.safetensors"),
        ("evaluate {checkpoint} --data nowhere", "no data set at nowhere"),
        ("evaluate {checkpoint} --data {synthetic} --split aflw", "has no split 'aflw'; it has: train, val, test"),
        ("evaluate {config} --data {synthetic}", "config.yaml is not a readable safetensors file"),
        ("evaluate {pickle} --data {synthetic}", "weights.pt is not a readable safetensors file"),
        ("evaluate {checkpoint} --data {config}", "is a file, where the folder of an imported data set is wanted"),
        ("evaluate {checkpoint} --data {synthetic} --device quantum", "device 'quantum' cannot be used here"),
        ("evaluate {checkpoint} --data {synthetic} --submit --split test --leaderboard {config}", "Not a directory"),
        ("figures faces {config} --data {synthetic}", "config.yaml: not a readable Parquet file"),
    ],
)
def test_mistakes_are_explained(
    cli: CommandLine,
    config: Path,
    study_file: Path,
    checkpoint: Path,
    synthetic_uri: str,
    tmp_path: Path,
    line: str,
    problem: str,
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
        ({"model.branches": {"int": [5, 9]}}, "model.branches = 9: an input of 80 px has at most 7"),
        ({"model.brnches": {"int": [1, 2]}}, "unknown key 'model.brnches'; did you mean 'branches'?"),
    ],
)
def test_tune_reports_the_line_of_an_impossible_parameter(
    cli: CommandLine, study_file: Path, search: dict[str, object], problem: str
) -> None:
    document = yaml.safe_load(study_file.read_text()) | {"search": search}
    study_file.write_text(yaml.safe_dump(document, sort_keys=False))
    message = cli.fail("tune", study_file)
    assert problem in message
    (line,) = re.findall(r"study\.yaml, line (\d+)", message)
    assert next(iter(search)) in study_file.read_text().splitlines()[int(line) - 1]


def test_version_and_help(cli: CommandLine) -> None:
    assert cli.run("--version") == __version__
    for name in ("train", "tune", "reproduce", "evaluate", "leaderboard", "data", "figures"):
        assert name in cli.run("--help")
        assert cli.run(name, "--help")


def test_main_imports_nothing_slow() -> None:
    """Nothing that takes seconds to import is imported before a command needs it."""
    slow = {"torch", "ray", "matplotlib", "pyarrow", "optuna"}
    line = "import sys, rcn_search.cli.main; rcn_search.cli.main.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert not slow & {*loaded}
