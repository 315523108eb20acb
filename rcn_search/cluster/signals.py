"""Handling of SIGTERM, which clusters and batch systems send: it ends a search as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Handler that turns the first SIGTERM into a KeyboardInterrupt; later ones do not disturb the clean-up.

    Attributes:
        received: Whether a SIGTERM was received.
    """

    def __init__(self) -> None:
        self.received = False

    def install(self) -> None:
        """Install the handler, in place of one that a library may have set. Only the main thread can do that."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = True
            raise KeyboardInterrupt


@contextmanager
def sigterm_as_keyboard_interrupt() -> Iterator[StopSignal]:
    """Raise KeyboardInterrupt on SIGTERM within the ``with`` block."""
    stop, before = StopSignal(), signal.getsignal(signal.SIGTERM)
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
