"""The base of every error that a user can mend."""

from __future__ import annotations


class RcnSearchError(ValueError):
    """Something that the user can mend; the message says what is wrong, where, and what to do.

    The command line prints the message and exits with code 1. Any other exception is a fault of this package and keeps
    its traceback. It is a ValueError, so that pydantic's validators may raise it.
    """
