"""Signals that end the work of a search process. Ray is not imported here: a study is opened before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signal_handlers_restored() -> Iterator[None]:
    """Undo changes of signal handlers, as by Ray, whose SIGTERM handler aborts. Only the main thread can set them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class StopSignal:
    """Handler that turns the first SIGTERM into a KeyboardInterrupt; later ones do not disturb the clean-up."""

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
    """Raise KeyboardInterrupt on SIGTERM, which clusters and batch systems send, within the ``with`` block."""
    stop = StopSignal()
    with signal_handlers_restored():
        stop.install()
        yield stop
