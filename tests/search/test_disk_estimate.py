from __future__ import annotations

import io
import re
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rcn_search.cluster.runtime import ClusterResources
from rcn_search.config.schema import TrainConfig
from rcn_search.search.concurrency import print_plan
from rcn_search.search.disk_estimate import estimate_checkpoint_bytes, estimate_trial_bytes, free_disk_bytes
from rcn_search.study.loading import load_study_config
from rcn_search.study.study import Study
from rcn_search.training.trainer import Trainer


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "muon"}},
        {"optimizer": {"name": "adamw"}, "schedule": {"ema_decay": 0.99}},
        {"optimizer": {"name": "adadelta", "weight_decay": 0.0}, "validation": {"save": "every"}},
    ],
)
def test_estimate_trial_bytes_is_the_size_of_what_a_run_leaves(
    tiny_config: TrainConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    document = tiny_config.model_dump(mode="json")
    for part, values in {"model": {"channels": 48}, **changes}.items():
        document[part] |= values
    config = TrainConfig.model_validate(document)
    Trainer(config, str(tmp_path)).train()
    left = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert estimate_trial_bytes(config, 5) == pytest.approx(left, rel=0.1)


def study_of(path: str, folder: object) -> Study:
    return Study.start(str(folder), load_study_config(path), "f")


def estimate(study: Study) -> int:
    return estimate_checkpoint_bytes(study.config, study.num_remaining, 5)


def test_estimate_checkpoint_bytes_grows_with_trials_and_networks(
    write_study: Callable[..., str], tmp_path: Path
) -> None:
    few = study_of(write_study(budget={"trials": 12}), tmp_path / "few")
    many = study_of(write_study(budget={"trials": 120}), tmp_path / "many")
    wide = study_of(write_study(search={"model.channels": [{"choice": [64]}]}, initial_trials=[]), tmp_path / "wide")
    assert estimate(many) == pytest.approx(10 * estimate(few), abs=10)
    few.ask()
    assert estimate(few) == pytest.approx(estimate(many) * 11 / 120, abs=10)
    assert estimate(wide) > 2 * estimate(few)


def test_estimate_checkpoint_bytes_of_fixed_runs_counts_each_run(tmp_path: Path) -> None:
    path = tmp_path / "runs.yaml"
    path.write_text(
        """
study: {name: runs}
base: {data: {uri: nowhere}, model: {name: rcn, branches: 4}, optimizer: {name: adamw}}
runs: {narrow: {model.channels: 8}, wide: {model.channels: 32}}
budget: {epochs: 1}
"""
    )
    study = study_of(str(path), tmp_path / "study")
    base = study.config.base_config
    models = [base.model.model_copy(update={"channels": channels}) for channels in (8, 32)]
    assert estimate(study) == sum(estimate_trial_bytes(base.model_copy(update={"model": each}), 5) for each in models)


def test_print_plan_shows_the_estimate_and_warns_of_a_full_disk(
    write_study: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(write_study(), tmp_path / "study")
    disk = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(0, 0, 80_000_000))

    def plan(checkpoint_bytes: int, uri: str) -> str:
        text = io.StringIO()
        print_plan(
            Console(file=text, width=200),
            study,
            2,
            ClusterResources(({"CPU": 2},)),
            checkpoint_bytes,
            free_disk_bytes(uri),
        )
        return text.getvalue()

    assert re.search(r"^about 79\.0 MB of checkpoints: .* of each trial$", plan(79_000_000, study.uri), re.MULTILINE)
    assert "free" not in plan(79_000_000, study.uri)
    assert "only 80.0 MB are free there: free some, or" in plan(81_000_000, study.uri)
    assert "free" not in plan(81_000_000, "s3://bucket/study")
