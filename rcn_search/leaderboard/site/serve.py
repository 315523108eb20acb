"""Serve the site to this machine's browser, read-only, and write it again when the leaderboard changes."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from rcn_search import storage
from rcn_search.leaderboard.objects import list_objects, list_subfolders
from rcn_search.leaderboard.published import MAX_FILE_BYTES, PUBLISHED
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS
from rcn_search.local_server import MAX_CONNECTION_S, SECURITY_HEADERS, is_own_host, serve_locally


class _Handler(SimpleHTTPRequestHandler):
    """Handles GET and HEAD of files of the site, for browsers of this machine only."""

    server_version = "rcn-search"
    sys_version = ""
    timeout = MAX_CONNECTION_S

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Refuse requests under another host name: a page elsewhere may let its name point to 127.0.0.1."""
        if not is_own_host(self.headers):
            self.send_error(HTTPStatus.FORBIDDEN, "only for 127.0.0.1 and localhost")
            return None
        if "\0" in unquote(self.path):
            self.send_error(HTTPStatus.BAD_REQUEST, "no file has such a name")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal shows problems of the leaderboard only."""


@contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve ``folder`` at the yielded address until the end of the block; `RcnSearchError` if the port is not free."""
    with serve_locally(partial(_Handler, directory=str(folder)), port) as address:
        yield address


def leaderboard_version(leaderboard: str) -> str:
    """Hash what changes with a leaderboard: names of entries and test evaluations, and the published rows."""
    names = [*list_objects(leaderboard, ENTRIES)]
    for split in list_subfolders(leaderboard, TEST_EVALUATIONS):
        names += [split, *list_objects(leaderboard, f"{TEST_EVALUATIONS}/{split}")]
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    for name in storage.list_names(storage.join(leaderboard, PUBLISHED)):
        uri = storage.join(leaderboard, PUBLISHED, name)
        try:
            content = storage.read_bytes(uri, max_bytes=MAX_FILE_BYTES)
        except (OSError, storage.StorageError) as error:
            if not storage.is_local(uri):  # the store may be lost
                raise
            content = str(error).encode(errors="replace")  # the page names the file, and shows the others
        digest.update(name.encode(errors="surrogateescape") + content)
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
