"""Fixed-run studies: one trial for each run and seed, nothing sampled, nothing pruned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rcn_search.config.errors import ConfigError
from rcn_search.config.loading import merge
from rcn_search.study.loading import load_study_config
from rcn_search.study.records import StudyError
from rcn_search.study.study import Study
from tests.support.studies import epoch_result, resume_study


@pytest.fixture
def write_runs(tmp_path: Path) -> Callable[..., str]:
    """Write a fixed-run study of three runs, one of them trained twice, with changes laid over it; its path."""

    def write(**changes: Any) -> str:
        document = {
            "study": {"name": "tiny"},
            "base": {"data": {"uri": str(tmp_path / "data")}, "seed": 5, "optimizer": {"lr": 5e-3}},
            "runs": {
                "RCN 4 branches": {"model.branches": 4},
                "SumNet, mask": {"model.name": "sumnet", "model.branches": 4, "model.mask": "0011"},
                "TCDCN": {"model.name": "tcdcn", "optimizer.lr": 1e-3},
            },
            "seeds_per_run": {"SumNet, mask": 2},
            "budget": {"epochs": 3},
        }
        path = tmp_path / "runs.yaml"
        path.write_text(yaml.safe_dump(merge(document, changes), sort_keys=False))
        return str(path)

    return write


def run_all(study: Study) -> list[tuple[Any, ...]]:
    """Complete the remaining trials; their run, seed and configuration, in the order of the proposals."""
    asked = []
    while (trial := study.ask()) is not None:
        asked.append((*trial.params.values(), trial.config))
        study.report(trial.number, [epoch_result(1, 9.0)])
        study.finish(trial.number, "complete")
    return asked


def test_fixed_trials_are_runs_and_seeds_in_the_order_of_the_file(
    write_runs: Callable[..., str], tmp_path: Path
) -> None:
    config = load_study_config(write_runs())
    study = Study.start(str(tmp_path / "study"), config, "f")
    assert study.num_remaining == 4
    asked = run_all(study)
    names = ["RCN 4 branches", "SumNet, mask", "SumNet, mask", "TCDCN"]
    assert [(run, seed) for run, seed, _ in asked] == list(zip(names, [0, 0, 1, 0], strict=True))
    configs = [train_config for *_, train_config in asked]
    assert [each.seed for each in configs] == [5, 5, 6, 5]
    assert [each.model.name for each in configs] == ["rcn", "sumnet", "sumnet", "tcdcn"]
    assert configs[1].model.mask == "0011"
    assert [each.optimizer.lr for each in configs] == [5e-3, 5e-3, 5e-3, 1e-3]
    assert {each.schedule.epochs for each in configs} == {3}
    assert study.best_trial is None


def test_fixed_run_study_resumes(write_runs: Callable[..., str], tmp_path: Path) -> None:
    uri, config = str(tmp_path / "study"), load_study_config(write_runs())
    straight = run_all(Study.start(str(tmp_path / "straight"), config, "f"))
    Study.start(uri, config, "f").ask()  # proposed, then the search process dies
    study = Study(uri, config)
    assert study.num_remaining == 4
    assert run_all(study) == straight
    assert Study(uri, config).num_remaining == 0


def test_check_allows_more_seeds_and_refuses_changed_runs(write_runs: Callable[..., str], tmp_path: Path) -> None:
    uri = str(tmp_path / "study")
    run_all(Study.start(uri, load_study_config(write_runs()), "f"))
    more = resume_study(uri, load_study_config(write_runs(seeds_per_run={"RCN 4 branches": 3})))
    assert [(run, seed) for run, seed, _ in run_all(more)] == [("RCN 4 branches", 1), ("RCN 4 branches", 2)]
    with pytest.raises(StudyError, match=r"runs\.TCDCN\.optimizer\.lr: 0\.001 → 0\.002"):
        resume_study(uri, load_study_config(write_runs(runs={"TCDCN": {"optimizer.lr": 2e-3}})))


def test_check_gives_options_that_the_study_does_not_have_their_defaults(
    write_runs: Callable[..., str], tmp_path: Path
) -> None:
    uri = str(tmp_path / "study")
    Study.start(uri, load_study_config(write_runs()), "f")
    path = Path(uri, "study.json")
    stored = json.loads(path.read_text())
    del stored["base"]["loss"]["name"]
    path.write_text(json.dumps(stored))
    assert resume_study(uri, load_study_config(write_runs())).num_remaining == 4
    with pytest.raises(StudyError, match=r"base\.loss\.name: nll → l2"):
        resume_study(uri, load_study_config(write_runs(base={"loss": {"name": "l2"}})))


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"runs": {"TCDCN": {"model.depth": 3}}}, "model.depth", "run 'TCDCN', line 19: unknown key 'model.depth'"),
        ({"runs": {"TCDCN": {"model.branches": 4}}}, "model.branches", "unknown key 'model.branches'"),
        ({"runs": {"RCN 4 branches": {"model.branches": 9}}}, "model.branches", "an input of 80 px has at most 7"),
        ({"runs": {"SumNet, mask": {"model.mask": "000"}}}, "model.name", "one digit for each of the 4 branches"),
        ({"runs": {"SumNet, mask": {"model.mask": 11}}}, "model.mask", "a mask needs quotes"),
        ({"runs": {"TCDCN": {"schedule.epochs": 9}}}, "schedule.epochs", "set by budget"),
        ({"runs": {"TCDCN": {"seed": 1}}}, "seed", "set by budget or seeds_per_run"),
        ({"runs": {"TCDCN": {"compute.device": "cpu"}}}, "compute.device", "the same for all runs"),
        ({"runs": {"TCDCN": {"data.uri": "x"}}}, "data.uri", "the same for all runs"),
        ({"seeds_per_run": {"RCN": 2}}, "RCN", "there is no run 'RCN'"),
        ({"seeds_per_run": {"TCDCN": 0}}, "TCDCN", "greater than or equal to 1"),
        ({"joint_models": {"both": ["TCDCN", "Denoiser"]}}, "both", "there is no run 'Denoiser'"),
        ({"joint_models": {"TCDCN": ["TCDCN", "TCDCN"]}}, "TCDCN", "is the name of a run already"),
        ({"search": {"optimizer.lr": {"choice": [1e-3]}}}, "runs", "give one of the two"),
        ({"initial_trials": []}, "initial_trials", "initial_trials belongs to a search"),
        ({"sampler": {"name": "random"}}, "sampler", "sampler belongs to a search"),
        ({"test": {"split": "test", "method": "x"}}, "test", "test belongs to a search"),
        ({"scheduler": {"name": "asha"}}, "scheduler", "fixed runs are never pruned"),
        ({"budget": {"trials": 4}}, "trials", "runs and seeds_per_run give the number"),
        ({"base": {"validation": {"every_epochs": 2}}}, "every_epochs", "must be 1"),
        ({"base": {"schedule": {"epochs": 2}}}, "epochs", "is set by budget.epochs"),
    ],
)
def test_load_of_fixed_runs_names_key_and_line_of_what_is_wrong(
    write_runs: Callable[..., str], changes: dict[str, Any], key: str, message: str
) -> None:
    path = write_runs(**changes)
    with pytest.raises(ConfigError) as raised:
        load_study_config(path)
    assert message in str(raised.value)
    line = int(str(raised.value).split("line ")[1].split(":")[0])
    assert key in Path(path).read_text().splitlines()[line - 1]


def test_load_without_search_and_runs_is_refused(write_runs: Callable[..., str], tmp_path: Path) -> None:
    document = yaml.safe_load(Path(write_runs()).read_text())
    del document["runs"], document["seeds_per_run"]
    path = tmp_path / "none.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match="parameters to search or fixed runs"):
        load_study_config(str(path))


def test_load_of_a_search_without_trials_is_refused(write_study: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=r"line \d+: budget\.trials is required"):
        load_study_config(write_study(budget={"trials": None}))
