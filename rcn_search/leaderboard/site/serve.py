"""Serve the site to this machine's browser, read-only, and write it again when the leaderboard changes."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.objects import list_objects, list_subfolders
from rcn_search.leaderboard.published import PUBLISHED
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Handles GET and HEAD of files of the site, for browsers of this machine only."""

    server_version = "rcn-search"
    sys_version = ""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Refuse requests under another host name: a page elsewhere may let its name point to 127.0.0.1."""
        if (self.headers.get("Host") or "").rpartition(":")[0] in (HOST, "localhost"):
            return super().send_head()
        self.send_error(HTTPStatus.FORBIDDEN, "only for 127.0.0.1 and localhost")
        return None

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal shows problems of the leaderboard only."""


@contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve ``folder`` at the yielded address until the end of the block; `RcnSearchError` if the port is not free."""
    try:
        http_server = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise RcnSearchError(
            f"port {port} of {HOST}: {error.strerror}; choose another with --port, or 0 for any free port"
        ) from error
    with http_server as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def leaderboard_version(leaderboard: str) -> str:
    """Hash what changes with a leaderboard: names of entries and test evaluations, and the published rows."""
    names = [*list_objects(leaderboard, ENTRIES)]
    for split in list_subfolders(leaderboard, TEST_EVALUATIONS):
        names += [split, *list_objects(leaderboard, f"{TEST_EVALUATIONS}/{split}")]
    digest = hashlib.sha256("\n".join(names).encode())
    for name in storage.list_names(storage.join(leaderboard, PUBLISHED)):
        digest.update(name.encode() + storage.read_bytes(storage.join(leaderboard, PUBLISHED, name)))
    return digest.hexdigest()


def rebuild_on_change(
    site: Site,
    leaderboard: str,
    *,
    written: str,
    stop: threading.Event,
    interval_s: float = 2.0,
    on_problem: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the site again whenever the leaderboard has changed, until ``stop``; a failure leaves the pages unchanged.

    The site shows the `leaderboard_version` ``written``. ``on_problem`` is called once for each failure.
    """
    reported = ""
    while not stop.wait(interval_s):
        try:
            current = leaderboard_version(leaderboard)
            if current != written:
                site.write(build_leaderboard(leaderboard))
                written = current
            reported = ""
        except (OSError, ValueError) as error:
            if str(error) != reported:
                reported = str(error)
                on_problem(f"the leaderboard could not be read, so the pages are not updated: {reported}")
