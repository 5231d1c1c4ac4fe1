"""What the page does about broken connections, tokens, and browsers that lock the sound."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest

from support.breakable_proxy import BreakableProxy
from support.browser import WATCH, opened_page
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

_SECRET = "a secret of at least thirty-two bytes"

_NOTE_SESSIONS = """() => {
  window.sessions = [];
  window.lost = 0;
  musetalk.addEventListener("ready", ({ detail }) => sessions.push([musetalk.sessionId, detail.resumed]));
  musetalk.addEventListener("reconnecting", () => (lost += 1));
}"""


@pytest.fixture
def proxy(live_server: str) -> Iterator[BreakableProxy]:
    """In front of the server that all tests share."""
    proxy = BreakableProxy(live_server)
    yield proxy
    proxy.close()


@pytest.fixture
def guarded_server(tmp_path: Path, cache_dir: Path) -> Iterator[ServerProcess]:
    """Wants tokens, and waits only a moment for lost clients."""
    server = ServerProcess(tmp_path, cache_dir, auth_secret=_SECRET, resume_grace_s=1)
    yield server
    server.stop()


def test_broken_connection_is_taken_up_again_in_the_same_session(page: Page, proxy: BreakableProxy) -> None:
    page.goto(proxy.url)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    session = page.evaluate("musetalk.sessionId")
    page.evaluate(_NOTE_SESSIONS)
    page.evaluate(WATCH)
    page.click("#sample")
    page.wait_for_function("reports.includes('started') && reports.includes('sent')")
    proxy.drop()
    page.wait_for_function("sessions.length === 1")
    assert page.evaluate("sessions") == [[session, True]]
    assert page.evaluate("lost") >= 1
    page.wait_for_selector("#veil", state="hidden")
    # The rest of the recording is heard, once, and seen.
    page.wait_for_function("reports.includes('ended') && pictures.size >= 100")
    assert page.evaluate("reports.filter((phase) => phase !== 'sent')") == ["started", "ended"]


def test_audio_that_was_lost_on_the_way_is_sent_again(page: Page, proxy: BreakableProxy) -> None:
    page.goto(proxy.url)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    page.evaluate(_NOTE_SESSIONS)
    page.evaluate(WATCH)
    sample = (resources.files("musetalk_service") / "web" / "sample.wav").read_bytes()
    page.route("**/sample.wav", lambda route: route.fulfill(content_type="audio/wav", body=sample))
    proxy.deaf = True
    page.click("#sample")
    page.wait_for_function("reports.includes('sent')")
    proxy.drop()
    proxy.deaf = False
    page.wait_for_function("sessions.length === 1")
    assert page.evaluate("musetalk.info.audio_received_ms") == 0
    page.wait_for_function("reports.includes('ended') && pictures.size >= 100")


def test_it_waits_longer_each_time_and_gives_up_with_a_button(page: Page, proxy: BreakableProxy) -> None:
    page.goto(f"{proxy.url}/health")
    page.set_content("<canvas></canvas>")
    page.evaluate(
        """async (server) => {
          const { MuseTalkPlayer } = await import(`${server}/static/musetalk-player.js`);
          window.musetalk = new MuseTalkPlayer(document.querySelector("canvas"), { reconnectForS: 4 });
          window.pauses = [];
          musetalk.addEventListener("reconnecting", ({ detail }) => pauses.push(detail.delayMs));
          musetalk.addEventListener("error", ({ detail }) => (window.end = detail));
          await musetalk.connect();
        }""",
        proxy.url,
    )
    proxy.refusing = True
    proxy.drop()
    page.wait_for_function("window.end")
    assert page.evaluate("[end.code, end.fatal, musetalk.state]") == ["unreachable", True, "offline"]
    pauses = page.evaluate("pauses")
    assert len(pauses) >= 3
    for n, pause in enumerate(pauses):
        assert 150 * 2**n <= pause <= 300 * 2**n


def test_silent_connection_is_replaced(page: Page, proxy: BreakableProxy) -> None:
    page.goto(proxy.url)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    session = page.evaluate("musetalk.sessionId")
    page.evaluate(_NOTE_SESSIONS)
    proxy.silence()
    page.wait_for_function("sessions.length === 1")
    assert page.evaluate("sessions") == [[session, True]]
    drawn = page.evaluate("musetalk.stats.framesDrawn")
    page.wait_for_function(f"musetalk.stats.framesDrawn > {drawn + 25}")


def test_token_opens_a_session_and_a_lost_session_is_followed_by_a_new_one(
    page: Page, guarded_server: ServerProcess
) -> None:
    proxy = BreakableProxy(guarded_server.url)
    page.goto(proxy.url)
    page.wait_for_selector("#reconnect")
    assert "missing" in page.inner_text("#veil")
    page.goto("about:blank")
    page.goto(f"{proxy.url}/?user=alice#token={_token(exp=time.time() - 600)}")
    page.wait_for_selector("#reconnect")
    assert "expired" in page.inner_text("#veil")
    page.goto("about:blank")
    page.goto(f"{proxy.url}/?user=alice#token={_token()}")
    page.wait_for_function("musetalk.stats.framesDrawn > 10")

    session = page.evaluate("musetalk.sessionId")
    page.evaluate(_NOTE_SESSIONS)
    proxy.refusing = True
    proxy.drop()
    page.wait_for_timeout(2500)  # longer than the server waits
    proxy.refusing = False
    page.wait_for_function("sessions.length === 1")
    [[new, resumed]] = page.evaluate("sessions")
    assert new != session and resumed is False
    drawn = page.evaluate("musetalk.stats.framesDrawn")
    page.wait_for_function(f"musetalk.stats.framesDrawn > {drawn + 25}")
    page.evaluate("musetalk.close()")
    proxy.close()


def test_locked_sound_waits_for_a_tap(live_server: str) -> None:
    with opened_page() as page:
        # Not through page.evaluate, which the browser takes for a click.
        page.add_init_script(
            """addEventListener("load", () => {
              musetalk.addEventListener("error", ({ detail }) => console.log(detail.code));
              musetalk.addEventListener("ready", async () => {
                const file = await (await fetch("/static/sample.wav")).arrayBuffer();
                const sound = await musetalk.audioContext.decodeAudioData(file);
                musetalk.addEventListener("audio", ({ detail }) => console.log(detail.phase));
                musetalk.playAudio(sound).then((heard) => console.log(`heard ${heard}`));
              });
            });"""
        )
        with page.expect_console_message(lambda line: line.text == "autoplay"):
            page.goto(live_server)
        with page.expect_console_message(lambda line: line.text == "heard true"):
            page.click("text=Tap for sound")
        assert page.is_hidden("#unlock") and page.is_hidden("#notice")
        assert page.evaluate("musetalk.audioContext.state") == "running"


def test_microphone_is_muted_while_a_recording_plays(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.evaluate(WATCH)
    page.click("#mic")
    page.wait_for_selector("#mic[aria-pressed=true]")
    page.click("#sample")
    page.wait_for_function("reports.includes('started')")
    assert page.inner_text("#mic") == "Muted meanwhile"
    page.wait_for_function("reports.includes('ended')")
    page.wait_for_selector("#mic[aria-pressed=true]")
    page.wait_for_function("document.getElementById('mic').innerText === 'Microphone'")
    page.click("#mic")
    page.wait_for_selector("#mic[aria-pressed=false]")


def test_refused_microphone_is_explained(page: Page, live_server: str) -> None:
    page.add_init_script(
        """navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("Permission denied", "NotAllowedError"))"""
    )
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.click("#mic")
    page.wait_for_selector("#notice")
    assert "blocked" in page.inner_text("#notice")
    assert page.get_attribute("#mic", "aria-pressed") == "false"


def _token(**changes: object) -> str:
    claims = {"sub": "alice", "aud": "musetalk-service", "exp": time.time() + 600, **changes}
    return jwt.encode(claims, _SECRET, "HS256")
