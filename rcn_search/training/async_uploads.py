"""Upload checkpoints to an object store while training continues.

Weights are uploaded before the checkpoint that refers to them. A save waits for the one before instead of replacing it,
because that one might hold the best weights. So at most two checkpoints are in memory, and a process that dies repeats
at most two epochs. Local folders are written at once, without a thread.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from rcn_search import storage


class AsyncUploads:
    """Uploads of one run. After a failed upload every method raises its error, so that no object is left out."""

    def __init__(self, out: str) -> None:
        self._is_local = storage.is_local(out)
        self._waiting: list[tuple[str, bytes]] = []
        self._running: Future[None] | None = None

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="uploads")  # Python waits for it at exit

    def add(self, uri: str, content: bytes) -> None:
        """Add an object to the next save."""
        if self._is_local:
            storage.write_bytes(uri, content)
        else:
            self._waiting.append((uri, content))

    def start(self) -> None:
        """Start to upload the added objects, after the save before is uploaded."""
        if self._waiting:
            self.flush()
            self._running = self._thread.submit(_upload, self._waiting)
            self._waiting = []

    def raise_if_failed(self) -> None:
        """Raise the error of a failed upload, without waiting for a running one."""
        if self._running and self._running.done():
            self._running.result()

    def flush(self) -> None:
        """Wait until the started save is uploaded."""
        if self._running:
            self._running.result()


def _upload(objects: list[tuple[str, bytes]]) -> None:
    for uri, content in objects:
        storage.write_bytes(uri, content)
