"""A small share of ``make fuzz``: hypothesis chooses the changes, the same ones each time, and shrinks them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.oracle import Bench
from tests.fuzz.targets import TARGETS


@pytest.fixture(scope="module", params=TARGETS, ids=lambda name: name.replace(" ", "-"))
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A target with its valid files, which it reads."""
    return Bench(TARGETS[request.param], tmp_path_factory.mktemp("fuzz"))


def test_reader_of_known_hostile_files_refuses_them_by_name(bench: Bench) -> None:
    found = {content[:80]: finding for content in bench.target.hostile() if (finding := bench.examine(content))}
    assert not found


def test_reader_of_changed_file_refuses_it_by_name_or_reads_it_right(bench: Bench) -> None:
    @settings(
        max_examples=bench.target.num_examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def read(random: Random) -> None:
        content = bench.draw(random)
        assert bench.examine(content) is None, content[:2_000]

    read()
