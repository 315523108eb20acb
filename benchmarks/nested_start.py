"""From the start of a trial to its first step, with several workers in each: ours against Ray's nested TorchTrainer.

    python benchmarks/nested_start.py --data data/synthetic [--trials 3] [--workers 2]

Ours is a `TrialActor` with its worker group; the other is what Ray documents for Tune with several workers: a Tune
function that builds a TorchTrainer for each trial, with Ray's own settings, and trains the same run by the same
`Trainer`. Both are run by Tune in one cluster, one trial at a time, first ours. Measured in each trial by the clock
of the machine, from the first line of its function (of ours of `reset_config`, which `setup` calls) to the begin of
the first step. The start of the trial's own process is left out of both.

The last line is JSON: ``ratio`` of the medians over all trials, the first of ours among them, which starts its worker
group; ``first_ratio``, of the first trials alone; ``ours_s`` and ``stock_s``, each trial.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune import PlacementGroupFactory
from ray.tune.integration.ray_train import TuneReportCallback

from rcn_search import storage
from rcn_search.config.schema import TrainConfig
from rcn_search.search.trial_actor import TrialActor, TrialSpec
from rcn_search.study.store import TRIAL_NAME

NETWORK = {"name": "rcn", "branches": 2, "channels": 8}


def note_first_step(path: str) -> None:
    """Have this process write down when the first step of its next run begins."""
    from rcn_search.training.state import TrainState

    step = TrainState.train_step

    def noted(state: TrainState, *arguments: Any) -> Any:
        note(path)
        return step(state, *arguments)

    TrainState.train_step = noted  # type: ignore[method-assign]


def note(path: str) -> None:
    """Now, once."""
    if not Path(path).exists():
        Path(path).write_text(repr(time.time()))


class TimedActor(TrialActor):
    """Ours."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        folder = f"{new_config['root']}/ours-{new_config['number']}"
        Path(folder).mkdir()
        storage.write_json(f"{folder}/run/{TRIAL_NAME}", {})  # as a search process does
        note(f"{folder}/started")
        train = TrainConfig.model_validate_json(new_config["train"])
        spec = TrialSpec(
            number=new_config["number"],
            folder=f"{folder}/run",
            config=train,
            base_config=train,
            num_workers=new_config["workers"],
        )
        done = super().reset_config(spec.to_tune_config())
        note_first_step(f"{folder}/stepped")
        return done


def stock(config: dict[str, Any]) -> None:
    """The documented pattern."""
    folder = f"{config['root']}/stock-{config['number']}"
    Path(folder).mkdir()
    note(f"{folder}/started")
    TorchTrainer(
        stock_worker,
        train_loop_config={"folder": folder, "train": config["train"]},
        scaling_config=ray_train.ScalingConfig(num_workers=config["workers"]),
        run_config=ray_train.RunConfig(name="train", storage_path=folder, callbacks=[TuneReportCallback()]),
    ).fit()


def stock_worker(config: dict[str, Any]) -> None:
    from rcn_search.training.distributed import DistributedContext
    from rcn_search.training.trainer import Trainer

    context = ray_train.get_context()
    workers = DistributedContext(context.get_world_rank(), context.get_world_size())
    if workers.is_first:
        note_first_step(f"{config['folder']}/stepped")
    folder = f"{config['folder']}/run"
    run = Trainer(TrainConfig.model_validate_json(config["train"]), folder, resume=True, distributed=workers)
    while not run.is_done:
        report = run.train_epoch()
        run.save()
        ray_train.report({"val_error_pct": report.val_error_pct})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an imported data set")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    document = {
        "data": {"uri": str(Path(arguments.data).resolve()), "num_train": 32, "num_val": 8},
        "input": {"size_px": 40},
        "model": NETWORK,
        "schedule": {"epochs": 1, "batch_size": 16},
        "compute": {"device": "cpu", "precision": "fp32", "channels_last": False, "threads": 1},
    }
    ray.init(
        address="local",
        num_cpus=arguments.workers + 1,  # the stock trial's function needs some beside its workers
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    with tempfile.TemporaryDirectory() as root:
        config = {
            "number": tune.grid_search(list(range(arguments.trials))),
            "root": root,
            "train": TrainConfig.model_validate(document).model_dump_json(),
            "workers": arguments.workers,
        }
        bundles = PlacementGroupFactory([{"CPU": 1}] * arguments.workers)
        seconds = {}
        for name, trainable, resources in (("ours", TimedActor, bundles), ("stock", stock, {"cpu": 0.01})):
            tune.run(
                trainable,
                config=config,
                resources_per_trial=resources,
                max_concurrent_trials=1,
                reuse_actors=name == "ours",
                storage_path=f"{root}/tune-{name}",
                verbose=0,
            )
            seconds[name] = [_start_s(Path(root, f"{name}-{number}")) for number in range(arguments.trials)]
            print(name, " ".join(f"{each:.1f} s" for each in seconds[name]), "; load", os.getloadavg()[0])
    ray.shutdown()
    figures = {
        "ratio": round(statistics.median(seconds["ours"]) / statistics.median(seconds["stock"]), 3),
        "first_ratio": round(seconds["ours"][0] / seconds["stock"][0], 3),
        "ours_s": [round(each, 2) for each in seconds["ours"]],
        "stock_s": [round(each, 2) for each in seconds["stock"]],
    }
    print(json.dumps(figures))


def _start_s(folder: Path) -> float:
    return float((folder / "stepped").read_text()) - float((folder / "started").read_text())


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    main()
