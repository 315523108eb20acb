"""A proxy between an S3 client and its server that does to requests what networks and stores do, as a seed has it."""

from __future__ import annotations

import http.client
import random
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PASSING = ("latency", "throttled", "error", "reset", "answer lost", "partial upload", "partial answer", "hang")
LASTING = ("refused", "throttled", "reset", "hang")
_XML = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
_ANSWERS = {
    "refused": (403, _XML.format("AccessDenied", "Access Denied")),
    "throttled": (503, _XML.format("SlowDown", "Please reduce your request rate")),
    "error": (500, _XML.format("InternalError", "We encountered an internal error")),
}


def _answer_of(fault: str) -> tuple[int, list[tuple[str, str]], bytes]:
    status, text = _ANSWERS[fault]
    return status, [("Content-Type", "application/xml")], text.encode()


@dataclass
class Weather:
    """What happens to requests: each passing fault by chance; the lasting one to all after so many requests.

    Attributes:
        seed: Of the chance.
        rate: Share of requests that meet a passing fault.
        lasting: Fault that stays once it has come, if any.
        after: Requests before it.
        seen: How often each fault has happened.
    """

    seed: int = 0
    rate: float = 0.0
    lasting: str = ""
    after: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random, self._count, self._lock = random.Random(self.seed), 0, threading.Lock()

    def fault(self) -> str:
        """Of the next request; empty of most."""
        with self._lock:
            self._count += 1
            fault = ""
            if self._random.random() < self.rate:
                fault = self._random.choice(PASSING)
            if self.lasting and self._count > self.after:
                fault = self.lasting
            if fault:
                self.seen[fault] += 1
            return fault


class FaultProxy(socketserver.ThreadingTCPServer):
    """Listens on this machine; `weather` may be changed at any time."""

    allow_reuse_address, daemon_threads = True, True
    weather = Weather()
    hang_s = 1.0

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is nothing to print."""


class _Handler(socketserver.StreamRequestHandler):
    server: FaultProxy

    def handle(self) -> None:
        while request := self.rfile.readline():
            method, path, _ = request.decode().split(" ", 2)
            headers = http.client.parse_headers(self.rfile)
            fault = self.server.weather.fault()
            length = int(headers.get("Content-Length", 0))
            if headers.get("Expect"):
                if fault in _ANSWERS:  # the client has not sent its body, and will not
                    self._answer(*_answer_of(fault), method)
                    return None
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if fault == "partial upload":
                self.rfile.read(length // 2)
                return self._reset()
            body = self.rfile.read(length)
            if fault == "reset":
                return self._reset()
            if fault == "hang":
                time.sleep(self.server.hang_s)
                return None
            if fault == "latency":
                time.sleep(0.1)
            if fault in _ANSWERS:
                self._answer(*_answer_of(fault), method)
                continue
            status, answer_headers, answer = self._forward(method, path, headers, body)
            if fault == "answer lost":
                return self._reset()
            if fault == "partial answer":
                self._answer(status, answer_headers, answer, method, stop=len(answer) // 2)
                return self._reset()
            self._answer(status, answer_headers, answer, method)
        return None

    def _forward(
        self, method: str, path: str, headers: http.client.HTTPMessage, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, method: str, stop: int | None = None
    ) -> None:
        dropped = {"connection", "transfer-encoding"} | (set() if method == "HEAD" else {"content-length"})
        lines = [
            f"HTTP/1.1 {status} X",
            *(f"{name}: {value}" for name, value in headers if name.lower() not in dropped),
        ]
        if method != "HEAD":
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        self.wfile.write(head + (b"" if method == "HEAD" else body[:stop]))

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
