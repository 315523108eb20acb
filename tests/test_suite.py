"""How the suite itself is run."""

from __future__ import annotations

import pytest


def test_tests_are_shared_out_by_group(request: pytest.FixtureRequest) -> None:
    """So that one of its processes has all that needs Ray (see conftest.py): the group is in the name."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process has it all")
    assert request.node.nodeid.endswith(f"@{request.node.path}")
