"""``rcn-search reproduce`` without its training, which tests/reproduce/test_reproduce.py does."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import typer
import yaml
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from rcn_search.cli import reproduce as cli_reproduce
from rcn_search.cli.reproduce import reproduce_command
from rcn_search.data.shards import read_manifest
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study


@pytest.fixture
def rows(mtfl_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study file whose study is started where the command looks for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_reproduce, "console", Console(width=200))
    document = {
        "study": {"name": "tiny"},
        "base": {"data": {"uri": mtfl_uri}},
        "runs": {"RCN 4 branches": {"model.branches": 4}},
        "budget": {"epochs": 10},
    }
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump(document))
    for overrides, folder in (([], "table2"), (["budget.epochs=3"], "table2-3-epochs")):
        space = load_study_config(str(path), overrides=overrides)
        Study.start(f"studies/{folder}", space, data_fingerprint=read_manifest(mtfl_uri).fingerprint).ask()
    return str(path)


def invoke(*line: str) -> Result:
    app = typer.Typer()
    app.command("reproduce")(reproduce_command)
    return CliRunner().invoke(app, list(line))


def test_report_only_prints_each_format(rows: str) -> None:
    line = ("table2", "--study-file", rows, "--report-only")
    table = invoke(*line)
    assert table.exit_code == 0, table.output
    assert "not finished" in table.stdout
    assert "not measured" in table.stdout
    document = list(csv.DictReader(io.StringIO(invoke(*line, "--format", "csv").stdout)))
    assert document[0]["method"] == "RCN 4 branches"
    assert (document[0]["paper %"], document[0]["ours %"]) == ("6.37", "")
    markdown = invoke(*line, "--format", "markdown").stdout
    assert "| RCN 4 branches | aflw/test | 6.37 |" in markdown
    assert "- not measured" in markdown


def test_epochs_give_a_study_of_its_own(rows: str) -> None:
    shown = invoke("table2", "--study-file", rows, "--report-only", "--epochs", "3", "--format", "markdown")
    assert "and 3 epochs here" in shown.stdout
    missing = invoke("table2", "--study-file", rows, "--report-only", "--epochs", "4")
    assert missing.exit_code == 1
    assert "studies/table2-4-epochs; leave out --report-only" in missing.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("table3", "--data", "nowhere"), "no data set at"),
        (("table2", "--afw", "nowhere"), "no data set at"),
        (("table2", "--study-file", "nowhere.yaml"), "no such file"),
        (("table2", "--set", "runs.RCN 4 branches=1"), "runs"),
    ],
)
def test_reproduce_reports_bad_input_before_training(rows: str, line: tuple[str, ...], message: str) -> None:
    line = line if "--study-file" in line or "--data" in line else (*line, "--study-file", rows)
    result = invoke(*line)
    assert (result.exit_code, "error: " in result.stderr) == (1, True), result.output
    assert message in result.stderr
    assert not Path("studies/table3").exists()


def test_reproduce_refuses_a_search(rows: str) -> None:
    space = Path(__file__).parents[2] / "search_spaces/rcn.yaml"
    assert "it is a search" in invoke("table2", "--study-file", str(space)).stderr
