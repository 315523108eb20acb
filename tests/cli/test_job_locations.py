"""No command leaves its results in a Ray job's copy of the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rcn_search.config.schema import TrainConfig
from rcn_search.training.trainer import Trainer
from tests.conftest import CommandLine
from tests.support.searches import write_tiny_study


@pytest.mark.usefixtures("ray_job")
@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("data generate data/synthetic", "DESTINATION"),
        ("train {config} --set data.uri={data}", "--out"),
        ("evaluate runs/a/best.safetensors --data {data} --split test", "--predictions"),
        ("evaluate {shared}/best.safetensors --data {data} --split test --leaderboard board", "--leaderboard"),
        ("tune {study} --leaderboard board --study {shared}/study", "--leaderboard"),
        ("tune {study} --leaderboard {shared}/board", "--study"),
        ("reproduce table2 --data {data} --study {shared}/study --leaderboard board", "--leaderboard"),
    ],
)
def test_command_in_a_job_refuses_results_in_the_working_directory(
    cli: CommandLine,
    line: str,
    option: str,
    tiny_config: TrainConfig,
    synthetic_uri: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config, shared = tmp_path / "config.yaml", tmp_path_factory.mktemp("shared") / "run"
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    Trainer(tiny_config, str(shared)).train()
    study = write_tiny_study(tmp_path, synthetic_uri, test={"split": "test", "method": "RCN"})
    message = cli.fail(*line.format(config=config, data=synthetic_uri, shared=shared, study=study).split())
    assert "copy of the working directory, which Ray deletes after the job" in message
    assert option in message
