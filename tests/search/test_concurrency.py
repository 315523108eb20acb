from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml
from ray._raylet import GcsClient
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.core.generated.autoscaler_pb2 import ClusterConfig

from rcn_search.cluster.autoscaler import Growth, NodeType, _of_config, find_growth
from rcn_search.cluster.runtime import Nodes, cluster
from rcn_search.search.concurrency import plan_slots
from rcn_search.study.space.study_config import Budget

HEAD = NodeType({"CPU": 0}, at_least=1, at_most=1)
GPU = NodeType({"CPU": 8, "GPU": 1}, at_least=0, at_most=8)
FILES = Path(__file__).parents[2] / "cluster"


@pytest.mark.parametrize(
    ("nodes", "budget", "num_trials", "slots"),
    [
        ([{"CPU": 2}], {}, 30, 2),
        ([{"CPU": 2}], {"cpus_per_trial": 0.5}, 30, 4),
        ([{"CPU": 2}], {"max_concurrent": 1}, 30, 1),
        ([{"CPU": 2}], {"max_concurrent": 8}, 30, 2),
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
    assert plan_slots(Nodes(nodes), Budget(trials=num_trials, epochs=1, **budget), num_trials) == slots


@pytest.mark.parametrize("budget", [{"cpus_per_trial": 4}, {"gpus_per_trial": 1}])
def test_a_trial_that_fits_nowhere_is_refused(budget):
    with pytest.raises(ValueError, match=r"no node has that many .*2 CPU and 0 GPU; 2 CPU and 0 GPU"):
        plan_slots(Nodes([{"CPU": 2}, {"CPU": 2}]), Budget(trials=3, epochs=1, **budget), 3)


def test_workers_that_never_fit_are_refused_with_the_numbers():
    budget = Budget(trials=3, epochs=1, workers_per_trial=4, cpus_per_trial=2)
    words = (
        r"4 workers of 2 CPU and 0 GPU each, and the cluster has room for 2 "
        r"\(3 CPU and 0 GPU; 2 CPU and 0 GPU\); lower "
        r"budget\.workers_per_trial"
    )
    with pytest.raises(ValueError, match=words):
        plan_slots(Nodes([{"CPU": 3}, {"CPU": 2}]), budget, 3)


def test_workers_do_not_share_a_gpu():
    with pytest.raises(ValueError, match="set gpus_per_trial to 1"):
        Budget(trials=3, epochs=1, workers_per_trial=2, gpus_per_trial=0.5)


@pytest.mark.parametrize(
    ("types", "at_most", "budget", "slots"),
    [
        ([HEAD, GPU], 9, {"gpus_per_trial": 1}, 8),  # of which none is there yet
        ([HEAD, GPU], 9, {"gpus_per_trial": 0.25, "cpus_per_trial": 2}, 32),
        ([HEAD, GPU], 4, {"gpus_per_trial": 1}, 3),  # as the cluster may have no more nodes
        ([HEAD, GPU], 9, {"gpus_per_trial": 1, "workers_per_trial": 3}, 2),
        ([HEAD, GPU], 9, {"gpus_per_trial": 1, "max_concurrent": 5}, 5),
        ([HEAD, GPU], 9, {"gpus_per_trial": 0.01, "cpus_per_trial": 0.01}, 99),
        ([HEAD, GPU, NodeType({"CPU": 16}, 2, 4)], 8, {}, 4 * 16 + 3 * 8),
        ([HEAD, NodeType({"CPU": 16}, 2, 4), GPU], 8, {"gpus_per_trial": 1}, 5),  # beside the two that always are
        ([HEAD, NodeType({"CPU": 2}, 0, sys.maxsize)], sys.maxsize, {}, 99),
    ],
)
def test_slots_are_those_that_the_autoscaler_may_make(types, at_most, budget, slots):
    nodes = Nodes([{"CPU": 0}], Growth(tuple(types), at_most, {}))
    assert plan_slots(nodes, Budget(trials=99, epochs=1, **budget), 99) == slots


def test_what_is_there_counts_though_the_autoscaler_knows_nothing_of_it():
    assert plan_slots(Nodes([{"CPU": 6}], Growth((HEAD, GPU), 1, {})), Budget(trials=40, epochs=1), 40) == 6


def test_what_not_even_the_autoscaler_can_make_is_refused_with_the_numbers():
    nodes = Nodes([{"CPU": 0}], Growth((HEAD, GPU), 5, {}))
    words = r"no node has that many \(0 CPU and 0 GPU; it may grow to 8 × 8 CPU, 1 GPU, 5 nodes in all\); lower"
    with pytest.raises(ValueError, match=rf"a trial needs 16 CPU and 0 GPU, and {words} budget\.cpus"):
        plan_slots(nodes, Budget(trials=3, epochs=1, cpus_per_trial=16), 3)
    with pytest.raises(ValueError, match=r"6 workers of 1 CPU and 1 GPU each, and the cluster has room for 4 \("):
        plan_slots(nodes, Budget(trials=3, epochs=1, workers_per_trial=6, gpus_per_trial=1), 3)


@pytest.mark.parametrize("file", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_a_raycluster_grows_as_far_as_its_worker_groups(file):
    document = yaml.safe_load((FILES / file).read_text())
    spec = document["spec"].get("rayClusterSpec", document["spec"])
    config = _derive_autoscaling_config_from_ray_cr({"metadata": {"name": "x", "namespace": "y"}, "spec": spec})
    nodes = Nodes([{"CPU": 0}], _of_config(config, {"CPU": 0}))
    assert str(nodes) == "0 CPU, 0 GPU now, up to 8 × 8 CPU, 1 GPU"
    assert plan_slots(nodes, Budget(trials=99, epochs=1, cpus_per_trial=2, gpus_per_trial=0.25), 99) == 32


@pytest.fixture
def tell_ray(ray_cluster) -> Iterator[GcsClient]:
    """To leave word in Ray's own place of what its cluster may grow to."""
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    yield lambda told: client.report_cluster_config(told.SerializeToString())
    client.report_cluster_config(ClusterConfig().SerializeToString())


def test_what_ray_says_of_its_growth_counts_and_its_limits(tell_ray):
    assert find_growth() is None
    told = ClusterConfig()
    told.node_group_configs.add(name="head", resources={"CPU": 2}, min_count=1, max_count=1)
    told.node_group_configs.add(name="gpu", resources={"CPU": 8, "GPU": 4}, min_count=0, max_count=-1)
    told.max_resources["GPU"] = 6
    tell_ray(told)
    with cluster() as nodes:
        assert str(nodes) == "2 CPU, 0 GPU now, up to 1 × 2 CPU, 0 GPU + any number × 8 CPU, 4 GPU, 6 GPU in all"
        assert plan_slots(nodes, Budget(trials=99, epochs=1, gpus_per_trial=0.5), 99) == 12
        assert plan_slots(nodes, Budget(trials=99, epochs=1), 99) == 99
        with pytest.raises(ValueError, match="a trial needs 9 CPU"):
            plan_slots(nodes, Budget(trials=99, epochs=1, cpus_per_trial=9), 99)
