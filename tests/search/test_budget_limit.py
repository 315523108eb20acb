"""Limits of a budget: what counts, over which processes, and how a search ends at one."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rcn_search.config.errors import ConfigError
from rcn_search.search.budget_limit import BudgetLimit, BudgetUsedUp
from rcn_search.study.budget_use import Use, limits, share_left
from rcn_search.study.lease import acquire, read_use
from rcn_search.study.loading import load_study_config
from rcn_search.study.space.sections import Budget
from tests.support.searches import search, write_tiny_study

PRICES = {"per_gpu_hour": 2.0, "per_cpu_hour": 0.5, "limit": 10.0}


class StubLease:
    """A lease whose wall time is set by the test."""

    def __init__(self) -> None:
        self.use = Use()

    def add_reserved(self, use: Use) -> None:
        self.use += use


def test_limits_count_hours_gpu_hours_and_cost() -> None:
    budget = Budget(epochs=1, gpus_per_trial=0.5, max_hours=2, max_gpu_hours=4, max_cost=PRICES)
    use = Use(wall_s=3600, cpu_s=7200, gpu_s=14_400)
    assert [str(limit) for limit in limits(budget, use)] == [
        "1.00 of 2 hours",
        "4.00 of 4 GPU hours",
        "9.00 of 10 cost",
    ]
    assert [limit.is_reached for limit in limits(budget, use)] == [False, True, False]
    assert [limit.suggestion for limit in limits(budget, use)] == [
        "budget.max_hours=4",
        "budget.max_gpu_hours=8",
        "budget.max_cost.limit=20",
    ]
    assert limits(Budget(epochs=1), use) == []


def test_share_left_is_that_of_the_limit_reached_first() -> None:
    budget = Budget(epochs=1, gpus_per_trial=1, max_hours=2, max_gpu_hours=4)
    used, needed = Use(wall_s=3600, gpu_s=3600), Use(wall_s=7200, gpu_s=7200)
    assert share_left(budget, used, needed) == 0.5
    assert share_left(budget, used, needed * 0.25) == 1
    assert share_left(budget, used * 9, needed) == 0
    assert share_left(budget, used, Use()) == 1


def test_budget_limit_counts_what_running_trials_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(epochs=1, workers_per_trial=2, cpus_per_trial=3, gpus_per_trial=1, max_gpu_hours=1)
    lease: Any = StubLease()
    limit = BudgetLimit(budget, lease, Use(gpu_s=3000))
    trials = [SimpleNamespace(status=status) for status in ("RUNNING", "RUNNING", "PENDING", "TERMINATED")]
    now += 100
    limit.on_step_end(0, trials)
    assert (lease.use.cpu_s, lease.use.gpu_s) == (2 * 2 * 3 * 100, 2 * 2 * 100)
    now += 49
    limit.on_step_end(1, trials)
    assert limit.reached is None
    now += 1
    with pytest.raises(BudgetUsedUp):
        limit.on_step_end(2, trials)
    assert limit.reached is not None
    assert limit.forecast(10, 5) == "1.00 of 1 GPU hours used, enough for 0% of what is left"


def test_read_use_sums_processes_that_ended_and_that_were_killed(tmp_path: Path) -> None:
    uri = str(tmp_path / "study")
    for _ in range(2):
        with acquire(uri, {}, on_status=print) as lease:
            lease.add_reserved(Use(cpu_s=10, gpu_s=5))
            time.sleep(0.05)
    assert read_use(uri).gpu_s == 10
    assert 0.1 <= read_use(uri).wall_s < 5
    with acquire(uri, {}, on_status=print) as lease:
        lease.add_reserved(Use(cpu_s=1, gpu_s=1))
        lease.heartbeat()
        lease.add_reserved(Use(cpu_s=100, gpu_s=100))
        assert (read_use(uri).cpu_s, read_use(uri).gpu_s) == (21, 11)  # as after a kill: to the last heartbeat


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_hours": 0}, "max_hours"),
        ({"max_hours": -1}, "max_hours"),
        ({"max_gpu_hours": 2}, "max_gpu_hours counts GPUs, and gpus_per_trial is 0"),
        ({"max_cost": {"limit": 5}}, "both prices are 0"),
        ({"max_cost": {"limit": 5, "per_gpu_hour": 1}}, "max_cost counts GPUs, and gpus_per_trial is 0"),
        ({"max_cost": {"per_cpu_hour": 1}}, "limit"),
    ],
)
def test_load_study_with_a_limit_that_cannot_hold_is_refused(
    write_study: Any, budget: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study_config(write_study(budget={"trials": 4, "epochs": 3, **budget}))


def test_print_used_up_names_the_best_trial_and_how_to_continue() -> None:
    lease: Any = StubLease()
    lease.use = Use(wall_s=7200)
    limit = BudgetLimit(Budget(epochs=1, max_hours=2), lease, Use())
    console = Console(file=io.StringIO(), width=200)
    study: Any = SimpleNamespace(best_trial=SimpleNamespace(number=3, error_pct=4.5), config=SimpleNamespace(runs={}))
    limit.print_use(console)
    limit.print_used_up(console, study)
    assert console.file.getvalue() == (  # type: ignore[attr-defined]
        "budget: 2.00 of 2 hours used\n"
        "budget.max_hours is used up; the best trial so far: trial 3 with 4.50 %, not replicated\n"
        "to continue, raise it and add --resume, as in --set budget.max_hours=4\n"
    )


def test_run_search_ends_at_the_limit_and_resumes_when_it_is_raised(
    ray_cluster: None, synthetic_uri: str, tmp_path: Path
) -> None:
    path = write_tiny_study(
        tmp_path,
        synthetic_uri,
        initial_trials=[],
        search={"optimizer.lr": {"float": [1e-3, 1e-2]}},
        scheduler={"name": "none"},
        budget={"trials": 2, "epochs": 2, "max_concurrent": 1, "max_cost": {"per_cpu_hour": 3600, "limit": 0.01}},
        test={"split": "test", "method": "within budget"},
    )
    first, text = search(path, tmp_path)
    assert "budget.max_cost is used up; the best trial so far: none" in text
    assert (first.winner, first.test_result) == (None, None)
    assert first.study.has_unfinished
    used = read_use(first.study.uri)
    assert 0.01 <= used.cpu_s < 60

    _, text = search(path, tmp_path, resume=True)
    assert "is used up" in text
    assert read_use(first.study.uri).cpu_s == used.cpu_s, "no trial was started"

    last, text = search(path, tmp_path, resume=True, overrides=("budget.max_cost.limit=1e9",))
    assert [(trial.state, list(trial.epochs)) for trial in last.study.trials] == [("complete", [1, 2])] * 2
    assert last.test_result is not None
    assert read_use(first.study.uri).cpu_s > used.cpu_s
    assert "of 1e+09 cost used" in text
