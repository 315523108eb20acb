"""Serve the site to this machine's browser, read-only, and write it again when the leaderboard changes."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from rcn_search import storage
from rcn_search.errors import RcnSearchError
from rcn_search.leaderboard.objects import list_objects, list_subfolders
from rcn_search.leaderboard.published import MAX_FILE_BYTES, PUBLISHED
from rcn_search.leaderboard.records import ENTRIES
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import TEST_EVALUATIONS

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64
"""Connections, with a thread each, at once: beyond them the oldest is closed."""
MAX_CONNECTION_S = 30.0
"""Time after which a connection is closed, however slow its client is."""
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
"""Names under which a browser of this machine asks; behind an SSH tunnel the port is another one."""
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _Handler(SimpleHTTPRequestHandler):
    """Handles GET and HEAD of files of the site, for browsers of this machine only."""

    server_version = "rcn-search"
    sys_version = ""
    timeout = MAX_CONNECTION_S

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Refuse requests under another host name: a page elsewhere may let its name point to 127.0.0.1."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0].strip()):
            self.send_error(HTTPStatus.FORBIDDEN, "only for 127.0.0.1 and localhost")
            return None
        if "\0" in unquote(self.path):
            self.send_error(HTTPStatus.BAD_REQUEST, "no file has such a name")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal shows problems of the leaderboard only."""


class _Server(ThreadingHTTPServer):
    """Server whose number of threads is bounded, so that slow clients keep nobody else waiting."""

    daemon_threads = True

    def __init__(self, port: int, folder: Path) -> None:
        self._opened_at: dict[socket.socket, float] = {}  # oldest first; filled by one thread, emptied by all
        super().__init__((HOST, port), partial(_Handler, directory=str(folder)))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; close the oldest connections beyond `MAX_CONNECTIONS`."""
        self._opened_at[request] = time.monotonic()
        for connection in list(self._opened_at)[:-MAX_CONNECTIONS]:
            _close(connection)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, which is closed now."""
        self._opened_at.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close, twice a second, the connections that have lasted too long."""
        latest = time.monotonic() - MAX_CONNECTION_S
        for connection, opened_at in list(self._opened_at.items()):
            if opened_at < latest:
                _close(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about clients that went away; show any other error, which is a fault of this program."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):  # closed meanwhile
        connection.shutdown(socket.SHUT_RDWR)  # the thread that waits for it continues and ends


@contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve ``folder`` at the yielded address until the end of the block; `RcnSearchError` if the port is not free."""
    try:
        http_server = _Server(port, folder)
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
