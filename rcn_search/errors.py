"""The base of every error that a user can mend, and short messages for many faults."""

from __future__ import annotations

from collections.abc import Sequence


class RcnSearchError(ValueError):
    """Something that the user can mend; the message says what is wrong, where, and what to do.

    The command line prints the message and exits with code 1. Any other exception is a fault of this package and keeps
    its traceback. It is a ValueError, so that pydantic's validators may raise it.
    """


MAX_LISTED = 10


def list_first(items: Sequence[str], separator: str = ", ") -> str:
    """Join the first ten items and count the others, so that a message about thousands of them stays short.

    >>> list_first([str(n) for n in range(12)])
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    num_more = len(items) - MAX_LISTED
    return separator.join(items[:MAX_LISTED]) + (f" and {num_more:,} more" if num_more > 0 else "")


class Faults:
    """Faults of one input: the first ten are described, all are counted."""

    MAX_FAULTS = 10_000

    def __init__(self) -> None:
        self.num_faults = 0
        self._described: list[str] = []

    def add(self, fault: str) -> None:
        """Note a fault.

        Raises:
            RcnSearchError: There are so many that more of the input is not worth reading.
        """
        self.num_faults += 1
        if len(self._described) < MAX_LISTED:
            self._described.append(fault)
        if self.num_faults == self.MAX_FAULTS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise `RcnSearchError` with the faults, if there are any."""
        num_more = self.num_faults - len(self._described)
        if self._described:
            raise RcnSearchError("; ".join(self._described) + (f"; and {num_more:,} more faults" if num_more else ""))
