"""The protocol as a pure state machine."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musetalk_service.errors import InvalidMessageError, InvalidSessionError, ServiceError
from musetalk_service.models.messages import parse_client_message
from musetalk_service.models.session import (
    TRANSITIONS,
    ActionStarted,
    BaseChanged,
    Ended,
    Event,
    Session,
    Speech,
    State,
    Trigger,
    adopt_session_id,
)

ID = "3f2b8a1e-9c4d-4e5f-8a6b-7c8d9e0f1a2b"
CLIPS = frozenset({"idle_0", "speaking_0", "action_1", "action_2"})
CHUNK = {"audio_chunk": {"data": "AAAA"}}


def _send(session: Session, kind: str, data: dict[str, Any] | None = None) -> tuple[Session, Event]:
    text = json.dumps({"type": kind, "session_id": session.session_id, "data": data or {}})
    return session.receive(parse_client_message(text))


@pytest.fixture
def idle() -> Session:
    return _send(Session("alice", ID, CLIPS), "INIT")[0]


def test_life_of_a_session(idle: Session) -> None:
    assert idle.state is State.IDLE
    speaking, event = _send(idle, "GENERATE", CHUNK)
    assert speaking.state is State.SPEAKING and isinstance(event, Speech)
    acting, event = _send(speaking, "ACTION", {"action_index": 2})
    assert acting.state is State.ACTION and event == ActionStarted(2, None)
    assert acting.after(Trigger.ACTION_ENDED).state is State.SPEAKING
    rested = acting.after(Trigger.SPEECH_ENDED).after(Trigger.ACTION_ENDED)
    assert rested.state is State.IDLE and rested.action is None
    closed, event = _send(rested, "CLOSE")
    assert closed.state is State.CLOSED and event == Ended("client_request")


def test_running_action_is_extended_by_its_own_type_with_audio_alone(idle: Session) -> None:
    acting, _ = _send(idle, "ACTION", {"action_type": "action_1", **CHUNK})
    extended, event = _send(acting, "ACTION", {"action_type": "action_1", **CHUNK})
    assert extended.state is State.ACTION and isinstance(event, Speech) and event.action == 1
    for data in ({"action_index": 1}, {"action_index": 2}, {"action_type": "action_2", **CHUNK}):
        with pytest.raises(InvalidMessageError, match="it goes on"):
            _send(acting, "ACTION", data)


def test_base_video_that_the_avatar_lacks_is_replaced_and_told(idle: Session) -> None:
    changed, event = _send(idle, "STATE_CHANGE", {"target_state": "speaking", "base_video": "speaking_7"})
    assert event == BaseChanged("speaking", "speaking_0") and changed.base_clip == "speaking_0"
    assert changed.after(Trigger.SPEECH_ENDED).state is State.SPEAKING
    with pytest.raises(InvalidMessageError, match="unknown base_video"):
        _send(idle, "STATE_CHANGE", {"target_state": "idle", "base_video": "idle_7"})


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("trigger", [Trigger.TIMEOUT, Trigger.SHUTDOWN, Trigger.FAILURE])
def test_every_session_can_be_ended_and_an_ended_one_stays(state: State, trigger: Trigger) -> None:
    session = Session("alice", ID, CLIPS, state=state)
    ended = session.after(trigger)
    assert ended.state is State.CLOSED
    assert (ended is session) == (state is State.CLOSED)


def test_no_state_is_a_trap_and_all_are_reached() -> None:
    reached = {target for triggers in TRANSITIONS.values() for target in triggers.values()}
    assert {State.IDLE, State.SPEAKING, State.ACTION, State.CLOSED} <= reached
    assert set(TRANSITIONS) == set(State)
    assert not TRANSITIONS[State.CLOSED]


@pytest.mark.parametrize("kind", ["GENERATE", "STATE_CHANGE", "ACTION", "END_OF_SPEECH", "INTERRUPT", "CLOSE"])
def test_before_init_and_after_the_end_nothing_is_possible(kind: str) -> None:
    data = {"GENERATE": CHUNK, "STATE_CHANGE": {"target_state": "idle"}, "ACTION": {"action_index": 1}}
    for state in (State.OPENING, State.CLOSED):
        if (state, kind) == (State.OPENING, "CLOSE"):  # a client that changes its mind
            continue
        with pytest.raises(InvalidSessionError):
            _send(Session("alice", ID, CLIPS, state=state), kind, data.get(kind))


def test_foreign_id_is_refused(idle: Session) -> None:
    message = parse_client_message(f'{{"type": "CLOSE", "session_id": "{uuid.uuid4()}"}}')
    with pytest.raises(InvalidSessionError):
        idle.receive(message)


_steps = st.lists(
    st.sampled_from(
        [
            ("GENERATE", CHUNK),
            ("ACTION", {"action_index": 1}),
            ("ACTION", {"action_type": "action_2", **CHUNK}),
            ("STATE_CHANGE", {"target_state": "idle"}),
            ("STATE_CHANGE", {"target_state": "speaking"}),
            ("STATE_CHANGE", {"target_state": "action"}),
            ("END_OF_SPEECH", {}),
            ("INTERRUPT", {}),
            ("INIT", {}),
            ("CLOSE", {}),
            Trigger.SPEECH_ENDED,
            Trigger.ACTION_ENDED,
        ]
    ),
    max_size=40,
)


@given(_steps)
def test_any_order_gives_typed_errors_and_a_sound_state(steps: list[Any]) -> None:
    session = Session("alice", ID, CLIPS)
    for step in steps:
        before = session
        if isinstance(step, Trigger):
            session = session.after(step)
        else:
            try:
                session, _ = _send(session, *step)
            except ServiceError as error:
                assert error.wire_code in ("INVALID_MESSAGE", "INVALID_SESSION")
                assert session is before
        if before.state is State.CLOSED:
            assert session.state is State.CLOSED
        assert (session.action is not None) == (session.state is State.ACTION) or session.state is State.CLOSED
        if session.state is State.IDLE:
            assert not session.audio_queued and session.base_clip == "idle_0"


@given(st.uuids(version=4))
def test_free_uuid4_of_a_client_is_adopted(proposed: uuid.UUID) -> None:
    assert adopt_session_id(str(proposed), ()) == str(proposed)
    assert adopt_session_id(str(proposed), {str(proposed)}) != str(proposed)


@pytest.mark.parametrize(
    "proposed",
    [
        None,
        "",
        "no uuid",
        str(uuid.UUID(int=0)),
        "3f2b8a1e-9c4d-1e5f-8a6b-7c8d9e0f1a2b",
        "3f2b8a1e9c4d4e5f8a6b7c8d9e0f1a2b",
        "{3f2b8a1e-9c4d-4e5f-8a6b-7c8d9e0f1a2b}",
        "----3f2b8a1e9c4d4e5f8a6b7c8d9e0f1a2b",
        "\uff13f2b8a1e-9c4d-4e5f-8a6b-7c8d9e0f1a2b",
        ID + "\n",
    ],
)
def test_anything_else_is_replaced_by_a_uuid4(proposed: str | None) -> None:
    given = adopt_session_id(proposed, ())
    assert given != proposed and uuid.UUID(given).version == 4
