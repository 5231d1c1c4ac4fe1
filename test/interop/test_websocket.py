"""The wire as it is: a plain WebSocket library and JSON, on a real socket."""

import asyncio
import base64
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus

from support.server_process import ServerProcess

PATH = "/musetalk/v1/ws/"


def _address(server: str, user_id: str = "plain") -> str:
    return "ws" + server.removeprefix("http") + PATH + user_id


@asynccontextmanager
async def _session(server: str, **init: Any) -> AsyncIterator[tuple[ClientConnection, dict[str, Any]]]:
    async with connect(_address(server), compression=None) as socket:
        await _send(socket, "INIT", str(uuid.uuid4()), init)
        yield socket, json.loads(await socket.recv())


async def _send(socket: ClientConnection, kind: str, session_id: str, data: dict[str, Any]) -> None:
    await socket.send(json.dumps({"type": kind, "session_id": session_id, "data": data}))


async def _wait_for(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        text = await asyncio.wait_for(socket.recv(), 10)
        if isinstance(text, str) and (message := json.loads(text))["type"] == kind:
            assert isinstance(message, dict)
            return message


async def test_session_of_a_1_0_client(live_server: str) -> None:
    """Chunks of 640 bytes that claim 40 ms, an action with audio, CLOSE, and the end."""
    async with _session(live_server, user_id="plain", video_config={"resolution": "512x512", "fps": 25}) as (
        socket,
        ok,
    ):
        assert ok["type"] == "INIT_SUCCESS"
        session_id = ok["session_id"]
        chunk = {
            "format": "pcm_s16le",
            "sample_rate": 16000,
            "channels": 1,
            "duration_ms": 40,
            "data": base64.b64encode(bytes(640)).decode(),
        }
        for _ in range(10):
            data = {"audio_chunk": chunk, "video_state": {"type": "speaking", "base_video": "speaking_3"}}
            await _send(socket, "GENERATE", session_id, data)
        await _send(socket, "ACTION", session_id, {"action_type": "action_2", "audio_chunk": chunk})
        assert (await _wait_for(socket, "ACTION_TRIGGERED"))["data"] == {"action_index": 2, "inserted": True}
        frame = await _wait_for(socket, "ACTION_FRAME")
        assert 0.0 < frame["data"]["action_progress"] < 0.2
        await _send(socket, "CLOSE", session_id, {})
        assert (await _wait_for(socket, "CLOSE_ACK"))["data"] == {"reason": "client_request"}
        with pytest.raises(ConnectionClosedOK) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


async def test_binary_frames_where_asked_for(live_server: str) -> None:
    async with _session(live_server, frames="binary") as (socket, ok):
        assert ok["type"] == "INIT_SUCCESS"
        for n in range(30):
            data = await asyncio.wait_for(socket.recv(), 5)
            assert isinstance(data, bytes)
            assert data[:3] == b"MF\x01"
            assert int.from_bytes(data[4:8], "big") == n
            assert int.from_bytes(data[8:12], "big") == 40 * n
            assert int.from_bytes(data[20:24], "big") == len(data) - 24
            assert (data[3] & 1) == (n % 25 == 0)


@pytest.mark.parametrize(
    ("user_id", "headers", "status"),
    [("a.b", {}, 400), ("x" * 65, {}, 400), ("a%20b", {}, 400), ("ok", {"Origin": "http://[bad"}, 101)],
)
async def test_handshakes_are_answered_with_a_status(
    live_server: str, user_id: str, headers: dict[str, str], status: int
) -> None:
    try:
        async with connect(_address(live_server, user_id), additional_headers=headers):
            answered = 101
    except InvalidStatus as refusal:
        answered = refusal.response.status_code
        assert json.loads(refusal.response.body)["code"] == "INVALID_MESSAGE"
    assert answered == status


async def test_client_that_drops_the_connection_leaves_no_trace(live_server: str) -> None:
    async with _session(live_server) as (socket, ok):
        await _send(socket, "CLOSE", ok["session_id"], {})
        socket.transport.abort()
    async with _session(live_server) as (socket, _):
        socket.transport.abort()


async def test_too_large_a_message_is_an_error_and_a_huge_one_the_end(live_server: str) -> None:
    async with _session(live_server) as (socket, _):
        await socket.send("x" * 300_000)
        assert (await _wait_for(socket, "ERROR"))["data"]["code"] == "INVALID_MESSAGE"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send("x" * 2_000_000)
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


@pytest.fixture
def own_server(tmp_path: Path, cache_dir: Path) -> Any:
    """Starts servers with settings of the test's own."""
    servers: list[ServerProcess] = []

    def start(**settings: object) -> ServerProcess:
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        servers.append(ServerProcess(folder, cache_dir, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


async def test_limits_origins_and_shutdown(own_server: Any) -> None:
    server = own_server(max_sessions=2, retry_after_s=7, cors_origins="https://app.example")
    with pytest.raises(InvalidStatus) as foreign:
        await connect(_address(server.url), origin="https://evil.example")  # type: ignore[arg-type]
    assert foreign.value.response.status_code == 403
    async with _session(server.url):
        pass
    async with _session(server.url) as (one, _), _session(server.url) as (two, _):
        with pytest.raises(InvalidStatus) as full:
            await connect(_address(server.url))
        assert full.value.response.status_code == 503
        assert full.value.response.headers["Retry-After"] == "7"
        server.signal_end()
        for socket in (one, two):
            assert (await _wait_for(socket, "CLOSE_ACK"))["data"] == {"reason": "server_shutdown"}
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    await asyncio.to_thread(server.wait)


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in children.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
async def test_killed_host_process_is_replaced_and_the_stream_goes_on(own_server: Any, speech: bytes) -> None:
    server = own_server()
    async with _session(server.url) as (socket, ok):
        for start in range(0, len(speech), 1280):
            chunk = {"audio_chunk": {"data": base64.b64encode(speech[start : start + 1280]).decode()}}
            await _send(socket, "GENERATE", ok["session_id"], chunk)
        stamps = []
        for n in range(150):
            message = await _wait_for(socket, "VIDEO_FRAME")
            stamps.append(message["data"]["frame_timestamp"])
            if n == 20:
                (host,) = _children(server.process.pid)
                os.kill(host, 9)
    assert stamps == [40 * n for n in range(150)]
    assert "host ended" in server.log
