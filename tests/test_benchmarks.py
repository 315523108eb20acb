"""Each program of ``benchmarks/`` runs once in its smallest form: one that no longer fits the package shows itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from rcn_search import storage
from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.evaluation.predict_split import predict_split
from rcn_search.evaluation.predictions import write_predictions
from rcn_search.inference.predictor import load
from rcn_search.training.train import train
from tests.conftest import write_mtfl
from tests.support.searches import search, write_tiny_study

FOLDER = Path(__file__).parent.parent / "benchmarks"
ARGUMENTS = {
    "denoiser.py": "--batches 1 --rounds 1",
    "detector_boxes.py": "{mtfl} --importer mtfl --count 4",
    "drawn_faces.py": "--faces 4",
    "epoch_cost.py": "--epochs 40",
    "gpu.py": "--data {data} --test-split test --device cpu --small",
    "hard_validation.py": "{run}/best.safetensors --data {data}",
    "inference.py": "{run}/best.safetensors --threads 1 --batches 1 2 --rounds 1",
    "import_points.py": "--faces 100 --turns 1",
    "import_time.py": "--runs 1",
    "label_offset.py": "{run}/predictions-test.parquet --data {data}",
    "leaderboard.py": "--entries 20 --images 5 --runs 1",
    "many_workers.py": "--trials 60 --ray-trials 4",
    "nested_start.py": "--data {data} --trials 1",
    "predict_time.py": "{run}/best.safetensors {photo}",
    "sampler_time.py": "",
    "search_overhead.py": "--data {data} --trials 6 --epochs 1 --images 16",
    "search_process_overhead.py": "--trials 1020 --slots 4 --window 10",
    "search_quality.py": "{study} --workers 1 --budget 2 --seeds 2",
    "seed_coverage.py": "--seeds 2 --simulations 2",
    "site.py": "--entries 20 --images 5",
    "study_page.py": "--trials 20",
    "train_throughput.py": "--batch 4 --rounds 1 --steps 1 --threads 1",
    "trial_start.py": "--data {data} --trials 2 --images 16",
    "two_workers.py": "--data {data} --rounds 1 --epochs 2 --images 32",
}
ELSEWHERE = {
    "against_stock_tune.py": "hours of real training",
    "data_cache.py": "its server is run by tests/s3",
    "hours_budget.py": "a campaign of hours; tests/search/test_budget_limit.py",
    "kills.py": "a campaign of days; tests/kills",
    "mutant_tests.py": "a part of mutation_sample.py",
    "mutants.py": "a part of mutation_sample.py",
    "mutation_sample.py": "a campaign of hours that copies the repository",
}
WITHOUT = {"gpu.py": ("ray", "optuna", "cv2", "dlib")}
"""Packages that are not on the machine where a program is to run."""
PACKAGES = {"predict_time.py": "dlib", "detector_boxes.py": "dlib"}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the programs are given: a data set, a run with predictions, a photograph, a folder of MTFL, a study."""
    from rcn_search.config.schema import TrainConfig

    folder = tmp_path_factory.mktemp("benchmarks")
    data = str(folder / "data")
    import_dataset(SyntheticImporter(num_train=96, num_val=64, num_test=16), data)
    document = {
        "data": {"uri": data},
        "model": {"branches": 3, "channels": 8},
        "schedule": {"epochs": 1, "batch_size": 32},
        "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
    }
    run = str(folder / "run")
    checkpoint = train(TrainConfig.model_validate(document), run).checkpoint
    predictions = predict_split(load(checkpoint), open_dataset(data), "test", method="tiny")
    write_predictions(predictions, storage.join(run, "predictions-test.parquet"))
    photo = str(folder / "photo.png")
    cv2.imwrite(photo, open_dataset(data).split("val").images_at(torch.arange(1))[0].squeeze().numpy())
    (folder / "search").mkdir()
    changes = {
        "search": {"optimizer.lr": {"float": [1e-3, 1e-2]}},
        "initial_trials": [],
        "budget": {"trials": 20, "epochs": 1, "max_concurrent": 1},
        "scheduler": {"name": "none"},
    }
    search(write_tiny_study(folder / "search", data, **changes), folder / "search")
    return {
        "data": data,
        "run": run,
        "photo": photo,
        "mtfl": str(write_mtfl(folder / "mtfl")),
        "study": str(folder / "search" / "study"),
    }


def test_each_benchmark_is_run_here_or_elsewhere() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == ARGUMENTS.keys() | ELSEWHERE.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_benchmark_runs(name: str, places: dict[str, str], tmp_path: Path) -> None:
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    words = ARGUMENTS[name].format(**places).split()
    line = [sys.executable, str(FOLDER / name), *words]
    environment = {**os.environ, "RCN_SEARCH_CACHE": str(tmp_path)}
    for package in WITHOUT.get(name, ()):
        (tmp_path / f"{package}.py").write_text("raise ImportError('not on that machine')\n")
        environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    if "last line is JSON" in " ".join((FOLDER / name).read_text().split()):
        assert json.loads(done.stdout.splitlines()[-1])
