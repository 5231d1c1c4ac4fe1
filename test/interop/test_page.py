"""The demo page in a real browser: it connects, shows the face and plays the sample in step with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
_PATIENCE_MS = 60_000

# Notes each different picture by a hash of the middle of the canvas, and what the player reports.
_WATCH = """() => {
  window.pictures = new Set();
  window.reports = [];
  const canvas = document.getElementById("face");
  const small = new OffscreenCanvas(96, 96).getContext("2d", { willReadFrequently: true });
  musetalk.addEventListener("frame", () => {
    small.drawImage(canvas, 128, 128, 256, 256, 0, 0, 96, 96);
    let hash = 0;
    for (const value of small.getImageData(0, 0, 96, 96).data) hash = (Math.imul(hash, 31) + value) | 0;
    pictures.add(hash);
  });
  musetalk.addEventListener("audio", ({ detail }) => reports.push(detail.phase));
}"""


@pytest.fixture
def page(live_server: str) -> Iterator[Page]:
    """The demo page, opened in a headless Chromium."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if chromium is None:
        pytest.skip("no Chromium is installed (looked for " + ", ".join(_BROWSERS) + " and $CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(_PATIENCE_MS)
        yield page
        browser.close()


def test_face_appears_speaks_the_sample_and_stays_clean(page: Page, live_server: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)

    page.goto(live_server)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")  # without a click
    assert page.get_attribute("#chip", "role") == "status"
    page.evaluate(_WATCH)
    drawn_before = page.evaluate("musetalk.stats.framesDrawn")

    page.click("#sample")
    page.wait_for_function("reports.includes('started') && pictures.size >= 60")
    screenshot = tmp_path / "face.png"
    page.locator("#face").screenshot(path=screenshot)
    assert page.inner_text("#chip-text") == "Speaking"
    page.wait_for_function("reports.includes('ended') && pictures.size >= 100")

    assert page.evaluate("musetalk.stats.framesDrawn") - drawn_before >= 100
    assert page.evaluate("reports") == ["sent", "started", "ended"]
    assert page.evaluate("musetalk.stats.decoderRestarts") == 0
    assert complaints == []
    _assert_shows_a_face(screenshot)


def test_microphone_makes_it_speak_and_interrupt_ends_that(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    page.click("#mic")
    page.wait_for_selector("#mic[aria-pressed=true]")
    page.wait_for_function("musetalk.state === 'speaking' && musetalk.stats.latencyMs > 0")
    page.click("#interrupt")
    page.wait_for_selector("#mic[aria-pressed=false]")
    page.wait_for_function("musetalk.state === 'idle'")


def test_every_control_is_reached_with_the_tab_key(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.evaluate("document.getElementById('endpoints').open = true")
    wanted = page.evaluate(
        """[...document.querySelectorAll('a, button, input, summary')]
        .filter((element) => element.checkVisibility()).map((element, at) => (element.dataset.tab = at))"""
    )
    reached: set[int] = set()
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        tab = page.evaluate("document.activeElement.dataset.tab ?? null")
        if tab is not None:
            reached.add(int(tab))
    assert reached == set(wanted)


def test_lost_server_is_explained_and_reconnecting_works(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.context.set_offline(True)
    page.evaluate("musetalk.close()")
    page.evaluate("musetalk.connect().catch(() => null)")
    page.wait_for_selector("#reconnect")
    assert "cannot be reached" in page.inner_text("#veil")
    page.context.set_offline(False)  # the page also notices by itself
    page.wait_for_function("musetalk.connected")
    page.wait_for_selector("#veil", state="hidden")


def _assert_shows_a_face(screenshot: Path) -> None:
    """The picture is not uniform, and skin colours fill a part of its middle (Chai and Ngan, 1999)."""
    image = cv2.imread(str(screenshot))
    assert image is not None
    height, width = image.shape[:2]
    assert float(np.std(image)) > 15.0
    middle = image[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3]
    _, red, blue = cv2.split(cv2.cvtColor(middle, cv2.COLOR_BGR2YCrCb))
    skin = (red >= 133) & (red <= 173) & (blue >= 77) & (blue <= 127)
    assert float(skin.mean()) > 0.2
