from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rcn_search.cluster.runtime import CapacityError, ClusterResources
from rcn_search.search import concurrency
from rcn_search.search.concurrency import ScaleUpTimeout, plan_slots, print_plan
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.sections import Budget
from rcn_search.study.study import Study

SMALL = ({"CPU": 2.0}, {"CPU": 2.0})


@pytest.mark.parametrize("is_fixed", [True, False])
@pytest.mark.parametrize(
    ("nodes", "budget", "num_trials", "slots"),
    [
        ([{"CPU": 2}], {}, 30, 2),
        ([{"CPU": 2}], {"cpus_per_trial": 0.5}, 30, 4),
        ([{"CPU": 2}], {"max_concurrent": 1}, 30, 1),
        ([{"CPU": 8}], {}, 3, 3),
        ([{"CPU": 3}, {"CPU": 3}], {"cpus_per_trial": 2}, 30, 2),  # a trial lives on one node
        ([{"CPU": 16, "GPU": 2}, {"CPU": 8}], {"cpus_per_trial": 2, "gpus_per_trial": 0.25}, 30, 8),
        ([{"CPU": 4, "GPU": 2}], {"cpus_per_trial": 2, "gpus_per_trial": 0.1}, 30, 2),
        ([{"CPU": 16, "GPU": 1}], {"gpus_per_trial": 0.1}, 30, 10),
        ([{"CPU": 3}, {"CPU": 3}], {"workers_per_trial": 2}, 30, 3),  # but its workers may live on several
        ([{"CPU": 16, "GPU": 4}], {"workers_per_trial": 3, "gpus_per_trial": 1}, 30, 1),
    ],
)
def test_plan_slots_counts_what_fits(
    nodes: list[dict[str, float]], budget: dict[str, Any], num_trials: int, slots: int, is_fixed: bool
) -> None:
    cluster = ClusterResources(tuple(nodes), is_fixed)
    assert plan_slots(cluster, Budget(trials=num_trials, epochs=1, **budget), num_trials) == slots


def test_plan_slots_fixed_cluster_never_exceeds_what_fits() -> None:
    budget = Budget(trials=30, epochs=1, max_concurrent=8)
    assert plan_slots(ClusterResources(({"CPU": 2},), is_fixed=True), budget, 30) == 2


@pytest.mark.parametrize(
    ("budget", "num_trials", "slots"),
    [
        ({"max_concurrent": 8}, 30, 8),
        ({"max_concurrent": 8}, 5, 5),
        ({"max_concurrent": 3, "gpus_per_trial": 1}, 30, 3),  # no node has a GPU yet
        ({"max_concurrent": 4, "workers_per_trial": 3, "cpus_per_trial": 8}, 30, 4),
    ],
)
def test_plan_slots_growing_cluster_takes_max_concurrent(budget: dict[str, Any], num_trials: int, slots: int) -> None:
    empty = ClusterResources(({"CPU": 0},))
    assert plan_slots(empty, Budget(trials=num_trials, epochs=1, **budget), num_trials) == slots


@pytest.mark.parametrize("is_fixed", [True, False])
@pytest.mark.parametrize("budget", [{"cpus_per_trial": 4}, {"gpus_per_trial": 1}])
def test_plan_slots_trial_that_fits_nowhere_is_refused(budget: dict[str, Any], is_fixed: bool) -> None:
    with pytest.raises(CapacityError, match=r"no node has that many \(2 CPU, 0 GPU \+ 2 CPU, 0 GPU\)") as refused:
        plan_slots(ClusterResources(SMALL, is_fixed), Budget(trials=3, epochs=1, **budget), 3)
    assert ("set budget.max_concurrent to a number" in str(refused.value)) is not is_fixed


def test_plan_slots_fixed_cluster_refuses_whatever_max_concurrent() -> None:
    with pytest.raises(CapacityError, match="no node has that many"):
        plan_slots(
            ClusterResources(SMALL, is_fixed=True), Budget(trials=3, epochs=1, max_concurrent=2, cpus_per_trial=4), 3
        )


def test_plan_slots_workers_that_never_fit_are_refused_with_the_numbers() -> None:
    budget = Budget(trials=3, epochs=1, workers_per_trial=4, cpus_per_trial=2)
    words = (
        r"4 workers of 2 CPU and 0 GPU each, but the cluster has room for 2 "
        r"\(3 CPU, 0 GPU \+ 2 CPU, 0 GPU\); lower "
        r"budget\.workers_per_trial"
    )
    with pytest.raises(CapacityError, match=words):
        plan_slots(ClusterResources(({"CPU": 3}, {"CPU": 2})), budget, 3)


def test_budget_workers_sharing_a_gpu_are_refused() -> None:
    with pytest.raises(ValueError, match="set gpus_per_trial to 1"):
        Budget(trials=3, epochs=1, workers_per_trial=2, gpus_per_trial=0.5)


def test_print_plan_says_how_many_trials_wait_for_nodes(write_study: Callable[..., str], tmp_path: Path) -> None:
    config = load_study_config(write_study(budget={"max_concurrent": 4}))
    Study.start(str(tmp_path / "study"), config, "fingerprint")
    study = Study(str(tmp_path / "study"), config)
    text = io.StringIO()
    print_plan(Console(file=text, width=200), study, 4, ClusterResources(({"CPU": 1},)), 0, None)
    assert "4 at once, 1 CPU, 0 GPU each; on 1 CPU, 0 GPU: 1 fit now, the others wait until the cluster" in (
        text.getvalue()
    )


def test_scale_up_timeout_ends_a_search_that_no_node_fits(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "SCALE_UP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(concurrency, "_CHECK_INTERVAL_S", 0.0)
    fits = ScaleUpTimeout(Budget(trials=3, epochs=1, max_concurrent=2, cpus_per_trial=2))
    does_not = ScaleUpTimeout(Budget(trials=3, epochs=1, max_concurrent=2, cpus_per_trial=3))
    for guard in (fits, does_not):
        guard.on_step_end(1, [])
    time.sleep(0.4)
    fits.on_step_end(2, [])
    with pytest.raises(CapacityError, match=r"a trial needs 3 CPU and 0 GPU, but no node has that many \(2 CPU"):
        does_not.on_step_end(2, [])
