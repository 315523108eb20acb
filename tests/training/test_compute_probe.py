from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from rcn_search.config.schema import ComputeConfig, TcdcnConfig, TrainConfig
from rcn_search.training import compute_probe
from rcn_search.training.compute_probe import choose_settings
from rcn_search.training.compute_settings import ComputeSettings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    return tmp_path / "probe"


def with_compute(config: TrainConfig, **compute: Any) -> TrainConfig:
    document = config.model_dump() | {"compute": {"device": "cpu", "threads": 1, **compute}}
    return TrainConfig.model_validate(document)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Share of the cores that others use, 0 at first, in place of the machine's own."""
    load = {"share": 0.0}
    monkeypatch.setattr(compute_probe._OtherLoad, "share", lambda self: load["share"])
    return load


def time_by(monkeypatch: pytest.MonkeyPatch, fastest: dict[str, Any]) -> list[ComputeSettings]:
    """Replace the timing: steps take longer, the more their settings differ from ``fastest``. Returns what is timed."""
    timed: list[ComputeSettings] = []

    def step_s(settings: ComputeSettings) -> float:
        timed.append(settings)
        return 0.01 + float(sum(getattr(settings, name) != value for name, value in fastest.items()))

    monkeypatch.setattr(compute_probe, "step_timers", lambda config, num_points: step_s)
    monkeypatch.setattr(compute_probe, "choose_forms", lambda config, num_points, settings: ())
    return timed


def test_choose_settings_without_auto_measures_nothing(tiny_config: TrainConfig, cache: Path) -> None:
    settings = choose_settings(with_compute(tiny_config, precision="bf16", channels_last=True), 5)
    assert settings == ComputeSettings(device="cpu", precision="bf16", channels_last=True, threads=1)
    assert settings.memory_format == torch.channels_last
    assert not cache.exists()


@pytest.mark.usefixtures("load")
def test_choose_settings_measures_once_and_caches(tiny_config: TrainConfig, cache: Path) -> None:
    threads, announced = torch.get_num_threads(), list[int]()
    config = with_compute(tiny_config, channels_last=True)
    settings = choose_settings(config, 5, announced.append)
    assert announced == [2]
    assert settings.precision in ("fp32", "bf16")
    assert (settings.channels_last, settings.threads) == (True, 1)
    assert torch.get_num_threads() == threads
    # The result is read from the cache, even if another one is written there.
    (file,) = cache.iterdir()
    other = settings.model_copy(update={"precision": {"fp32": "bf16", "bf16": "fp32"}[settings.precision]})
    file.write_text(other.model_dump_json())
    assert choose_settings(config, 5, announced.append) == other
    assert announced == [2]


def test_choose_settings_on_busy_machine_keeps_nothing(
    tiny_config: TrainConfig, cache: Path, load: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tries no thread for each core, which would wait for the processes of others."""
    monkeypatch.setattr(compute_probe, "num_cpus", lambda: 4)
    timed, config = time_by(monkeypatch, {"threads": 4}), with_compute(tiny_config, threads="auto")
    load["share"] = 0.3
    assert choose_settings(config, 5).threads == 2
    assert {settings.threads for settings in timed} == {2}
    assert not cache.exists()
    load["share"] = 0.2
    assert choose_settings(config, 5).threads == 4
    assert not cache.exists()
    load["share"] = 0.1
    assert choose_settings(config, 5).threads == 4
    assert len([*cache.iterdir()]) == 1


@pytest.mark.usefixtures("load")
def test_choose_settings_without_cache_folder_measures_every_time(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path / "file"))
    timed = time_by(monkeypatch, {"precision": "bf16"})
    for times in (1, 2):
        assert choose_settings(with_compute(tiny_config), 5).precision == "bf16"
        assert timed.count(timed[-1]) >= times
    announced: list[int] = []
    choose_settings(with_compute(tiny_config), 5, announced.append)
    assert announced == [4]


def test_fastest_takes_turns_and_drops_the_slow() -> None:
    """A load that comes when the first rounds are over slows the rest of all candidates alike."""

    def candidate(precision: str, *, channels_last: bool) -> ComputeSettings:
        return ComputeSettings(device="cpu", precision=precision, channels_last=channels_last, threads=1)

    best, close = candidate("fp32", channels_last=True), candidate("fp32", channels_last=False)
    slow, hopeless = candidate("bf16", channels_last=True), candidate("bf16", channels_last=False)
    usual_s = {close: 0.12, best: 0.1, slow: 0.2, hopeless: 0.9}
    timed: list[ComputeSettings] = []

    def step_s(settings: ComputeSettings) -> float:
        timed.append(settings)
        return usual_s[settings] * (10 if len(timed) > 8 else 1)

    class Quiet(compute_probe._OtherLoad):
        def share(self) -> float:
            return 0.0

    assert compute_probe._fastest([*usual_s], step_s, Quiet()) == best
    assert timed[:5] == [close, *usual_s]
    assert timed[5:8] == [close, best, slow], "without the hopeless one"
    assert timed[8:] == [close, best] * 3


def test_fastest_tries_more_threads_for_the_close_layouts_alone() -> None:
    def candidates(threads: int) -> list[ComputeSettings]:
        layouts = [("bf16", True), ("bf16", False), ("fp32", True)]
        fields = [{"precision": precision, "channels_last": last} for precision, last in layouts]
        return [ComputeSettings(device="cpu", threads=threads, **each) for each in fields]

    (best, close, far), (best_2, close_2, far_2) = candidates(1), candidates(2)
    usual_s = {best: 0.10, close: 0.12, far: 0.14, best_2: 0.08, close_2: 0.07, far_2: 0.01}
    timed: list[ComputeSettings] = []

    def step_s(settings: ComputeSettings) -> float:
        timed.append(settings)
        return usual_s[settings]

    class Quiet(compute_probe._OtherLoad):
        def share(self) -> float:
            return 0.0

    assert compute_probe._fastest([best_2, close_2, far_2, best, close, far], step_s, Quiet()) == close_2
    assert far_2 not in timed


class CpuTimes(NamedTuple):
    """CPU times of a core, as psutil gives them on Linux."""

    user: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    guest: float = 0.0


def test_other_load_counts_others_on_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"wall": 100.0, "own": 5.0}
    cores = [CpuTimes(), CpuTimes(user=1, idle=50), CpuTimes(idle=7)]
    monkeypatch.setattr("time.perf_counter", lambda: clock["wall"])
    monkeypatch.setattr("time.process_time", lambda: clock["own"])
    monkeypatch.setattr("psutil.cpu_times", lambda percpu: list(cores))
    monkeypatch.setattr("psutil.Process.cpu_affinity", lambda self: [1, 2])
    monkeypatch.setattr(compute_probe, "num_cpus", lambda: 2)
    load = compute_probe._OtherLoad()
    clock |= {"wall": 110.0, "own": 11.0}  # this process used 6 of the 20 s of its two cores
    cores[:] = [CpuTimes(user=10), CpuTimes(user=6, system=2, idle=51, guest=3), CpuTimes(user=4, idle=10, iowait=3)]
    assert load.share() == pytest.approx((7 + 4 - 6) / 20)


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_choose_settings_takes_the_fastest(
    tiny_config: TrainConfig, cache: Path, monkeypatch: pytest.MonkeyPatch, precision: str, channels_last: bool
) -> None:
    timed = time_by(monkeypatch, {"precision": precision, "channels_last": channels_last, "threads": 1})
    settings = choose_settings(with_compute(tiny_config, threads="auto"), 5)
    assert (settings.precision, settings.channels_last) == (precision, channels_last)
    assert len({*map(str, timed)}) >= 4


@pytest.mark.usefixtures("load")
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


@pytest.mark.usefixtures("load")
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
