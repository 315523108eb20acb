from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from rcn_search.doctor.storage_checks import check_clock_skew, check_store_clock, check_study_uri, store_endpoint
from tests.support.doctor import state_of, unused_port


@pytest.mark.parametrize(
    ("skew_s", "state", "words"), [(0.2, "ok", "agrees"), (8.0, "warning", "NTP"), (90.0, "problem", "look expired")]
)
def test_check_clock_skew_judges_the_difference(skew_s: float, state: str, words: str) -> None:
    result = check_clock_skew("clock", skew_s, "that")
    assert state_of(result) == state
    assert words in f"{result.message} {result.remedy}"


def test_check_study_uri_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert state_of(check_study_uri(str(tmp_path / "file/study"))) == "problem"


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, float]]]:
    """An object store that refuses anonymous requests, and the error of its clock, which can be changed."""
    clock = {"off_s": 0.0}

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(403)
            if "off_s" in clock:
                self.send_header("Date", formatdate(time.time() + clock["off_s"], usegmt=True))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}", clock
        served.shutdown()


def test_check_store_clock_compares_with_the_date_header(server: tuple[str, dict[str, float]]) -> None:
    url, clock = server
    assert state_of(check_store_clock(url)) == "ok"
    for off_s, state in ((-30, "warning"), (30, "warning"), (3600, "problem"), (-3600, "problem")):
        clock["off_s"] = off_s
        assert state_of(check_store_clock(url)) == state
    del clock["off_s"]
    assert state_of(check_store_clock(url)) == "warning"
    assert state_of(check_store_clock(f"http://127.0.0.1:{unused_port()}")) == "problem"


def test_store_endpoint_is_that_of_the_aws_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://storage.example:9000")
    assert store_endpoint() == "http://storage.example:9000"
