"""Sound and picture are together, and stay so for an hour: pixels, labels, and what the engine is asked to draw."""

import asyncio
import base64
import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from musetalk_service.bus import messages as bus
from support.engines import tone
from support.in_process import Client, InProcessHost, Service, audio_chunk, started_service

FRAME_S = 0.04
FRAMES_PER_S = 25
SAMPLES_PER_FRAME = 640
HOUR_S = 3600
_POSITION = struct.Struct(">4sq")


class Shown(NamedTuple):
    """One frame of speech, as the client got it."""

    frame_ms: int
    audio_ms: int
    drawn: int
    """The audio position that the engine was asked to draw, in samples."""


def draw_positions(member: InProcessHost) -> None:
    """Let a host answer each frame at once with the position that it was asked for, in place of a picture."""
    send = member.send

    def answer(message: bus.UpMessage) -> None:
        if not isinstance(message, bus.Render):
            send(message)
            return
        position = -1 if message.audio_position is None else message.audio_position
        frame = bus.Frame(
            session=message.session,
            epoch=message.epoch,
            frame=message.frame,
            is_idr=message.force_idr,
            access_unit=_POSITION.pack(b"\0\0\0\1", position),
            engine="builtin",
            held=False,
            render_ms=0.0,
            encode_ms=0.0,
        )
        member.host.receive(frame, member.metrics)

    member.send = answer  # type: ignore[method-assign]


class Session:
    """A session whose ticks the test itself makes: the frame clock's own ones would take minutes for an hour."""

    def __init__(self, service: Service, client: Client) -> None:
        self.service = service
        self.client = client
        (self._live,) = service.front.sessions
        self._message = json.dumps({"type": "GENERATE", "data": {"audio_chunk": audio_chunk(tone(40, 1.0))}})

    async def say_a_second(self) -> None:
        """Speech of one second, in one chunk."""
        self.client.send_text(self._message)
        await self._rest(3)

    async def tick(self) -> None:
        """One frame."""
        self.service.clock.leap(FRAME_S)
        self._live.tick(self.service.clock.now())
        await self._rest(2)

    async def _rest(self, turns: int) -> None:
        """Turns of the event loop in which the server reads, or the frame is written: less than settling needs."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def spoken(self) -> list[Shown]:
        """The frames that follow audio; fails at a hole in the stream."""
        messages = [json.loads(text) for _, text in self.client.texts]
        assert not [message for message in messages if message["type"] == "ERROR"]
        frames = [message["data"] for message in messages if message["type"] == "VIDEO_FRAME"]
        stamps = [frame["frame_timestamp"] for frame in frames]
        assert stamps == list(range(0, 40 * len(stamps), 40))
        shown = []
        for frame in frames:
            if frame["audio_timestamp"] is not None:
                _, drawn = _POSITION.unpack(base64.b64decode(frame["frame_data"]))
                shown.append(Shown(frame["frame_timestamp"], frame["audio_timestamp"], drawn))
        return shown


@asynccontextmanager
async def session(cache_dir: Path) -> AsyncIterator[Session]:
    async with started_service(cache_dir, idle_timeout_s=0.0) as service:
        draw_positions(service.hosts[0])
        yield Session(service, await service.session())


@pytest.mark.slow
async def test_an_hour_of_speech_does_not_drift(cache_dir: Path) -> None:
    async with session(cache_dir) as speaker:
        await speaker.say_a_second()
        for second in range(HOUR_S):
            if second < HOUR_S - 1:
                await speaker.say_a_second()
            for _ in range(FRAMES_PER_S):
                await speaker.tick()
        for _ in range(5):
            await speaker.tick()
        shown = np.array(speaker.spoken())
    frame_ms, audio_ms, drawn = shown.T
    # Every frame of the hour, each one frame after the other on both time lines.
    np.testing.assert_array_equal(audio_ms, np.arange(0, HOUR_S * 1000, 40))
    np.testing.assert_array_equal(frame_ms - audio_ms, frame_ms[0] - audio_ms[0])
    # What the engine was asked to draw is what the label says, to the sample.
    np.testing.assert_array_equal(drawn, np.arange(HOUR_S * FRAMES_PER_S) * SAMPLES_PER_FRAME)


@pytest.mark.parametrize("pause_frames", [12, 61])
async def test_pauses_between_utterances_do_not_add_up(cache_dir: Path, pause_frames: int) -> None:
    async with session(cache_dir) as speaker:
        utterances = 100
        for _ in range(utterances):
            await speaker.say_a_second()
            speaker.client.send("END_OF_SPEECH")
            for _ in range(FRAMES_PER_S + pause_frames):
                await speaker.tick()
        shown = np.array(speaker.spoken())
    frame_ms, audio_ms, drawn = shown.T
    np.testing.assert_array_equal(audio_ms, np.arange(0, utterances * 1000, 40))
    np.testing.assert_array_equal(drawn * 1000, audio_ms * 16_000)
    # An utterance is late by the pauses before it, and by nothing else.
    period_ms = (FRAMES_PER_S + pause_frames) * 40
    np.testing.assert_array_equal(
        (frame_ms - audio_ms).reshape(utterances, -1),
        np.broadcast_to(frame_ms[0] + (period_ms - 1000) * np.arange(utterances)[:, None], (utterances, FRAMES_PER_S)),
    )


@pytest.mark.slow
def test_the_lips_of_a_real_stream_move_with_the_sound(live_server: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, str(root / "bench" / "lipsync.py"), "--server", live_server, "--json"]
    command += ["--audio", str(root / "fixtures" / "speech_like_2s.wav"), "--repeats", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    engine = json.loads(done.stdout)["engine"]
    assert engine["utterances"] == 3 and engine["correlation"] > 0.8
    assert -40 <= engine["low_ms"] <= engine["high_ms"] <= 40
