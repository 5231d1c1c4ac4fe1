"""The two ways to decode, hidden pages, and the choices of picture and manner, in a real browser."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from support.browser import INSECURE_HOST, WATCH, assert_shows_a_face
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Headless pages are never hidden: this says so to the scripts, whatever the browser thinks.
_SET_HIDDEN = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_media_source_shows_the_sample_in_step_with_its_sound(page: Page, live_server: str, tmp_path: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{live_server}/?decoder=mse")
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    page.evaluate(WATCH)
    page.click("#sample")
    page.wait_for_function("reports.includes('ended') && pictures.size >= 100")
    page.locator("#face").screenshot(path=tmp_path / "face.png")
    assert page.evaluate("musetalk.stats.decoder") == "mse"
    assert page.evaluate("musetalk.stats.avSkewMeanMs") is not None
    assert page.evaluate("musetalk.stats.decoderRestarts") == 0
    assert complaints == []
    assert_shows_a_face(tmp_path / "face.png")


def test_page_that_is_not_secure_shows_the_face_and_says_why_there_is_no_microphone(
    page: Page, live_server: str
) -> None:
    page.goto(live_server.replace("127.0.0.1", INSECURE_HOST))
    page.wait_for_function("musetalk.stats.framesDrawn > 25")
    assert page.evaluate("[isSecureContext, musetalk.stats.decoder]") == [False, "mse"]
    page.click("#mic")
    page.wait_for_selector("#notice")
    assert "https://" in page.inner_text("#notice")


def test_browser_without_any_decoder_is_told_what_to_do(page: Page, live_server: str) -> None:
    page.add_init_script("delete window.VideoDecoder; delete window.MediaSource")
    page.goto(live_server)
    page.wait_for_selector("#veil")
    assert "cannot decode" in page.inner_text("#veil")
    assert page.is_hidden("#reconnect")


def test_media_source_goes_on_after_new_parameter_sets(page: Page, live_server: str) -> None:
    page.goto(f"{live_server}/health")
    units = [*_units(crf=20, key_first=True), *_units(crf=45, key_first=True)]
    stamps = page.evaluate(
        """async (units) => {
          const { MseDecoder } = await import("/static/mse-decoder.js");
          const canvas = document.body.appendChild(document.createElement("canvas"));
          const stamps = [];
          const lost = [];
          const decoder = new MseDecoder({
            codec: "avc1.42C01F", width: 128, height: 128, beside: canvas,
            onFrame: (picture, timestamp) => { picture.close(); stamps.push(timestamp); },
            onLost: (error) => lost.push(error.message), onBlocked: () => lost.push("blocked"),
          });
          for (const [n, { data, key }] of units.entries()) {
            decoder.decode({ data: Uint8Array.from(data), key, timestamp: 40 * n });
            await new Promise((resolve) => setTimeout(resolve, 40));
          }
          while (lost.length === 0 && stamps.at(-1) !== 40 * (units.length - 1)) {
            await new Promise((resolve) => setTimeout(resolve, 40));
          }
          decoder.close();
          return [stamps, lost, document.querySelectorAll("video").length];
        }""",
        units,
    )
    assert stamps[1:] == [[], 0]
    assert stamps[0] == sorted(set(stamps[0]))
    assert min(stamps[0]) < 40 * 25 <= max(stamps[0])


def test_fragmented_mp4_is_read_by_another_demuxer(page: Page, live_server: str) -> None:
    page.goto(f"{live_server}/health")
    units = _units(crf=23, key_first=True)
    mp4 = page.evaluate(
        """async (units) => {
          const { NAL, initSegment, join, mediaSegment, nalType, nalUnits } = await import("/static/fmp4.js");
          const parts = units.map(({ data, key }, at) => {
            const nals = nalUnits(Uint8Array.from(data));
            const [sps, pps] = [NAL.sps, NAL.pps].map((type) => nals.find((nal) => nalType(nal) === type));
            const frame = { sequence: at + 1, time: 2 ** 33 + 40 * at, duration: 40, key, units: nals };
            const segment = mediaSegment(frame);
            return at === 0 ? join(initSegment({ sps, pps, width: 128, height: 128 }), segment) : segment;
          });
          return Array.from(join(...parts));
        }""",
        units,
    )
    with av.open(BytesIO(bytes(mp4))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 128, 128)
        frames = list(container.decode(stream))
    times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None]
    assert times == [Fraction(2**33 + 40 * at, 1000) for at in range(len(units))]


def test_hidden_page_draws_nothing_and_goes_on_at_the_newest_frame(page: Page, live_server: str) -> None:
    for decoder in ("webcodecs", "mse"):
        page.goto(f"{live_server}/?decoder={decoder}")
        page.wait_for_function("musetalk.stats.framesDrawn > 25")
        page.evaluate("() => { musetalk.addEventListener('frame', ({ detail }) => (window.drawn = detail)); }")
        page.evaluate(_SET_HIDDEN, True)
        before = page.evaluate("({ ...musetalk.stats })")
        page.wait_for_function(f"musetalk.stats.framesReceived > {before['framesReceived'] + 60}")
        assert page.evaluate("musetalk.stats.framesDrawn") == before["framesDrawn"]
        page.evaluate("() => { window.drawn = null; window.newest = musetalk.stats.lastTimestamp; }")
        page.evaluate(_SET_HIDDEN, False)
        page.wait_for_function("drawn")
        # At most the one frame that arrived between the two lines above.
        assert page.evaluate("drawn.timestamp - newest") >= 0
        page.wait_for_function(f"musetalk.stats.framesDrawn > {before['framesDrawn'] + 50}")
        assert page.evaluate("musetalk.stats.decoderRestarts") == 0


def test_sound_of_a_hidden_page_goes_on(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.stats.framesDrawn > 10")
    page.evaluate(_SET_HIDDEN, True)
    page.evaluate(WATCH)  # hidden already: a frame between the two lines would count
    page.click("#sample")
    page.wait_for_function("reports.includes('ended')")
    assert page.evaluate("[pictures.size, musetalk.stats.soundResyncs]") == [0, 0]


def test_manners_and_sizes_can_be_chosen(page: Page, live_server: str) -> None:
    page.goto(live_server)
    page.wait_for_function("musetalk.connected")
    page.evaluate(
        """() => { window.videos = []; window.events = [];
        musetalk.addEventListener("state", ({ detail }) => detail.video && videos.push(detail.video));
        musetalk.addEventListener("event", ({ detail }) => events.push(detail.event)); }"""
    )
    assert page.locator("#idle-clip option").count() == 7
    assert page.locator("#speaking-clip option").count() == 8
    page.select_option("#idle-clip", label="Listening")
    page.wait_for_function("videos.includes('idle_6')")
    page.select_option("#speaking-clip", label="Friendly")
    page.click("[data-target=speaking]")
    page.wait_for_function("videos.includes('speaking_4')")
    page.click("[data-target=idle]")
    page.click("#sample")
    page.wait_for_function("events.includes('speech_started')")
    page.click("#interrupt")
    page.wait_for_function("events.includes('speech_ended')")

    for _ in range(60):  # a server that is still encoding small idle clips gives the full size
        page.select_option("#resolution", "256x256")
        page.wait_for_function("musetalk.state === 'idle'")
        if page.evaluate("musetalk.info.width") == 256:
            break
        page.wait_for_timeout(2000)
    page.wait_for_function("document.getElementById('face').width === 256")
    drawn = page.evaluate("musetalk.stats.framesDrawn")
    page.wait_for_function(f"musetalk.stats.framesDrawn > {drawn + 25}")
    assert page.input_value("#resolution") == "256x256"
    page.wait_for_function("videos.at(-1) === 'idle_6'")  # the new session waits in the chosen manner


def test_page_takes_the_shape_of_the_picture(page: Page, tmp_path: Path, cache_dir: Path) -> None:
    server = ServerProcess(tmp_path, cache_dir, video_sizes="288x512,256x256")
    try:
        page.goto(server.url)
        page.wait_for_function("musetalk.stats.framesDrawn > 10")
        sizes = "[...document.getElementById('resolution').options].map((option) => option.value)"
        assert page.evaluate(sizes) == ["288x512", "256x256"]
        assert page.input_value("#resolution") == "288x512"
        assert page.evaluate("[musetalk.info.width, musetalk.info.height]") == [288, 512]
        box = page.locator("#face").bounding_box()
        assert box is not None and box["width"] / box["height"] == pytest.approx(288 / 512, abs=0.01)
        page.locator("#face").screenshot(path=tmp_path / "tall.png")
        assert_shows_a_face(tmp_path / "tall.png")
    finally:
        server.stop()


def _units(crf: int, key_first: bool) -> list[dict[str, object]]:
    """One second of video as Annex B access units; another rate factor gives another PPS."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = 128
    encoder.pix_fmt, encoder.time_base, encoder.profile = "yuv420p", Fraction(1, 25), "Baseline"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(crf)}
    units: list[dict[str, object]] = []
    for n in range(25):
        frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 10 * n, np.uint8), format="rgb24")
        frame.pts = n
        units += [{"data": list(bytes(packet)), "key": packet.is_keyframe} for packet in encoder.encode(frame)]
    assert len(units) == 25 and units[0]["key"] is key_first
    return units
