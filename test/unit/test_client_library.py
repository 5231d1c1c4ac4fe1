"""The client library against a small server that speaks the protocol."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from musetalk_service.client import (
    ActionTriggered,
    CloseAck,
    EngineSwitched,
    Event,
    Interrupted,
    MuseTalkClient,
    OtherMessage,
    ReceivedFrame,
    ServerError,
    StateChanged,
)
from musetalk_service.client_messages import read_server_message
from musetalk_service.utils.certificates import make_self_signed

INIT_SUCCESS = {
    "model_loaded": True,
    "available_videos": ["idle_0", "speaking_0", "speaking_1", "action_1"],
    "default_video": "idle_0",
    "streaming_started": True,
    "engine": "builtin",
    "codec": "avc1.42C01F",
    "delay_ms": 280,
}


@dataclass
class ScriptedServer:
    """Answers INIT and CLOSE, keeps what it got, and answers other messages with what `replies` says."""

    url: str = ""
    path: str = ""
    authorization: str | None = None
    received: list[dict[str, Any]] = field(default_factory=list)
    replies: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    acknowledge_close: bool = True

    async def serve_one(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.path = connection.request.path
        self.authorization = connection.request.headers.get("Authorization")
        async for text in connection:
            message = json.loads(text)
            self.received.append(message)
            replies = self.replies.get(message["type"], [])
            if message["type"] == "INIT" and not replies:
                replies = [("INIT_SUCCESS", INIT_SUCCESS)]
            if message["type"] == "CLOSE" and self.acknowledge_close:
                replies = [*replies, ("CLOSE_ACK", {"reason": "client_request"})]
            for kind, data in replies:
                envelope = {"type": kind, "session_id": message["session_id"], "data": data}
                await connection.send(json.dumps(envelope))

    def data_of(self, kind: str) -> list[dict[str, Any]]:
        return [message["data"] for message in self.received if message["type"] == kind]


@asynccontextmanager
async def running(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with running(scripted.serve_one) as scripted.url:
        yield scripted


def frame_message(timestamp: int, **more: Any) -> tuple[str, dict[str, Any]]:
    data = {"frame_data": base64.b64encode(b"\0\0\0\1e").decode(), "frame_timestamp": timestamp, **more}
    return ("ACTION_FRAME" if "action_progress" in more else "VIDEO_FRAME"), data


async def test_connect_sends_init_and_reads_what_the_server_offers(server: ScriptedServer) -> None:
    async with MuseTalkClient.connect(
        server.url,
        user_id="alice",
        auth_token="jwt",
        resolution="256x256",
        max_kbps=300,
        frames="json",
        events=True,
        options={"extra": 1},
    ) as client:
        assert client.session_id == server.received[0]["session_id"]
        assert (client.engine, client.codec, client.delay_ms) == ("builtin", "avc1.42C01F", 280)
        assert client.available_videos == ("idle_0", "speaking_0", "speaking_1", "action_1")
    assert server.path == "/musetalk/v1/ws/alice"
    assert server.authorization == "Bearer jwt"
    assert server.data_of("INIT") == [
        {
            "user_id": "alice",
            "video_config": {"resolution": "256x256", "fps": 25, "max_kbps": 300},
            "auth_token": "jwt",
            "frames": "json",
            "events": True,
            "extra": 1,
        }
    ]
    assert server.received[-1] == {"type": "CLOSE", "session_id": client.session_id, "data": {}}


async def test_what_is_not_asked_for_is_not_said(server: ScriptedServer) -> None:
    async with MuseTalkClient.connect(server.url, "alice") as client:
        assert (client.width, client.max_kbps) == (512, None)
    assert server.authorization is None
    video = {"fps": 25}
    assert server.data_of("INIT") == [{"user_id": "alice", "video_config": video, "frames": "binary", "events": False}]


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schl\u00fcssel"])
async def test_token_that_is_no_token_does_not_leave_the_house(server: ScriptedServer, token: str) -> None:
    with pytest.raises(ValueError, match="auth_token"):
        await MuseTalkClient.connect(server.url, "alice", auth_token=token).__aenter__()
    assert server.path == ""


async def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate_pem, key_pem = make_self_signed(["127.0.0.1"], 1)
    certificate.write_bytes(certificate_pem)
    key.write_bytes(key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    scripted = ScriptedServer()
    async with running(scripted.serve_one, ssl=context) as url:
        secure = url.replace("ws:", "wss:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with MuseTalkClient.connect(secure, "alice", ssl=trusting) as client:
            assert client.engine == "builtin"
        with pytest.raises(ssl.SSLCertVerificationError):
            await MuseTalkClient.connect(secure, "alice").__aenter__()
        with pytest.raises(ValueError):
            await MuseTalkClient.connect(url, "alice", ssl=trusting).__aenter__()


async def test_the_engine_is_chosen_and_switched(server: ScriptedServer) -> None:
    server.replies["SWITCH_ENGINE"] = [("ENGINE_SWITCHED", {"engine": "builtin", "delay_ms": 187})]
    async with MuseTalkClient.connect(server.url, "alice", engine="musetalk") as client:
        await client.switch_engine("builtin")
        assert await anext(aiter(client)) == EngineSwitched("builtin", 187)
    assert server.data_of("INIT")[0]["engine"] == "musetalk"
    assert server.data_of("SWITCH_ENGINE") == [{"engine": "builtin"}]


async def test_client_adopts_the_session_id_that_the_server_gives() -> None:
    ids = []

    async def renaming(connection: ServerConnection) -> None:
        await connection.recv()
        reply = {"type": "INIT_SUCCESS", "session_id": "other", "data": INIT_SUCCESS}
        await connection.send(json.dumps(reply))
        ids.append(json.loads(await connection.recv())["session_id"])

    async with running(renaming) as url, MuseTalkClient.connect(url, "alice") as client:
        assert client.session_id == "other"
        await client.interrupt()
    assert ids == ["other"]


async def test_audio_is_cut_to_40_ms_and_nothing_is_lost(server: ScriptedServer) -> None:
    pcm = bytes(range(256)) * 10 + b"\1\2"
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.send_audio(pcm)
        await client.end_of_speech()
    chunks = [data["audio_chunk"] for data in server.data_of("GENERATE")]
    decoded = [base64.b64decode(chunk["data"]) for chunk in chunks]
    assert [len(chunk) for chunk in decoded] == [1280, 1280, 2]
    assert b"".join(decoded) == pcm
    assert [chunk["duration_ms"] for chunk in chunks] == [40, 40, 1]
    assert {(chunk["format"], chunk["sample_rate"], chunk["channels"]) for chunk in chunks} == {
        ("pcm_s16le", 16_000, 1)
    }
    assert server.data_of("GENERATE")[0]["video_state"] == {"type": "speaking", "base_video": "speaking_0"}
    assert [message["type"] for message in server.received[-2:]] == ["END_OF_SPEECH", "CLOSE"]


async def test_another_sample_rate_still_makes_40_ms_chunks(server: ScriptedServer) -> None:
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.send_audio(bytes(48_000 * 2 // 25), sample_rate=48_000, base_video="speaking_1")
    (generate,) = server.data_of("GENERATE")
    assert (generate["audio_chunk"]["sample_rate"], generate["audio_chunk"]["duration_ms"]) == (48_000, 40)
    assert generate["video_state"]["base_video"] == "speaking_1"


async def test_half_a_sample_is_refused_before_anything_is_sent(server: ScriptedServer) -> None:
    async with MuseTalkClient.connect(server.url, "alice") as client:
        with pytest.raises(ValueError, match="even number of bytes, not 1281"):
            await client.send_audio(bytes(1281))
    assert server.data_of("GENERATE") == []


async def test_paced_audio_waits_for_absolute_deadlines(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MuseTalkClient.connect(server.url, "alice") as client:
        loop = asyncio.get_running_loop()
        start = loop.time()
        now = start
        delays = []

        async def oversleep(delay: float) -> None:
            nonlocal now
            delays.append(delay)
            now += delay + 0.01

        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now)
            patch.setattr("musetalk_service.client.asyncio.sleep", oversleep)
            await client.send_paced(bytes(1280 * 4))
    # Each wake is 10 ms late; a pace of relative sleeps would wait 40 ms each and drift.
    assert delays == pytest.approx([0.04, 0.03, 0.03])
    assert len(server.data_of("GENERATE")) == 4


async def test_replies_come_typed_and_in_order(server: ScriptedServer) -> None:
    server.replies = {
        "STATE_CHANGE": [("STATE_CHANGED", {"current_state": "idle", "current_video": "idle_0"})],
        "ACTION": [("ACTION_TRIGGERED", {"action_index": 2, "inserted": True})],
        "INTERRUPT": [("INTERRUPTED", {"audio_played_ms": 400, "audio_dropped_ms": 1600})],
        "END_OF_SPEECH": [
            ("EVENT", {"event": "speech_ended", "audio_timestamp": None, "engine": None, "reason": None}),
            ("NEWS", {"of": "tomorrow"}),
        ],
    }
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.change_state("idle", "idle_0")
        await client.action(2)
        await client.interrupt()
        await client.end_of_speech()
        messages = []
        async for message in client:
            messages.append(message)
            if len(messages) == 5:
                break
        assert await client.close() == CloseAck("client_request")
        assert [message async for message in client] == []
    assert messages == [
        StateChanged("idle", "idle_0"),
        ActionTriggered(2),
        Interrupted(400, 1600),
        Event("speech_ended", None, None, None),
        OtherMessage("NEWS", {"of": "tomorrow"}),
    ]
    assert server.data_of("STATE_CHANGE") == [{"target_state": "idle", "base_video": "idle_0"}]
    assert server.data_of("ACTION") == [{"action_index": 2}]
    assert len(server.data_of("CLOSE")) == 1


async def test_frames_of_new_and_old_servers(server: ScriptedServer) -> None:
    more = {"sequence_number": 7, "is_keyframe": True, "state": "speaking", "audio_timestamp": 40}
    server.replies = {
        "INTERRUPT": [frame_message(280, **more), frame_message(360, action_progress=0.5), frame_message(400)]
    }
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.interrupt()
        frames = []
        async for frame in client.frames():
            frames.append(frame)
            if frame.timestamp_ms == 400:
                break
    assert all(frame.access_unit == b"\0\0\0\1e" and frame.received_at > 0 for frame in frames)
    assert [describe(frame) for frame in frames] == [
        (280, 7, True, "speaking", 40, None),
        (360, 9, False, "action", None, 0.5),
        (400, 10, False, "speaking", None, None),
    ]


def describe(frame: ReceivedFrame) -> tuple[object, ...]:
    return (
        frame.timestamp_ms,
        frame.sequence_number,
        frame.is_keyframe,
        frame.state,
        frame.audio_timestamp_ms,
        frame.action_progress,
    )


async def test_an_error_is_an_item_of_the_stream_and_raised_by_frames(server: ScriptedServer) -> None:
    data = {"code": "RATE_LIMIT_EXCEEDED", "message": "slow down", "details": {"retry_after_ms": 90}}
    error = ("ERROR", data)
    server.replies = {"INTERRUPT": [error, frame_message(40), error, frame_message(80)]}
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.interrupt()
        messages = aiter(client)
        first = await anext(messages)
        assert isinstance(first, ServerError)
        assert (first.code, first.message, first.retry_after_ms) == ("RATE_LIMIT_EXCEEDED", "slow down", 90)
        assert isinstance(await anext(messages), ReceivedFrame)
        with pytest.raises(ServerError, match="RATE_LIMIT_EXCEEDED: slow down"):
            await anext(client.frames())
        assert (await anext(client.frames())).timestamp_ms == 80


async def test_a_refused_init_raises(server: ScriptedServer) -> None:
    server.replies = {"INIT": [("ERROR", {"code": "MODEL_NOT_FOUND", "message": "no such avatar"})]}
    with pytest.raises(ServerError, match="MODEL_NOT_FOUND") as caught:
        async with MuseTalkClient.connect(server.url, "alice"):
            pytest.fail("the session must not start")
    assert caught.value.retry_after_ms is None


async def test_a_full_server_says_when_to_come_back() -> None:
    def refuse(connection: ServerConnection, _request: Request) -> Response:
        response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full")
        response.headers["Retry-After"] = "3"
        return response

    async def close_1013(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(1013)

    async with running(close_1013, process_request=refuse) as url:
        with pytest.raises(ServerError, match="capacity") as caught:
            await MuseTalkClient.connect(url, "alice").__aenter__()
    assert caught.value.retry_after_ms == 3000
    async with running(close_1013) as url:
        with pytest.raises(ServerError, match="capacity"):
            await MuseTalkClient.connect(url, "alice").__aenter__()


async def test_a_refused_handshake_says_why_in_the_services_words() -> None:
    def refuse(connection: ServerConnection, _request: Request) -> Response:
        body = {"code": "RATE_LIMIT_EXCEEDED", "message": "too many", "details": {"retry_after_ms": 250}}
        return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, json.dumps(body))

    def forbid(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "not through this proxy")

    async def unused(connection: ServerConnection) -> None:
        raise AssertionError("the handshake must be refused")

    async with running(unused, process_request=refuse) as url:
        with pytest.raises(ServerError, match="too many") as caught:
            await MuseTalkClient.connect(url, "alice").__aenter__()
    assert caught.value.retry_after_ms == 250
    async with running(unused, process_request=forbid) as url:
        with pytest.raises(InvalidStatus):
            await MuseTalkClient.connect(url, "alice").__aenter__()


async def test_a_refusal_before_init_is_read_to_the_end() -> None:
    async def deny(connection: ServerConnection) -> None:
        data = {"code": "INVALID_SESSION", "message": "no", "details": {"reason": "expired"}}
        await connection.send(json.dumps({"type": "ERROR", "session_id": "s", "data": data}))
        await connection.close(4401)

    async with running(deny) as url:
        with pytest.raises(ServerError, match="INVALID_SESSION: no") as caught:
            await MuseTalkClient.connect(url, "alice", auth_token="jwt").__aenter__()
    assert caught.value.details == {"reason": "expired"}


async def test_close_gives_up_on_a_server_that_does_not_answer(server: ScriptedServer) -> None:
    server.acknowledge_close = False
    async with MuseTalkClient.connect(server.url, "alice") as client:
        assert await client.close(timeout=0.05) is None


async def test_close_while_another_task_iterates(server: ScriptedServer) -> None:
    async with MuseTalkClient.connect(server.url, "alice") as client:

        async def read_all() -> int:
            return len([message async for message in client])

        reader = asyncio.create_task(read_all())
        await asyncio.sleep(0)
        assert await client.close() == CloseAck("client_request")
        await asyncio.wait_for(reader, 5)


# The examples of the protocol's page.
BINARY = bytes.fromhex("4d460100000000810000142800000280000001000000000a00000001419a22800803")
BINARY_ACTION = bytes.fromhex("4d460102000000c900001f68ffffffff69ce02000000000a00000001419a22800803")


def test_binary_frames_are_read_as_the_json_ones() -> None:
    frame = read_server_message(BINARY, 1.5)
    action = read_server_message(BINARY_ACTION, 1.5)
    assert isinstance(frame, ReceivedFrame) and isinstance(action, ReceivedFrame)
    assert describe(frame) == (5160, 129, False, "speaking", 640, None)
    assert describe(action)[:5] == (8040, 201, False, "action", None)
    assert action.action_progress == pytest.approx(0.4133, abs=1e-4)
    assert frame.access_unit == action.access_unit == BINARY[24:] and frame.received_at == 1.5
    key = read_server_message(BINARY[:3] + b"\1" + BINARY[4:], 0.0)
    assert isinstance(key, ReceivedFrame) and key.is_keyframe


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "{}",
        '{"type": "VIDEO_FRAME", "session_id": "s", "data": {}}',
        '{"type": "CLOSE_ACK", "session_id": "s", "data": []}',
        b"\xff",
        BINARY[:23],
        BINARY + b"\0",
        BINARY[:-1],
        b"MG" + BINARY[2:],
        BINARY[:2] + b"\2" + BINARY[3:],
        BINARY[:3] + b"\4" + BINARY[4:],
        BINARY[:16] + b"\0\1" + BINARY[18:],
        BINARY[:18] + b"\3" + BINARY[19:],
        BINARY[:19] + b"\1" + BINARY[20:],
        BINARY[:20] + bytes(4),
    ],
)
def test_what_is_not_of_the_protocol_is_a_value_error(raw: str | bytes) -> None:
    with pytest.raises(ValueError):
        read_server_message(raw, 0.0)
