from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rcn_search import resources
from rcn_search.config.schema import TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.evaluation import model_card
from rcn_search.evaluation.model_card import CardData, CardScore, ModelCard, render_card
from rcn_search.evaluation.packaged_weights import read_card, verify_weights, write_weights
from rcn_search.evaluation.protocol import subpixel
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.inference.predictor import load
from rcn_search.keypoints import FIVE
from rcn_search.models import build_model
from rcn_search.training.checkpoint import checkpoint_bytes, network_tensors
from rcn_search.training.radius_table import PointRadii, RadiusTable
from tests.conftest import CommandLine
from tests.support.checkpoints import checkpoint_info

TABLE = RadiusTable(
    made_with={"decoder": "argmax", "tta": "none"},
    data_fingerprint="f",
    split="val",
    num_images=9,
    points=(PointRadii(edges=(), radii=(0.1,)),) * 5,
)


def card_of(content: bytes, **changes: object) -> ModelCard:
    parts = {"skin: dark": Part(40, Estimate(6.5, 6.0, 7.0)), "pose: frontal": Part(60, Estimate(4.0))}
    score = CardScore(
        protocol=subpixel("synthetic", "test", "five"),
        num_images=100,
        error=Estimate(5.25, 5.0, 5.5),
        coverage=Estimate(90.1, 89.0, 91.0),
        parts=parts,
    )
    fields = {
        "name": "rcn5-drawn",
        "sha256": hashlib.sha256(content).hexdigest(),
        "num_bytes": len(content),
        "license": "Apache-2.0",
        "keypoints": "five",
        "points": FIVE.names,
        "input_px": 80,
        "num_params": 1234,
        "multiply_adds": 5_000_000,
        "data": CardData(source="drawn by rcn-search", license="Apache-2.0", fingerprint="f", num_train=9, num_val=9),
        "method": "RCN 3 branches",
        "epochs": 2,
        "train_s": 5400.0,
        "num_seeds": 3,
        "val_error_pct": 5.5,
        "code_version": "0.2.0",
        "scores": (score,),
    }
    return ModelCard.model_validate(fields | changes)


@pytest.fixture
def content(tiny_config: TrainConfig) -> bytes:
    """A calibrated checkpoint."""
    network = build_model(tiny_config.model, num_points=5, input_px=80, in_channels=1, seed=0)
    return checkpoint_bytes(checkpoint_info(tiny_config, radius_tables=(TABLE,)), network_tensors(network))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    """The folder of a package with one model."""
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    write_weights(tmp_path / "weights", card_of(content), content)
    return tmp_path / "weights"


def test_packaged_weights_are_loaded_shown_and_verified(folder: Path, cli: CommandLine) -> None:
    assert load("rcn5-drawn").radius_table == TABLE
    assert verify_weights("rcn5-drawn") == []
    assert cli.run("weights", "verify") == "1 packaged weights are as they were packaged"
    assert "rcn5-drawn 5 1,234" in cli.run("weights", "list")
    assert "| – skin: dark | subpixel | 6.50 | 6.00–7.00 | | 40 |" in cli.run("weights", "show", "rcn5-drawn")
    assert "no packaged weights 'rcn6'; the models that come with rcn-search: rcn5-drawn" in cli.fail(
        "weights", "show", "rcn6"
    )


def test_weights_list_without_any_says_how_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    assert "'rcn-search weights train' makes them" in cli.run("weights", "list")


def test_verify_weights_names_what_was_changed(folder: Path, content: bytes, cli: CommandLine) -> None:
    weights = folder / "rcn5-drawn.safetensors"
    changed = bytearray(content)
    changed[-1] ^= 1
    weights.write_bytes(changed)
    (folder / "rcn5-drawn.md").write_text("best of all\n")
    problems = verify_weights("rcn5-drawn")
    assert [problem.split(" is ")[1].split(":")[0] for problem in problems] == [
        "not the file of its model card",
        "not the text of its model card",
    ]
    assert "is not the file of its model card" in cli.fail("weights", "verify")
    weights.write_bytes(content[:-4])
    assert any("fewer than the" in problem for problem in verify_weights("rcn5-drawn"))
    (folder / "rcn5-drawn.json").unlink()
    assert "is missing" in verify_weights("rcn5-drawn")[0]


def test_verify_weights_without_radii_is_a_problem(
    folder: Path, tiny_config: TrainConfig, tmp_path: Path, content: bytes
) -> None:
    network = build_model(tiny_config.model, num_points=5, input_px=80, in_channels=1, seed=0)
    plain = checkpoint_bytes(checkpoint_info(tiny_config), network_tensors(network))
    write_weights(folder, card_of(plain), plain)
    assert ["not calibrated" in problem for problem in verify_weights("rcn5-drawn")] == [True]


def test_write_weights_refuses_large_files_and_other_cards(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RcnSearchError, match="that of other weights"):
        write_weights(tmp_path, card_of(content), content + b" ")
    monkeypatch.setattr("rcn_search.evaluation.packaged_weights.MAX_BYTES", len(content) - 1)
    with pytest.raises(RcnSearchError, match="packaged weights have at most"):
        write_weights(tmp_path, card_of(content), content)
    assert not list(tmp_path.iterdir())
    assert model_card.MAX_BYTES == 5_000_000


def test_render_card_says_data_use_limits_license_and_errors(content: bytes, folder: Path) -> None:
    text = render_card(read_card("rcn5-drawn"))
    for part in ("## Data", "## Use", "## Limits", "## Errors", "License: Apache-2.0.", "No photograph was used"):
        assert part in text
    assert "the best of 3 trainings" in text
    twice = card_of(content, scores=read_card("rcn5-drawn").scores * 2)
    assert render_card(twice).count("– skin: dark") == 1
    assert render_card(twice).count("| synthetic test |") == 2
    assert "| synthetic test | subpixel | 5.25 | 5.00–5.50 | 90.1 | 100 |" in text
    photographs = card_of(content).data.model_copy(update={"source": "MTFL"})
    assert "No photograph" not in render_card(card_of(content, data=photographs))
