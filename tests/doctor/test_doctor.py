"""Each thing that doctor looks at is broken once."""

from __future__ import annotations

import http.server
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from importlib.metadata import PackageNotFoundError, version

import pytest
import ray

from rcn_search.doctor import cluster_checks as cluster
from rcn_search.doctor import gpu_checks as gpus
from rcn_search.doctor import machine_checks as machine
from rcn_search.doctor import package_checks as packages
from rcn_search.doctor import storage_checks as places
from rcn_search.doctor.check_result import CheckResult

GIB = 2**30


def state_of(finding: CheckResult) -> str:
    """Whatever is not well comes with a remedy, and only that."""
    assert bool(finding.remedy) == (finding.state != "ok")
    return finding.state


def test_all_is_well(cli, synthetic_uri, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text = cli.run("doctor", "--data", synthetic_uri, "--study", tmp_path / "new")
    assert "train 96, val 24, test 24" in text
    assert "0 problems" in text
    assert not (tmp_path / "new").exists()


def test_a_problem_is_exit_code_1(tmp_path):
    """In a process of its own, for the limit on open files stays."""
    lower = (
        f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (512, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))"
    )
    run = "from rcn_search.cli.main import app; app(['doctor', '--data', 'nowhere'])"
    line = [sys.executable, "-c", f"{lower}; {run}"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert done.returncode == 1, done.stderr
    assert "problem  open files: up to 512, where Ray asks for 8,192\n         → ulimit -n 8192" in done.stdout
    assert "problem  data: no data set at nowhere" in done.stdout
    assert "2 problems" in done.stdout


@pytest.mark.parametrize(
    ("finding", "state", "words"),
    [
        (machine.check_cores(8, None, ""), "ok", "8"),
        (machine.check_cores(8, 2.5, ""), "warning", "--num-cpus=2"),
        (machine.check_cores(8, 0.5, ""), "warning", "--num-cpus=1"),
        (machine.check_cores(2, None, "16"), "warning", "lower it to 2"),
        (machine.check_memory(32 * GIB, 16 * GIB, 8), "ok", "16.0 GiB of it free"),
        (machine.check_memory(32 * GIB, 4 * GIB, 8), "warning", "budget.max_concurrent=4"),
        (machine.check_memory(32 * GIB, GIB // 2, 8), "problem", "end other programs"),
        (machine.check_shared_memory(64 * 2**20), "warning", "--shm-size"),
        (machine.check_shared_memory(2 * GIB), "ok", "2.00 GiB"),
        (machine.check_open_files(1024), "warning", "ulimit -n 8192"),
        (machine.check_open_files(resource.RLIM_INFINITY), "ok", "no limit"),
        (gpus.check_missing_gpu(None, has_driver=False), "ok", "CPUs"),
        (gpus.check_missing_gpu(None, has_driver=True), "problem", "install a CUDA build"),
        (gpus.check_missing_gpu("13.0", has_driver=True), "problem", "nvidia-smi"),
        (gpus.check_missing_gpu("13.0", has_driver=False), "warning", "no driver"),
        (places.check_clock_skew("clock", 0.2, "that"), "ok", "agrees"),
        (places.check_clock_skew("clock", 8.0, "that"), "warning", "NTP"),
        (places.check_clock_skew("clock", 90.0, "that"), "problem", "taken for dead"),
        (cluster.check_versions("n", {"Ray": "2"}, {"Ray": "2"}), "ok", "Ray 2"),
        (cluster.check_versions("n", {"Ray": "2"}, {"Ray": "1"}), "problem", "Ray 1 there, 2 here"),
    ],
)
def test_a_fact_and_what_is_said_of_it(finding, state, words):
    assert state_of(finding) == state
    assert words in f"{finding.found} {finding.remedy}"


@pytest.mark.parametrize(
    ("free", "state"), [(50 * GIB, "ok"), (1.5 * GIB, "warning"), (0.2 * GIB, "problem"), (4 * GIB, "problem")]
)
def test_disks(tmp_path, monkeypatch, free, state):
    """The last is a large disk that is full by Ray's measure."""
    total = 1000 * GIB if free == 4 * GIB else 60 * GIB if state == "ok" else 3.5 * GIB
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free, "total": total}))
    finding = machine.check_disk("disk", tmp_path / "not/there/yet", "ANOTHER")
    assert state_of(finding) == state
    assert state == "ok" or "ANOTHER" in finding.remedy


def test_what_control_groups_grant(tmp_path, monkeypatch):
    own = tmp_path / "pod/container"
    own.mkdir(parents=True)
    monkeypatch.setattr(machine, "_own_groups", lambda groups: [own, own.parent, groups])
    assert machine.granted_cores(tmp_path) is None
    assert machine.granted_bytes(tmp_path) is None
    (own / "cpu.max").write_text("max 100000\n")
    (own.parent / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    (own / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text(f"{3 * GIB}\n")
    assert machine.granted_cores(tmp_path) == 1.5
    assert machine.granted_bytes(tmp_path) == 3 * GIB


def test_own_control_groups_are_under_the_root():
    *_, root = machine._own_groups(machine.CONTROL_GROUPS)
    assert root == machine.CONTROL_GROUPS


def test_packages_that_are_missing_or_old():
    def installed(name: str) -> str:
        if name == "aiohttp_cors" or name == "aiohttp-cors":  # of ray[default], without which `ray job` does not work
            raise PackageNotFoundError(name)
        return "1.0" if name == "optuna" else version(name)

    finding = packages.check_requirements(installed)
    assert state_of(finding) == "problem"
    assert "which ray needs, is not installed" in finding.message
    assert "optuna>=5, which rcn-search needs: 1.0 is installed" in finding.message
    assert "optuna>=5" in finding.remedy
    assert state_of(packages.check_requirements()) == "ok"


def test_packages_of_other_versions_than_the_tested():
    tested = packages.read_constraints("# what was tested\nray==2.60.0\nTorch==0.1  # old\nboto3==9\n")
    assert tested == {"ray": "2.60.0", "torch": "0.1", "boto3": "9"}
    finding = packages.check_tested_versions(tested)
    assert state_of(finding) == "warning"
    assert finding.message == f"torch {version('torch').partition('+')[0]}, tested with 0.1"
    assert state_of(packages.check_tested_versions(tested, {"ray": "2.60.0", "torch": "0.1+cu130"}.__getitem__)) == "ok"


def test_a_study_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    finding = places.check_study_uri(str(tmp_path / "file/study"))
    assert state_of(finding) == "problem"


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, float]]]:
    """An object store that refuses strangers, with a clock that can be put wrong."""
    clock = {"off_s": 0.0}

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(403)
            if "off_s" in clock:
                self.send_header("Date", formatdate(time.time() + clock["off_s"], usegmt=True))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}", clock
        served.shutdown()


def test_the_clock_of_an_object_store(server):
    url, clock = server
    assert state_of(places.check_store_clock(url)) == "ok"
    for off_s, state in ((-30, "warning"), (30, "warning"), (3600, "problem"), (-3600, "problem")):
        clock["off_s"] = off_s
        assert state_of(places.check_store_clock(url)) == state
    del clock["off_s"]
    assert state_of(places.check_store_clock(url)) == "warning"
    assert state_of(places.check_store_clock(f"http://127.0.0.1:{unused_port()}")) == "problem"


def test_the_endpoint_is_that_of_the_usual_variables(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://storage.example:9000")
    assert places.store_endpoint() == "http://storage.example:9000"


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:{unused_port}", "refused"),
        ("10.0.0.7", "no address"),
        ("http://head:8265", "job server"),
        ("head:ray", "no address"),
    ],
)
def test_a_cluster_that_is_not_there(address, words):
    (finding,) = cluster.check_cluster(address.format(unused_port=unused_port()), "", "")
    assert state_of(finding) == "problem"
    assert words in finding.message


def test_the_hash_of_the_code_is_that_of_every_line(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = cluster.source_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert cluster.source_hash(tmp_path) != before


def test_each_node_speaks_for_itself(ray_cluster, monkeypatch):
    (node,) = ray.nodes()
    findings = list(cluster._check_node(node, cluster.installed_versions(), "/nowhere/data", ""))
    assert findings[0] == cluster.check_versions(
        f"{node['NodeManagerAddress']}, versions", cluster.installed_versions(), cluster.installed_versions()
    )
    assert all(state_of(finding) == "ok" for finding in findings[:2])
    assert [finding.topic.partition(", ")[2] for finding in findings[2:4]] == ["cores", "memory"]
    assert findings[-1].topic == f"{node['NodeManagerAddress']}, data"
    assert "no data set at /nowhere/data" in findings[-1].message

    monkeypatch.setattr(cluster, "STARTS_WITHIN_S", 0)
    (finding,) = cluster._check_node(node, cluster.installed_versions(), "/nowhere/data", "")
    assert "did not answer" in finding.message
