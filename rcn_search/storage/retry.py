"""Retries of requests to an object store: which errors are transient, how long to wait, and when to give up.

Exponential back-off with full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog 2015): workers
that were throttled together do not come back together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "OperationAborted", "ConditionalRequestConflict", "IncompleteBody"}
# By name, because importing these classes takes a second where nothing is remote.
_NETWORK_ERRORS = {
    "aiohttp.client_exceptions.ClientError",
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "botocore.parsers.ResponseParserError",
    "fsspec.exceptions.FSTimeoutError",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Time limits of requests and retries."""

    attempt_s: float = 15.0  # time limit of a request without content
    bytes_per_s: float = 1_000_000.0  # slowest useful link; a request with content gets so much more time
    # Time after which no new attempt is made. Less than `rcn_search.study.lease.LEASE_TIMEOUT_S`, so that a search
    # process fails before it loses its lease.
    total_s: float = 40.0
    first_pause_s: float = 0.1  # upper bound of the first pause; it doubles with each attempt
    longest_pause_s: float = 8.0  # upper bound of every pause

    def attempt_limit_s(self, num_bytes: int) -> float:
        """Compute the time limit of a request that carries ``num_bytes``, in seconds."""
        return self.attempt_s + num_bytes / self.bytes_per_s

    def pauses_s(self) -> Iterator[float]:
        """Draw the pause before each further attempt, in seconds, without end."""
        bound = self.first_pause_s
        while True:
            yield random.uniform(0, bound)
            bound = min(2 * bound, self.longest_pause_s)


LIMITS = Limits()


def is_transient(error: BaseException) -> bool:
    """Whether an error may be over in a moment: throttling, an overloaded or restarted server, or the network."""
    status, code = http_error(error)
    if status is not None:
        return status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
    return any(_is_network_error(each) for each in cause_chain(error))


def http_error(error: BaseException) -> tuple[int | None, str]:
    """Get the HTTP status and error code of the server's answer from botocore; (None, "") if there was no answer."""
    for each in cause_chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, str(response.get("Error", {}).get("Code", ""))
    return None, ""


def cause_chain(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and the errors that it was raised from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_network_error(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    return any(f"{base.__module__}.{base.__name__}" in _NETWORK_ERRORS for base in type(error).__mro__)


def with_retries(operation: Callable[[], Result]) -> Result:
    """Run an operation, and repeat it after transient errors until the time is up; then raise the last error."""
    started = time.monotonic()
    for pause_s in LIMITS.pauses_s():
        try:
            return operation()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - started + pause_s > LIMITS.total_s:
                raise
        time.sleep(pause_s)
    raise AssertionError("pauses never end")
