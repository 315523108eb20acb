from __future__ import annotations

from typing import Any

import pytest

from rcn_search.config.legacy import upgrade_inference
from rcn_search.errors import RcnSearchError
from rcn_search.inference.config import DEFAULT_INFERENCE, InferenceConfig


@pytest.mark.parametrize(
    "config",
    [
        DEFAULT_INFERENCE,
        InferenceConfig(decoder="median", tta=("multiview",)),
        InferenceConfig(decoder="soft-argmax", tta=("flip", "multiview")),
    ],
)
def test_record_round_trip(config: InferenceConfig) -> None:
    assert InferenceConfig.from_record(config.record()) == config


def test_tta_order_and_repetition_do_not_matter() -> None:
    assert InferenceConfig(tta=("multiview", "flip", "flip")) == InferenceConfig(tta=("flip", "multiview"))


@pytest.mark.parametrize(
    ("old", "config"),
    [
        ({}, InferenceConfig()),
        ({"decode": "peak", "views": 1, "mirror": False}, InferenceConfig(decoder="argmax")),
        ({"decode": "mean", "views": 1, "mirror": True}, InferenceConfig(decoder="soft-argmax", tta=("flip",))),
        ({"decode": "median", "views": 9}, InferenceConfig(decoder="median", tta=("multiview",))),
        ({"views": 9, "mirror": True, "shift_px": 1}, InferenceConfig(tta=("flip", "multiview"))),
    ],
)
def test_old_record_is_read_as_new(old: dict[str, Any], config: InferenceConfig) -> None:
    assert InferenceConfig.from_record(upgrade_inference(old)) == config


def test_upgrade_inference_keeps_new_records() -> None:
    record = {"decoder": "median", "tta": "flip", "denoiser": "0123abcd"}
    assert upgrade_inference(record) == record


def test_from_record_options_override_the_record() -> None:
    record = {"decoder": "median", "tta": "multiview"}
    config = InferenceConfig.from_record(record, decoder="argmax", tta=[], denoiser_uri="d", device="cpu")
    assert config == InferenceConfig(decoder="argmax", denoiser_uri="d", device="cpu")


def test_from_record_refuses_unknown_names() -> None:
    with pytest.raises(RcnSearchError, match="decoder 'best' is not known"):
        InferenceConfig.from_record({"decoder": "best"})
    with pytest.raises(RcnSearchError, match="'turn' is not known"):
        InferenceConfig.from_record({"tta": "flip+turn"})
