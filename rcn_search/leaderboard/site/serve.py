"""Show the site on this machine, written anew whenever the leaderboard has grown. Read only.

The pages look at the stamp of the site once a second (``assets/live.js``) and load themselves again when it changes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.published import PUBLISHED
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files of the site, for this machine's own browser."""

    server_version = "rcn-search"
    sys_version = ""

    def do_GET(self) -> None:
        if self._is_meant():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._is_meant():
            super().do_HEAD()

    def _is_meant(self) -> bool:
        """Refuse a page elsewhere that made its own name lead here, to read what only this machine may."""
        name = (self.headers.get("Host") or "").rpartition(":")[0]
        if name in (HOST, "localhost"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN, "only for 127.0.0.1 and localhost")
        return False

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the leaderboard's problems only."""


@contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """The files of ``folder`` at the yielded address, until the end of the block.

    Raises:
        RcnSearchError: The port cannot be had.
    """
    try:
        listening = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise RcnSearchError(f"port {port} of {HOST}: {error.strerror}; name another with --port, or 0") from error
    with listening as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def leaderboard_version(leaderboard: str) -> str:
    """What changes when a leaderboard does: names of entries and looks, which never change, and the published rows."""
    names = [*storage.list_names(storage.join(leaderboard, ENTRIES))]
    for split in storage.list_names(storage.join(leaderboard, TEST_EVALUATIONS)):
        names += [split, *storage.list_names(storage.join(leaderboard, TEST_EVALUATIONS, split))]
    digest = hashlib.sha256("\n".join(names).encode())
    for name in storage.list_names(storage.join(leaderboard, PUBLISHED)):
        digest.update(name.encode() + storage.read_bytes(storage.join(leaderboard, PUBLISHED, name)))
    return digest.hexdigest()


def rebuild_on_change(
    site: Site,
    leaderboard: str,
    *,
    shown: str,
    stop: threading.Event,
    every_s: float = 2.0,
    on_problem: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the site again whenever the leaderboard has changed, until ``stop``; what is shown stays while that fails.

    Args:
        site: Written once already.
        leaderboard: URI of its leaderboard.
        shown: Its `version` before that.
        stop: Ends it.
        every_s: How often to look.
        on_problem: Told of each failure, once.
    """
    told = ""
    while not stop.wait(every_s):
        try:
            now = leaderboard_version(leaderboard)
            if now != shown:
                site.write(build_leaderboard(leaderboard))
                shown = now
            told = ""
        except (OSError, ValueError) as error:
            if str(error) != told:
                told = str(error)
                on_problem(f"the leaderboard could not be read, so the pages stay as they are: {told}")
