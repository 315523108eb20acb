"""A network in a file beside the study file, searched as a Ray job that sends its working directory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rcn_search.cluster.network_code import local_modules
from rcn_search.testing import check_network
from tests.cluster.conftest import Head
from tests.support.documents import blocks
from tests.support.networks import TINY, WriteModule

TIMEOUT_S = 1_000
(EXAMPLE,) = [block.text for block in blocks("python") if block.title == "nets.py"]
"""The network of docs/how-to/bring-your-own-network.md."""


def test_local_modules_are_those_that_are_not_installed(write_module: WriteModule, tmp_path: Path) -> None:
    name = write_module(TINY)
    package = tmp_path / "user_code" / "lab"
    package.mkdir()
    (package / "__init__.py").touch()
    targets = [f"{name}:Tiny", f"{name}:Points", "lab.nets:Net", "torch.nn:Conv2d", "json:JSONDecoder", "nowhere:Net"]
    assert local_modules(targets) == [str(tmp_path / f"user_code/{name}.py"), str(package)]


def test_network_of_the_guide_meets_its_contract(write_module: WriteModule) -> None:
    report = check_network(f"{write_module(EXAMPLE)}:Hourglass", num_points=7, args={"width": 8, "depth": 2})
    assert report.output == "logits 40×40"
    assert len(EXAMPLE.splitlines()) <= 45


def write_study(folder: Path, data_uri: str) -> None:
    document = {
        "study": {"name": "nets"},
        "base": {
            "data": {"uri": data_uri},
            "model": {"name": "custom", "target": "nets:Hourglass", "args": {"depth": 2}},
            "schedule": {"batch_size": 16},
            "compute": {"precision": "fp32", "channels_last": False},
        },
        "search": {"model.args.width": {"int": [4, 8]}, "optimizer.lr": {"float": [1e-3, 1e-2]}},
        "budget": {"trials": 2, "epochs": 2, "max_concurrent": 2},
        "scheduler": {"name": "none"},
        "test": {"split": "test", "method": "hourglass"},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.slow
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_custom_network_beside_the_study_file_is_searched_as_a_ray_job(
    head: Head, synthetic_uri: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "nets.py").write_text(EXAMPLE)
    write_study(here, synthetic_uri)
    study = tmp_path / "study"
    tune = ["--", "python", "-m", "rcn_search.tune", "study.yaml", "--study", str(study)]
    tune += ["--leaderboard", str(tmp_path / "leaderboard")]
    job = head.ray_job("submit", "--working-dir", ".", *tune, cwd=here)
    text, _ = job.communicate(timeout=TIMEOUT_S)
    assert job.returncode == 0, text
    assert "2 trials, 2 complete" in text, text
    widths = {json.loads(path.read_text())["params"]["model.args.width"] for path in study.glob("trials/*/trial.json")}
    assert widths <= set(range(4, 9))

    job = head.ray_job("submit", *tune[:4], str(here / "study.yaml"), *tune[5:6], str(tmp_path / "other"), *tune[7:])
    text, _ = job.communicate(timeout=TIMEOUT_S)
    assert job.returncode == 1, text
    assert "there is no module 'nets' here" in text, text
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_custom_network_travels_with_a_search_that_is_no_job(head: Head, synthetic_uri: str, tmp_path: Path) -> None:
    """The cluster was started elsewhere, without the module on PYTHONPATH; only its own processes need it."""
    (tmp_path / "nets.py").write_text(EXAMPLE)
    write_study(tmp_path, synthetic_uri)
    line = [sys.executable, "-m", "rcn_search", "tune", "study.yaml", "--study", "study", "--leaderboard", "board"]
    done = subprocess.run(
        line,
        cwd=tmp_path,
        env={**head.environment, "RAY_ADDRESS": head.address, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials, 2 complete" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_node_without_the_module_is_named(head: Head, tmp_path: Path) -> None:
    """The process that asks can import it; the node cannot, as a package that is installed on one machine only."""
    (tmp_path / "only_here.py").write_text(EXAMPLE)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from rcn_search.cluster.network_code import check_nodes\n"
        "from rcn_search.cluster.runtime import connect_cluster\n"
        "from rcn_search.config.network_target import TargetError, allow_target, import_target\n"
        "allow_target('only_here')\n"
        "assert import_target('only_here:Hourglass')\n"
        "with connect_cluster():\n"
        "    check_nodes([])\n"
        "    try:\n"
        "        check_nodes(['only_here:Hourglass'])\n"
        "    except TargetError as error:\n"
        "        print(error)\n"
    )
    environment = {**head.environment, "RAY_ADDRESS": head.address}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 nodes cannot import the network:\nnode " in done.stdout
    assert "there is no module 'only_here' here" in done.stdout
