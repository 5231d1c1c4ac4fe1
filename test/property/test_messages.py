"""Whatever a client sends, it gets a typed error or what it asked for, and the stream goes on."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musetalk_service.services.live_session import LiveSession
from support.engines import tone
from support.in_process import Service, audio_chunk, started_service

CODES = {
    "INVALID_MESSAGE",
    "INVALID_SESSION",
    "MODEL_NOT_FOUND",
    "PROCESSING_ERROR",
    "RATE_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
types = st.sampled_from(["INIT", "GENERATE", "STATE_CHANGE", "ACTION", "END_OF_SPEECH", "INTERRUPT"])
_CHUNK = audio_chunk(tone(9, 0.04))
valid_data: dict[str, list[dict[str, Any]]] = {
    "INIT": [{}, {"user_id": "alice", "video_config": {"resolution": "512x512", "fps": 25}}],
    "GENERATE": [{"audio_chunk": _CHUNK}, {"audio_chunk": _CHUNK, "video_state": {"type": "speaking"}}],
    "STATE_CHANGE": [{"target_state": "idle", "base_video": "idle_0"}, {"target_state": "action"}],
    "ACTION": [{"action_index": 1}, {"action_type": "action_2", "audio_chunk": _CHUNK}],
    "END_OF_SPEECH": [{}],
    "INTERRUPT": [{}],
}


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """A well-formed message; the session id is filled in later."""
    kind = draw(types)
    return {"type": kind, "session_id": "SESSION", "data": draw(st.sampled_from(valid_data[kind]))}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something may be changed."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid message with one thing changed, left out or cut off."""
    message = json.loads(json.dumps(draw(valid())))
    path = draw(st.sampled_from(_paths(message)))
    parent = message
    for key in path[:-1]:
        parent = parent[key]
    if draw(st.booleans()):
        parent[path[-1]] = draw(json_values)
    else:
        del parent[path[-1]]
    text = json.dumps(message)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 4)) == 0 else text


anything = (
    st.text(st.characters(codec="utf-8"), max_size=200)
    | json_values.map(json.dumps)
    | mutated()
    | valid().map(json.dumps)
    | st.none()
)


def run_session(cache_dir: Path, scenario: Callable[[Service, LiveSession], Awaitable[None]]) -> None:
    """A session in memory whose outbox nobody empties but the scenario."""

    async def run() -> None:
        async with started_service(cache_dir) as service:
            sessions = service.front.sessions
            live = sessions.admit("alice", await sessions.find_avatar("alice"))
            await scenario(service, live)
            sessions.release(live)

    asyncio.run(run())


def answers(live: LiveSession) -> list[dict[str, Any]]:
    """What is not a frame in the outbox; empties it of that."""
    texts = [item for item in live.outbox._items if isinstance(item, str)]
    live.outbox._items.clear()
    live.outbox._frames = 0
    return [json.loads(text) for text in texts]


@pytest.mark.parametrize("begun", [False, True])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(anything, min_size=1, max_size=12))
def test_any_input_is_answered_by_the_protocol(cache_dir: Path, begun: bool, texts: list[str | None]) -> None:
    async def scenario(service: Service, live: LiveSession) -> None:
        receive = service.front.connections.receive
        if begun:
            receive(live, '{"type": "INIT"}')
        for text in texts:
            answers(live)
            before = (live.protocol, live.timeline.accepted, live.stream is None)
            receive(live, text and text.replace('"SESSION"', json.dumps(live.protocol.session_id)))
            told = answers(live)
            errors = [answer for answer in told if answer["type"] == "ERROR"]
            for error in errors:
                assert error["data"]["code"] in CODES - {"INTERNAL_ERROR"}
                assert error["data"]["message"]
                assert error["session_id"] == live.protocol.session_id
            if errors:
                assert told == errors and len(errors) == 1
                assert (live.protocol, live.timeline.accepted, live.stream is None) == before
        if live.stream is not None:
            await service.run(0.05)
            started = live.stream.next_frame
            await service.run(0.4)
            assert live.stream.next_frame - started == 10

    run_session(cache_dir, scenario)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(valid() | st.floats(0.01, 0.5), min_size=1, max_size=25))
def test_any_order_of_valid_messages_keeps_state_and_stream_together(
    cache_dir: Path, steps: list[dict[str, Any] | float]
) -> None:
    async def scenario(service: Service, live: LiveSession) -> None:
        service.front.connections.receive(live, '{"type": "INIT"}')
        for step in steps:
            if isinstance(step, float):
                await service.run(step)
                continue
            message = json.dumps(step | {"session_id": live.protocol.session_id})
            service.front.connections.receive(live, message)
            assert not [a for a in answers(live) if a["type"] == "ERROR" and a["data"]["code"] == "INTERNAL_ERROR"]
        # Left alone, every session comes to rest in its base state, whatever was asked of it.
        await service.run(8.0)
        base = live.protocol.base_clip.rpartition("_")[0]
        assert live.protocol.state.value == base
        assert live.protocol.action is None and not live.protocol.audio_queued
        assert live.timeline.queued == 0

    run_session(cache_dir, scenario)
