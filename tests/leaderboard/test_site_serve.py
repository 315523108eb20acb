"""The server: only files of the site, only for this machine, updated with the leaderboard, ended by Ctrl-C."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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
    leaderboard: str, tmp_path: Path, add_measured: Callable[..., str]
) -> None:
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
        (tmp_path / "leaderboard" / "published" / "bad.csv").mkdir()  # reading it fails as a lost store does
        until(lambda: problems)
        assert get(f"{address}stamp.txt") == first
        (tmp_path / "leaderboard" / "published" / "bad.csv").rmdir()
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
