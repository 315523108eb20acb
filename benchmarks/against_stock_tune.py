"""What a search finds in the same time: ours, Ray Tune as its examples have it, and Optuna with joblib; real training.

    python benchmarks/against_stock_tune.py --data data/mtfl [--minutes 30] [--seeds 3] [--out against.jsonl]
    python benchmarks/against_stock_tune.py --workers 1000 10000          # whether the search process keeps up

All search the space `SPACE` for networks on the same faces, with the same augmentation and the same validation (the
error of `Validator`), on all cores of this machine, one after the other, in another order for each seed:

- ours: `rcn-search tune` with its defaults, budget.max_hours as the limit;
- ray: Ray Tune with OptunaSearch, ASHAScheduler and a plain function trainable: DataLoader, AdamW, one-cycle, fp32;
- joblib: Optuna with the same function, a process for each core, a journal file, MedianPruner.

Each search is a line of ``--out`` with the lowest error by seconds since its start; the same command continues. The
last line is JSON: for each rival, the share of the time after which ours had reached the error with which the rival
ended (mean over seeds, and each seed), and the final errors. ``--plot FILE.png`` draws the curves with their range.

With ``--workers`` nothing is trained: so many trials run at once, and the time of one end, one record and one proposal
is measured on the real study; the arithmetic says how busy workers with trials of 5 minutes can be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

TOOLS = ("ours", "ray", "joblib")
SPACE = {
    "model.branches": {"int": [4, 6]},
    "model.channels": {"choice": [8, 16, 24]},
    "augment.rotate_deg": {"float": [0.0, 40.0], "step": 10.0},
    "optimizer.lr": {"float": [2.0e-4, 5.0e-2], "log": True},
    "optimizer.weight_decay": {"float": [1.0e-6, 1.0e-1], "log": True},
}
TRIAL_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/mtfl")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--faces", type=int, default=1_000, help="to train on; a quarter as many to validate on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="trials at once")
    parser.add_argument("--out", type=Path, default=Path("against.jsonl"))
    parser.add_argument("--plot", default="")
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        {"ray": run_ray, "joblib": run_joblib}[arguments.run](arguments)
    elif arguments.workers:
        print(json.dumps([keeps_up(workers) for workers in arguments.workers]))
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Run what is missing in the file of results, and compare."""
    out: Path = arguments.out
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for seed in range(arguments.seeds):
        for place in range(len(TOOLS)):
            tool = TOOLS[(place + seed) % len(TOOLS)]
            if any((each["tool"], each["seed"]) == (tool, seed) for each in done):
                continue
            curve = run_ours(arguments, seed) if tool == "ours" else run_rival(arguments, tool, seed)
            done.append({"tool": tool, "seed": seed, "minutes": arguments.minutes, "curve": curve})
            with out.open("a") as stream:
                stream.write(json.dumps(done[-1]) + "\n")
            print(f"{tool:7} seed {seed}: {curve[-1][1] if curve else float('nan'):.2f} %", flush=True)
    if arguments.plot:
        plot(done, arguments.plot)
    print(json.dumps(figures(done, arguments.minutes)))


def figures(done: list[dict[str, Any]], minutes: float) -> dict[str, Any]:
    """For each rival: by which share of the time ours had its final error, seed by seed; 1 and more if it had not."""
    curves = {(each["tool"], each["seed"]): each["curve"] for each in done}
    seeds = sorted({seed for _, seed in curves})
    found: dict[str, Any] = {tool: [final(curves[tool, seed]) for seed in seeds] for tool in TOOLS}
    for rival in TOOLS[1:]:
        shares = []
        for seed in seeds:
            target = final(curves[rival, seed])
            reached = next((at_s for at_s, error in curves["ours", seed] if error <= target), None)
            shares.append(None if reached is None else round(reached / (60 * minutes), 3))
        found[f"share of the time to the error of {rival}"] = shares
        known = [share for share in shares if share is not None]
        found[f"mean share to {rival}"] = round(float(np.mean(known)), 3) if len(known) == len(shares) else None
    return found


def final(curve: list[tuple[float, float]]) -> float:
    """The error at the end of a search; infinite if it has none."""
    return curve[-1][1] if curve else float("inf")


def best_so_far(points: list[tuple[float, float]], end_s: float) -> list[tuple[float, float]]:
    """The points at which the lowest error fell."""
    curve: list[tuple[float, float]] = []
    for at_s, error in sorted(points):
        if at_s <= end_s and np.isfinite(error) and (not curve or error < curve[-1][1]):
            curve.append((round(at_s, 1), error))
    return curve


def write_study(folder: Path, arguments: argparse.Namespace, seed: int) -> Path:
    document = {
        "study": {"name": "against", "seed": seed},
        "base": {
            "recipe": "fast",
            "seed": seed,
            "data": {"uri": str(Path(arguments.data).resolve()), **rows(arguments)},
            "model": {"name": "rcn"},
            "validation": {"augment": False},
        },
        "search": SPACE,
        "budget": {
            "trials": 10_000,
            "epochs": arguments.epochs,
            "max_concurrent": arguments.slots,
            "max_hours": arguments.minutes / 60,
        },
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def rows(arguments: argparse.Namespace) -> dict[str, int]:
    return {"num_train": arguments.faces, "num_val": arguments.faces // 4}


def run_ours(arguments: argparse.Namespace, seed: int) -> list[tuple[float, float]]:
    """Run `rcn-search tune`; the lowest error of any epoch by the time since the command was given."""
    from rcn_search.study.snapshot import open_study

    with tempfile.TemporaryDirectory() as name:
        path, study = write_study(Path(name), arguments, seed), f"{name}/study"
        started = time.time()
        line = [sys.executable, "-m", "rcn_search", "tune", str(path), "--study", study]
        subprocess.run(line, cwd=name, env=environment(), check=False, stdout=subprocess.DEVNULL)
        points = []
        for trial in open_study(study).trials:
            epochs = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
            ends_s = np.cumsum([epoch.train_s + epoch.val_s + epoch.other_s for epoch in epochs])
            if not epochs or trial.record.created_at is None:
                continue
            first = trial.record.created_at
            if trial.result and trial.result.ended_at:
                first = trial.result.ended_at - ends_s[-1]
            points += [
                (first + end_s - started, epoch.val_error_pct) for end_s, epoch in zip(ends_s, epochs, strict=True)
            ]
    return best_so_far(points, 60 * arguments.minutes)


def run_rival(arguments: argparse.Namespace, tool: str, seed: int) -> list[tuple[float, float]]:
    """Run a rival in a process of its own, which logs each epoch."""
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log.jsonl"
        log.touch()
        options = ["--data", str(Path(arguments.data).resolve()), "--minutes", str(arguments.minutes)]
        options += ["--faces", str(arguments.faces), "--epochs", str(arguments.epochs), "--slots", str(arguments.slots)]
        line = [sys.executable, str(Path(__file__).resolve()), "--run", tool, "--seed", str(seed), "--log", str(log)]
        started = time.time()
        subprocess.run([*line, *options], cwd=name, env=environment(), check=True, stdout=subprocess.DEVNULL)
        points = [json.loads(each) for each in log.read_text().splitlines()]
    return best_so_far([(at - started, error) for at, error in points], 60 * arguments.minutes)


def environment() -> dict[str, str]:
    return {**os.environ, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def train_plainly(values: dict[str, Any], options: dict[str, Any]) -> Iterator[float]:
    """Train as a user of plain PyTorch would, and yield the validation error after each epoch."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    from rcn_search.config.loading import resolve_train_config
    from rcn_search.data.dataset import open_dataset
    from rcn_search.models import build_model
    from rcn_search.study.space.study_config import overlay
    from rcn_search.training.loss import spatial_nll
    from rcn_search.training.task import LocalizationTask
    from rcn_search.training.validation import Validator

    torch.set_num_threads(1)
    torch.manual_seed(options["seed"])
    base = {"data": options["data"], "model": {"name": "rcn"}, "validation": {"augment": False}}
    config = resolve_train_config(overlay(base, values), source="against_stock_tune")
    dataset = open_dataset(config.data.uri)
    schema, train, val = dataset.manifest.keypoint_schema, dataset.split("train"), dataset.split("val")
    task, num_train = LocalizationTask(config, train, schema, config.augment), options["data"]["num_train"]

    class Faces(Dataset[Any]):
        """Faces, each decoded and augmented by itself."""

        epoch = 0

        def __len__(self) -> int:
            return int(num_train)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
            draws = task.random_draws(1, seed=options["seed"] + row, epoch=self.epoch)
            batch = task.make_batch(torch.tensor([row]), draws)
            return batch.inputs[0], batch.points_bk2[0]

    faces = Faces()
    loader = DataLoader(faces, batch_size=config.schedule.batch_size, shuffle=True, drop_last=True)
    network = build_model(
        config.model,
        num_points=schema.num_points,
        input_px=config.input.size_px,
        in_channels=config.input.channels,
        seed=options["seed"],
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.optimizer.lr, total_steps=options["epochs"] * len(loader) + 1
    )
    validator = Validator(config, val, options["data"]["num_val"], schema)
    for epoch in range(options["epochs"]):
        faces.epoch = epoch
        network.train()
        for inputs, points in loader:
            optimizer.zero_grad()
            spatial_nll(network(inputs), points).backward()
            optimizer.step()
            schedule.step()
        network.eval()
        yield validator.error_pct(network)


def rival_options(arguments: argparse.Namespace) -> dict[str, Any]:
    data = {"uri": arguments.data, **rows(arguments)}
    return {"data": data, "epochs": arguments.epochs, "seed": arguments.seed, "log": str(arguments.log)}


def log_error(options: dict[str, Any], error: float) -> None:
    with Path(options["log"]).open("a") as stream:
        stream.write(json.dumps([time.time(), error]) + "\n")


def run_ray(arguments: argparse.Namespace) -> None:
    """Ray Tune as its documentation has it."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    options = rival_options(arguments)

    def trainable(config: dict[str, Any]) -> None:
        for epoch, error in enumerate(train_plainly(config, options), start=1):
            log_error(options, error)
            tune.report({"error": error, "training_iteration": epoch})

    space = {key: tune_range(kind) for key, kind in SPACE.items()}
    ray.init(address="local", num_cpus=arguments.slots, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="error",
            mode="min",
            search_alg=OptunaSearch(seed=arguments.seed),
            scheduler=ASHAScheduler(max_t=arguments.epochs, grace_period=1, reduction_factor=3),
            num_samples=10_000,
            max_concurrent_trials=arguments.slots,
            time_budget_s=60 * arguments.minutes,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd()), verbose=0),
    ).fit()
    ray.shutdown()


def tune_range(kind: dict[str, Any]) -> Any:
    from ray import tune

    if "choice" in kind:
        return tune.choice(kind["choice"])
    if "int" in kind:
        return tune.randint(kind["int"][0], kind["int"][1] + 1)
    low, high = kind["float"]
    if kind.get("log"):
        return tune.loguniform(low, high)
    return tune.quniform(low, high, kind["step"])


def run_joblib(arguments: argparse.Namespace) -> None:
    """Optuna alone, with a process for each core on one journal file."""
    from joblib import Parallel, delayed

    deadline = time.time() + 60 * arguments.minutes
    jobs = (delayed(optimize)(rival_options(arguments), worker, deadline) for worker in range(arguments.slots))
    Parallel(n_jobs=arguments.slots)(jobs)


def optimize(options: dict[str, Any], worker: int, deadline: float) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    class OutOfTimeError(Exception):
        pass

    def objective(trial: optuna.Trial) -> float:
        best = float("inf")
        for epoch, error in enumerate(train_plainly(suggest(trial), options), start=1):
            if time.time() > deadline:
                raise OutOfTimeError
            log_error(options, error)
            best = min(best, error)
            trial.report(error, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    study = optuna.create_study(
        study_name="against",
        storage=optuna.storages.JournalStorage(JournalFileBackend("journal.log")),
        sampler=optuna.samplers.TPESampler(seed=1_000 * options["seed"] + worker),
        load_if_exists=True,
    )
    try:
        study.optimize(objective, timeout=max(0.0, deadline - time.time()))
    except OutOfTimeError:
        return


def suggest(trial: Any) -> dict[str, Any]:
    draw: dict[str, Callable[[str, dict[str, Any]], Any]] = {
        "choice": lambda key, kind: trial.suggest_categorical(key, kind["choice"]),
        "int": lambda key, kind: trial.suggest_int(key, *kind["int"]),
        "float": lambda key, kind: trial.suggest_float(
            key, *kind["float"], log=kind.get("log", False), step=kind.get("step")
        ),
    }
    return {key: draw[next(name for name in draw if name in kind)](key, kind) for key, kind in SPACE.items()}


def keeps_up(workers: int, num_cycles: int = 200) -> dict[str, Any]:
    """Measure the time that the search process takes for one trial while ``workers`` run; how busy these can be."""
    from rcn_search.study.loading import load_study_config
    from rcn_search.study.records import EpochResult
    from rcn_search.study.study import Study

    overrides = ["budget.trials=1000000", "replication=null", "test=null"]
    study = Study.start(f"memory://{workers}", load_study_config("search_spaces/rcn.yaml", overrides=overrides), "f")
    chance, running = np.random.default_rng(0), []
    for _ in range(workers):
        running.append(study.ask())
    started = time.perf_counter()
    for _ in range(num_cycles):
        trial, error = running.pop(0), 5 + float(chance.random())
        times = {"train_s": TRIAL_S / 3, "val_s": 0.0}
        for epoch in range(1, 4):
            result = EpochResult(epoch=epoch, loss=1.0, val_error_pct=error, best_error_pct=error, **times)
            study.report(trial.number, [result])
        study.finish(trial.number, "complete")
        running.append(study.ask())
    cycle_s = (time.perf_counter() - started) / num_cycles
    return {
        "workers": workers,
        "ms_per_trial": round(1_000 * cycle_s, 2),
        "trials_per_s_needed": round(workers / TRIAL_S, 2),
        "trials_per_s_possible": round(1 / cycle_s, 2),
        "busy_pct": round(100 * min(1.0, TRIAL_S / (workers * cycle_s)) * TRIAL_S / (TRIAL_S + cycle_s), 1),
    }


def plot(done: list[dict[str, Any]], path: str) -> None:
    """Draw the mean lowest error of each tool, and the range over seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for tool in TOOLS:
        curves = [each for each in done if each["tool"] == tool and each["curve"]]
        if not curves:
            continue
        end_s = 60 * max(each["minutes"] for each in curves)
        first_s = max(each["curve"][0][0] for each in curves)
        grid = np.linspace(first_s, end_s, 300)
        errors = []
        for each in curves:
            at_s, error = map(np.array, zip(*each["curve"], strict=True))
            errors.append(error[np.searchsorted(at_s, grid, side="right") - 1])
        (line,) = axes.plot(grid / 60, np.mean(errors, axis=0), label=tool)
        axes.fill_between(grid / 60, np.min(errors, axis=0), np.max(errors, axis=0), alpha=0.2, color=line.get_color())
    axes.set(xlabel="minutes", ylabel="lowest validation error, %")
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
