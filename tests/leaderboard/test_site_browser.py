"""The pages in Chromium: tables, charts, keyboard, themes, accessibility, and that nothing asks another host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rcn_search import storage
from rcn_search.evaluation.protocol import subpixel
from rcn_search.evaluation.score import Estimate, Part
from rcn_search.leaderboard.site.build import Site
from rcn_search.leaderboard.site.serve import serve_folder
from rcn_search.leaderboard.table import build_leaderboard
from rcn_search.leaderboard.test_evaluations import record_test_evaluation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)", allow_module_level=True)

TABLE = "aflw-test-rcn2016-five.html"
HOSTILE = (
    "</script><script>document.title='stolen'</script><img src=https://evil.example/x onerror=alert(1)>\" onfocus='"
)
SIZES = {"phone": (360, 740), "wide": (1366, 900)}
PUBLISHED = (
    "method,year,dataset,subset,keypoints,protocol,normalizer,grid,error_pct,origin,source,link,note\n"
    "Paper A,2016,aflw,test,five,rcn2016,eye_centers,80,5.60,reported,A paper,https://example.org/paper,a doubt\n"
    "\u202eRight to left,2018,aflw,test,five,rcn2016,eye_centers,80,5.10,reproduced,Others,,\n"
    "<b>Third</b>,2019,aflw,test,five,rcn2016,eye_centers,80,9.00,reported,A paper,,\n"
)


class Opened(NamedTuple):
    """A page, the base of its address, the URLs it requested, and its console messages and errors."""

    page: Page
    base: str
    requests: list[str]
    messages: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, add_measured: Callable[..., str]) -> Iterator[str]:
    """Address of a site with 130 measured rows, some of them with hostile names, and three published rows."""
    folder = tmp_path_factory.mktemp("site")
    leaderboard = f"memory://{folder.name}"  # no disk has to sync hundreds of objects
    storage.write_bytes(f"{leaderboard}/published/a.csv", PUBLISHED.encode())
    errors = np.random.default_rng(0).gamma(9.0, 0.6, 200)
    estimate = Estimate(50.0, 49.0, 51.0)
    for i in range(126):
        add_measured(
            leaderboard,
            errors * (1 + 0.01 * i),
            method=f"Model {i}",
            num_params=200_000 - 1_000 * i if i else None,
            latency_ms=1.0 + i % 7,
            origin="reproduced" if i % 10 == 5 else "ours",
            points=(Estimate(5.0, 4.0, 6.0), Estimate(4.0), Estimate(3.0), Estimate(7.0, 6.5, 7.5), Estimate(6.0)),
            parts={"pose 1": Part(40, Estimate(5.0, 4.0, 6.0))},
            auc=estimate,
            failure_rate=estimate,
            p95=estimate,
        )
    add_measured(leaderboard, errors * 0.99, method=HOSTILE, num_params=300_000, config={"seed": HOSTILE})
    add_measured(leaderboard, errors, method="Other rule", protocol=subpixel("aflw", "test", "five"))
    storage.write_bytes(f"{leaderboard}/entries/torn.json", b"{")
    record_test_evaluation(leaderboard, dataset="aflw", subset="test", method="Model 0", run_id="0123456789ab")
    Site(folder).write(build_leaderboard(leaderboard))
    with serve_folder(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Callable[..., Opened]]:
    """Open a page of the site. Afterwards no other host was asked, and there is no console message or error."""
    opened: list[Opened] = []

    def visit(name: str, *, base: str = site, size: str = "wide", scheme: str = "light", script: bool = True) -> Opened:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=script
        )
        new = Opened(context.new_page(), base, [], [])
        new.page.set_default_timeout(10_000)
        context.route("**/*", lambda route: route.continue_() if route.request.url.startswith(base) else route.abort())
        new.page.on("request", lambda request: new.requests.append(request.url))
        new.page.on("console", lambda line: new.messages.append(line.text) if line.type != "log" else None)
        new.page.on("pageerror", lambda error: new.messages.append(str(error)))
        new.page.goto(base + name)
        opened.append(new)
        return new

    yield visit
    for page in opened:
        assert not page.messages
        assert all(url.startswith(page.base) for url in page.requests)
        page.page.context.close()


def methods(page: Page, kind: str = "measured") -> list[str]:
    """Names of the methods in the order of the rows."""
    return page.locator(f"[data-kind={kind}] > table > tbody > tr > th > :is(a, bdi)").all_inner_texts()


def sort_by(page: Page, title: str, kind: str = "measured") -> None:
    page.locator(f"[data-kind={kind}] > table thead").get_by_role("button", name=title, exact=True).click()


def test_table_sort_puts_unknown_values_last(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE).page
    assert methods(page)[:3] == [HOSTILE, "Model 0", "Model 1"]
    sort_by(page, "Params")
    assert methods(page)[:2] == ["Model 125", "Model 124"]
    head = page.locator("[data-kind=measured] thead th.params")
    assert head.get_attribute("aria-sort") == "ascending"
    sort_by(page, "Params")
    assert methods(page)[:2] == [HOSTILE, "Model 1"]
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Next").click()
    assert methods(page)[-1] == "Model 0"  # the one whose parameters nobody knows
    sort_by(page, "Method")
    assert methods(page)[1:4] == ["Model 0", "Model 1", "Model 2"]


def test_table_search_looks_in_all_pages(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE).page
    assert len(methods(page)) == 100
    page.get_by_role("button", name="Next").click()
    assert methods(page) == [f"Model {i}" for i in range(99, 126)]
    page.locator("[data-kind=measured]").get_by_label("Find").fill("mODel 12")
    assert methods(page) == [f"Model {i}" for i in (12, 112, *range(120, 126))]
    assert page.locator("[data-kind=measured] output").inner_text() == "8 of 127 rows"
    page.locator("[data-kind=measured] .chip[data-origin=ours]").click()
    assert methods(page) == ["Model 125"]
    page.reload()
    assert methods(page) == ["Model 125"]  # as one left it
    page.locator("[data-kind=measured]").get_by_label("Find").fill("no such thing")
    assert methods(page) == []


def test_protocol_switch_shows_rows_of_that_protocol(visit: Callable[..., Opened]) -> None:
    page = visit("index.html").page
    page.get_by_role("link", name="rcn2016", exact=True).click()
    page.wait_for_url(re.compile("rcn2016"), wait_until="load")
    page.get_by_role("navigation", name="Protocol").get_by_role("link", name=re.compile("subpixel")).click()
    page.wait_for_url(re.compile("subpixel"), wait_until="load")
    page.get_by_text("Other rule").first.wait_for()
    assert methods(page) == ["Other rule"]
    assert page.locator("[data-kind=published]").count() == 0
    assert page.locator("[aria-current=page]").inner_text().startswith("subpixel")


def test_row_opens_by_keyboard(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE).page
    page.locator("[data-kind=measured] button.toggle").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Details of Model 0"
    page.keyboard.press("Enter")
    panel = page.locator("tr.panel")
    panel.wait_for()
    assert "name: rcn" in panel.locator(".config pre").inner_text()
    assert "rcn-search train config/" in panel.locator(".reproduce").inner_text()
    assert panel.locator(".keypoints circle").count() == 5
    assert panel.locator(".config a").get_attribute("href").startswith("config/")
    page.keyboard.press("Enter")
    assert not panel.is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/entry/"))
    assert page.locator("h1").inner_text() == "Model 0"


def test_hostile_names_run_no_script(visit: Callable[..., Opened]) -> None:
    opened = visit(TABLE)
    page = opened.page
    page.locator("[data-kind=measured] button.toggle").first.click()
    page.locator("tr.panel").wait_for()
    page.locator(".chart svg[role=img]").first.hover()
    assert "stolen" not in page.title()
    assert page.locator("img").count() == 0
    assert not [url for url in opened.requests if "evil" in url]
    assert methods(page, "published")[0] == "\u202eRight to left"
    cell = page.locator("[data-kind=published] tbody tr").first.locator("th bdi").first
    assert cell.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"


def test_ced_chart_shows_values_by_pointer_and_key(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE).page
    chart = page.locator("figure.chart").first
    chart.locator("svg[role=img]").focus()
    page.keyboard.press("ArrowRight")
    assert chart.locator(".tip .head").inner_text() == "up to 10.03 %"  # at the threshold, or right behind it
    page.keyboard.press("End")
    assert chart.locator(".tip .head").inner_text() == "up to 15.00 %"
    assert chart.locator(".announcement").inner_text().startswith("up to 15.00 %")
    assert chart.locator(".line").count() == 5
    chart.locator("button.key").first.click()
    assert chart.locator(".line").count() == 4
    chart.locator("button.more").click()
    chart.locator("button.key").nth(20).click()
    assert chart.locator(".line").count() == 5
    box = chart.locator("svg[role=img]").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 50)
    assert chart.locator(".tip .head").inner_text().startswith("up to 0.")


def test_legend_shows_long_names_whole(
    visit: Callable[..., Opened], tmp_path: Path, add_measured: Callable[..., str]
) -> None:
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    name = "RCN 6 branches, occlusion, balanced by pose, fast recipe, 150 epochs, median decoding"
    add_measured(str(tmp_path / "leaderboard"), [4.0, 5.0, 6.0], method=name)
    add_measured(str(tmp_path / "leaderboard"), [3.0, 4.0, 5.0], method=f"{name}, 9 views")
    Site(tmp_path / "site").write(build_leaderboard(str(tmp_path / "leaderboard")))
    page = visit(TABLE, base=f"file://{tmp_path}/site/", size="phone").page
    cut = page.locator(".key bdi").evaluate_all(
        "all => all.filter(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1).length"
    )
    assert page.locator(".key bdi").count() == 2
    assert cut == 0


def test_cost_chart_marks_front_and_links_entries(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE).page
    chart = page.locator("figure.chart").nth(1)
    assert chart.locator("circle.dot").count() == 126  # of 127, one does not say
    assert chart.locator("circle.best").count() == 126
    chart.get_by_role("button", name="Latency, ms").click()
    assert chart.locator("circle.dot").count() == 126
    assert chart.locator("circle.best").count() == 1
    chart.locator("svg[role=img]").focus()
    page.keyboard.press("ArrowRight")
    assert "Model 0" in chart.locator(".tip").inner_text()
    assert "Pareto" in chart.locator(".tip").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/entry/"))


def test_theme_follows_system_until_chosen(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE, scheme="dark").page

    def lightness() -> int:
        return sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]))

    assert lightness() < 150
    page.get_by_role("button", name="Theme: auto").click()
    assert lightness() > 700
    page.reload()
    assert lightness() > 700
    page.get_by_role("button", name="Theme: light").click()
    assert lightness() < 150


@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_screen_width(visit: Callable[..., Opened], size: str) -> None:
    for name in ("index.html", TABLE):
        page = visit(name, size=size).page
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    page.locator("[data-kind=measured] button.toggle").first.click()
    page.locator("tr.panel").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


def test_pages_without_javascript_are_complete(visit: Callable[..., Opened]) -> None:
    page = visit(TABLE, script=False).page
    assert len(methods(page)) == 100
    assert page.locator("[data-kind=measured]").get_by_text("The first 100 of 127 rows").is_visible()
    assert not page.locator("[data-kind=measured] .tools").is_visible()
    page.locator("a.open", has_text="Model 0").first.click()
    assert "name: rcn" in page.locator(".config pre").inner_text()


def test_pages_open_from_a_folder(
    visit: Callable[..., Opened], tmp_path: Path, add_measured: Callable[..., str]
) -> None:
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    add_measured(str(tmp_path / "leaderboard"), [4.0, 5.0, 6.0], method="A")
    add_measured(str(tmp_path / "leaderboard"), [3.0, 4.0, 5.0], method="B")
    Site(tmp_path / "site").write(build_leaderboard(str(tmp_path / "leaderboard")))
    page = visit(TABLE, base=f"file://{tmp_path}/site/").page
    sort_by(page, "Method")
    assert methods(page) == ["A", "B"]
    page.locator("button.toggle").first.click()
    page.wait_for_url(re.compile("/entry/"))
    assert page.locator("h1").inner_text() == "A"


def test_served_page_reloads_and_keeps_state(
    visit: Callable[..., Opened], tmp_path: Path, add_measured: Callable[..., str]
) -> None:
    leaderboard = str(tmp_path / "leaderboard")
    (tmp_path / "leaderboard" / "published").mkdir(parents=True)
    for i, name in enumerate(("Trial 1", "Trial 2", "Else")):
        add_measured(leaderboard, [3.0 + i, 5.0, 6.0], method=name, num_params=1_000 * (3 - i))
    line = [sys.executable, "-m", "rcn_search", "leaderboard", "serve", "--port", "0", "--leaderboard", leaderboard]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            address = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
            opened = visit(TABLE, base=address)
            page = opened.page
            sort_by(page, "Params")
            field = page.get_by_label("Find")
            field.press_sequentially("tril")
            field.press("ArrowLeft")
            field.press_sequentially("a")
            page.get_by_role("button", name="Details of Trial 1").click()
            page.locator("tr.panel").wait_for()
            field.focus()
            add_measured(leaderboard, [2.0, 5.0, 6.0], method="Trial 3", num_params=4_000)
            page.get_by_text("Trial 3").first.wait_for(timeout=30_000)
            page.locator("tr.panel").wait_for()
            expect(field).to_be_focused()
            page.keyboard.press("End")  # a key goes where it would have gone
            page.keyboard.type(" ")
            assert field.input_value() == "trial "
            assert methods(page) == ["Trial 2", "Trial 1", "Trial 3"]
            assert page.locator("tr.panel").count() == 1
            page.goto("about:blank")  # before its server goes
        finally:
            process.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [pytest.param("phone", marks=pytest.mark.slow), "wide"])
def test_axe_finds_no_violation(visit: Callable[..., Opened], size: str, scheme: str) -> None:
    """Contrast, names, roles and structure of a table with a row and all notes open; the slow ones of all pages."""
    axe = Axe()
    page = visit(TABLE, size=size, scheme=scheme).page
    page.locator("[data-kind=measured]").get_by_label("Find").fill("Model 12")  # a hundred rows alike take axe a while
    page.locator("button.toggle").nth(1).click()
    page.locator("tr.panel").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    for name in ("",) if size == "wide" else ("", "index.html", "entry"):
        if name == "entry":
            page = visit(TABLE, size=size, scheme=scheme).page
            page.locator("a.open").first.click()
            page.wait_for_url(re.compile("/entry/"))
        elif name:
            page = visit(name, size=size, scheme=scheme).page
        violations = axe.run(page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"], rule["nodes"][0]["failureSummary"]) for rule in violations] == []
