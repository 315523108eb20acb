from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rcn_search.config.schema import RcnConfig, SumNetConfig, TrainConfig
from rcn_search.errors import RcnSearchError
from rcn_search.models import build_model
from rcn_search.models.blocks import RecombinationForm, recombinations, set_recombination_forms
from rcn_search.training import compute_probe, recombination_probe
from rcn_search.training.compute_settings import ComputeSettings
from rcn_search.training.recombination_probe import FORMS, FormsInTurn, choose_forms
from rcn_search.training.trainer import Trainer

SETTINGS = ComputeSettings(device="cpu", precision="fp32", channels_last=True, threads=1)


def prefer(monkeypatch: pytest.MonkeyPatch, form: RecombinationForm, other_s: float = 1.0) -> None:
    """Let forward and backward passes in one form take half a second, in place of the clock's time."""
    monkeypatch.setattr(
        recombination_probe, "_timer", lambda module, inputs, settings: lambda its: 0.5 if its == form else other_s
    )


def test_choose_forms_measures_every_recombination_that_has_forms(tiny_config: TrainConfig) -> None:
    """With seven branches of 80 pixels that is not the one from 2 to 5 pixels."""
    config = tiny_config.model_copy(update={"model": RcnConfig(branches=7, channels=4)})
    forms = choose_forms(config, 5, SETTINGS)
    assert len(forms) in (0, 6)
    assert {*forms} <= {*FORMS}


def test_choose_forms_takes_the_fastest_form(tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config.model_copy(update={"model": RcnConfig(branches=7, channels=4)})
    prefer(monkeypatch, "separate")
    assert choose_forms(config, 5, SETTINGS) == ("separate", "transposed", *["separate"] * 4)
    prefer(monkeypatch, "separate", other_s=0.52)
    assert choose_forms(config, 5, SETTINGS) == (), "a difference of 4 % is noise"
    prefer(monkeypatch, "transposed")
    assert choose_forms(config, 5, SETTINGS) == ()
    sumnet = tiny_config.model_copy(update={"model": SumNetConfig(branches=2)})
    assert choose_forms(sumnet, 5, SETTINGS) == ()


@pytest.mark.parametrize("step_s", [0.5, 2.0])
def test_choose_settings_keeps_forms_if_whole_steps_are_faster(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    monkeypatch.setenv("RCN_SEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(compute_probe, "choose_forms", lambda *_: ("separate", "concatenated"))
    monkeypatch.setattr(
        compute_probe, "step_timers", lambda config, num: lambda settings: step_s if settings.recombination else 1.0
    )
    compute = {"device": "cpu", "threads": 1, "precision": "fp32"}
    config = TrainConfig.model_validate(tiny_config.model_dump() | {"compute": compute})
    expected = ("separate", "concatenated") if step_s < 1 else ()
    assert compute_probe.choose_settings(config, 5).recombination == expected


@pytest.mark.parametrize("forms", [("separate", "concatenated"), ("concatenated", "separate")])
def test_network_in_any_forms_gives_the_same_maps(forms: tuple[RecombinationForm, ...]) -> None:
    network, image_bchw = build_model(RcnConfig(branches=3, channels=8), num_points=5), torch.rand(2, 1, 80, 80)
    usual = network(image_bchw)
    set_recombination_forms(network, forms)
    assert [module.form for module in recombinations(network)] == [*forms]
    torch.testing.assert_close(network(image_bchw), usual, rtol=0, atol=1e-5)
    set_recombination_forms(network, ())
    assert torch.equal(network(image_bchw), usual)
    with pytest.raises(RcnSearchError, match="has 1 forms, but the network has 2 recombinations: set it to auto"):
        set_recombination_forms(network, forms[:1])


@pytest.mark.parametrize(("chosen_s", "kept"), [(0.9, ("separate",)), (1.1, ())])
def test_forms_in_turn_keeps_what_is_faster_in_the_run(chosen_s: float, kept: Any) -> None:
    network = build_model(RcnConfig(branches=2, channels=4), num_points=5)
    (module,) = recombinations(network)
    in_turn, seen = FormsInTurn(network, ("separate",)), list[str]()
    while not in_turn.is_done:
        in_turn.begin_step()
        seen.append(module.form)
        first = 5.0 if len(seen) <= 2 else 0.0  # the first step of either does not count
        in_turn.end_step(first + (chosen_s if module.form == "separate" else 1.0))
    assert seen == ["separate", "transposed"] * 4
    assert in_turn.keep_fastest() == kept
    assert module.form == (kept or ("transposed",))[0]


def test_trainer_compares_forms_in_its_first_steps_and_saves_what_it_kept(
    tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = SETTINGS.model_copy(update={"recombination": ("separate", "separate")})
    monkeypatch.setattr("rcn_search.training.trainer.resolve_settings", lambda *_: chosen)
    monkeypatch.setattr(FormsInTurn, "end_step", lambda self, step_s: self._times_s[self._turn].append(self._turn))
    document = tiny_config.model_dump()
    document["schedule"] |= {"batch_size": 12, "epochs": 2}
    run = Trainer(TrainConfig.model_validate(document), str(tmp_path / "run"))
    run.train_epoch()
    assert run.state.settings.recombination == ("separate", "separate"), "time 0 for these, 1 for the usual ones"
    assert {module.form for module in recombinations(run.state.network)} == {"separate"}
    run.save()
    resumed = Trainer(run.config, str(tmp_path / "run"), resume=True)
    assert resumed.state._forms_in_turn is None
