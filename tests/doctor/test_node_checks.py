from __future__ import annotations

from pathlib import Path

import pytest
import ray

from rcn_search.doctor import node_checks
from rcn_search.doctor.node_checks import check_node, check_versions, installed_versions, source_hash
from tests.support.doctor import state_of


@pytest.mark.parametrize(("there", "state", "words"), [("2", "ok", "Ray 2"), ("1", "problem", "Ray 1 there, 2 here")])
def test_check_versions_names_differences(there: str, state: str, words: str) -> None:
    result = check_versions("node", {"Ray": "2"}, {"Ray": there})
    assert state_of(result) == state
    assert words in result.message


def test_source_hash_changes_with_any_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = source_hash(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_hash(tmp_path) != before


def test_check_node_reports_what_the_node_finds(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = ray.nodes()
    name = node["NodeManagerAddress"]
    results = list(check_node(node, installed_versions(), "/nowhere/data", ""))
    assert results[0] == check_versions(f"{name}, versions", installed_versions(), installed_versions())
    assert all(state_of(result) == "ok" for result in results[:2])
    assert [result.topic.partition(", ")[2] for result in results[2:4]] == ["cores", "memory"]
    assert results[-1].topic == f"{name}, data"
    assert "no data set at /nowhere/data" in results[-1].message

    monkeypatch.setattr(node_checks, "START_TIMEOUT_S", 0)
    (result,) = check_node(node, installed_versions(), "/nowhere/data", "")
    assert "did not answer" in result.message
