from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rcn_search.config import schema
from rcn_search.config.loading import load_train_config, merge
from rcn_search.config.schema import FrozenModel, RcnConfig, TrainConfig
from tests.support.configs import config_error, write_config

RCN_KEYS = "branches, channels, layer_preset, mask, name, skip, upsampling, zero_non_pooled"


def test_model_without_name_is_an_rcn(tmp_path: Path) -> None:
    config = load_train_config(write_config(tmp_path, "data: {uri: x}\n"), ["model.branches=4"])
    assert config.model == RcnConfig(branches=4)
    assert f"Allowed here: {RCN_KEYS}" in config_error(tmp_path, "data: {uri: x}\nmodel: {size: 4}\n")


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        ({"name": "adadelta", "weight_decay": 1e-4}, "weight_decay belongs to muon and adamw"),
        ({"name": "adamw", "l2_encoder": 1e-6}, "l2_encoder and l2_branches belong to adadelta"),
        ({"name": "muon", "l2_branches": 1e-6}, "with muon set weight_decay"),
    ],
)
def test_optimizer_with_the_weight_decay_of_another_is_refused(
    tmp_path: Path, optimizer: dict[str, Any], problem: str
) -> None:
    assert problem in config_error(tmp_path, yaml.safe_dump({"data": {"uri": "x"}, "optimizer": optimizer}))


OTHER_VALUES: dict[str, Any] = {
    "init": {"weights": "runs/a"},
    "recipe": "paper",
    "seed": 1,
    "data.uri": "elsewhere",
    "data.train_split": "val",
    "data.val_split": "train",
    "data.num_train": 10,
    "data.num_val": 10,
    "data.balance_by": "pose",
    "data.drawn": {"num_faces": 5},
    "input.size_px": 40,
    "input.contrast_normalization": "none",
    "input.color": True,
    "model.name": "sumnet",
    "model.branches": 3,
    "model.channels": 8,
    "model.skip": True,
    "model.layer_preset": "300w",
    "model.mask": "011111",
    "model.upsampling": "learned",
    "model.zero_non_pooled": True,
    "augment.translate": 0.0,
    "augment.scale": 0.0,
    "augment.rotate_deg": 0.0,
    "augment.occluder.min_px": 0,
    "augment.occluder.max_px": 40,
    "augment.occluder.count": 2,
    "augment.photometric.brightness": 0.1,
    "augment.photometric.contrast": 0.1,
    "augment.photometric.gamma": 0.1,
    "augment.photometric.noise": 0.1,
    "augment.photometric.blur_px": 1.0,
    "augment.photometric.downscale": 0.1,
    "augment.photometric.jpeg_quality": 50,
    "augment.photometric.gray": 0.1,
    "augment.flip": 0.5,
    "augment.flip_label_origin": 1,
    "loss.target_sigma_px": 1.0,
    "loss.name": "l2",
    "loss.points_outside": "ignore",
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.0,
    "optimizer.l2_encoder": 1e-6,
    "optimizer.l2_branches": 1e-6,
    "schedule.epochs": 2,
    "schedule.batch_size": 32,
    "schedule.lr_schedule": "constant",
    "schedule.warmup_fraction": 0.0,
    "schedule.ema_decay": 0.9,
    "schedule.reshuffle": False,
    "validation.augment": False,
    "validation.every_epochs": 2,
    "validation.save": "every",
    "checkpoint.every_s": 1.0,
    "compute.device": "cuda",
    "compute.precision": "bf16",
    "compute.channels_last": True,
    "compute.threads": 1,
    "compute.step": "graph",
    "compute.recombination": ("separate",),
}
NO_PART_OF_A_RUN = {
    "data.uri",
    "validation.save",
    "checkpoint.every_s",
    "compute.device",
    "compute.precision",
    "compute.channels_last",
    "compute.threads",
    "compute.step",
    "compute.recombination",
}


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_run_id_depends_on_every_key_that_can_change_a_result() -> None:
    def config(path: str = "", value: object = None) -> TrainConfig:
        document: dict[str, Any] = {"data": {"uri": "x"}, "model": {"name": "rcn"}}
        if path.startswith("optimizer.l2_"):
            document["optimizer"] = {"name": "adadelta", "weight_decay": 0.0}
        for key in reversed(path.split(".") if path else []):
            value = {key: value}
        return TrainConfig.model_validate(merge(document, value) if isinstance(value, dict) else document)

    plain = config()
    assert leaves(plain.model_dump()).keys() == OTHER_VALUES.keys(), "a new option needs another value here"
    same = {path for path, value in OTHER_VALUES.items() if config(path, value).run_id == plain.run_id}
    assert same == NO_PART_OF_A_RUN
    adadelta = config("optimizer.l2_encoder", 0.0)
    assert (
        len({adadelta.run_id, *(config(f"optimizer.l2_{part}", 1e-6).run_id for part in ("encoder", "branches"))}) == 3
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("input: {size_px: 81}", "line 3: input.size_px = 81: should be an even number from 40 to 256"),
        ("input: {size_px: 38}", "input.size_px = 38: should be an even number"),
        ("input: {size_px: 40}\nmodel:\n  branches: 7", "line 5: model.branches = 7: an input of 40 px has at most 6"),
        ("model: {name: sumnet, branches: 8}", "line 3: model.branches = 8: an input of 80 px has at most 7"),
        ("model: {name: denoiser, kernel_px: 161}", "model.kernel_px = 161 must be below twice input.size_px = 80"),
    ],
)
def test_size_that_does_not_fit_the_network_is_refused(tmp_path: Path, options: str, problem: str) -> None:
    assert problem in config_error(tmp_path, f"data:\n  uri: x\n{options}\n")


def test_size_allows_as_many_branches_as_have_a_pixel(tmp_path: Path) -> None:
    for size_px, branches in ((44, 6), (64, 7), (128, 8), (256, 9)):
        text = f"data: {{uri: x}}\ninput: {{size_px: {size_px}}}\nmodel: {{branches: {branches}}}\n"
        assert load_train_config(write_config(tmp_path, text)).model.branches == branches


def test_mask_must_be_quoted_and_fit_the_branches(tmp_path: Path) -> None:
    for mask, problem in [("0011", "0011 can be read as more than one number"), ("1100", "a mask needs quotes")]:
        text = f"data: {{uri: x}}\nmodel: {{branches: 4, mask: {mask}}}\n"
        assert problem in config_error(tmp_path, text)
    assert "needs one digit for each of the 4 branches" in config_error(
        tmp_path, "data: {uri: x}\nmodel: {branches: 4, mask: '011'}\n"
    )
    fits = load_train_config(write_config(tmp_path, "data: {uri: x}\nmodel: {branches: 4, mask: '0011'}\n"))
    assert fits.model.kept_branches == (True, True, False, False)


def test_run_id_ignores_keys_added_later_at_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_id(sigma_px: float) -> str:
        return TrainConfig.model_validate({"data": {"uri": "x"}, "loss": {"target_sigma_px": sigma_px}}).run_id

    before = run_id(0.0)
    monkeypatch.setattr(schema, "ADDED_LATER", {"loss.target_sigma_px": 0.0})
    document = TrainConfig.model_validate({"data": {"uri": "x"}}).model_dump(
        mode="json",
        exclude={
            "checkpoint": True,
            "compute": True,
            "data": {"uri"},
            "validation": {"save"},
            "loss": {"target_sigma_px"},
        },
    )
    assert run_id(0.0) == schema.canonical_hash(document)[:12] != before
    assert run_id(1.0) not in (run_id(0.0), before)


def test_frozen_model_reads_numbers_strictly_but_numbers_that_are_keys_from_text() -> None:
    class Record(FrozenModel):
        seeds: dict[int, float]

    assert Record.model_validate({"seeds": {"8": 1}}).seeds == {8: 1.0}
    for value in ("1", True, float("nan")):
        with pytest.raises(ValidationError):
            Record.model_validate({"seeds": {"8": value}})
