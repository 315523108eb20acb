from __future__ import annotations

import pytest

from rcn_search.doctor.gpu_checks import check_missing_gpu
from tests.support.doctor import state_of


@pytest.mark.parametrize(
    ("build", "has_driver", "state", "words"),
    [
        (None, False, "ok", "CPUs"),
        (None, True, "problem", "install a CUDA build"),
        ("13.0", True, "problem", "nvidia-smi"),
        ("13.0", False, "warning", "no driver"),
    ],
)
def test_check_missing_gpu_judges_build_and_driver(build: str | None, has_driver: bool, state: str, words: str) -> None:
    result = check_missing_gpu(build, has_driver)
    assert state_of(result) == state
    assert words in f"{result.message} {result.remedy}"
