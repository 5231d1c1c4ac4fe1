"""The client library takes a lost session up again, and sends what had not arrived."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.http11 import Request, Response

from musetalk_service.client import MuseTalkClient, ReceivedFrame, ServerError, SessionStarted, StateChanged
from musetalk_service.client_audio import SentAudio

CHUNK = 1280
INIT_SUCCESS = {
    "available_videos": ["idle_0", "speaking_0"],
    "default_video": "idle_0",
    "resume_token": "first",
    "resume_grace_s": 5.0,
}


@dataclass
class FragileServer:
    """Speaks the protocol, and breaks the connection where it is told to."""

    url: str = ""
    accepted: bytearray = field(default_factory=bytearray)
    messages: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    break_after: list[int] = field(default_factory=list)
    """Of each connection in turn: after how many accepted chunks it breaks."""
    refusals: list[HTTPStatus] = field(default_factory=list)
    """For the next handshakes."""
    forgets: bool = False
    before_break: Callable[[ServerConnection], Any] | None = None

    def refuse(self, connection: ServerConnection, _request: Request) -> Response | None:
        return connection.respond(self.refusals.pop(0), "later") if self.refusals else None

    async def serve_one(self, connection: ServerConnection) -> None:
        chunks = 0
        limit = self.break_after.pop(0) if self.break_after else None
        async for text in connection:
            message = json.loads(text)
            kind, data = message["type"], message["data"]
            if kind == "INIT":
                await self.begin(connection, message["session_id"], data)
                continue
            if limit is not None and chunks >= limit:
                if self.before_break is not None:
                    await self.before_break(connection)
                connection.transport.abort()
                return
            self.messages.append(kind)
            if kind == "GENERATE":
                self.accepted += base64.b64decode(data["audio_chunk"]["data"])
                chunks += 1
            elif kind == "CLOSE":
                await reply(connection, "CLOSE_ACK", {"reason": "client_request"})

    async def begin(self, connection: ServerConnection, session_id: str, data: dict[str, Any]) -> None:
        self.tokens.append(data.get("resume_token"))
        if self.tokens[-1] is not None and self.forgets:
            await reply(connection, "ERROR", {"code": "INVALID_SESSION", "message": "gone"})
            return
        answer = INIT_SUCCESS | {
            "resumed": self.tokens[-1] is not None,
            "audio_received_ms": len(self.accepted) // 32,
            "resume_token": f"token {len(self.tokens)}",
        }
        await reply(connection, "INIT_SUCCESS", answer, session_id)


async def reply(connection: ServerConnection, kind: str, data: dict[str, Any], session_id: str = "s") -> None:
    await connection.send(json.dumps({"type": kind, "session_id": session_id, "data": data}))


@asynccontextmanager
async def running(server: FragileServer) -> AsyncIterator[str]:
    async with serve(server.serve_one, "127.0.0.1", 0, process_request=server.refuse) as listening:
        yield f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"


@pytest.fixture
async def server() -> AsyncIterator[FragileServer]:
    fragile = FragileServer()
    async with running(fragile) as fragile.url:
        yield fragile


def speech(chunks: int) -> bytes:
    return bytes(n % 251 for n in range(chunks * CHUNK))


async def test_speech_arrives_whole_and_once_over_three_connections(server: FragileServer) -> None:
    server.break_after = [10, 7]
    pcm = speech(30) + b"\1\2"
    async with MuseTalkClient.connect(server.url, "alice", resume=True) as client:
        reader = asyncio.create_task(collect(client))
        for start in range(0, len(pcm), CHUNK):
            await client.send_audio(pcm[start : start + CHUNK])
            await asyncio.sleep(0.005)
        await client.end_of_speech()
        await client.close()
        seen = await reader
    assert bytes(server.accepted) == pcm
    assert server.messages[-2:] == ["END_OF_SPEECH", "CLOSE"]
    assert server.tokens == [None, "token 1", "token 2"]
    resumed = [message for message in seen if isinstance(message, SessionStarted)]
    assert [(m.resumed, m.audio_received_ms, m.session_id) for m in resumed] == [
        (True, 400, client.session_id),
        (True, 680, client.session_id),
    ]


async def collect(client: MuseTalkClient) -> list[object]:
    return [message async for message in client]


async def test_who_only_sends_resumes_too(server: FragileServer) -> None:
    server.break_after = [3]
    pcm = speech(20)
    async with MuseTalkClient.connect(server.url, "alice", resume=True) as client:
        for start in range(0, len(pcm), CHUNK):
            await client.send_audio(pcm[start : start + CHUNK])
            await asyncio.sleep(0.005)
        await client.change_state("idle")
    assert bytes(server.accepted) == pcm
    assert server.messages[-2:] == ["STATE_CHANGE", "CLOSE"]


async def test_messages_from_before_the_break_are_not_lost(server: FragileServer) -> None:
    server.break_after = [0]

    async def say(connection: ServerConnection) -> None:
        await reply(connection, "STATE_CHANGED", {"current_state": "idle", "current_video": "idle_0"})

    server.before_break = say
    async with MuseTalkClient.connect(server.url, "alice", resume=True) as client:
        for _ in range(20):
            await client.send_audio(bytes(CHUNK))
            await asyncio.sleep(0.005)
        messages = aiter(client)
        assert await anext(messages) == StateChanged("idle", "idle_0")
        started = await anext(messages)
        assert isinstance(started, SessionStarted) and started.resumed
    assert len(server.accepted) == 20 * CHUNK


async def test_a_busy_server_is_asked_again(server: FragileServer) -> None:
    server.break_after = [1]
    async with MuseTalkClient.connect(server.url, "alice", resume=True) as client:
        server.refusals = [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY]
        await client.send_audio(bytes(2 * CHUNK))
        message = await asyncio.wait_for(anext(aiter(client)), 10)
        assert isinstance(message, SessionStarted) and message.resumed
    assert server.refusals == []
    assert len(server.accepted) == 2 * CHUNK


async def test_a_session_that_is_gone_ends_with_what_the_server_said(server: FragileServer) -> None:
    server.break_after, server.forgets = [0], True
    async with MuseTalkClient.connect(server.url, "alice", resume=True) as client:
        await client.send_audio(bytes(CHUNK))
        with pytest.raises(ConnectionClosedError) as caught:
            await collect(client)
        assert isinstance(caught.value.__cause__, ServerError)
        with pytest.raises(ConnectionClosedError):
            await client.action(1)
    assert server.tokens == [None, "token 1"]


async def test_a_stream_that_stops_is_a_lost_connection(server: FragileServer) -> None:
    async with MuseTalkClient.connect(server.url, "alice", resume=True, stall_timeout=0.1) as client:
        message = await asyncio.wait_for(anext(aiter(client)), 10)
        assert isinstance(message, SessionStarted) and message.resumed
    assert server.tokens[:2] == [None, "token 1"]


async def test_without_being_asked_it_does_not_resume(server: FragileServer) -> None:
    server.break_after = [0]
    async with MuseTalkClient.connect(server.url, "alice") as client:
        await client.send_audio(bytes(CHUNK))
        with pytest.raises(ConnectionClosed):
            await collect(client)
    assert server.tokens == [None]


async def test_closing_does_not_wait_for_a_server_that_is_gone() -> None:
    fragile = FragileServer(break_after=[0])
    async with running(fragile) as url:
        client = await (connecting := MuseTalkClient.connect(url, "alice", resume=True)).__aenter__()
    reader = asyncio.create_task(collect(client))
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(client.close(), 3) is None
    assert await asyncio.wait_for(reader, 3) == []
    await connecting.__aexit__(None, None, None)


def ledger(*sizes_ms: float, rate: int = 16_000) -> SentAudio:
    sent = SentAudio()
    for number, size_ms in enumerate(sizes_ms):
        sent.add_audio(f"chunk {number}", size_ms, rate)
    return sent


def test_chunks_are_whole_or_missing() -> None:
    assert ledger(40, 40, 0.0625).unreceived(40) == ["chunk 1", "chunk 2"]
    assert ledger(40, 40, 0.0625).unreceived(80) == []
    assert ledger(40, 40, 39.9).unreceived(119) == []
    assert ledger(40, 40, 39.9).unreceived(80) == ["chunk 2"]


def test_a_resampler_holds_some_of_what_arrived() -> None:
    assert ledger(40, 40, 40, rate=44_100).unreceived(55) == ["chunk 2"]
    assert ledger(40, 40, 40, rate=44_100).unreceived(40) == ["chunk 1", "chunk 2"]


def test_a_second_break_counts_from_what_the_first_one_left() -> None:
    sent = ledger(40, 40, 40, 40)
    assert sent.unreceived(80) == ["chunk 2", "chunk 3"]
    sent.add_audio("chunk 4", 40, 16_000)
    assert sent.unreceived(120) == ["chunk 3", "chunk 4"]


def test_an_end_of_speech_is_said_again_unless_later_audio_arrived() -> None:
    sent = ledger(40)
    sent.add_end_of_speech("end")
    assert sent.unreceived(40) == ["end"]
    sent.add_audio("next", 40, 16_000)
    assert sent.unreceived(80) == []


def test_what_was_interrupted_is_not_said_again() -> None:
    sent = ledger(40, 40)
    sent.add_interrupt("interrupt")
    sent.add_audio("next", 40, 16_000)
    assert sent.unreceived(40) == ["interrupt", "next"]
    assert sent.unreceived(80) == []


def test_what_was_played_is_forgotten_and_what_was_refused_takes_no_place() -> None:
    sent = ledger(*[40] * 10)
    sent.played(120)
    assert len(sent) == 7
    sent.refused()
    assert sent.unreceived(280) == ["chunk 8", "chunk 9"]


async def test_a_live_session_goes_on_where_it_was_lost(live_server: str, speech: bytes) -> None:
    async with MuseTalkClient.connect(live_server, "alice", resume=True, events=True) as client:
        await client.send_audio(speech)
        await client.end_of_speech()
        positions: list[int] = []
        stamps: list[int] = []
        resumed: list[SessionStarted] = []
        async for message in client:
            if isinstance(message, SessionStarted):
                resumed.append(message)
                assert not resumed[1:]
            elif isinstance(message, ReceivedFrame):
                stamps.append(message.timestamp_ms)
                if message.audio_timestamp_ms is not None:
                    positions.append(message.audio_timestamp_ms)
                    if len(positions) == 15 and not resumed:
                        client._connection.transport.abort()
                    if positions[-1] == 1960:
                        break
            else:
                assert not isinstance(message, ServerError), message
    assert resumed[0].resumed and resumed[0].audio_received_ms == 2000
    assert resumed[0].session_id == client.session_id
    assert positions == sorted(set(positions)) and len(positions) >= 40
    assert stamps == sorted(set(stamps))
