"""The demo page in a real browser: it connects, shows the face and plays the sample in step with it."""

from __future__ import annotations

import struct
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import av
import pytest

from support.browser import WATCH, assert_shows_a_face

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_face_appears_speaks_the_sample_and_stays_clean(page: Page, live_server: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)

    page.goto(live_server)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")  # without a click
    assert page.get_attribute("#chip", "role") == "status"
    page.evaluate(WATCH)
    drawn_before = page.evaluate("musetalk.stats.framesDrawn")

    page.click("#sample")
    page.wait_for_function("reports.includes('started')")
    page.wait_for_function("document.getElementById('chip-text').textContent === 'Speaking'")
    screenshot = tmp_path / "face.png"
    page.locator("#face").screenshot(path=screenshot)
    page.wait_for_function("reports.includes('ended') && pictures.size >= 100")

    assert page.evaluate("musetalk.stats.framesDrawn") - drawn_before >= 100
    assert sorted(page.evaluate("reports")) == ["ended", "sent", "started"]
    assert page.evaluate("musetalk.stats.decoderRestarts") == 0
    assert complaints == []
    assert_shows_a_face(screenshot)


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
        """[...document.querySelectorAll('a, button, input, select, summary')]
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


def test_python_example_of_the_page_gets_a_playable_stream(page: Page, live_server: str, tmp_path: Path) -> None:
    page.goto(live_server)
    page.wait_for_function("document.getElementById('snippet-py').textContent")
    (tmp_path / "hello.wav").write_bytes(_sample(live_server))
    example = page.evaluate("document.getElementById('snippet-py').textContent")
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True, timeout=60)
    with av.open(str(tmp_path / "face.h264"), format="h264") as container:
        frames = list(container.decode(video=0))
    assert len(frames) >= 240
    assert (frames[0].width, frames[0].height) == (512, 512)


def test_javascript_example_of_the_page_shows_the_face(page: Page, live_server: str, tmp_path: Path) -> None:
    page.goto(live_server)
    page.wait_for_function("document.getElementById('snippet-js').textContent")
    example = page.evaluate("document.getElementById('snippet-js').textContent")
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.route("**/hello.wav", lambda route: route.fulfill(content_type="audio/wav", body=_sample(live_server)))
    page.goto(f"{live_server}/health")  # a page of the same origin, of which only the address is kept
    page.set_content(example)
    page.wait_for_function("document.querySelector('canvas').width === 512")
    with page.expect_response("**/hello.wav"):
        page.click("#say")
    page.wait_for_timeout(1000)
    page.locator("#face").screenshot(path=tmp_path / "face.png")
    assert complaints == []
    assert_shows_a_face(tmp_path / "face.png")


@pytest.mark.parametrize("rate", [44100, 48000, 8000])
def test_resampler_keeps_speech_and_lets_nothing_fold_into_it(page: Page, live_server: str, rate: int) -> None:
    page.goto(f"{live_server}/static/favicon.svg")
    decibels = page.evaluate(
        """async ([rate, frequencies]) => {
          const { Resampler } = await import("/static/resampler.js");
          return frequencies.map((frequency) => {
            const resampler = new Resampler(rate, 16000);
            const out = [];
            for (let at = 0; at < rate; at += 128) {
              const wave = (_, i) => Math.sin((2 * Math.PI * frequency * (at + i)) / rate);
              out.push(...resampler.push(Float32Array.from({ length: 128 }, wave)));
            }
            const middle = out.slice(2000, 14000);
            return 10 * Math.log10((2 * middle.reduce((sum, x) => sum + x * x, 0)) / middle.length + 1e-12);
          });
        }""",
        [rate, [100, 1000, 3000, 9000, 15000]],
    )
    assert decibels[:3] == pytest.approx([0, 0, 0], abs=0.1)
    if rate > 32000:  # 9 and 15 kHz exist at this rate, and would fold to 7 and 1 kHz
        assert max(decibels[3:]) < -70


def test_binary_frames_are_read_as_the_protocol_lays_them_out(page: Page, live_server: str) -> None:
    unit = b"\0\0\0\1\x65picture"
    header = struct.pack(">2sBBIIIHBBI", b"MF", 1, 0b11, 7, 280, 0xFFFFFFFF, 65535, 2, 0, len(unit))
    page.goto(f"{live_server}/static/favicon.svg")
    frame = page.evaluate(
        """async (bytes) => {
          const { frameFromBinary } = await import("/static/wire.js");
          const frame = frameFromBinary(Uint8Array.from(bytes).buffer);
          return { ...frame, data: Array.from(frame.data) };
        }""",
        list(header + unit),
    )
    assert bytes(frame.pop("data")) == unit
    assert frame == {
        "timestamp": 280,
        "audioMs": None,
        "key": True,
        "action": True,
        "progress": 1,
        "state": "action",
        "wireBytes": len(header) + len(unit),
    }


def _sample(live_server: str) -> bytes:
    with urllib.request.urlopen(f"{live_server}/static/sample.wav") as answer:
        return bytes(answer.read())
