"""SIGTERM, as a cluster or a batch system sends it, ends a search as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """Turns the first SIGTERM into a KeyboardInterrupt; those that follow do not disturb the clean-up.

    Attributes:
        came: Whether it was there.
    """

    def __init__(self) -> None:
        self.came = False

    def catch(self) -> None:
        """Be the handler, also if a library has put its own since. Signals are the main thread's alone."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[StopSignal]:
    """Within: SIGTERM interrupts as Ctrl-C does."""
    stop, before = StopSignal(), signal.getsignal(signal.SIGTERM)
    stop.catch()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
