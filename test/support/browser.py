"""What tests of the demo page share: the browser, and how to tell that it shows a face."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

INSECURE_HOST = "avatar.test"
"""A name for 127.0.0.1 that the browser does not know as its own machine."""
ALLOW_SOUND = "--autoplay-policy=no-user-gesture-required"

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
)
_PATIENCE_MS = 60_000

# Notes each different picture by a hash of the middle of the canvas, and what the player reports.
WATCH = """() => {
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


@contextmanager
def opened_page(*flags: str) -> Iterator[Page]:
    """An empty page in a headless Chromium; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if chromium is None:
        pytest.skip("no Chromium is installed (looked for " + ", ".join(_BROWSERS) + " and $CHROMIUM)")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*_FLAGS, *flags])
        page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(_PATIENCE_MS)
        yield page
        browser.close()


def assert_shows_a_face(screenshot: Path) -> None:
    """The picture is not uniform, and skin colours fill a part of its middle (Chai and Ngan, 1999)."""
    image = cv2.imread(str(screenshot))
    assert image is not None
    height, width = image.shape[:2]
    assert float(np.std(image)) > 15.0
    middle = image[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3]
    _, red, blue = cv2.split(cv2.cvtColor(middle, cv2.COLOR_BGR2YCrCb))
    skin = (red >= 133) & (red <= 173) & (blue >= 77) & (blue <= 127)
    assert float(skin.mean()) > 0.2
