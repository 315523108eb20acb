from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.inference.predictor import load
from rcn_search.leaderboard import submit
from rcn_search.leaderboard.entry_fields import shareable_uri
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.submit import Submission, describe_hardware, evaluate_and_record
from rcn_search.leaderboard.table import build_leaderboard, load_errors
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS
from rcn_search.training.checkpoint import CheckpointError
from tests.support.checkpoints import write_untrained

Submit = Callable[..., Submission]


@pytest.fixture
def submit_checkpoint(tiny_config: TrainConfig, synthetic_uri: str, tmp_path: Path, leaderboard: str) -> Submit:
    """Evaluate a checkpoint of ``tiny_config`` on the test split."""

    def run(split: str = "test", *, config: TrainConfig = tiny_config, **options: Any) -> Submission:
        arguments = {"leaderboard": leaderboard, "predictions_uri": str(tmp_path / "predictions.parquet"), **options}
        return evaluate_and_record(
            load(write_untrained(config, tmp_path)), open_dataset(synthetic_uri), split, **arguments
        )

    return run


def recorded(leaderboard: str) -> list[Any]:
    """Test evaluations of the synthetic test split."""
    folder = storage.join(leaderboard, TEST_EVALUATIONS, "synthetic-test")
    return [storage.read_json(storage.join(folder, name)) for name in storage.list_names(folder)]


def test_evaluate_and_record_counts_every_test_evaluation(
    submit_checkpoint: Submit, leaderboard: str, tiny_config: TrainConfig
) -> None:
    assert [submit_checkpoint(method=f"try {number}").num_test_evaluations for number in (1, 2, 3)] == [1, 2, 3]
    assert [evaluation["method"] for evaluation in recorded(leaderboard)] == ["try 1", "try 2", "try 3"]
    assert {evaluation["run_id"] for evaluation in recorded(leaderboard)} == {tiny_config.run_id}
    assert storage.list_names(storage.join(leaderboard, ENTRIES)) == []


def test_evaluate_and_record_counts_before_evaluating(
    submit_checkpoint: Submit, leaderboard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation is counted, so no score can be known that was not."""

    def interrupted(*_: object, **__: object) -> None:
        assert len(recorded(leaderboard)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit_checkpoint(submit=True)
    assert len(recorded(leaderboard)) == 1
    assert storage.list_names(storage.join(leaderboard, ENTRIES)) == []


@pytest.mark.parametrize("store", ["file"], indirect=True)  # only a local file can stand in the way of a folder
def test_evaluate_and_record_unwritable_leaderboard_gives_no_score(submit_checkpoint: Submit, tmp_path: Path) -> None:
    """An evaluation that cannot be recorded is not made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        submit_checkpoint(leaderboard=str(tmp_path / "file"))
    assert not (tmp_path / "predictions.parquet").exists()


def test_evaluate_and_record_unreadable_checkpoint_is_not_counted(
    submit_checkpoint: Submit, synthetic_uri: str, leaderboard: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        evaluate_and_record(load(str(tmp_path / "gone")), open_dataset(synthetic_uri), "test", leaderboard=leaderboard)
    assert recorded(leaderboard) == []


def test_evaluate_and_record_mismatched_keypoints_is_not_counted(
    tiny_config: TrainConfig, leaderboard: str, tmp_path: Path
) -> None:
    data = str(tmp_path / "68-points")
    import_dataset(SyntheticImporter(num_train=4, num_val=2, num_test=2, schema="ibug68"), data)
    with pytest.raises(ValueError, match="predicts 'five' points"):
        evaluate_and_record(
            load(write_untrained(tiny_config, tmp_path)), open_dataset(data), "test", leaderboard=leaderboard
        )
    assert recorded(leaderboard) == []


@pytest.mark.parametrize("store", ["file"], indirect=True)  # the store is not used
def test_evaluate_and_record_validation_split_needs_no_leaderboard(submit_checkpoint: Submit) -> None:
    for split in ("val", "train"):
        submission = submit_checkpoint(split, leaderboard=None)
        assert (submission.num_test_evaluations, submission.entry_uris) == (None, [])


def test_evaluate_and_record_submit_adds_entries(
    submit_checkpoint: Submit, leaderboard: str, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    submit_checkpoint()
    submission = submit_checkpoint(submit=True, method="Mine")
    evaluation, predictor = submission.evaluation, load(str(tmp_path / "best.safetensors"))
    tables = {table.protocol: table for table in build_leaderboard(leaderboard).tables}
    assert tables.keys() == {protocol for protocol, _ in evaluation.scores}
    for protocol, score in evaluation.scores:
        (row,) = tables[protocol].rows
        assert (row.method, row.origin, row.rank, row.error_pct) == ("Mine", "ours", (1, 1), score.error_pct)
        entry = row.entry
        assert entry is not None
        assert (entry.num_test_evaluations, entry.num_images, entry.epochs, entry.train_s) == (2, 24, 2, 9.5)
        assert (entry.ci_low_pct, entry.ci_high_pct) == (score.ci_low_pct, score.ci_high_pct)
        assert (entry.auc, entry.p95, entry.points, entry.parts) == (score.auc, score.p95, score.points, score.parts)
        np.testing.assert_array_equal(load_errors(leaderboard, entry), score.errors.error_pct_n)
        assert entry.latency_ms == evaluation.latency_ms > 0
        assert entry.predictions_uri == str(tmp_path / "predictions.parquet")
        assert entry.predictions_sha256 == evaluation.predictions_sha256
        assert (entry.num_params, entry.multiply_adds) == (predictor.num_params, predictor.multiply_adds)
        assert TrainConfig.model_validate(entry.config) == tiny_config
        assert entry.run_id == tiny_config.run_id
    assert len(submission.entry_uris) == 2
    assert all(storage.exists(uri) for uri in submission.entry_uris)


def test_evaluate_and_record_other_grid_adds_only_subpixel(
    submit_checkpoint: Submit, leaderboard: str, tiny_config: TrainConfig
) -> None:
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"input": {"size_px": 40}})
    submit_checkpoint(config=config, submit=True)
    (table,) = build_leaderboard(leaderboard).tables
    assert table.protocol_name == "subpixel"


def test_evaluate_and_record_validation_submit_is_not_counted(submit_checkpoint: Submit, leaderboard: str) -> None:
    submit_checkpoint("val", submit=True)
    entries = [table.rows[0].entry for table in build_leaderboard(leaderboard).tables]
    assert {(entry.protocol.subset, entry.num_test_evaluations) for entry in entries if entry} == {("val", 0)}
    assert recorded(leaderboard) == []


def test_describe_hardware_names_processor_and_threads() -> None:
    assert describe_hardware("cpu").endswith(" threads")
    assert len(describe_hardware("cpu").split(", ")[0]) > 2


def test_shareable_uri_with_key_is_none() -> None:
    assert shareable_uri("ftp://me:secret@host/p.parquet") is None
    assert shareable_uri("s3://bucket/a@b.parquet") == "s3://bucket/a@b.parquet"
    assert shareable_uri("/tmp/a@b.parquet") == "/tmp/a@b.parquet"
