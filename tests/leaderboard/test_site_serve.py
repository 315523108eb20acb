"""The server: only files of the site, only for this machine, updated with the leaderboard, ended by Ctrl-C."""

from __future__ import annotations

import http.client
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rcn_search import local_server
from rcn_search.cli import site as site_commands
from rcn_search.leaderboard.site import serve
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.site.serve import leaderboard_version, rebuild_on_change, serve_folder
from rcn_search.leaderboard.table import build_leaderboard


def get(address: str) -> str:
    return urllib.request.urlopen(address, timeout=10).read().decode()


@pytest.fixture
def leaderboard(tmp_path: Path, add_measured: Callable[..., str]) -> str:
    uri = str(tmp_path / "leaderboard")
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    add_measured(uri, [4.0, 5.0, 6.0], method="First")
    return uri


def test_rebuild_on_change_updates_and_survives_read_errors(
    leaderboard: str, tmp_path: Path, add_measured: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(leaderboard: str) -> str:
        if lost.is_set():
            raise ConnectionError("the store is gone")
        return leaderboard_version(leaderboard)

    lost = threading.Event()
    monkeypatch.setattr(serve, "leaderboard_version", version)
    site, stop, problems = Site(tmp_path / "site", live=True), threading.Event(), list[str]()
    written = leaderboard_version(leaderboard)
    site.write(build_leaderboard(leaderboard))
    with serve_folder(site.folder) as address:
        thread = threading.Thread(
            daemon=True,  # so that a failure below ends the test
            target=rebuild_on_change,
            args=(site, leaderboard),
            kwargs={"written": written, "stop": stop, "interval_s": 0.02, "on_problem": problems.append},
        )
        thread.start()
        first = get(f"{address}stamp.txt")
        assert "assets/live.js" in get(f"{address}index.html")
        lost.set()
        until(lambda: problems)
        assert get(f"{address}stamp.txt") == first
        lost.clear()
        add_measured(leaderboard, [3.0, 4.0, 5.0], method="Second")
        until(lambda: get(f"{address}stamp.txt") != first)
        assert "Second" in get(f"{address}aflw-test-rcn2016-five.html")
        assert len(problems) == 1
        stop.set()
        thread.join()


def until(happened: Callable[[], object]) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_leaderboard_version_counts_files_that_cannot_be_read(leaderboard: str) -> None:
    versions = [leaderboard_version(leaderboard)]
    bad = Path(leaderboard) / "published" / "bad.csv"
    for change in (bad.mkdir, bad.rmdir, lambda: bad.symlink_to(bad), bad.unlink, lambda: bad.symlink_to("/dev/zero")):
        change()
        versions.append(leaderboard_version(leaderboard))
    first, folder, again, loop, last, device = versions
    assert first == again == last
    assert len({first, folder, loop, device}) == 4


@pytest.fixture
def address(leaderboard: str, tmp_path: Path) -> Iterator[str]:
    """Address of the site of the leaderboard."""
    Site(tmp_path / "site").write(build_leaderboard(leaderboard))
    with serve_folder(tmp_path / "site") as address:
        yield address


def answer(address: str, request: bytes) -> bytes:
    """What the server answers to the bytes of a request, until it closes the connection."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request.replace(b"PORT", str(parts.port).encode()))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_serve_folder_headers_forbid_frames_and_other_sources(address: str) -> None:
    for path in ("index.html", "assets/site.css", "missing"):
        head, _, _ = answer(address, f"GET /{path} HTTP/1.0\r\nHost: localhost:PORT\r\n\r\n".encode()).partition(
            b"\r\n\r\n"
        )
        headers = {line.partition(b": ")[0]: line.partition(b": ")[2] for line in head.splitlines()[1:]}
        assert b"default-src 'none'" in headers[b"Content-Security-Policy"]
        assert b"frame-ancestors 'none'" in headers[b"Content-Security-Policy"]
        assert (headers[b"X-Frame-Options"], headers[b"X-Content-Type-Options"]) == (b"DENY", b"nosniff")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Host: LOCALHOST:PORT", 200),
        ("Host: localhost", 200),
        ("Host: 127.0.0.1:9000", 200),  # through an SSH tunnel
        ("Host: localhost:evil", 403),
        ("Host: 127.0.0.1:PORT, evil.com", 403),
        ("Host: 127.0.0.1:PORT.evil.com", 403),
        ("Host: evil.com:127.0.0.1:PORT", 403),
        ("Host: 127.0.0.1@evil.com:PORT", 403),
        ("Host: localhost:PORT\r\nHost: evil.com", 403),
        ("Host: evil.com\r\nHost: localhost:PORT", 403),
        ("Host: ", 403),
        ("X: y", 403),
    ],
)
def test_serve_folder_takes_exact_hosts_only(address: str, lines: str, status: int) -> None:
    reply = answer(address, f"GET /index.html HTTP/1.0\r\n{lines}\r\n\r\n".encode())
    assert reply.startswith(f"HTTP/1.0 {status} ".encode()), reply[:100]


def test_serve_folder_odd_paths_are_refused_quietly(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path, status in (("%00", 400), ("index.html%00.png", 400), ("%ff%fe", 404), ("a" * 5_000, 404), ("?%00", 400)):
        reply = answer(address, f"GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        assert reply.startswith(f"HTTP/1.0 {status} ".encode()), (path[:20], reply[:100])
    assert capsys.readouterr().err == ""


def test_serve_folder_slow_clients_are_bounded_and_closed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server, "MAX_CONNECTIONS", 4)
    before, parts = threading.active_count(), urlsplit(address)
    slow = [socket.create_connection((parts.hostname, parts.port), timeout=10) for _ in range(40)]
    try:
        assert "First" in get(f"{address}aflw-test-rcn2016-five.html")
        until(lambda: threading.active_count() <= before + 4)
        assert slow[0].recv(1) == b""  # closed to make room
        slow[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            slow[-1].recv(1)
        monkeypatch.setattr(local_server, "MAX_CONNECTION_S", 0.0)
        slow[-1].settimeout(10)
        assert slow[-1].recv(1) == b""
        until(lambda: threading.active_count() <= before)
    finally:
        for connection in slow:
            connection.close()


def test_serve_folder_client_that_goes_away_is_no_error(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    parts = urlsplit(address)
    for _ in range(3):
        connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET /leaderboard.json HTTP/1.0\r\nHost: localhost\r\n\r\n")
        connection.close()  # with a reset
    get(f"{address}index.html")
    assert capfd.readouterr().err == ""


def test_serve_folder_refuses_other_hosts_and_paths(leaderboard: str, tmp_path: Path) -> None:
    Site(tmp_path / "site").write(build_leaderboard(leaderboard))
    (tmp_path / "secret.txt").write_text("secret")
    with serve_folder(tmp_path / "site") as address:
        for path in ("../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "entry/", "config/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(address + path)
        parts = urlsplit(address)
        for method, host, expected in (
            ("GET", f"localhost:{parts.port}", 200),
            ("HEAD", f"127.0.0.1:{parts.port}", 200),
            ("GET", f"evil.example:{parts.port}", 403),
            ("HEAD", "evil.example", 403),
            ("POST", f"127.0.0.1:{parts.port}", 501),
            ("PUT", f"127.0.0.1:{parts.port}", 501),
            ("DELETE", f"127.0.0.1:{parts.port}", 501),
        ):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
            connection.request(method, "/index.html", headers={"Host": host})
            assert connection.getresponse().status == expected, (method, host)
            connection.close()


def test_serve_command_ends_with_ctrl_c(leaderboard: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "rcn_search", "leaderboard", "serve", "--port", "0", "--leaderboard", leaderboard]
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as process:
        output = process.stdout.readline()
        address = next(word for word in output.split() if word.startswith("http://127.0.0.1:"))
        assert "First" in get(f"{address}aflw-test-rcn2016-five.html")
        process.send_signal(signal.SIGINT)
        try:
            rest, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest.strip(), errors) == (0, "ended", "")


@pytest.mark.parametrize("moment", ["print_text", "rebuild_on_change"])
def test_serve_command_ctrl_c_at_any_moment_ends_it(
    leaderboard: str, cli: object, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(site_commands if moment == "print_text" else serve, moment, interrupt)
    output = cli.run("leaderboard", "serve", "--port", 0, "--leaderboard", leaderboard)  # type: ignore[attr-defined]
    assert output.endswith("ended")


def test_serve_command_used_port_is_named(leaderboard: str, tmp_path: Path, cli: object) -> None:
    with serve_folder(tmp_path) as address:
        port = urlsplit(address).port
        problem = cli.fail("leaderboard", "serve", "--port", port, "--leaderboard", leaderboard)  # type: ignore[attr-defined]
    assert str(port) in problem


def test_build_site_command_writes_pages(leaderboard: str, tmp_path: Path, cli: object) -> None:
    (Path(leaderboard) / "entries" / "torn.json").write_text("{")
    output = cli.run("leaderboard", "build-site", "--out", "pages", "--leaderboard", leaderboard)  # type: ignore[attr-defined]
    assert output == "3 pages → pages/index.html"
    assert (tmp_path / "pages" / "index.html").exists()
    problem = cli.fail("leaderboard", "build-site", "--out", leaderboard, "--leaderboard", leaderboard)  # type: ignore[attr-defined]
    assert "holds files that are not a site" in problem
    assert "--out" in problem
