"""Tokens and rate limits, through the whole service."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from musetalk_service.config import default_settings
from musetalk_service.engines.base import Engine
from musetalk_service.server import create_app
from support.engines import GreyEngine, tone
from support.in_process import Client, Service, audio_chunk, grey_engines, started_service
from support.manual_clock import settle

SECRET = "a secret of at least thirty-two bytes"


def _token(user: str = "alice", scope: Sequence[str] | str = "drive view", **claims: Any) -> str:
    now = time.time()
    all_claims = {"sub": user, "aud": "musetalk-service", "exp": now + 600, "scope": scope, **claims}
    return jwt.encode(all_claims, SECRET, "HS256")


def _guarded(cache_dir: Path, **settings: Any) -> Any:
    return started_service(cache_dir, auth_secret=SecretStr(SECRET), **settings)


async def _init(client: Client, **data: Any) -> None:
    client.send("INIT", data)
    await settle()
    for started in client.answers("INIT_SUCCESS"):
        client.session_id = started.session_id


def _refused(client: Client, service: Service, reason: str) -> None:
    assert client.errors == ["INVALID_SESSION"]
    assert client.answers("ERROR")[0].data.details["reason"] == reason
    assert client.close_code == 4401
    assert not client.answers("INIT_SUCCESS") and not client.frames
    assert len(service.front.sessions) == 0


async def test_token_in_the_header_opens_a_session(cache_dir: Path) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice", authorization=f"Bearer {_token()}")
        await _init(client)
        await service.run(0.2)
        client.send("ACTION", {"action_index": 1})
        await service.run(0.2)
        assert client.frames and client.answers("ACTION_TRIGGERED") and not client.errors


async def test_token_in_init_opens_a_session(cache_dir: Path) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice")
        await _init(client, auth_token=_token())
        await service.run(0.2)
        assert client.frames and not client.errors


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda: None, "missing"),
        (lambda: "", "missing"),
        (lambda: "nonsense", "malformed"),
        (lambda: _token(exp=time.time() - 100), "expired"),
        (lambda: _token(aud="other"), "wrong_audience"),
        (lambda: _token("bob"), "wrong_subject"),
        (lambda: _token()[:-3] + "AAA", "bad_signature"),
    ],
)
async def test_bad_token_in_init_is_told_and_ends_with_4401(cache_dir: Path, token: Any, reason: str) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice")
        await _init(client, **({} if token() is None else {"auth_token": token()}))
        client.send("STATE_CHANGE", {"target_state": "idle"})
        await service.run(0.1)
        _refused(client, service, reason)


async def test_bad_token_in_the_handshake_is_told_at_once(cache_dir: Path) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice", authorization=f"Bearer {_token('bob')}")
        await service.run(0.1)
        _refused(client, service, "wrong_subject")


async def test_nothing_happens_before_the_token(cache_dir: Path) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice")
        client.send("GENERATE", {"audio_chunk": audio_chunk(tone(40, 0.04))})
        client.send("ACTION", {"action_index": 1})
        await service.run(0.2)
        assert client.errors == ["INVALID_SESSION"] * 2 and not client.frames


async def test_lost_session_is_not_resumed_without_a_token(cache_dir: Path) -> None:
    async with _guarded(cache_dir, resume_grace_s=15.0) as service:
        first = service.connect("alice", authorization=f"Bearer {_token()}")
        await _init(first)
        first.disconnect()
        await settle()
        resume_token = first.answers("INIT_SUCCESS")[0].data.resume_token
        thief = service.connect("alice")
        await _init(thief, resume_token=resume_token)
        assert not thief.answers("INIT_SUCCESS") and thief.close_code == 4401
        owner = service.connect("alice")
        await _init(owner, resume_token=resume_token, auth_token=_token())
        assert owner.answers("INIT_SUCCESS")[0].data.resumed


async def test_scope_view_may_watch_and_not_drive(cache_dir: Path) -> None:
    async with _guarded(cache_dir) as service:
        client = service.connect("alice", authorization=f"Bearer {_token(scope='view')}")
        await _init(client)
        client.send("GENERATE", {"audio_chunk": audio_chunk(tone(40, 0.04))})
        client.send("ACTION", {"action_index": 1})
        await service.run(0.5)
        assert len(client.errors) == 2 and len(client.frames) >= 12
        assert {frame.data.state for frame in client.frames} == {"idle"}
        client.send("CLOSE")
        await settle()
        assert client.answers("CLOSE_ACK")


async def test_too_many_messages_are_refused_and_the_stream_goes_on(cache_dir: Path) -> None:
    async with started_service(cache_dir, rate_user_messages_per_s=10.0, audio_backlog_s=1.0) as service:
        client = await service.session()
        for _ in range(200):
            client.send("END_OF_SPEECH")
        await service.run(0.5)
        assert set(client.errors) == {"RATE_LIMIT_EXCEEDED"} and 100 <= len(client.errors) < 200
        details = client.answers("ERROR")[-1].data.details
        assert details["limit"] == "user_messages_per_s" and details["retry_after_ms"] > 0
        assert len(client.frames) >= 12
        await service.run(details["retry_after_ms"] / 1000)
        before = len(client.errors)
        client.send("END_OF_SPEECH")
        await settle()
        assert len(client.errors) == before


async def test_burst_of_the_whole_backlog_passes(cache_dir: Path) -> None:
    async with started_service(cache_dir) as service:
        client = await service.session()
        client.speak(tone(40, 59.0))
        await settle()
        assert not client.errors


async def test_sessions_and_handshakes_of_one_sender_are_counted(cache_dir: Path) -> None:
    async with started_service(cache_dir, rate_user_sessions=1, rate_address_handshakes_per_min=5.0) as service:
        first = await service.session("alice")
        second = service.connect("alice")
        await settle()
        assert second.refusal is not None and second.refusal[0] == 429
        assert int(second.refusal[1]["retry-after"]) >= 1
        first.disconnect()
        await settle()
        assert await service.session("alice")
        others = [service.connect(f"user{n}") for n in range(4)]
        await settle()
        refused = [client.refusal[0] for client in others if client.refusal is not None]
        assert refused == [429] * 2
        assert len(service.front.sessions) == 3
        await service.run(61.0)
        late = service.connect("late")
        await settle()
        assert late.refusal is None


# --- REST ---


@pytest.fixture(scope="module")
def rest() -> Iterator[TestClient]:
    """The real application with authentication on; it is not started, so no host is needed."""
    yield TestClient(create_app(default_settings().model_copy(update={"auth_secret": SecretStr(SECRET)})))


def _bearer(*arguments: Any, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {_token(*arguments, **claims)}"}


@pytest.mark.parametrize("path", ["/sessions", "/metrics"])
def test_lists_and_metrics_are_for_admins(rest: TestClient, path: str) -> None:
    missing = rest.get(path)
    assert missing.status_code == 401 and missing.json()["details"]["reason"] == "missing"
    assert rest.get(path, headers=_bearer(scope="drive view")).status_code == 403
    assert rest.get(path, headers=_bearer(scope="admin", exp=time.time() - 100)).status_code == 401
    assert rest.get(path, headers=_bearer(scope="admin")).status_code == 200


def test_avatars_are_for_their_own_user(rest: TestClient) -> None:
    path = "/prepare_avatar/alice"
    assert rest.post(path).status_code == 401
    assert rest.post(path, headers=_bearer("bob")).status_code == 401
    assert rest.post(path, headers=_bearer("alice", scope="view")).status_code == 403
    assert rest.post(path, headers=_bearer("alice")).status_code == 400  # allowed, but it brings no file
    assert rest.post(path, headers=_bearer("boss", scope="admin")).status_code == 400
    for method, path in (
        ("DELETE", "/prepare_avatar/alice"),
        ("GET", "/processing_status/alice"),
        ("GET", "/processing_status/alice/events"),
        ("GET", "/avatars/alice"),
        ("GET", "/avatars/alice/thumbnail.jpg"),
        ("GET", "/avatars/alice/preview.mp4"),
        ("DELETE", "/avatars/alice"),
    ):
        assert rest.request(method, path, headers=_bearer("bob")).status_code == 401, path
        assert rest.request(method, path, headers=_bearer("alice")).status_code == 404, path
    form = {"user_id": "alice"}
    assert rest.post("/upload_video", data=form, files={"file": b"x"}, headers=_bearer("bob")).status_code == 401


@pytest.mark.parametrize("path", ["/", "/livez", "/docs", "/openapi.yaml", "/static/app.js"])
def test_page_and_documents_are_open(rest: TestClient, path: str) -> None:
    assert rest.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/readyz"])
def test_health_is_open_and_says_that_nothing_has_started(rest: TestClient, path: str) -> None:
    assert rest.get(path).status_code == 503


def test_secret_and_token_are_in_no_answer(rest: TestClient) -> None:
    token = _token("bob")
    answer = rest.get("/sessions", headers={"Authorization": f"Bearer {token}"})
    assert SECRET not in answer.text and token not in answer.text
    assert SECRET not in rest.get("/openapi.yaml").text


def _with_musetalk() -> dict[str, Engine]:
    """A fast engine under another's name."""
    return {"musetalk": GreyEngine("musetalk"), **grey_engines()}


async def test_sessions_beyond_musetalks_capacity_get_the_built_in_engine(cache_dir: Path) -> None:
    limit = {"engine": "musetalk", "musetalk_sessions": 1}
    async with started_service(cache_dir, engines=_with_musetalk, **limit) as service:
        first, second, third = [await service.session(name) for name in ("alice", "bob", "carol")]
        begun = [client.answers("INIT_SUCCESS")[0].data.engine for client in (first, second, third)]
        assert begun == ["musetalk", "builtin", "builtin"]
        first.send("CLOSE")
        await settle()
        second.send("SWITCH_ENGINE", {"engine": "musetalk"})
        await settle()
        third.send("SWITCH_ENGINE", {"engine": "musetalk"})
        await settle()
        assert [c.answers("ENGINE_SWITCHED")[0].data.engine for c in (second, third)] == ["musetalk", "builtin"]
        second.send("SWITCH_ENGINE", {"engine": "musetalk"})  # has it already
        await settle()
        assert second.answers("ENGINE_SWITCHED")[1].data.engine == "musetalk"


async def test_room_that_is_left_goes_to_the_one_that_waits_longest(cache_dir: Path) -> None:
    limit = {"engine": "musetalk", "musetalk_sessions": 1}
    async with started_service(cache_dir, engines=_with_musetalk, **limit) as service:
        first, *others = [await service.session(name, events=True) for name in ("alice", "bob", "carol")]
        speaks, waits = others
        contented = await service.session("dora", events=True, engine="builtin")
        older = await service.session("eve")
        speaks.speak(tone(90, 4.0))
        await service.run(0.4)
        first.send("CLOSE")
        await service.run(1.5)
        assert [len(c.answers("ENGINE_SWITCHED")) for c in others] == [0, 1]
        assert waits.answers("ENGINE_SWITCHED")[0].data.engine == "musetalk"
        waits.send("CLOSE")
        await service.run(6.0)
        assert speaks.answers("ENGINE_SWITCHED") == []  # the one after had its place meanwhile
        assert {live.protocol.user_id: live.engine for live in service.front.sessions}["eve"] == "musetalk"
        assert older.answers("ENGINE_SWITCHED") == []  # has not asked for events
        older.send("CLOSE")
        await service.run(1.5)
        assert [c.data.engine for c in speaks.answers("ENGINE_SWITCHED")] == ["musetalk"]
        assert contented.answers("ENGINE_SWITCHED") == []


async def test_sessions_beyond_musetalks_capacity_are_refused_where_that_is_set(cache_dir: Path) -> None:
    limit = {"engine": "musetalk", "musetalk_sessions": 1, "musetalk_overflow": "refuse"}
    async with started_service(cache_dir, engines=_with_musetalk, **limit) as service:
        await service.session("alice")
        client = service.connect("bob")
        await _init(client)
        assert client.errors == ["RATE_LIMIT_EXCEEDED"]
        assert client.answers("ERROR")[0].data.details["retry_after_ms"] == 5000
        await _init(client, engine="builtin")
        assert client.answers("INIT_SUCCESS")[0].data.engine == "builtin"
        client.send("SWITCH_ENGINE", {"engine": "musetalk"})
        await settle()
        assert client.errors == ["RATE_LIMIT_EXCEEDED"] * 2
