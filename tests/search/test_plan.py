from __future__ import annotations

import pytest

from rcn_search.search.cluster import plan_slots
from rcn_search.search.space import Budget


@pytest.mark.parametrize(
    ("nodes", "budget", "num_trials", "slots"),
    [
        ([{"CPU": 2}], {}, 30, 2),
        ([{"CPU": 2}], {"cpus_per_trial": 0.5}, 30, 4),
        ([{"CPU": 2}], {"concurrency": 1}, 30, 1),
        ([{"CPU": 2}], {"concurrency": 8}, 30, 2),
        ([{"CPU": 8}], {}, 3, 3),
        ([{"CPU": 3}, {"CPU": 3}], {"cpus_per_trial": 2}, 30, 2),  # a trial lives on one node
        ([{"CPU": 16, "GPU": 2}, {"CPU": 8}], {"cpus_per_trial": 2, "gpus_per_trial": 0.25}, 30, 8),
        ([{"CPU": 4, "GPU": 2}], {"cpus_per_trial": 2, "gpus_per_trial": 0.1}, 30, 2),
        ([{"CPU": 16, "GPU": 1}], {"gpus_per_trial": 0.1}, 30, 10),
        ([{"CPU": 3}, {"CPU": 3}], {"workers_per_trial": 2}, 30, 3),  # but its workers may live on several
        ([{"CPU": 16, "GPU": 4}], {"workers_per_trial": 3, "gpus_per_trial": 1}, 30, 1),
    ],
)
def test_slots(nodes, budget, num_trials, slots):
    assert plan_slots(nodes, Budget(trials=num_trials, epochs=1, **budget), num_trials) == slots


@pytest.mark.parametrize("budget", [{"cpus_per_trial": 4}, {"gpus_per_trial": 1}])
def test_a_trial_that_fits_nowhere_is_refused(budget):
    with pytest.raises(ValueError, match=r"no node has that many .*2 CPU and 0 GPU; 2 CPU and 0 GPU"):
        plan_slots([{"CPU": 2}, {"CPU": 2}], Budget(trials=3, epochs=1, **budget), 3)


def test_workers_that_never_fit_are_refused_with_the_numbers():
    budget = Budget(trials=3, epochs=1, workers_per_trial=4, cpus_per_trial=2)
    words = (
        r"4 workers of 2 CPU and 0 GPU each, and the cluster has room for 2 "
        r"\(3 CPU and 0 GPU; 2 CPU and 0 GPU\); lower "
        r"budget\.workers_per_trial"
    )
    with pytest.raises(ValueError, match=words):
        plan_slots([{"CPU": 3}, {"CPU": 2}], budget, 3)


def test_workers_do_not_share_a_gpu():
    with pytest.raises(ValueError, match="set gpus_per_trial to 1"):
        Budget(trials=3, epochs=1, workers_per_trial=2, gpus_per_trial=0.5)
