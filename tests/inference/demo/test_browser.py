"""The page in Chromium: a photograph, the camera, the keyboard, a phone, accessibility, and no other host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.photographs import astronaut

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)", allow_module_level=True)

PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield started
        started.close()


@pytest.fixture(params=[(360, 740, "dark"), (1366, 900, "light")], ids=["phone", "wide"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page. Afterwards no other host was asked, and there is no console message or error."""
    width, height, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, permissions=["camera"]
    )
    opened, requests, messages = context.new_page(), list[str](), list[str]()
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("request", lambda asked: requests.append(asked.url))
    opened.on("console", lambda line: messages.append(line.text) if line.type != "log" else None)
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.goto(address)
    yield opened
    context.close()
    assert all(url.startswith((address, "data:", "blob:")) for url in requests)
    expected = ("400 (Bad Request)", "willReadFrequently")  # a photograph that is none; `colored` reads the canvas
    assert [line for line in messages if not any(part in line for part in expected)] == []


def colored(page: Page, red: int, green: int, blue: int) -> int:
    """Number of pixels of the canvas that are about of a color."""
    return int(
        page.evaluate(
            """([r, g, b]) => {
              const canvas = document.getElementById("picture");
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              let count = 0;
              for (let i = 0; i < data.length; i += 4)
                if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40) count++;
              return count;
            }""",
            [red, green, blue],
        )
    )


def test_photograph_shows_points_circles_and_numbers(page: Page, tmp_path: Path) -> None:
    expect(page.locator("#model")).to_have_text("untrained, 5 points")
    photo = tmp_path / "photo.png"
    astronaut().save(photo)
    page.get_by_label("Drop a photograph here").set_input_files(photo)
    expect(page.get_by_role("status")).to_contain_text("1 face in", timeout=PATIENCE_MS)
    points = colored(page, 255, 210, 0)
    with_circles = colored(page, 255, 120, 0)
    assert points > 5
    page.get_by_label("Circles that hold the true point").uncheck()
    assert colored(page, 255, 120, 0) < with_circles
    page.get_by_text("Points in pixels").first.click()
    expect(page.locator("#points tr")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the picture").click()
    assert download.value.suggested_filename == "points.png"
    violations = Axe().run(page).response["violations"]
    assert [violation["id"] for violation in violations] == []


def test_dropped_file_that_is_no_photograph_is_said(page: Page) -> None:
    page.evaluate(
        """() => {
          const files = new DataTransfer();
          files.items.add(new File(["no picture"], "a.txt", { type: "text/plain" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.get_by_role("status")).to_contain_text("This photograph cannot be used: image cannot be read")


def test_camera_shows_frames_until_it_is_stopped(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    expect(page.get_by_role("status")).to_contain_text("ms a frame", timeout=PATIENCE_MS)
    expect(page.locator("#picture")).to_be_visible()
    page.get_by_role("button", name="Stop the camera").press("Enter")
    expect(page.get_by_role("button", name="Use the camera")).to_be_visible()
