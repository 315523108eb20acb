"""Population-based training: who is followed, what changes, and the checkpoint that is taken along."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcn_search.config_file import ConfigError
from rcn_search.search.ledger import Epoch
from rcn_search.search.population import EXPLORED, inherit
from rcn_search.search.searcher import StudySearcher
from rcn_search.search.space_file import load_space
from rcn_search.search.study import Study
from rcn_search.training.checkpoint import load_network, read_checkpoint
from rcn_search.training.outcome import BEST_NAME, LAST_NAME
from rcn_search.training.run import TrainRun

POPULATION = 8
PBT = {"name": "pbt", "population": POPULATION, "interval_epochs": 2, "quantile": 0.25}


@pytest.fixture
def space(write_study):
    return load_space(write_study(scheduler=PBT, budget={"trials": 40, "epochs": 8}))


def report(study: Study, number: int, num_epochs: int, error_pct: float) -> None:
    epochs = [
        Epoch(epoch=epoch, loss=1.0, val_error_pct=error_pct, best_error_pct=error_pct, train_s=1.0, val_s=1.0)
        for epoch in range(1, num_epochs + 1)
    ]
    study.report(number, epochs)


def running(uri: str, space) -> Study:
    """A population half way: trial 0 is at its end, 1 and 2 lead, 7 was stopped; the error is the number."""
    study = Study.create(uri, space, data_fingerprint="f")
    for number in range(POPULATION):
        study.ask()
        report(study, number, 8 if number == 0 else 4, 1.0 + number)
    study.finish(0, "complete")
    study.finish(7, "pruned")
    return study


def test_who_starts_later_follows_one_of_the_best_and_changes_only_what_may_change(space, tmp_path):
    study = running(str(tmp_path / "study"), space)
    parents, moved = set(), 0
    for _ in range(12):
        trial = study.ask()
        params = trial.suggestion.params
        parent = study.trials[params["parent"]].suggestion.params
        parents.add(params["parent"])
        assert params.keys() - {name for name in params if name.startswith("augment.")} == {
            name for name in parent if not name.startswith("augment.")
        }
        for name, value in params.items():
            if name != "parent" and not name.startswith(EXPLORED):
                assert value == parent[name]
        moved += params["optimizer.lr"] != parent["optimizer.lr"]
        assert space.fixed({name.partition("[")[0]: params[name] for name in params if name != "parent"})
    # Trial 0 is the best and cannot be followed: it has no epoch left. Of eight that came to epoch 4, two are the best.
    assert parents == {1}
    assert moved == 12
    assert {study.trials[number].suggestion.params["parent"] for number in range(POPULATION)} == {-1}


def test_a_population_that_is_gone_on_with_draws_the_same_parents(space, tmp_path):
    straight = running(str(tmp_path / "straight"), space)
    again = running(str(tmp_path / "again"), space)
    for _ in range(4):
        straight.ask()
        again.ask()
    again = Study.resume(again.uri, space, data_fingerprint="f")
    # Six of the first and four others were running: they are taken up with the parents they had.
    taken_up = [again.ask().suggestion.params for _ in range(10)]
    assert taken_up == [trial.suggestion.params for trial in straight.trials if trial.number not in (0, 7)]


def test_a_checkpoint_is_taken_along(tiny_config, tmp_path):
    parent, child = str(tmp_path / "parent"), str(tmp_path / "child")
    run = TrainRun(tiny_config, parent)
    run.run_epoch()
    run.save()
    optimizer = tiny_config.optimizer.model_copy(update={"lr": 9e-3})
    config = tiny_config.model_copy(update={"optimizer": optimizer})
    inherit(parent, child, config)

    before, after = (read_checkpoint(f"{folder}/{LAST_NAME}") for folder in (parent, child))
    assert after.info.config == config
    assert before.tensors.keys() == after.tensors.keys()
    assert all((before.tensors[name] == tensor).all() for name, tensor in after.tensors.items())
    load_network(f"{child}/{BEST_NAME}")

    taken_up = TrainRun(config, child, resume=True)
    assert taken_up.history == run.history
    assert taken_up.run_epoch().epoch == 2
    taken_up.save()
    inherit(parent, child, config)  # as a driver does that takes the trial up again
    assert TrainRun(config, child, resume=True).epochs_done == 2


def test_the_searcher_hands_the_checkpoint_on(space, tmp_path, tiny_config):
    study = running(str(tmp_path / "study"), space)
    run = TrainRun(tiny_config, study.trials[1].folder)
    run.run_epoch()
    run.save()
    config = StudySearcher(study).suggest("any")
    assert config["number"] == POPULATION
    own = read_checkpoint(str(Path(config["folder"]) / LAST_NAME)).info
    assert own.config.run_id == study.trials[POPULATION].suggestion.run_id
    assert own.epoch == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["error", "parameters"]}, "scheduler pbt takes one objective"),
        ({"scheduler": {**PBT, "interval_epochs": 9}}, "no more than budget.epochs = 4"),
    ],
)
def test_what_cannot_be_a_population_is_refused(write_study, changes, message):
    with pytest.raises(ConfigError) as raised:
        load_space(write_study(**{"scheduler": PBT, **changes}))
    assert message in str(raised.value)


def test_a_population_needs_something_to_explore(document, write_study):
    document["search"] = {"model.branches": {"int": [2, 6]}}
    document["points"] = []
    with pytest.raises(ConfigError, match=r"explores augment.… and optimizer.lr, and none of them is searched"):
        load_space(write_study(scheduler=PBT))
