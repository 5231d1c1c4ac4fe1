"""A whole session on the manual clock: what a client sees from INIT to CLOSE_ACK."""

from pathlib import Path

import numpy as np
import pytest

from support.engines import LOOK_AHEAD, SHUT, tone
from support.in_process import audio_chunk, gaps, started_service
from support.video import decode, greys

SPEECH = Path(__file__).parents[2] / "fixtures" / "speech_6s.wav"


async def test_frames_come_one_a_tick_without_holes(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(10.0)
        stamps = [frame.data.frame_timestamp for frame in client.frames]
        assert stamps == [40 * n for n in range(250)]
        assert [frame.data.sequence_number for frame in client.frames] == list(range(250))
        arrivals = [at for at, text in client.texts if '"VIDEO_FRAME"' in text]
        assert np.allclose(gaps(arrivals), 0.04)
        assert [n for n, frame in enumerate(client.frames) if frame.data.is_keyframe] == list(range(0, 250, 25))
        assert len(decode(client.units)) == 250


async def test_a_burst_plays_at_normal_speed(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(np.concatenate([tone(40, 3.0), tone(200, 3.0)]))
        await service.run(9.0)
        spoken = [frame for frame in client.frames if frame.data.audio_timestamp is not None]
        assert [frame.data.audio_timestamp for frame in spoken] == [40 * n for n in range(150)]
        assert set(gaps([frame.data.frame_timestamp for frame in spoken])) == {40}
        shown = dict(zip([f.data.audio_timestamp for f in client.frames], greys(client.units), strict=True))
        assert {shown[40 * n] for n in range(70)} == {40}
        assert {shown[40 * n] for n in range(80, 150)} == {200}
        assert not client.errors


async def test_live_audio_is_shown_after_the_reported_delay(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        delay_s = client.answers("INIT_SUCCESS")[0].data.delay_ms / 1000
        await service.run(1.013)
        sent = []
        for n in range(50):
            sent.append(service.clock.now())
            client.speak(tone(8 * (n % 10) + 8, 0.04))
            await service.run(0.04)
        await service.run(1.0)
        arrivals = {
            frame.data.audio_timestamp: at
            for (at, _), frame in zip(client.texts[1:], client.messages[1:], strict=True)
            if frame.data.audio_timestamp is not None
        }
        assert list(arrivals) == [40 * n for n in range(50)]
        delays = [arrivals[40 * n] - sent[n] for n in range(50)]
        assert max(delays) <= delay_s + 0.04 + 1e-6
        assert np.ptp(delays) < 1e-6
        # What the engine was asked for had its look-ahead by then, all but the last frames.
        assert greys(client.units)[-1] != 0


async def test_action_by_index_plays_its_clip_and_goes_back(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.send("ACTION", {"action_index": 1})
        await service.run(0.1)
        assert [answer.data.action_index for answer in client.answers("ACTION_TRIGGERED")] == [1]
        client.send("ACTION", {"action_index": 2})
        await service.run(6.0)
        assert client.errors == ["INVALID_MESSAGE"]
        actions = client.answers("ACTION_FRAME")
        progress = [frame.data.action_progress for frame in actions]
        assert progress == sorted(progress) and 0 < progress[0] < 0.05 and progress[-1] == 1.0
        assert {frame.data.state for frame in actions} == {"action"}
        assert client.frames[-1].data.state == "idle"
        assert gaps([frame.data.frame_timestamp for frame in client.frames]) == [40] * (len(client.frames) - 1)
        client.send("ACTION", {"action_index": 2})
        await service.run(0.1)
        assert [answer.data.action_index for answer in client.answers("ACTION_TRIGGERED")] == [1, 2]
        assert len(decode(client.units)) == len(client.frames)


async def test_action_with_audio_is_lip_synced_and_extended(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        for start in range(0, 160_000, 16_000):  # 10 s, longer than the clip
            chunk = audio_chunk(tone(64, 10.0)[start : start + 16_000])
            client.send("ACTION", {"action_type": "action_2", "audio_chunk": chunk})
        await service.run(12.0)
        assert not client.errors
        assert len(client.answers("ACTION_TRIGGERED")) == 1
        spoken = [frame for frame in client.frames if frame.data.audio_timestamp is not None]
        assert [frame.data.audio_timestamp for frame in spoken] == [40 * n for n in range(250)]
        assert {frame.type for frame in spoken[3:]} == {"ACTION_FRAME"}
        assert client.frames[-1].type == "VIDEO_FRAME"
        client.send("ACTION", {"action_type": "action_1", "audio_chunk": audio_chunk(tone(64, 0.04))})
        await service.run(0.1)
        client.send("ACTION", {"action_type": "action_2", "audio_chunk": audio_chunk(tone(64, 0.04))})
        await service.run(0.1)
        assert client.errors == ["INVALID_MESSAGE"]


async def test_state_change_names_the_clip_that_plays(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.2)
        client.send("STATE_CHANGE", {"target_state": "speaking", "base_video": "speaking_7"})
        await service.run(1.0)
        client.send("STATE_CHANGE", {"target_state": "idle", "base_video": "idle_0"})
        await service.run(3.0)
        changed = [(a.data.current_state, a.data.current_video) for a in client.answers("STATE_CHANGED")]
        assert changed[0][0] == "speaking" and changed[0][1] in client.answers("INIT_SUCCESS")[0].data.available_videos
        assert changed[1] == ("idle", "idle_0")
        assert {frame.data.state for frame in client.frames[10:25]} == {"speaking"}
        assert {frame.data.state for frame in client.frames[40:]} == {"idle"}
        client.send("STATE_CHANGE", {"target_state": "idle", "base_video": "../../etc/passwd"})
        await service.run(0.1)
        assert client.errors == ["INVALID_MESSAGE"]
        assert len(decode(client.units)) == len(client.frames)


async def test_interrupt_leaves_no_stale_audio(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 5.0))
        await service.run(2.0)
        client.send("INTERRUPT")
        await service.run(0.001)
        before = len(client.frames)
        answer = client.answers("INTERRUPTED")[0].data
        assert answer.audio_played_ms + answer.audio_dropped_ms == 5000
        assert 1700 <= answer.audio_played_ms <= 2000
        await service.run(0.5)
        after = [frame.data.audio_timestamp for frame in client.frames[before:]]
        assert after[2:] == [None] * len(after[2:])
        client.speak(tone(200, 1.0))
        await service.run(2.0)
        spoken = [f.data.audio_timestamp for f in client.frames[before + 2 :] if f.data.audio_timestamp is not None]
        assert spoken == [5000 + 40 * n for n in range(25)]
        shown = dict(zip([f.data.audio_timestamp for f in client.frames], greys(client.units), strict=True))
        assert {shown[stamp] for stamp in spoken} == {200}


async def test_the_engine_can_be_chosen_and_switched_while_it_speaks(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session(engine="static", events=True)
        assert client.answers("INIT_SUCCESS")[0].data.engine == "static"
        client.speak(tone(40, 4.0))
        await service.run(1.0)
        client.send("SWITCH_ENGINE", {"engine": "builtin"})
        await service.run(1.0)
        assert client.answers("ENGINE_SWITCHED")[0].data.engine == "builtin"
        assert [e.data.engine for e in client.answers("EVENT") if e.data.event == "engine_changed"] == ["builtin"]
        client.send("SWITCH_ENGINE", {"engine": "dream"})
        await service.run(1.0)
        assert client.errors == ["INVALID_MESSAGE"]
        assert client.answers("ERROR")[0].data.details["allowed"] == ["builtin", "static"]
        shown = dict(zip([f.data.audio_timestamp for f in client.frames], greys(client.units), strict=True))
        assert {shown[stamp] for stamp in range(200, 800, 40)} == {SHUT}  # the static engine's
        assert {shown[stamp] for stamp in range(1200, 2400, 40)} == {40}
        assert set(gaps([frame.data.frame_timestamp for frame in client.frames])) == {40}


async def test_an_engine_is_switched_while_nobody_speaks(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.2)
        client.send("SWITCH_ENGINE", {"engine": "static"})
        client.speak(tone(40, 1.0))
        await service.run(1.5)
        assert client.answers("ENGINE_SWITCHED")[0].data.engine == "static"
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(25)]
        assert set(greys(client.units)[-25:]) <= {SHUT, *greys(client.units)[:3]}


async def test_close_in_a_burst_is_answered_at_once(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.2)
        client.speak(tone(40, 50.0))
        client.send("CLOSE")
        client.speak(tone(40, 1.0))
        await service.run(0.0)
        assert client.messages[-1].type == "CLOSE_ACK"
        assert client.messages[-1].data.reason == "client_request"
        assert client.close_code == 1000
        assert client.connection.done() and client.connection.exception() is None
        assert len(service.front.sessions) == 0


async def test_client_that_vanishes_after_close_leaves_nothing(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        client.send("CLOSE")
        client.disconnect(1000)
        await service.run(0.0)
        assert client.connection.done() and client.connection.exception() is None
        assert len(service.front.sessions) == 0


async def test_speech_right_after_init_is_spoken(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect()
        client.session_id = "3f2b8a1e-9c4d-4e5f-8a6b-7c8d9e0f1a2b"
        client.send("INIT")
        client.speak(tone(40, 1.0))
        await service.run(2.0)
        assert client.answers("INIT_SUCCESS")[0].session_id == client.session_id
        assert not client.errors
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(25)]


async def test_end_of_speech_does_not_wait_for_look_ahead(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 0.05))
        client.send("END_OF_SPEECH")
        await service.run(0.085)
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken[:1] == [0]


async def test_backlog_over_the_limit_is_refused_and_the_stream_goes_on(cache_dir: Path) -> None:
    async with started_service(cache_dir, audio_backlog_s=2.0) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 2.04))
        await service.run(0.0)
        assert client.errors == ["RATE_LIMIT_EXCEEDED"]
        wait_ms = client.answers("ERROR")[0].data.details["retry_after_ms"]
        await service.run(wait_ms / 1000 + 0.04)
        client.speak(tone(40, 0.04))
        await service.run(4.0)
        assert client.errors == ["RATE_LIMIT_EXCEEDED"]
        spoken = [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]
        assert spoken == [40 * n for n in range(51)]


async def test_two_sessions_never_see_each_other(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        one, two = await service.session("one"), await service.session("two")
        await service.run(0.3)
        for _ in range(50):
            one.speak(tone(40, 0.04))
            two.speak(tone(200, 0.04))
            await service.run(0.04)
        await service.run(1.0)
        assert one.session_id != two.session_id
        for client, grey in ((one, 40), (two, 200)):
            assert {message.session_id for message in client.messages} == {client.session_id}
            spoken = [
                shown
                for frame, shown in zip(client.frames, greys(client.units), strict=True)
                if frame.data.audio_timestamp is not None
            ]
            assert len(spoken) == 50
            assert {shown for shown in spoken[2:]} == {grey}


@pytest.mark.parametrize("chunk_ms", [20, 40, 64, 200])
async def test_engine_has_its_look_ahead_for_live_speech(cache_dir: Path, chunk_ms: int) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        await service.run(0.507)
        speech = tone(40, 3.2)
        size = 16 * chunk_ms
        for start in range(0, len(speech), size):
            client.send("GENERATE", {"audio_chunk": audio_chunk(speech[start : start + size])})
            await service.run(chunk_ms / 1000)
        await service.run(1.0)
        (stream,) = service.hosts[0].engine.streams
        assert len(stream.ahead) == 80
        tail = (LOOK_AHEAD + 640) // 640
        # A chunk bigger than a frame comes late by what it is longer: then the engine takes it for silence.
        needed = LOOK_AHEAD if chunk_ms <= 40 else LOOK_AHEAD + 640 - size
        assert min(stream.ahead[:-tail]) >= min(needed, LOOK_AHEAD)


async def test_new_host_hears_what_came_before(cache_dir: Path) -> None:
    async with started_service(cache_dir, hosts=2) as service:
        client = await service.session()
        await service.run(0.5)
        client.speak(tone(40, 6.0))
        await service.run(3.0)
        busy, spare = sorted(service.hosts, key=lambda host: -len(host.received))
        service.pool.kill(busy)
        await service.run(1.0)
        (stream,) = spare.engine.streams
        first = next(position for position in stream.positions if position is not None)
        assert min(stream.pcm) <= first - 7000
        assert all(stream.heard(position) == 40 for position in range(min(stream.pcm), first, 100))


async def test_blend_shapes_come_with_their_frames_to_those_who_ask(cache_dir: Path) -> None:
    pcm = np.frombuffer(SPEECH.read_bytes()[44:], "<i2")
    async with started_service(cache_dir) as service:
        client, other = await service.session(blendshapes=True), await service.session(events=True)
        for one in (client, other):
            one.speak(pcm)
        await service.run(9.0)
        assert {event.data.event for event in other.answers("EVENT")} == {"speech_started", "speech_ended"}
        events = [event.data for event in client.answers("EVENT")]
        assert {event.event for event in events} == {"blendshapes"}
        positions = {frame.data.frame_timestamp: frame.data.audio_timestamp for frame in client.frames}
        assert all(positions[event.frame_timestamp] == event.audio_timestamp for event in events)
        assert len({event.frame_timestamp for event in events}) == len(events) > 80
        jaws = [event.blendshapes["jawOpen"] for event in events]
        assert max(jaws) > 0.2
        assert max(event.blendshapes["mouthPressLeft"] for event in events) > 0.9
        assert set(events[-1].blendshapes.values()) == {0.0}


async def test_blend_shapes_rest_when_the_host_is_lost(cache_dir: Path) -> None:
    pcm = np.frombuffer(SPEECH.read_bytes()[44:], "<i2")
    async with started_service(cache_dir) as service:
        client = await service.session(blendshapes=True)
        client.speak(pcm)
        await service.run(1.5)
        service.pool.kill(service.hosts[0])
        await service.run(0.5)
        assert set(client.answers("EVENT")[-1].data.blendshapes.values()) == {0.0}
