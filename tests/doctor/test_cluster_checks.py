from __future__ import annotations

import pytest

from rcn_search.doctor.cluster_checks import check_cluster
from tests.support.doctor import state_of, unused_port


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:{unused_port}", "refused"),
        ("10.0.0.7", "is not an address"),
        ("http://head:8265", "job server"),
        ("head:ray", "is not an address"),
    ],
)
def test_check_cluster_unreachable_address_is_a_problem(address: str, words: str) -> None:
    (result,) = check_cluster(address.format(unused_port=unused_port()), "", "")
    assert state_of(result) == "problem"
    assert words in result.message
