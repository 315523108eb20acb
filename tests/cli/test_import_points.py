from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from rcn_search.data.dataset import open_dataset
from rcn_search.data.shards import read_manifest
from rcn_search.evaluation.predictions import read_predictions
from rcn_search.inference.predictor import load
from rcn_search.training.checkpoint import read_checkpoint
from tests.support.points import SCHEMA_TEXT, Kite, draw_kites, write_coco, write_csv

DOCUMENT = yaml.safe_load(SCHEMA_TEXT)
TRAINING = {
    "data": {"uri": "K"},
    "model": {"name": "rcn", "branches": 3, "channels": 8},
    "augment": {"flip": 0.5},
    "schedule": {"epochs": 1, "batch_size": 8},
    "compute": {"precision": "fp32", "channels_last": False, "threads": 1},
}
IMPORT = [
    "data",
    "import",
    "points",
    ".",
    "K",
    "--schema",
    "schema.yaml",
    "--layout",
    "csv",
    "--val",
    "0.2",
    "--test",
    "0.2",
]


@pytest.fixture
def kites(cli: Any, tmp_path: Path) -> list[Kite]:
    """Thirty kites in the working directory, of which some have no tip."""
    open_dataset.cache_clear()  # which knows K of another test's working directory
    kites = draw_kites(tmp_path, 30)
    for kite in kites[::5]:
        kite.points[2] = np.nan
    write_csv(tmp_path, kites)
    return kites


def test_own_points_are_trained_evaluated_and_ranked(cli: Any, kites: list[Kite], tmp_path: Path) -> None:
    """Number of points, flip and normalizer are those of the schema, which no file of the package knows."""
    assert "30 rows: 30 imported (train 18, val 6, test 6), 0 refused" in cli.run(*IMPORT)
    Path("t.yaml").write_text(yaml.safe_dump(TRAINING))
    (tmp_path / "schema.yaml").unlink()  # it travels in the data set
    assert "best validation error" in cli.run("train", "t.yaml", "--out", "r")
    info = read_checkpoint("r/best.safetensors").info
    assert (info.keypoints, info.schema_document["points"]) == ("kite", DOCUMENT["points"])
    assert load("r/best.safetensors").schema == read_manifest("K").keypoint_schema
    out = cli.run("evaluate", "r/best.safetensors", "--data", "K", "--split", "test", "--submit", "--method", "Kite")
    assert "subpixel-base" in out
    assert "test evaluation no. 1 of this split" in out
    predictions = read_predictions("r/predictions-test.parquet")
    assert (predictions.schema.name, predictions.schema.default_normalizer) == ("kite", "base")
    meta = json.loads(pq.read_schema("r/predictions-test.parquet").metadata[b"rcn_search"])
    assert meta["schema_document"]["normalizers"] == {"base": ["left", "right"]}
    (entry,) = [json.loads(path.read_text()) for path in Path("leaderboard/entries").glob("*.json")]
    assert (entry["protocol"]["dataset"], entry["protocol"]["subset"]) == ("kite", "test")
    assert (entry["protocol"]["normalizer"], entry["protocol"]["name"]) == ("base", "subpixel-base")
    assert (entry["num_images"], entry["excluded"]) == (6, {})
    assert "Kite" in cli.run("leaderboard", "--dataset", "kite")
    assert "1 of 1 entries scored again" in cli.run(
        "leaderboard", "rescore", "Kite", "--normalizer", "diag", "--predictions", "r/predictions-test.parquet"
    )


def test_schema_without_normalizers_is_measured_by_the_box(cli: Any, kites: list[Kite]) -> None:
    plain = {key: value for key, value in DOCUMENT.items() if key != "normalizers"}
    Path("schema.yaml").write_text(yaml.safe_dump(plain))
    cli.run(*IMPORT)
    Path("t.yaml").write_text(yaml.safe_dump(TRAINING))
    cli.run("train", "t.yaml", "--out", "r")
    assert "subpixel-box" in cli.run("evaluate", "r/best.safetensors", "--data", "K")


def test_model_of_another_schema_of_the_same_name_is_refused(cli: Any, kites: list[Kite]) -> None:
    cli.run(*IMPORT)
    Path("t.yaml").write_text(yaml.safe_dump(TRAINING))
    cli.run("train", "t.yaml", "--out", "r")
    Path("schema.yaml").write_text(yaml.safe_dump(DOCUMENT | {"flip": []}))
    cli.run(*[word.replace("K", "L") if word == "K" else word for word in IMPORT])
    problem = cli.fail("evaluate", "r/best.safetensors", "--data", "L")
    assert "have different points that are both called 'kite'" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("points . K --layout csv", "needs --schema"),
        ("points . K --schema schema.yaml", "needs --layout: csv, coco, pts or labelme; . looks like csv"),
        ("points . K --schema none.yaml --layout csv", "none.yaml: no such file; the built-in keypoint schemas"),
        ("points . K --schema bad.yaml --layout csv", "bad.yaml, line 3: flip.1: 'left' is exchanged with"),
        ("points nowhere K --schema schema.yaml --layout csv", "nowhere does not exist"),
        ("points . K --schema schema.yaml --layout coco", ". looks like the layout csv: give --layout csv"),
        ("points . K --schema five --layout csv", "columns for 3 points; the schema 'five' has 5"),
        ("points . K --schema schema.yaml --layout csv --images no", "no is no folder of images"),
        ("points . K --schema schema.yaml --layout csv --val 0.6 --test 0.5", "leave nothing to train on"),
        ("mtfl . K --val 0.1", "--val is an option of points, not of mtfl"),
        ("dogs . K", "unknown format 'dogs'; known: points, mtfl"),
    ],
)
def test_import_with_invalid_arguments_fails_and_writes_nothing(
    cli: Any, kites: list[Kite], line: str, problem: str
) -> None:
    bad = SCHEMA_TEXT.replace("flip: [[left, right]]", "flip: [[left, right], [tip, left]]")
    Path("bad.yaml").write_text(bad)
    assert problem in cli.fail("data", "import", *line.split())
    assert not Path("K").exists()


DOGS = """
from rcn_search.data.importers.synthetic import SyntheticImporter

class Dogs(SyntheticImporter):
    name = "dogs"

    def __init__(self, folder, *, color=False):
        super().__init__(num_train=2, num_val=1, num_test=1)
"""


def test_importer_of_another_package_is_found(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "dogs-1.0.dist-info").mkdir(parents=True)
    (site / "dogs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dogs\nVersion: 1.0\n")
    entries = "[rcn_search.importers]\ndogs = dogs_package:Dogs\ncats = no_package:Cats\nbirds = dogs_package:DOGS\n"
    (site / "dogs-1.0.dist-info" / "entry_points.txt").write_text(entries)
    (site / "dogs_package.py").write_text(f"{DOGS}\nDOGS = 3\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert "4 rows: 4 imported" in cli.run("data", "import", "dogs", ".", "D")
    assert "no_package:Cats, which cannot be loaded: No module" in cli.fail("data", "import", "cats", ".", "E")
    assert "dogs_package:DOGS, which is no importer" in cli.fail("data", "import", "birds", ".", "E")
    known = "known: points, mtfl, 300w, afw, afw-68, wflw, 300w-private, cofw, cofw-68, birds, cats, dogs"
    assert known in cli.fail("data", "import", "x", ".", "E")


def test_schema_check_proves_and_draws(cli: Any, kites: list[Kite]) -> None:
    out = cli.run("schema", "check", "schema.yaml", "--out", "kite.png")
    assert "1 left right right, tip" in out
    assert "normalizer base (default): left to right" in out
    assert Path("kite.png").read_bytes()[:4] == b"\x89PNG"
    assert "must end in one of" in cli.fail("schema", "check", "schema.yaml", "--out", "kite.txt")
    Path("odd.yaml").write_text("name: odd\npoints: [left, end, no]\nflip: []")
    assert "odd.yaml, line 2: points.2: no is a boolean in YAML 1.1" in cli.fail("schema", "check", "odd.yaml")


def test_schema_new_reads_the_categories_of_coco(cli: Any, kites: list[Kite], tmp_path: Path) -> None:
    write_coco(tmp_path, kites)
    assert "check the flip pairs" in cli.run("schema", "new", "--from-coco", "points.json", "--out", "new.yaml")
    made = yaml.safe_load(Path("new.yaml").read_text())
    assert {key: made[key] for key in ("name", "points", "flip", "edges")} == {
        key: DOCUMENT[key] for key in ("name", "points", "flip", "edges")
    }
    assert "are sound" in cli.run("schema", "check", "new.yaml")
    assert "new.yaml exists already" in cli.fail("schema", "new", "--from-coco", "points.json", "--out", "new.yaml")
    document = json.loads(Path("points.json").read_text())
    document["categories"].append({"id": 2, "name": "two", "keypoints": ["a.L", "a.R", "Left b"], "skeleton": [[1, 9]]})
    Path("points.json").write_text(json.dumps(document))
    assert "choose one by --category: kite, two" in cli.fail("schema", "new", "--from-coco", "points.json")
    assert "skeleton has [1, 9]" in cli.fail("schema", "new", "--from-coco", "points.json", "--category", "two")
    document["categories"][1]["skeleton"] = []
    Path("points.json").write_text(json.dumps(document))
    assert "[a.L, a.R]" in cli.run("schema", "new", "--from-coco", "points.json", "--category", "two")


def test_schema_show_prints_a_file_that_check_accepts(cli: Any) -> None:
    from rcn_search.keypoints import IBUG68, schema_file

    assert " ".join(schema_file("ibug68").split()) == cli.run("schema", "show", "ibug68").strip()
    assert "wflw98 98" in cli.run("schema", "list")
    assert "68 points" in cli.run("schema", "check", IBUG68.name)
    assert "unknown keypoint schema 'six'" in cli.fail("schema", "show", "six")
