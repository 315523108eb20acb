"""Documents of earlier schema versions, in today's keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rcn_search.config.legacy import upgrade_config, upgrade_entry, upgrade_protocol
from rcn_search.config.schema import TrainConfig
from rcn_search.evaluation.protocol import rcn2016
from rcn_search.leaderboard.records import load_entries

ROOT = Path(__file__).parents[2]
LEADERBOARDS = [ROOT / "leaderboard", *sorted((ROOT / "tests/leaderboard/fixtures").glob("v[12]"))]

OLD_CONFIG: dict[str, Any] = {
    "recipe": "paper",
    "seed": 3,
    "data": {"uri": "somewhere", "balance": "pose"},
    "input": {"size_px": 80, "colour": True, "lcn": "batch"},
    "model": {"kind": "sumnet", "layers": "300w", "weights": "pixel"},
    "loss": {"head": "softmax", "outside": "ignore"},
    "optimizer": {"name": "adadelta", "lr": 1.0, "weight_decay": 0.0, "l2_trunk": 1e-6, "l2_branch": 1e-12},
    "schedule": {"epochs": 7, "shape": "constant", "warmup": 0.2},
    "validation": {"jitter": False, "every": 2, "keep": "every"},
}
NEW_CONFIG: dict[str, Any] = {
    "recipe": "paper",
    "seed": 3,
    "data": {"uri": "somewhere", "balance_by": "pose"},
    "input": {"size_px": 80, "color": True, "contrast_normalization": "batch"},
    "model": {"name": "sumnet", "layer_preset": "300w", "fusion_weights": "pixel"},
    "loss": {"name": "nll", "points_outside": "ignore"},
    "optimizer": {"name": "adadelta", "lr": 1.0, "weight_decay": 0.0, "l2_encoder": 1e-6, "l2_branches": 1e-12},
    "schedule": {"epochs": 7, "lr_schedule": "constant", "warmup_fraction": 0.2},
    "validation": {"augment": False, "every_epochs": 2, "save": "every"},
}


def test_upgrade_config_renames_every_old_key_and_value() -> None:
    before = json.dumps(OLD_CONFIG)
    upgraded = upgrade_config(OLD_CONFIG)
    assert upgraded == NEW_CONFIG
    assert json.dumps(OLD_CONFIG) == before
    TrainConfig.model_validate(upgraded)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"kind": "denoiser", "corrupted": 3}, {"name": "denoiser", "num_corrupted_points": 3}),
        (
            {"kind": "tcdcn", "auxiliary": True, "stop_tasks_at": 0.5},
            {"name": "tcdcn", "auxiliary": True, "task_stop_threshold": 0.5},
        ),
    ],
)
def test_upgrade_config_renames_the_keys_of_every_model(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert upgrade_config({"model": old}) == {"model": new}
    TrainConfig.model_validate({"data": {"uri": "x"}, "model": new})


def test_upgrade_config_leaves_current_and_strange_documents_unchanged() -> None:
    assert upgrade_config(NEW_CONFIG) == NEW_CONFIG
    strange: dict[str, Any] = {"seed": 0, "loss": "l2", "model": {"nose": 1}, "other": {"kind": "rcn"}, "data": None}
    assert upgrade_config(strange) == strange


def test_upgrade_protocol_renames_the_normalizer() -> None:
    protocol = rcn2016("aflw", "test", "five")
    current = protocol.model_dump(mode="json")
    old = {key: value for key, value in current.items() if key != "normalizer"} | {"normaliser": "eye_centres"}
    assert upgrade_protocol(old) == current
    assert upgrade_protocol(current) == current


def test_upgrade_entry_accepts_fields_of_wrong_types() -> None:
    document = {"schema_version": 1, "config": [], "protocol": "rcn2016", "excluded": {"normaliser under 1 px": 2}}
    assert upgrade_entry(document) == {
        "schema_version": 3,
        "config": [],
        "protocol": "rcn2016",
        "excluded": {"normalizer under 1 px": 2},
    }


@pytest.mark.parametrize("leaderboard", LEADERBOARDS, ids=lambda path: path.name)
def test_committed_entries_load_with_valid_configurations_and_their_stated_run_ids(leaderboard: Path) -> None:
    entries, problems = load_entries(str(leaderboard))
    assert entries
    assert not problems
    for entry_id, entry in entries.items():
        assert f"-{entry.run_id}-" in entry_id
        if entry.origin == "ours" and "data" in entry.config:
            assert TrainConfig.model_validate(entry.config).seed == entry.config["seed"]
