from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rcn_search.config.loading import load_train_config
from rcn_search.training.checkpoint import read_checkpoint
from rcn_search.training.exit_status import Interrupted
from rcn_search.training.trainer import Trainer
from tests.conftest import CommandLine
from tests.support.checkpoints import write_checkpoint


def test_train_resumes_an_interrupted_run_only_with_resume(cli: CommandLine, config: Path, tmp_path: Path) -> None:
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
    assert "what differs:\n  seed: 0 → 1\nGive the same file" in cli.fail(*again, "--resume", "--set", "seed=1")
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
def test_train_that_cannot_start_leaves_no_run(cli: CommandLine, config: Path, overrides: list[str]) -> None:
    """So the corrected command works without --resume."""
    cli.fail("train", config, "--out", "run", *(word for override in overrides for word in ("--set", override)))
    assert not Path("run").exists()


def test_train_resume_on_missing_device_fails(cli: CommandLine, config: Path, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint.parent, tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    info, tensors = read_checkpoint(str(last))
    settings = info.state["settings"] | {"device": "cuda:31"}
    write_checkpoint(str(last), info.model_copy(update={"state": info.state | {"settings": settings}}), tensors)
    assert "device 'cuda:31' cannot be used here" in cli.fail("train", config, "--out", "run", "--resume")


def test_train_without_out_uses_the_run_id(cli: CommandLine, config: Path) -> None:
    shorter = "schedule.epochs=1"
    run_id = load_train_config(str(config), [shorter]).run_id
    printed = cli.run("train", config, "--set", shorter)
    assert f"→ {Path.cwd()}/runs/rcn-{run_id}/best.safetensors" in printed


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
        _, message = training.communicate()
    assert training.returncode == 130
    assert re.fullmatch(r"stopping after this step; once more to stop at once\nstopped after .*\n", message)
    resumed = Trainer(load_train_config(str(config), [long]), str(tmp_path / "run"), resume=True)
    epochs_done = resumed.num_epochs_done
    assert resumed.state.num_steps_done >= 3 * epochs_done >= 3
    assert resumed.train_epoch().epoch == epochs_done + 1
    assert resumed.state.num_steps_done == 3 * (epochs_done + 1)


def test_train_data_takes_the_place_of_the_files(cli: CommandLine, config: Path, synthetic_uri: str) -> None:
    document = yaml.safe_load(config.read_text())
    document["data"]["uri"] = "nowhere"
    document["schedule"]["epochs"] = 1
    Path("other.yaml").write_text(yaml.safe_dump(document))
    assert "no data set at nowhere" in cli.fail("train", "other.yaml", "--out", "run")
    cli.run("train", "other.yaml", "--data", synthetic_uri, "--out", "run")
    assert read_checkpoint("run/best.safetensors")[0].config.data.uri == synthetic_uri


def test_train_announces_a_probe(cli: CommandLine, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rcn_search.training.compute_probe.step_timers", lambda config, num_points: lambda settings: 1.0
    )
    printed = cli.run("train", config, "--out", "run", "--set", "compute.precision=auto", "--set", "schedule.epochs=1")
    assert printed.startswith("timing 2 choices of precision, memory layout and threads … rcn with")


def test_train_from_weights_says_what_it_copied_and_is_another_run(
    cli: CommandLine, config: Path, checkpoint: Path, tmp_path: Path
) -> None:
    printed = cli.run("train", config, "--from", checkpoint.parent, "--out", "tuned", "--set", "schedule.epochs=1")
    assert f"starts from {checkpoint.parent}: 'five' points, weights " in printed
    assert "; all tensors copied" in printed
    info = read_checkpoint(str(tmp_path / "tuned/best.safetensors")).info
    assert info.config.init is not None
    assert [record.weights for record in info.start_history] == [str(checkpoint.parent)]
    assert "what differs:\n  init: " in cli.fail(
        "train", config, "--resume", "--out", "tuned", "--set", "schedule.epochs=1"
    )
    message = cli.fail("train", config, "--from", checkpoint.parent, "--out", "other", "--set", "model.branches=3")
    assert "is of another network" in message
    assert "model.branches: 2 → 3" in message
    assert not (tmp_path / "other").exists()
