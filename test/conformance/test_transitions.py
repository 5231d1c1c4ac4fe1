"""Every pair of state and trigger: what the table allows moves the session, all else raises and changes nothing."""

from dataclasses import replace

import pytest

from musetalk_service.errors import InvalidMessageError, InvalidSessionError
from musetalk_service.models import messages as wire
from musetalk_service.models.session import TRANSITIONS, Return, Session, State, Trigger

ID = "0b9f2c3e-6f0a-4a57-9d5e-2f3c1b7a8e90"
CLIPS = frozenset({"idle_0", "speaking_0", "action_1", "action_2"})
AUDIO = wire.AudioChunk.model_validate({"data": "AAAAAA=="})
MESSAGES: dict[Trigger, wire.ClientMessage] = {
    Trigger.INIT: wire.Init(type="INIT", session_id=ID),
    Trigger.GENERATE: wire.Generate(type="GENERATE", session_id=ID, data=wire.GenerateData(audio_chunk=AUDIO)),
    Trigger.CHANGE_TO_IDLE: wire.StateChange(
        type="STATE_CHANGE", session_id=ID, data=wire.StateChangeData(target_state="idle")
    ),
    Trigger.CHANGE_TO_SPEAKING: wire.StateChange(
        type="STATE_CHANGE", session_id=ID, data=wire.StateChangeData(target_state="speaking")
    ),
    Trigger.START_ACTION: wire.Action(type="ACTION", session_id=ID, data=wire.ActionData(action_index=1)),
    Trigger.EXTEND_ACTION: wire.Action(
        type="ACTION", session_id=ID, data=wire.ActionData(action_type="action_1", audio_chunk=AUDIO)
    ),
    Trigger.END_OF_SPEECH: wire.EndOfSpeech(type="END_OF_SPEECH", session_id=ID),
    Trigger.INTERRUPT: wire.Interrupt(type="INTERRUPT", session_id=ID),
    Trigger.SWITCH_ENGINE: wire.SwitchEngine(
        type="SWITCH_ENGINE", session_id=ID, data=wire.SwitchEngineData(engine="builtin")
    ),
    Trigger.CLOSE: wire.Close(type="CLOSE", session_id=ID),
}
BY_ITSELF = [trigger for trigger in Trigger if trigger not in MESSAGES]


def session(state: State, *, speaking_base: bool = False, audio_queued: bool = False) -> Session:
    return Session(
        "alice",
        ID,
        CLIPS,
        state=state,
        base_clip="speaking_0" if speaking_base else "idle_0",
        action=1 if state is State.ACTION else None,
        audio_queued=audio_queued,
    )


def target(state: State, trigger: Trigger) -> "State | Return | None":
    if trigger is Trigger.EXTEND_ACTION and state is not State.ACTION:
        trigger = Trigger.START_ACTION  # an ACTION with audio extends only one that plays
    return TRANSITIONS[state].get(trigger)


@pytest.mark.parametrize("trigger", MESSAGES, ids=lambda trigger: trigger.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_client_message(state: State, trigger: Trigger) -> None:
    before = session(state)
    wanted = target(state, trigger)
    if wanted is None:
        expected = (
            InvalidSessionError
            if state in (State.OPENING, State.CLOSED) or trigger is Trigger.INIT
            else InvalidMessageError
        )
        with pytest.raises(expected) as refusal:
            before.receive(MESSAGES[trigger])
        assert refusal.value.details["allowed"] == allowed_in(state)
        assert before == session(state)
        return
    after, _ = before.receive(MESSAGES[trigger])
    assert after.state is (State.IDLE if isinstance(wanted, Return) else wanted)
    assert (after.user_id, after.session_id, after.clips) == (before.user_id, before.session_id, before.clips)


def allowed_in(state: State) -> list[str]:
    if state is State.OPENING:
        return ["INIT"]
    types = {"STATE_CHANGE" if "STATE" in t.value else t.value.split()[0] for t in TRANSITIONS[state] if t in MESSAGES}
    return sorted(types)


@pytest.mark.parametrize("trigger", BY_ITSELF, ids=lambda trigger: trigger.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_what_the_stream_does_by_itself(state: State, trigger: Trigger) -> None:
    before = session(state)
    after = before.after(trigger)
    wanted = TRANSITIONS[state].get(trigger)
    if wanted is None:
        assert after is before
    else:
        assert after.state is (State.IDLE if isinstance(wanted, Return) else wanted)


@pytest.mark.parametrize(
    ("state", "trigger"),
    [(state, trigger) for state in State for trigger, to in TRANSITIONS[state].items() if isinstance(to, Return)],
    ids=lambda value: value.name,
)
def test_back_to_base(state: State, trigger: Trigger) -> None:
    ends_audio = trigger in (Trigger.INTERRUPT, Trigger.SPEECH_ENDED)
    assert moved(session(state), trigger).state is State.IDLE
    queued = moved(session(state, audio_queued=True), trigger)
    assert queued.state is (State.IDLE if ends_audio else State.SPEAKING)
    based = moved(session(state, speaking_base=True), trigger)
    # A client that asks for idle replaces the speaking base clip.
    assert based.state is (State.IDLE if trigger is Trigger.CHANGE_TO_IDLE else State.SPEAKING)


def moved(before: Session, trigger: Trigger) -> Session:
    return before.receive(MESSAGES[trigger])[0] if trigger in MESSAGES else before.after(trigger)


def test_another_action_does_not_extend_the_one_that_plays() -> None:
    playing = replace(session(State.ACTION), action=2)
    with pytest.raises(InvalidMessageError, match="action 2 is playing"):
        playing.receive(MESSAGES[Trigger.EXTEND_ACTION])


def test_every_state_and_trigger_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {trigger for moves in TRANSITIONS.values() for trigger in moves} == set(Trigger)
    assert TRANSITIONS[State.CLOSED] == {}
