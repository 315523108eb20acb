from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.predictions import read_predictions
from rcn_search.training.trainer import Trainer
from tests.conftest import CommandLine


@pytest.fixture(scope="module")
def run(synthetic_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few seconds."""
    config = TrainConfig.model_validate(
        {
            "data": {"uri": synthetic_uri},
            "model": {"branches": 2, "channels": 8},
            "schedule": {"epochs": 2, "batch_size": 32},
            "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
        }
    )
    out = tmp_path_factory.mktemp("runs") / "first"
    Trainer(config, str(out)).train()
    return out


def is_png(name: str) -> bool:
    with Image.open(name) as image:
        return image.format == "PNG"


def test_figures_of_predictions_are_written(cli: CommandLine, run: Path, synthetic_uri: str, mtfl_uri: str) -> None:
    for name, data in (("a", synthetic_uri), ("b", synthetic_uri), ("c", mtfl_uri)):
        line = ("evaluate", run / "best.safetensors", "--data", data)
        cli.run(*line, "--predictions", f"{name}.parquet", "--method", name)
    faces = ("figures", "faces", "a.parquet", "--data")
    assert "5 of 24 faces, easiest first → faces.png" in cli.run(*faces, synthetic_uri, "--count", 5)
    several = ("figures", "faces", "a.parquet", "b.parquet", "--data", synthetic_uri)
    assert "8 of 24 faces, easiest first → several.png" in cli.run(*several, "--out", "several.png")
    with Image.open("several.png") as image:  # a row for each method, its title at the left, the legend below
        assert image.size == (44 + 8 * 248 + 8, 2 * 248 + 8 + 28)
    name = read_predictions("a.parquet").image_id[3]
    assert "1 of 24 faces → one.png" in cli.run(*several, "--image", name, "--out", "one.png")
    assert "no image 'nobody' among" in cli.fail(*several, "--image", "nobody")
    assert "2 curves → ced.png" in cli.run("figures", "ced", "a.parquet", "b.parquet")
    printed = cli.run("figures", "difficulty", "a.parquet", "b.parquet", "--bins", 3)
    assert "2 methods on 24 images in 3 bins → difficulty.png" in printed
    assert all(map(is_png, ("faces.png", "ced.png", "difficulty.png")))
    for end, start in {"svg": b"<?xml", "pdf": b"%PDF"}.items():
        cli.run(*faces, synthetic_uri, "--count", 5, "--out", f"faces.{end}")
        cli.run("figures", "ced", "a.parquet", "--out", f"ced.{end}")
        assert Path(f"faces.{end}").read_bytes().startswith(start)
        assert Path(f"ced.{end}").read_bytes().startswith(start)
    assert "faces.gif must end in one of .png, .svg, .pdf" in cli.fail(*faces, synthetic_uri, "--out", "faces.gif")
    assert "the predictions were made from data " in cli.fail(*faces, mtfl_uri)
    assert "unknown protocol 'rcn2017'" in cli.fail(*faces, synthetic_uri, "--protocol", "rcn2017")
    for name in ("ced", "difficulty"):
        assert "are of different images" in cli.fail("figures", name, "a.parquet", "c.parquet")
    assert "do not fill 25 bins" in cli.fail("figures", "difficulty", "a.parquet", "--bins", 25)


def test_figures_of_models_and_runs_are_written(cli: CommandLine, run: Path, synthetic_uri: str) -> None:
    branches = ("figures", "branches", run / "best.safetensors", "--data", synthetic_uri)
    assert "1 models on 2 faces of val → branches.png" in cli.run(*branches, "--row", 1, "--row", 2)
    assert "no point 'chin'" in cli.fail(*branches, "--point", "chin")
    errors = [row["val_error_pct"] for row in json.loads((run / "history.json").read_text())]
    printed = cli.run("figures", "convergence", run, "--threshold", max(errors) + 1)
    assert f"RCN: best {min(errors):.2f} %, below {max(errors) + 1:g} % after 1 epochs, " in printed
    assert "1 runs → convergence.png" in printed
    assert all(map(is_png, ("branches.png", "convergence.png")))
    assert "no run at gone: config.json is missing" in cli.fail("figures", "convergence", run, "gone")


def test_figures_import_torch_and_matplotlib_lazily() -> None:
    code = "import sys, rcn_search.cli.figures; print({'torch', 'matplotlib'} & sys.modules.keys())"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"
    code = (
        "import sys; from rcn_search.evaluation.figures import convergence, curves, difficulty;"
        "print({'torch'} & sys.modules.keys())"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"
