"""Leaderboards written by every version of this package, in ``fixtures/``, load for ever. Never regenerate them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rcn_search.leaderboard.records import load_entries
from rcn_search.leaderboard.table import build_leaderboard, load_errors

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_load_entries_old_version_loads_all(version: str) -> None:
    entries, problems = load_entries(str(FIXTURES / version))
    assert problems == []
    assert len(entries) == len(list((FIXTURES / version / "entries").iterdir())) > 0
    documents = [json.loads(path.read_bytes()) for path in (FIXTURES / version / "entries").iterdir()]
    assert {f"v{document['schema_version']}" for document in documents} == {version}


def test_load_entries_version_1_keeps_values() -> None:
    entries, _ = load_entries(str(FIXTURES / "v1"))
    entry = entries["20261122T125013Z-10cb60282c21-d164827983e3"]
    assert (entry.method, entry.error_pct) == ("RCN 6 branches, occlusion, fast recipe, 15 epochs", 6.192636184517203)
    assert (entry.protocol.name, entry.protocol.threshold_pct) == ("rcn2016", 10)
    assert (entry.auc, entry.points, entry.errors_sha256) == (None, (), None)


def test_load_entries_version_2_keeps_values() -> None:
    leaderboard = build_leaderboard(str(FIXTURES / "v2"))
    tables = {table.protocol_name: table for table in leaderboard.tables if table.dataset == "synthetic"}
    assert [(str(row.rank), row.method) for row in tables["subpixel"].rows] == [("1", "exact"), ("2", "rough")]
    entry = tables["rcn2016"].rows[0].entry
    assert entry is not None
    assert len(entry.points) == 5
    assert entry.parts["pose 2"].num_images == 4
    assert entry.auc is not None
    assert entry.auc.low_pct is not None
    assert entry.auc.low_pct < entry.auc.pct == pytest.approx(53.10191788513133)
    errors = load_errors(leaderboard.uri, entry)
    assert errors.mean() == pytest.approx(entry.error_pct)
    assert np.maximum(0, 10 - errors).mean() * 10 == pytest.approx(53.10191788513133)
