"""What is tried again, how often and for how long; by a clock that only sleeping moves."""

from __future__ import annotations

import itertools

import pytest

from rcn_search.storage import retry
from rcn_search.storage.retry import Limits, http_error, is_transient, with_retries


def answered(status: int, code: str = "") -> Exception:
    """As s3fs translates an error of botocore: the answer is that of its cause."""
    cause, error = RuntimeError("from the server"), OSError("translated")
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_is_transient_overloaded_server(status: int) -> None:
    assert is_transient(answered(status))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 411, 412, 416, 501])
def test_is_transient_refusal_is_not(status: int) -> None:
    assert not is_transient(answered(status))


def test_is_transient_depends_on_the_error_code() -> None:
    assert is_transient(answered(400, "RequestTimeout"))
    assert is_transient(answered(409, "ConditionalRequestConflict"))
    assert not is_transient(answered(409, "BucketNotEmpty"))
    assert http_error(answered(409, "X")) == (409, "X")


def test_is_transient_network_errors_are_and_others_are_not() -> None:
    from aiohttp import ClientPayloadError
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
    from botocore.parsers import ResponseParserError

    for error in (
        TimeoutError(),
        ConnectionResetError(),
        ClientPayloadError(),
        EndpointConnectionError(endpoint_url="x"),
        ReadTimeoutError(endpoint_url="x"),
        ResponseParserError(),
    ):
        assert is_transient(error)
    for error in (NoCredentialsError(), PermissionError(), FileNotFoundError(), FileExistsError(), KeyError()):
        assert not is_transient(error)


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made; the clock shows their sum."""
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    monkeypatch.setattr(retry.time, "monotonic", lambda: sum(slept))
    return slept


def test_with_retries_ends_when_the_time_is_up(slept_s: list[float]) -> None:
    def fail() -> None:
        raise answered(503)

    with pytest.raises(OSError, match="translated"):
        with_retries(fail)
    assert len(slept_s) > 5
    assert sum(slept_s) <= retry.LIMITS.total_s


def test_with_retries_stops_at_the_first_success_or_refusal(slept_s: list[float]) -> None:
    faults = iter([answered(503), TimeoutError(), None])

    def operation() -> str:
        if error := next(faults):
            raise error
        return "done"

    assert (with_retries(operation), len(slept_s)) == ("done", 2)
    refused = iter([answered(403)])
    with pytest.raises(OSError, match="translated"):
        with_retries(lambda: (_ for _ in ()).throw(next(refused)))
    assert len(slept_s) == 2


def test_pauses_are_random_below_a_doubling_bound() -> None:
    limits = Limits(first_pause_s=0.1, longest_pause_s=1.0)
    many = [list(itertools.islice(limits.pauses_s(), 6)) for _ in range(300)]
    for bound, pauses in zip((0.1, 0.2, 0.4, 0.8, 1.0, 1.0), zip(*many, strict=True), strict=True):
        assert 0.9 * bound < max(pauses) <= bound
        assert min(pauses) < 0.1 * bound


def test_attempt_limit_grows_with_the_size() -> None:
    assert Limits(attempt_s=15, bytes_per_s=1e6).attempt_limit_s(100_000_000) == 115
