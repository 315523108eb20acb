from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rcn_search.config.schema import ComputeConfig, TcdcnConfig, TrainConfig
from rcn_search.training import compute_probe as probe
from rcn_search.training.compute_probe import ComputeSettings, choose_settings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    return tmp_path / "probe"


def asked(config: TrainConfig, **compute: Any) -> TrainConfig:
    document = config.model_dump() | {"compute": {"device": "cpu", "threads": 1, **compute}}
    return TrainConfig.model_validate(document)


def time_by(monkeypatch: pytest.MonkeyPatch, fastest: dict[str, Any]) -> list[ComputeSettings]:
    """Steps take the longer the less they are like ``fastest``; all that was timed."""
    timed: list[ComputeSettings] = []

    def step_time_s(config: TrainConfig, settings: ComputeSettings, num_points: int) -> float:
        timed.append(settings)
        return sum(getattr(settings, name) != value for name, value in fastest.items())

    monkeypatch.setattr(probe, "_step_time_s", step_time_s)
    return timed


def test_what_is_said_is_not_measured(tiny_config: TrainConfig, cache: Path) -> None:
    settings = choose_settings(asked(tiny_config, precision="bf16", channels_last=True), 5)
    assert settings == ComputeSettings(device="cpu", precision="bf16", channels_last=True, threads=1)
    assert settings.memory_format == torch.channels_last
    assert not cache.exists()


def test_what_is_open_is_measured_once(tiny_config: TrainConfig, cache: Path) -> None:
    threads = torch.get_num_threads()
    config = asked(tiny_config, channels_last=True)
    settings = choose_settings(config, 5)
    assert settings.precision in ("fp32", "bf16")
    assert (settings.channels_last, settings.threads) == (True, 1)
    assert torch.get_num_threads() == threads
    # Now it is read, not measured: a cache that says otherwise is believed.
    (kept,) = cache.iterdir()
    other = settings.model_copy(update={"precision": {"fp32": "bf16", "bf16": "fp32"}[settings.precision]})
    kept.write_text(other.model_dump_json())
    assert choose_settings(config, 5) == other


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_fastest_is_taken(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, precision: str, channels_last: bool
) -> None:
    timed = time_by(monkeypatch, {"precision": precision, "channels_last": channels_last, "threads": 1})
    settings = choose_settings(asked(tiny_config, threads="auto"), 5)
    assert (settings.precision, settings.channels_last) == (precision, channels_last)
    assert len(timed) == len({*map(str, timed)}) >= 4


def test_the_open_question_is_part_of_what_is_kept(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = time_by(monkeypatch, {"precision": "bf16"})
    tcdcn = asked(tiny_config.model_copy(update={"model": TcdcnConfig()}))
    longer = asked(tiny_config.model_copy(update={"seed": 1}))
    for num_measured, (config, num_points) in enumerate(
        [(asked(tiny_config), 5), (asked(tiny_config), 68), (tcdcn, 5), (asked(tiny_config, channels_last=True), 5)], 1
    ):
        choose_settings(config, num_points)
        assert len([*cache.iterdir()]) == num_measured
    measured = len(timed)
    choose_settings(longer, 5)
    assert len(timed) == measured, "a seed changes nothing"


def test_a_torn_cache_is_measured_again(tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time_by(monkeypatch, {"precision": "bf16"})
    config = asked(tiny_config)
    settings = choose_settings(config, 5)
    (kept,) = cache.iterdir()
    for content in ("", '{"device": "cpu"', "{}"):
        kept.write_text(content)
        assert choose_settings(config, 5) == settings
    assert ComputeSettings.model_validate_json(kept.read_text()) == settings


@pytest.mark.parametrize("device", ["cuda:31", "quantum"])
def test_a_device_that_is_not_there_is_refused(tiny_config: TrainConfig, device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
        choose_settings(asked(tiny_config, device=device), 5)


def test_precision_is_that_of_the_forward_pass() -> None:
    layer, image = torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        settings = ComputeSettings(device="cpu", precision=precision, channels_last=False, threads=1)
        with settings.autocast():
            assert layer(image).dtype == dtype


def test_compute_is_free_to_choose_by_default() -> None:
    assert {*ComputeConfig().model_dump().values()} == {"auto"}
