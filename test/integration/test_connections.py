"""Admission, deadlines, refusals and the end of connections, on the manual clock."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from support.engines import tone
from support.in_process import started_service
from support.manual_clock import settle


async def test_full_house_is_503_with_retry_after(cache_dir: Path) -> None:
    async with started_service(cache_dir, max_sessions=2, retry_after_s=7) as service:
        first, _ = service.connect("one"), service.connect("two")
        await settle()
        third = service.connect("three")
        await settle()
        assert third.refusal is not None and third.refusal[:1] == (503,)
        assert third.refusal[1]["retry-after"] == "7"
        assert third.refusal[2]["code"] == "RATE_LIMIT_EXCEEDED"
        first.disconnect()
        await settle()
        fourth = service.connect("four")
        await settle()
        assert fourth.refusal is None


@pytest.mark.parametrize("user_id", ["", "a b", "x" * 65, "ä", "../etc", "a\n", "a.b"])
async def test_bad_user_id_is_400(cache_dir: Path, user_id: str) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect(user_id)
        await settle()
        assert client.refusal is not None
        status, _, body = client.refusal
        assert status == 400 and body["code"] == "INVALID_MESSAGE"
        assert len(service.front.sessions) == 0


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", True),
        ("http://self.example:8000", True),
        ("https://evil.example", False),
        ("null", False),
        ("http://[bad", False),
    ],
)
async def test_pages_of_other_origins_are_refused(cache_dir: Path, origin: str, allowed: bool) -> None:
    async with started_service(cache_dir, cors_origins=["https://app.example"]) as service:
        client = service.connect("alice", origin=origin, host="self.example:8000")
        await settle()
        if allowed:
            assert client.refusal is None
        else:
            assert client.refusal is not None and client.refusal[0] == 403


async def test_without_the_default_avatar_there_is_no_model(cache_dir: Path) -> None:
    async with started_service(cache_dir, default_avatar_enabled=False) as service:
        client = service.connect()
        await settle()
        assert client.refusal is not None and client.refusal[0] == 404
        assert client.refusal[2]["code"] == "MODEL_NOT_FOUND"


async def test_init_must_come_in_time_whatever_else_comes(cache_dir: Path) -> None:
    async with started_service(cache_dir, init_timeout_s=10.0) as service:
        silent, noisy = service.connect("silent"), service.connect("noisy")
        for _ in range(6):
            noisy.send_text("{}")
            await service.run(2.0)
        for client in (silent, noisy):
            assert client.answers("CLOSE_ACK")[0].data.reason == "timeout"
            assert client.close_code == 1008
        assert len(service.front.sessions) == 0


async def test_idle_session_times_out_and_a_spoken_to_one_does_not(cache_dir: Path) -> None:
    async with started_service(cache_dir, idle_timeout_s=5.0) as service:
        idle, busy = await service.session("idle"), await service.session("busy")
        for _ in range(4):
            await service.run(2.0)
            busy.send("END_OF_SPEECH")
        assert idle.answers("CLOSE_ACK")[0].data.reason == "timeout"
        assert not busy.answers("CLOSE_ACK")
        assert len(service.front.sessions) == 1


async def test_drain_says_goodbye_and_lets_nobody_in(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        clients = [await service.session(f"user{n}") for n in range(3)]
        clients.append(service.connect("opening"))
        await service.run(0.5)
        clients[0].speak(tone(40, 5.0))
        await service.run(0.5)
        service.front.sessions.drain()
        late = service.connect("late")
        await settle()
        assert late.refusal is not None and late.refusal[0] == 503
        for client in clients:
            assert client.messages[-1].type == "CLOSE_ACK"
            assert client.messages[-1].data.reason == "server_shutdown"
            assert client.close_code == 1001
        assert len(service.front.sessions) == 0
        await asyncio.wait_for(service.front.sessions.emptied(), 1)


async def test_emptied_waits_for_the_sessions_of_now(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        first = await service.session()
        first.disconnect()
        await settle()
        second = await service.session()
        emptied = asyncio.ensure_future(service.front.sessions.emptied())
        await settle()
        assert not emptied.done()
        second.disconnect()
        await settle()
        assert emptied.done()


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_connection_leaves_no_session(cache_dir: Path, turns: int) -> None:
    """Cancelled after any number of event loop turns, from before the handshake into the stream."""
    async with started_service(cache_dir) as service:
        client = service.connect()
        client.send("INIT")
        client.speak(tone(40, 1.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        client.connection.cancel()
        await settle()
        assert client.connection.done()
        assert len(service.front.sessions) == 0
        assert not any(service.front.frame_clock._slots)
        assert not [task for task in asyncio.all_tasks() if task.get_name() in ("reader", "writer", "ended")]


async def test_client_id_is_kept_where_it_is_a_free_uuid4(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        wanted = str(uuid.uuid4())
        first, second = service.connect("one"), service.connect("two")
        for client in (first, second):
            client.session_id = wanted
            client.send("INIT")
            await settle()
        assert first.answers("INIT_SUCCESS")[0].session_id == wanted
        given = second.answers("INIT_SUCCESS")[0].session_id
        assert given != wanted and uuid.UUID(given).version == 4
        for client in (first, second):  # both go on with the id that they know
            client.send("END_OF_SPEECH")
            await settle()
            assert not client.errors
        second.session_id = str(uuid.uuid4())
        second.send("END_OF_SPEECH")
        await settle()
        assert second.errors == ["INVALID_SESSION"]


async def test_messages_before_init_and_a_second_init_are_refused(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect()
        client.send("END_OF_SPEECH")
        client.send("INTERRUPT")
        await settle()
        assert client.errors == ["INVALID_SESSION"] * 2
        await client.open()
        client.send("INIT")
        await service.run(0.5)
        assert client.errors == ["INVALID_SESSION"] * 3
        assert client.frames


async def test_binary_and_oversized_messages_are_typed_errors(cache_dir: Path) -> None:
    async with started_service(cache_dir, max_message_bytes=5000) as service:
        client = await service.session()
        client.send_bytes(b"\x00" * 10)
        client.send_text("x" * 5001)
        client.send_text(json.dumps({"type": "CLOSE", "note": "é" * 3000}, ensure_ascii=False))
        await service.run(0.2)
        assert client.errors == ["INVALID_MESSAGE"] * 3
        assert client.frames


async def test_throwaway_user_in_init_must_match_the_path(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect("alice")
        client.send("INIT", {"user_id": "bob"})
        await settle()
        assert client.errors == ["INVALID_SESSION"]
        client.send("INIT", {"user_id": "alice", "auth_token": "x.y.z"})
        await settle()
        assert client.answers("INIT_SUCCESS")


async def test_broken_message_handling_is_told_and_survived(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()

        def fail(*_: object) -> None:
            raise RuntimeError("secret internals")

        monkeypatch.setattr(service.front.messages, "handle", fail)
        client.send("END_OF_SPEECH")
        await service.run(0.5)
        assert client.errors == ["INTERNAL_ERROR"]
        assert "secret" not in client.answers("ERROR")[0].model_dump_json()
        assert len(client.frames) >= 12


async def test_tick_that_raises_ends_only_its_own_session(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with started_service(cache_dir) as service:
        bad, good = await service.session("bad"), await service.session("good")
        await service.run(0.5)
        live = next(live for live in service.front.sessions if live.protocol.user_id == "bad")

        def fail(_: float) -> None:
            raise RuntimeError("secret internals")

        monkeypatch.setattr(live, "tick", fail)
        await service.run(1.0)
        assert bad.answers("CLOSE_ACK")[0].data.reason == "error"
        assert bad.close_code == 1011
        assert len(good.frames) >= 37
        assert len(service.front.sessions) == 1


async def test_close_before_init_is_a_goodbye(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = service.connect()
        client.send("CLOSE")
        await settle()
        assert client.answers("CLOSE_ACK")[0].data.reason == "client_request"
        assert client.close_code == 1000 and len(service.front.sessions) == 0
