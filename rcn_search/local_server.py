"""HTTP server for the browser of one person on this machine: bounded, and closed to pages of other hosts."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rcn_search.errors import RcnSearchError

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64
"""Connections, with a thread each, at once: beyond them the oldest is closed."""
MAX_CONNECTION_S = 30.0
"""Time after which a connection is closed, however slow its client is."""
_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.IGNORECASE)
"""Names under which a browser of this machine asks; behind an SSH tunnel the port is another one."""
SECURITY_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_own_host(headers: Message) -> bool:
    """Whether a request is for this machine by name: a page elsewhere may let its name point to 127.0.0.1."""
    hosts = headers.get_all("Host") or []
    return len(hosts) == 1 and bool(_OWN_HOST.fullmatch(hosts[0].strip()))


def is_own_page(headers: Message) -> bool:
    """Whether a request that sends something comes from a page of this server, as its Origin says."""
    origins = headers.get_all("Origin") or []
    return origins == [f"http://{(headers.get('Host') or '').strip()}"]


class LocalServer(ThreadingHTTPServer):
    """Server whose number of threads is bounded, so that slow clients keep nobody else waiting."""

    daemon_threads = True

    def __init__(self, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._opened_at: dict[socket.socket, float] = {}  # oldest first; filled by one thread, emptied by all
        super().__init__((HOST, port), handler)

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
def serve_locally(handler: Callable[..., BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Serve at the yielded address until the end of the block.

    Raises:
        RcnSearchError: The port is not free.
    """
    try:
        http_server = LocalServer(port, handler)
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
