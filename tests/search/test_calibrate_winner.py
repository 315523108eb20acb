from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.calibrate_winner import calibrate_winner
from rcn_search.study.study import Study
from rcn_search.study.winner import Candidate, ReplicationRun, Winner
from rcn_search.training.checkpoint import read_checkpoint
from tests.support.checkpoints import write_untrained


def calibrated(study: Study, winner: Winner | None = None) -> str:
    text = io.StringIO()
    calibrate_winner(study, winner, Console(file=text, width=300))
    return text.getvalue()


@pytest.fixture
def study(play_study: Callable[..., Study], synthetic_uri: str, tiny_config: TrainConfig) -> Study:
    """A study whose best trial has a checkpoint."""
    played = play_study(base={"data": {"uri": synthetic_uri}})
    assert played.best_trial is not None
    write_untrained(tiny_config, Path(storage.local_path(played.best_trial.folder)))
    return played


def test_calibrate_winner_calibrates_the_best_trial_once(study: Study) -> None:
    checkpoint = Path(study.best_trial.folder, "best.safetensors")
    assert f"calibrated {checkpoint}: the radius of 90%" in calibrated(study)
    content = checkpoint.read_bytes()
    (table,) = read_checkpoint(str(checkpoint)).info.radius_tables
    assert (table.split, table.num_images) == ("val", 24)
    assert calibrated(study) == ""
    assert checkpoint.read_bytes() == content


def test_calibrate_winner_calibrates_every_run_of_the_winner(
    study: Study, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    runs = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        uri = write_untrained(tiny_config, tmp_path / str(seed), seed=seed)
        runs.append(ReplicationRun(number=seed, seed=seed, error_pct=1.0, checkpoint=uri))
    candidate = Candidate(trial=0, search_error_pct=1.0, runs=tuple(runs), error_pct=1.0)
    calibrated(study, Winner(trial=0, is_tied=False, candidates=(candidate,), num_images=24))
    assert all(read_checkpoint(run.checkpoint).info.radius_tables for run in runs)
    assert not read_checkpoint(str(Path(study.best_trial.folder, "best.safetensors"))).info.radius_tables


def test_calibrate_winner_that_cannot_be_calibrated_says_why(study: Study) -> None:
    Path(study.best_trial.folder, "best.safetensors").unlink()
    assert "was not calibrated, so its points have no radius: no checkpoint at" in calibrated(study)
