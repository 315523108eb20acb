"""HTTP requests to the served leaderboard."""

from __future__ import annotations

import contextlib
import io
import socket
from functools import cache
from pathlib import Path
from random import Random

from rcn_search.leaderboard.site.serve import serve_folder
from tests.fuzz.mutations import TEXT
from tests.fuzz.oracle import Target, Wrong

SECRET = b"a secret beside the site"
SEEDS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n",
    b"GET /index.html HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\nRange: bytes=0-3\r\n\r\n",
    b"HEAD /a/b.html?x=1#y HTTP/1.0\r\nHost: 127.0.0.1:1\r\nIf-Modified-Since: Mon, 30 Nov 2026 00:00:00 GMT\r\n\r\n",
)
PATHS = (
    b"/%00",
    b"/..%2fsecret.txt",
    b"/../secret.txt",
    b"//secret.txt",
    b"/%2e%2e/secret.txt",
    b"/a/..%5c..%5csecret.txt",
    b"/....//secret.txt",
    b"/a//../../secret.txt",
    b"file:///etc/passwd",
    b"/" + b"a/" * 4_000,
    b"/%",
    b"/%ff%fe",
    b"/a%0d%0aX: 1",
    b"/?",
    b"*",
    b"/a/b.html/",
    b"/CON",
    b"/link/secret.txt",
)


SERVERS = contextlib.ExitStack()


@cache
def _address(folder: Path) -> tuple[str, int]:
    """Start a server of a small site, once in each process; it ends with the process."""
    site = folder / "site"
    (site / "a").mkdir(parents=True, exist_ok=True)
    (folder / "secret.txt").write_bytes(SECRET)
    for name in ("index.html", "a/b.html"):
        (site / name).write_text("<p>page</p>")
    url = SERVERS.enter_context(serve_folder(site))
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    return host, int(port)


def _edit_request(content: bytes, random: Random) -> bytes:
    if random.randrange(2):
        method, _, rest = content.split(b" ", 2)
        return method + b" " + random.choice(PATHS) + b" " + rest
    return TEXT(content, random)


def _ask(address: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(address, timeout=20) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                answer += part
        return answer


def _read(folder: Path, content: bytes) -> None:
    address, errors = _address(folder), io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            answer = _ask(address, content)
        except TimeoutError:
            raise Wrong("the server does not answer and does not close") from None
    if SECRET in answer or b"root:" in answer:
        raise Wrong("the server answers with a file outside the site")
    if "Traceback" in errors.getvalue():
        raise Wrong(f"a traceback on the terminal of the server: {errors.getvalue()[-400:]}")
    if answer and not answer.startswith((b"HTTP/1.", b"<!DOCTYPE", b"<p>page")):
        raise Wrong(f"no HTTP: {answer[:60]!r}")


TARGETS = (
    Target(
        name="HTTP request",
        prepare=lambda folder: list(SEEDS),
        mutate=_edit_request,
        read=_read,
        hostile=lambda: [
            *(b"GET " + path + b" HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n" for path in PATHS),
            b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 99999999999\r\n\r\nx",
            b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n",
        ],
    ),
)
