"""When an object store fails: which faults pass by themselves, how long to wait for that, and when to give up.

Exponential back-off with full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog 2015): of many
workers that were throttled together no two come back together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_PASSING_CODES = {"RequestTimeout", "SlowDown", "OperationAborted", "ConditionalRequestConflict", "IncompleteBody"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient to be.

    Attributes:
        attempt_s: Longest one request may take that carries nothing.
        bytes_per_s: What carries something gets so much longer: the slowest link that is still of use.
        total_s: After so long no new attempt is made. Below the time after which a driver counts as dead
            (`rcn_search.study.lease.STALE_S`), so that it fails by itself first.
        first_pause_s: Upper bound of the first pause; each next is twice as long.
        longest_pause_s: Upper bound of any.
    """

    attempt_s: float = 15.0
    bytes_per_s: float = 1_000_000.0
    total_s: float = 40.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 8.0

    def attempt_limit_s(self, num_bytes: int) -> float:
        """Longest one request may take that carries so much."""
        return self.attempt_s + num_bytes / self.bytes_per_s

    def pauses_s(self) -> Iterator[float]:
        """How long to wait before each next attempt."""
        bound = self.first_pause_s
        while True:
            yield random.uniform(0, bound)
            bound = min(2 * bound, self.longest_pause_s)


LIMITS = Limits()


def passes(error: BaseException) -> bool:
    """Whether a fault of a store may be over in a moment: throttling, an overloaded or restarted server, the network.

    What a server refused (403, 404, 412 and the like) it will refuse again.
    """
    status, code = answer(error)
    if status is not None:
        return status in _PASSING_STATUS or code in _PASSING_CODES
    return any(_is_of_the_network(each) for each in causes(error))


def answer(error: BaseException) -> tuple[int | None, str]:
    """HTTP status and error code of what the server answered, as botocore keeps them; none if it gave no answer."""
    for each in causes(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status, str(response.get("Error", {}).get("Code", ""))
    return None, ""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_of_the_network(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    # By name: to import their classes costs a second where nothing is remote.
    names = {f"{each.__module__}.{each.__name__}" for each in type(error).__mro__}
    return not names.isdisjoint(
        {
            "aiohttp.client_exceptions.ClientError",
            "botocore.exceptions.ConnectionError",
            "botocore.exceptions.HTTPClientError",
            "botocore.parsers.ResponseParserError",
            "fsspec.exceptions.FSTimeoutError",
        }
    )


def retried(operation: Callable[[], Result]) -> Result:
    """Do it, and again while the fault is one that passes, until the time is up.

    Raises:
        Exception: The last fault.
    """
    started = time.monotonic()
    for pause_s in LIMITS.pauses_s():
        try:
            return operation()
        except Exception as error:
            if not passes(error) or time.monotonic() - started + pause_s > LIMITS.total_s:
                raise
        time.sleep(pause_s)
    raise AssertionError("pauses never end")
