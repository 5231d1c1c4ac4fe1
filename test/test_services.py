"""The service at work: speech, actions, states and the answers to them, over a real socket."""

import asyncio
import json
import urllib.request

import pytest

from musetalk_service.client import (
    ActionTriggered,
    Interrupted,
    MuseTalkClient,
    ReceivedFrame,
    ServerError,
    StateChanged,
)


async def _frames(client: MuseTalkClient, count: int) -> list[ReceivedFrame]:
    frames: list[ReceivedFrame] = []
    async for frame in client.frames():
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


async def _answer(client: MuseTalkClient, kind: type) -> object:
    async for message in client:
        if isinstance(message, kind):
            return message
    raise AssertionError(f"the session ended without a {kind.__name__}")


async def test_speech_is_shown_and_then_the_face_waits_again(live_server: str, speech: bytes) -> None:
    async with MuseTalkClient.connect(live_server, "speaker") as client:
        await client.send_audio(speech)
        await client.end_of_speech()
        frames = await _frames(client, 75)
    spoken = [frame.audio_timestamp_ms for frame in frames if frame.audio_timestamp_ms is not None]
    assert spoken == [40 * n for n in range(50)]
    assert "speaking" in {frame.state for frame in frames}
    assert frames[-1].state == "idle"
    assert [frame.timestamp_ms for frame in frames] == [40 * n for n in range(75)]


async def test_audio_of_another_rate_is_resampled(live_server: str, speech: bytes) -> None:
    async with MuseTalkClient.connect(live_server, "hifi") as client:
        await client.send_audio(speech, sample_rate=8000)  # the same samples last twice as long
        await client.end_of_speech()
        frames = await _frames(client, 115)
    spoken = [frame for frame in frames if frame.audio_timestamp_ms is not None]
    assert len(spoken) == 100


async def test_action_is_triggered_once_at_a_time(live_server: str) -> None:
    async with MuseTalkClient.connect(live_server, "actor") as client:
        await client.action(2)
        triggered = await _answer(client, ActionTriggered)
        assert isinstance(triggered, ActionTriggered) and triggered.index == 2
        await client.action(1)
        refused = await _answer(client, ServerError)
        assert isinstance(refused, ServerError) and refused.code == "INVALID_MESSAGE"
        frames = await _frames(client, 5)
    assert {frame.state for frame in frames} == {"action"}


async def test_state_change_is_answered_with_what_plays(live_server: str) -> None:
    async with MuseTalkClient.connect(live_server, "changer") as client:
        await client.change_state("speaking", "speaking_0")
        assert await _answer(client, StateChanged) == StateChanged("speaking", "speaking_0")
        assert (await _frames(client, 5))[-1].state == "speaking"


async def test_barge_in_drops_what_is_queued(live_server: str, speech: bytes) -> None:
    async with MuseTalkClient.connect(live_server, "interrupter") as client:
        await client.send_audio(speech * 5)
        await _frames(client, 25)
        await client.interrupt()
        answer = await _answer(client, Interrupted)
        assert isinstance(answer, Interrupted)
        assert answer.audio_played_ms + answer.audio_dropped_ms == 10_000
        after = await _frames(client, 10)
    assert all(frame.audio_timestamp_ms is None for frame in after[2:])


async def test_nobody_sees_the_frames_of_another(live_server: str, speech: bytes) -> None:
    async def watch(user: str, pcm: bytes) -> list[ReceivedFrame]:
        async with MuseTalkClient.connect(live_server, user) as client:
            await client.send_audio(pcm)
            return await _frames(client, 30)

    speaker, listener = await asyncio.gather(watch("speaker", speech), watch("listener", b""))
    assert {frame.state for frame in listener} == {"idle"}
    assert all(frame.audio_timestamp_ms is None for frame in listener)
    assert "speaking" in {frame.state for frame in speaker}


async def test_sessions_are_listed_while_they_last(live_server: str) -> None:
    def listed() -> list[str]:
        with urllib.request.urlopen(f"{live_server}/sessions") as response:
            return [session["session_id"] for session in json.load(response)["sessions"]]

    async with MuseTalkClient.connect(live_server, "counted") as client:
        assert client.session_id in await asyncio.to_thread(listed)
    assert client.session_id not in await asyncio.to_thread(listed)


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.yaml", "/static/app.js"])
def test_routes_are_served(live_server: str, path: str) -> None:
    with urllib.request.urlopen(live_server + path) as response:
        assert response.status == 200 and response.read()
