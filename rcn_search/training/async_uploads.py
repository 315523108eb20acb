"""Checkpoints on their way to an object store, beside the training.

The objects of a save are put one after another, the weights before the checkpoint that speaks of them. At most one save
is under way: the next one waits for it, rather than take its place. A save that was passed over might hold the best
weights, and a store that is slower than an epoch would let them pass for ever. So two checkpoints at most are in
memory, and a process that dies repeats two epochs at most. How long it may take is bounded by `storage` itself.

Folders of this machine are written at once.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from rcn_search import storage


class AsyncUploads:
    """What one run publishes. Once a put has failed, all that follows raises its error: nothing is left out."""

    def __init__(self, out: str) -> None:
        self._at_once = storage.is_local(out)
        self._waiting: list[tuple[str, bytes]] = []
        self._under_way: Future[None] | None = None

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="uploads")  # Python ends when it has nothing left to do

    def add(self, uri: str, content: bytes) -> None:
        """One more object of the next save."""
        if self._at_once:
            storage.write_bytes(uri, content)
        else:
            self._waiting.append((uri, content))

    def start(self) -> None:
        """Begin to put what was added, once the save before is through.

        Raises:
            OSError: That one failed.
        """
        if self._waiting:
            self.flush()
            self._under_way = self._thread.submit(_put, self._waiting)
            self._waiting = []

    def raise_if_failed(self) -> None:
        """Without waiting for anything: has a save failed?

        Raises:
            OSError: It has.
        """
        if self._under_way and self._under_way.done():
            self._under_way.result()

    def flush(self) -> None:
        """Wait until all that was sent is there.

        Raises:
            OSError: It cannot be put.
        """
        if self._under_way:
            self._under_way.result()


def _put(objects: list[tuple[str, bytes]]) -> None:
    for uri, content in objects:
        storage.write_bytes(uri, content)
