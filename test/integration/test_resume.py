"""A lost connection is taken up again within the grace time; nothing else is."""

from pathlib import Path
from typing import Any

import pytest

from support.engines import tone
from support.in_process import Client, Service, gaps, started_service
from support.manual_clock import settle
from support.video import decode, greys


async def _resume(service: Service, token: str, user_id: str = "alice") -> Client:
    client = service.connect(user_id)
    client.send("INIT", {"resume_token": token})
    await settle()
    started = client.answers("INIT_SUCCESS")
    if started:
        client.session_id = started[0].session_id
    return client


def _token(client: Client) -> str:
    token: Any = client.answers("INIT_SUCCESS")[0].data.resume_token
    assert isinstance(token, str) and len(token) >= 16
    return token


def _audio(client: Client) -> list[int]:
    return [f.data.audio_timestamp for f in client.frames if f.data.audio_timestamp is not None]


async def test_speech_goes_on_where_the_connection_was_lost(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = await service.session()
        await service.run(0.5)
        first.speak(tone(40, 6.0))
        await service.run(2.0)
        first.disconnect()
        await service.run(3.0)
        assert len(service.front.sessions) == 1
        second = await _resume(service, _token(first))
        assert second.session_id == first.session_id
        answer = second.answers("INIT_SUCCESS")[0].data
        assert answer.resumed and answer.audio_received_ms == 6000
        await service.run(6.0)
        assert not second.errors
        # At most the frames under way were lost; the time away is a hole in the timestamps.
        assert 0 < _audio(second)[0] - _audio(first)[-1] <= 3 * 40
        assert _audio(second)[-1] == 5960 and set(gaps(_audio(second))) == {40}
        stamps = [frame.data.frame_timestamp for frame in second.frames]
        assert 2960 <= stamps[0] - first.frames[-1].data.frame_timestamp <= 3120
        assert set(gaps(stamps)) == {40}
        assert second.frames[0].data.is_keyframe
        assert len(decode(second.units)) == len(second.units)
        shown = zip(second.frames, greys(second.units), strict=True)
        assert {grey for frame, grey in shown if frame.data.audio_timestamp is not None} == {40}
        second.send("CLOSE")
        await service.run(0.1)
        assert len(service.front.sessions) == 0


async def test_after_the_grace_time_it_is_gone(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=5.0) as service:
        first = await service.session()
        first.disconnect()
        await service.run(7.0)
        assert len(service.front.sessions) == 0
        second = await _resume(service, _token(first))
        assert second.errors == ["INVALID_SESSION"]
        second.send("INIT")
        await service.run(0.2)
        assert not second.answers("INIT_SUCCESS")[0].data.resumed and second.frames


async def test_only_its_user_and_its_token_open_it(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = await service.session("alice")
        first.disconnect()
        await settle()
        assert (await _resume(service, _token(first), "mallory")).errors == ["INVALID_SESSION"]
        assert (await _resume(service, "x" * 32)).errors == ["INVALID_SESSION"]
        assert (await _resume(service, "ümläut")).errors == ["INVALID_SESSION"]
        assert not (await _resume(service, _token(first), "alice")).errors


async def test_connection_that_is_half_open_gives_way(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = await service.session()
        await service.run(0.5)
        first.stop_reading()
        second = await _resume(service, _token(first))
        first.go_on_reading()
        await service.run(1.0)
        assert not second.errors and len(second.frames) >= 24
        assert first.connection.done()
        assert len(service.front.sessions) == 1
        third = await _resume(service, _token(second))
        assert not third.errors
        await service.run(1.0)
        assert len(third.frames) >= 24 and len(service.front.sessions) == 1


async def test_closed_session_is_not_taken_up(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = await service.session()
        first.stop_reading()  # so that its connection lingers
        await service.run(1.0)
        first.send("CLOSE")
        await settle()
        assert (await _resume(service, _token(first))).errors == ["INVALID_SESSION"]
        first.go_on_reading()
        await settle()
        assert first.answers("CLOSE_ACK")


async def test_shutdown_does_not_wait_for_the_lost(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = await service.session()
        first.disconnect()
        await settle()
        service.front.sessions.drain()
        assert len(service.front.sessions) == 0


async def test_lost_sessions_make_room_for_others(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0, max_sessions=2) as service:
        clients = []
        for n in range(4):
            clients.append(await service.session(f"user{n}"))
            clients[-1].disconnect()
            await service.run(0.1)
        assert len(service.front.sessions) <= 2
        assert not (await _resume(service, _token(clients[3]), "user3")).errors
        assert (await _resume(service, _token(clients[0]), "user0")).errors == ["INVALID_SESSION"]


@pytest.mark.parametrize("code", [1000, 1001])
async def test_client_that_closes_its_socket_properly_does_not_come_back(cache_dir: Path, code: int) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        client = await service.session()
        client.disconnect(code)
        await settle()
        assert len(service.front.sessions) == 0


async def test_resumed_session_hears_events_and_messages_as_before(cache_dir: Path) -> None:
    async with started_service(cache_dir, resume_grace_s=15.0) as service:
        first = service.connect()
        first.send("INIT", {"events": True})
        await settle()
        first.disconnect()
        await service.run(1.0)
        second = await _resume(service, _token(first))
        second.speak(tone(40, 1.0))
        second.send("END_OF_SPEECH")
        await service.run(3.0)
        assert not second.errors
        assert [event.data.event for event in second.answers("EVENT")][:1] == ["speech_started"]
        second.send("ACTION", {"action_index": 1})
        await service.run(0.2)
        assert second.answers("ACTION_TRIGGERED")
