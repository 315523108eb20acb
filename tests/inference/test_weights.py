from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search import resources
from rcn_search.data.dataset import open_dataset
from rcn_search.data.importers.synthetic import SyntheticImporter
from rcn_search.data.importing import import_dataset
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation.evaluate import evaluate
from rcn_search.evaluation.packaged_weights import verify_weights
from rcn_search.inference.predictor import load
from rcn_search.inference.weights import find_weights, packaged_names
from rcn_search.resources import DEFAULT_MODEL

LIMIT_PCT = {"rcn5-drawn": 9, "rcn68-drawn": 14}
"""Above the errors on the model cards, by as much as 32 faces may differ."""


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two models."""
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    (tmp_path / "weights").mkdir()
    for name in ("rcn5-drawn", "rcn68-drawn"):
        (tmp_path / "weights" / f"{name}.safetensors").write_bytes(b"")
    return tmp_path / "weights"


def test_find_weights_by_name_of_a_packaged_model(packaged: Path) -> None:
    assert packaged_names() == ["rcn5-drawn", "rcn68-drawn"]
    assert find_weights("rcn5-drawn") == str(packaged / "rcn5-drawn.safetensors")


def test_load_unknown_name_lists_the_packaged_models(packaged: Path) -> None:
    with pytest.raises(RcnSearchError, match=r"no checkpoint at rcn5; .*rcn-search: rcn5-drawn, rcn68-drawn"):
        load("rcn5")


def test_find_weights_of_a_run_are_its_best_epoch(tmp_path: Path) -> None:
    assert find_weights(str(tmp_path)) == str(tmp_path / "best.safetensors")
    assert find_weights("s3://bucket/run/best.safetensors") == "s3://bucket/run/best.safetensors"


@pytest.mark.parametrize("name", packaged_names())
def test_packaged_weights_find_the_points_of_new_drawn_faces(name: str, tmp_path: Path) -> None:
    assert verify_weights(name) == []
    predictor = load(name)
    importer = SyntheticImporter(schema=predictor.schema.name, num_train=1, num_val=32, num_test=1, seed=99)
    import_dataset(importer, str(tmp_path))
    evaluation = evaluate(predictor, open_dataset(str(tmp_path)), "val")
    assert min(score.error_pct for _, score in evaluation.scores) < LIMIT_PCT[name]


def test_default_model_is_packaged() -> None:
    assert DEFAULT_MODEL in packaged_names()
