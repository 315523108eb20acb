"""The live page of a study: what it shows, when it is written again, and how it is in a browser."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from rcn_search.leaderboard.site.serve import serve_folder
from rcn_search.study.identity import resume_settings
from rcn_search.study.lease import acquire
from rcn_search.study.study import Study
from rcn_search.study_report import live_page
from rcn_search.study_report.live_page import LivePage, study_view
from tests.support.studies import play_trials, resume_study

HOSTILE = "</script><img src=https://evil.example/x onerror=alert(1)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_study_view_counts_states_rungs_use_and_importances(play_study: Callable[..., Study]) -> None:
    study = play_study(num_trials=30, num_open=2, budget={"trials": 40, "max_hours": 5})
    view = study_view(study)
    assert (view["num_ended"], view["num_trials"]) == (30, 40)
    assert view["counts"] == {"open": 2, "complete": 10, "pruned": 10, "failed": 10}
    assert view["best"][:3] == (0, "16.00", 4)
    assert view["rungs"][0][:3] == (1, 32, 10) or view["rungs"][0][1] == 30
    assert view["use"]["limits"] == ["0.00 of 5 hours"]
    assert sum(share for _, share in view["importances"]) == pytest.approx(1)
    assert [chart["label"] for chart in view["charts"]][:2] == [
        "Lowest error so far",
        "Learning curves of the best trials",
    ]
    with acquire(study.uri, resume_settings(study.config), on_status=print):
        running = study_view(Study.open(study.uri))
    assert running["counts"] == {"running": 2, "complete": 10, "pruned": 10, "failed": 10}
    assert running["use"]["now"] == "2 CPU, 0 GPU"
    assert running["process"].startswith("running in process")


def test_history_chart_is_the_lowest_error_by_ended_trials(play_study: Callable[..., Study]) -> None:
    chart = study_view(play_study(num_trials=12))["charts"][0]
    assert chart["x"] == list(range(1, 13))
    assert chart["series"][0]["y"] == [16.0] * 12


def test_live_page_is_bounded_and_written_only_if_it_changed(
    play_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "NUM_BEST", 5)
    study = play_study(num_trials=9, num_open=1)
    page = LivePage(tmp_path / "page")
    assert page.write(study)
    stamp = (tmp_path / "page" / "stamp.txt").read_text()
    assert not page.write(Study.open(study.uri))
    assert (tmp_path / "page" / "stamp.txt").read_text() == stamp
    play_trials(resume_study(study.uri, study.config, "drawn"), 2)
    assert page.write(Study.open(study.uri))
    assert (tmp_path / "page" / "stamp.txt").read_text() != stamp
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count('<tr><th scope="row" class="number">') <= 5 + 11 + 3
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_live_page_of_a_study_without_trials_is_readable(play_study: Callable[..., Study], tmp_path: Path) -> None:
    LivePage(tmp_path / "page").write(play_study(num_trials=0))
    assert "No trial is complete yet." in (tmp_path / "page" / "index.html").read_text()


def test_live_page_escapes_what_a_stranger_wrote(play_study: Callable[..., Study], tmp_path: Path) -> None:
    study = play_study(num_trials=6)
    study.problems = [HOSTILE]
    for trial in study.trials[2:3]:
        trial.result = trial.result.model_copy(update={"reason": HOSTILE})
    LivePage(tmp_path / "page").write(study)
    text = (tmp_path / "page" / "index.html").read_text()
    assert HOSTILE not in text
    assert text.count("&lt;img src=https://evil.example") >= 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_live_page_in_chromium_has_charts_no_other_host_and_no_axe_violation(
    play_study: Callable[..., Study], tmp_path: Path, size: str, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    study = play_study(num_trials=24, num_open=1, budget={"trials": 30})
    study.problems = [HOSTILE]
    LivePage(tmp_path / "page").write(study)
    width, height = {"wide": (1366, 900), "phone": (360, 740)}[size]
    asked: list[str] = []
    messages: list[str] = []
    with serve_folder(tmp_path / "page") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: messages.append(line.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(address)
        page.locator("figure.chart svg path.line").first.wait_for(state="attached")
        assert page.locator("figure.chart").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("figure.chart svg").first.focus()
        page.keyboard.press("End")
        assert "trials 24" in page.locator("figure.chart .tip").first.inner_text()
        violations = Axe().run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []
        browser.close()
    assert all(url.startswith(address) for url in asked)
    assert messages == []


def test_serve_command_shows_a_study_and_ends_with_ctrl_c(play_study: Callable[..., Study], tmp_path: Path) -> None:
    study = play_study(num_trials=3)
    line = [sys.executable, "-m", "rcn_search", "study", "serve", study.uri, "--port", "0"]
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        address = next(word for word in process.stdout.readline().split() if word.startswith("http://127.0.0.1:"))
        assert "rcn-search study" in urllib.request.urlopen(address, timeout=10).read().decode()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest.strip(), errors) == (0, "ended", "")
