from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rcn_search.config.schema import ComputeConfig, TcdcnConfig, TrainConfig
from rcn_search.training import compute_probe
from rcn_search.training.compute_probe import ComputeSettings, choose_settings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    return tmp_path / "probe"


def with_compute(config: TrainConfig, **compute: Any) -> TrainConfig:
    document = config.model_dump() | {"compute": {"device": "cpu", "threads": 1, **compute}}
    return TrainConfig.model_validate(document)


def time_by(monkeypatch: pytest.MonkeyPatch, fastest: dict[str, Any]) -> list[ComputeSettings]:
    """Replace the timing: steps take longer, the more their settings differ from ``fastest``. Returns what is timed."""
    timed: list[ComputeSettings] = []

    def step_time_s(config: TrainConfig, settings: ComputeSettings, num_points: int) -> float:
        timed.append(settings)
        return sum(getattr(settings, name) != value for name, value in fastest.items())

    monkeypatch.setattr(compute_probe, "_step_time_s", step_time_s)
    return timed


def test_choose_settings_without_auto_measures_nothing(tiny_config: TrainConfig, cache: Path) -> None:
    settings = choose_settings(with_compute(tiny_config, precision="bf16", channels_last=True), 5)
    assert settings == ComputeSettings(device="cpu", precision="bf16", channels_last=True, threads=1)
    assert settings.memory_format == torch.channels_last
    assert not cache.exists()


def test_choose_settings_measures_once_and_caches(tiny_config: TrainConfig, cache: Path) -> None:
    threads = torch.get_num_threads()
    config = with_compute(tiny_config, channels_last=True)
    settings = choose_settings(config, 5)
    assert settings.precision in ("fp32", "bf16")
    assert (settings.channels_last, settings.threads) == (True, 1)
    assert torch.get_num_threads() == threads
    # The result is read from the cache, even if another one is written there.
    (file,) = cache.iterdir()
    other = settings.model_copy(update={"precision": {"fp32": "bf16", "bf16": "fp32"}[settings.precision]})
    file.write_text(other.model_dump_json())
    assert choose_settings(config, 5) == other


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_choose_settings_takes_the_fastest(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, precision: str, channels_last: bool
) -> None:
    timed = time_by(monkeypatch, {"precision": precision, "channels_last": channels_last, "threads": 1})
    settings = choose_settings(with_compute(tiny_config, threads="auto"), 5)
    assert (settings.precision, settings.channels_last) == (precision, channels_last)
    assert len(timed) == len({*map(str, timed)}) >= 4


def test_choose_settings_cache_depends_on_model_points_and_candidates(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = time_by(monkeypatch, {"precision": "bf16"})
    tcdcn = with_compute(tiny_config.model_copy(update={"model": TcdcnConfig()}))
    other_seed = with_compute(tiny_config.model_copy(update={"seed": 1}))
    for num_measured, (config, num_points) in enumerate(
        [
            (with_compute(tiny_config), 5),
            (with_compute(tiny_config), 68),
            (tcdcn, 5),
            (with_compute(tiny_config, channels_last=True), 5),
        ],
        1,
    ):
        choose_settings(config, num_points)
        assert len([*cache.iterdir()]) == num_measured
    measured = len(timed)
    choose_settings(other_seed, 5)
    assert len(timed) == measured, "the seed does not matter"


def test_choose_settings_with_damaged_cache_measures_again(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_by(monkeypatch, {"precision": "bf16"})
    config = with_compute(tiny_config)
    settings = choose_settings(config, 5)
    (file,) = cache.iterdir()
    for content in ("", '{"device": "cpu"', "{}"):
        file.write_text(content)
        assert choose_settings(config, 5) == settings
    assert ComputeSettings.model_validate_json(file.read_text()) == settings


@pytest.mark.parametrize("device", ["cuda:31", "quantum"])
def test_choose_settings_with_unavailable_device_is_refused(tiny_config: TrainConfig, device: str) -> None:
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
        choose_settings(with_compute(tiny_config, device=device), 5)


def test_autocast_has_the_precision_of_the_settings() -> None:
    layer, image = torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        settings = ComputeSettings(device="cpu", precision=precision, channels_last=False, threads=1)
        with settings.autocast():
            assert layer(image).dtype == dtype


def test_compute_config_defaults_are_auto() -> None:
    assert {*ComputeConfig().model_dump().values()} == {"auto"}
