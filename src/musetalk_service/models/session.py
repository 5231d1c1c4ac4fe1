"""The session's protocol as a pure state machine: one table, no socket, no clock.

``Session.receive`` takes a typed client message and returns the next session with the event that
the handler has to act on; an error is raised before anything has changed. What the stream does by
itself (audio ran out, an action ended) comes in through ``Session.after``.
"""

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from typing_extensions import assert_never

from musetalk_service.errors import InvalidMessageError, InvalidSessionError, ServiceError
from musetalk_service.models import messages as wire
from musetalk_service.models.clips import (
    ACTION,
    CLIP_NAME,
    DEFAULT_CLIP,
    DEFAULT_SPEAKING_CLIP,
    IDLE,
    SPEAKING,
    action_clip,
    kind_of,
)

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)

CloseReason = Literal["client_request", "server_shutdown", "timeout", "error"]


class State(str, Enum):
    """Where a session is in its life. The three in the middle are the protocol's states."""

    OPENING = "opening"
    IDLE = "idle"
    SPEAKING = "speaking"
    ACTION = "action"
    CLOSED = "closed"


class Trigger(str, Enum):
    """What can happen to a session: a client message, or something the stream did by itself."""

    INIT = "INIT"
    GENERATE = "GENERATE"
    CHANGE_TO_IDLE = "STATE_CHANGE idle"
    CHANGE_TO_SPEAKING = "STATE_CHANGE speaking"
    START_ACTION = "ACTION"
    EXTEND_ACTION = "ACTION with audio, same type"
    END_OF_SPEECH = "END_OF_SPEECH"
    INTERRUPT = "INTERRUPT"
    SWITCH_ENGINE = "SWITCH_ENGINE"
    CLOSE = "CLOSE"
    SPEECH_ENDED = "speech ended"
    ACTION_ENDED = "action ended"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    FAILURE = "failure"


class Return(str, Enum):
    """A target that depends on the session: where the stream goes back to."""

    TO_BASE = "speaking while audio is queued or the base clip is a speaking one, else idle"


_ENDS: dict[Trigger, State | Return] = {
    Trigger.CLOSE: State.CLOSED,
    Trigger.TIMEOUT: State.CLOSED,
    Trigger.SHUTDOWN: State.CLOSED,
    Trigger.FAILURE: State.CLOSED,
}

TRANSITIONS: dict[State, dict[Trigger, State | Return]] = {
    State.OPENING: {Trigger.INIT: State.IDLE, **_ENDS},
    State.IDLE: {
        Trigger.GENERATE: State.SPEAKING,
        Trigger.CHANGE_TO_IDLE: State.IDLE,
        Trigger.CHANGE_TO_SPEAKING: State.SPEAKING,
        Trigger.START_ACTION: State.ACTION,
        Trigger.END_OF_SPEECH: State.IDLE,
        Trigger.INTERRUPT: State.IDLE,
        Trigger.SWITCH_ENGINE: State.IDLE,
        Trigger.SPEECH_ENDED: State.IDLE,
        **_ENDS,
    },
    State.SPEAKING: {
        Trigger.GENERATE: State.SPEAKING,
        Trigger.CHANGE_TO_IDLE: Return.TO_BASE,
        Trigger.CHANGE_TO_SPEAKING: State.SPEAKING,
        Trigger.START_ACTION: State.ACTION,
        Trigger.END_OF_SPEECH: State.SPEAKING,
        Trigger.INTERRUPT: Return.TO_BASE,
        Trigger.SWITCH_ENGINE: State.SPEAKING,
        Trigger.SPEECH_ENDED: Return.TO_BASE,
        **_ENDS,
    },
    State.ACTION: {
        Trigger.GENERATE: State.ACTION,
        Trigger.CHANGE_TO_IDLE: State.ACTION,
        Trigger.CHANGE_TO_SPEAKING: State.ACTION,
        Trigger.EXTEND_ACTION: State.ACTION,
        Trigger.END_OF_SPEECH: State.ACTION,
        Trigger.INTERRUPT: State.ACTION,
        Trigger.SWITCH_ENGINE: State.ACTION,
        Trigger.SPEECH_ENDED: State.ACTION,
        Trigger.ACTION_ENDED: Return.TO_BASE,
        **_ENDS,
    },
    State.CLOSED: {},
}


# --- events: what a handler has to do -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """INIT was accepted: start the stream and answer INIT_SUCCESS."""

    options: wire.InitData


@dataclass(frozen=True, slots=True)
class Speech:
    """Audio for the lips; ``action`` names the action it extends, if any."""

    audio: wire.AudioChunk
    action: int | None = None


@dataclass(frozen=True, slots=True)
class BaseChanged:
    """Another base clip; answer STATE_CHANGED."""

    state: wire.StateName
    video: str


@dataclass(frozen=True, slots=True)
class ActionStarted:
    """Insert the action's clip, with its audio in the 1.0 form."""

    index: int
    audio: wire.AudioChunk | None
    by_state_change: bool = False


@dataclass(frozen=True, slots=True)
class SpeechEndMarked:
    """No more audio for this utterance."""


@dataclass(frozen=True, slots=True)
class BargedIn:
    """Drop what is queued, close the mouth; answer INTERRUPTED."""


@dataclass(frozen=True, slots=True)
class EngineChosen:
    """Another engine from the next frame on; answer ENGINE_SWITCHED."""

    name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Answer CLOSE_ACK and close the socket."""

    reason: CloseReason


Event = Opened | Speech | BaseChanged | ActionStarted | SpeechEndMarked | BargedIn | EngineChosen | Ended


@dataclass(frozen=True, slots=True)
class Session:
    """One session's protocol state; frozen, so an error cannot leave it half changed."""

    user_id: str
    session_id: str
    clips: frozenset[str]
    """Clips that the session's avatar has."""
    state: State = State.OPENING
    base_clip: str = DEFAULT_CLIP
    """What plays when nothing else does."""
    speech_clip: str = DEFAULT_SPEAKING_CLIP
    """What plays under the lips while there is audio; GENERATE's ``video_state`` picks it."""
    action: int | None = None
    audio_queued: bool = False
    alias: str | None = None
    """The id that INIT carried, when it is not the session's: clients in the field go on using it."""

    def receive(self, message: wire.ClientMessage) -> "tuple[Session, Event]":
        """The session after a client message, and what is to be done.

        Raises :class:`InvalidSessionError` (not begun, begun twice, ended, foreign id) or
        :class:`InvalidMessageError` (not allowed now, unknown clip).
        """
        leaves_early = isinstance(message, wire.Close) and self.state is State.OPENING
        if not isinstance(message, wire.Init) and not leaves_early:
            self._check_id(message.session_id)
        match message:
            case wire.Init():
                return self._init(message)
            case wire.Generate():
                state = message.data.video_state
                clip = self.speech_clip if state.type == ACTION else self._clip(state.base_video, state.type)
                moved = self._move(Trigger.GENERATE, audio_queued=True)
                return replace(moved, speech_clip=clip), Speech(message.data.audio_chunk)
            case wire.StateChange():
                return self._state_change(message.data)
            case wire.Action():
                return self._action(message.data.index, message.data.audio_chunk)
            case wire.EndOfSpeech():
                return self._move(Trigger.END_OF_SPEECH), SpeechEndMarked()
            case wire.Interrupt():
                return self._move(Trigger.INTERRUPT, audio_queued=False), BargedIn()
            case wire.SwitchEngine():
                return self._move(Trigger.SWITCH_ENGINE), EngineChosen(message.data.engine)
            case wire.Close():
                return self._move(Trigger.CLOSE), Ended("client_request")
            case _:
                assert_never(message)

    def after(self, trigger: Trigger) -> "Session":
        """The session after something the stream did by itself; unchanged where it does not apply."""
        if trigger not in TRANSITIONS[self.state]:
            return self
        if trigger is Trigger.SPEECH_ENDED:
            return self._move(trigger, audio_queued=False)
        if trigger is Trigger.ACTION_ENDED:
            return replace(self._move(trigger), action=None)
        return self._move(trigger)

    # --- one client message each ---

    def _init(self, message: wire.Init) -> "tuple[Session, Event]":
        if message.data.user_id is not None and message.data.user_id != self.user_id:
            raise InvalidSessionError(
                "INIT.user_id is not the user_id of the WebSocket path",
                field="data.user_id",
                allowed=self.user_id,
            )
        moved = self._move(Trigger.INIT)
        alias = message.session_id if message.session_id != self.session_id else None
        return replace(moved, alias=alias), Opened(message.data)

    def _state_change(self, data: wire.StateChangeData) -> "tuple[Session, Event]":
        if data.target_state == ACTION:
            clip = self._clip(data.base_video, ACTION)
            return self._action(int(clip[-1]), None, by_state_change=True)
        clip = self._clip(data.base_video, data.target_state)
        trigger = Trigger.CHANGE_TO_IDLE if data.target_state == IDLE else Trigger.CHANGE_TO_SPEAKING
        return replace(self, base_clip=clip)._move(trigger), BaseChanged(data.target_state, clip)

    def _action(
        self, index: int, audio: wire.AudioChunk | None, *, by_state_change: bool = False
    ) -> "tuple[Session, Event]":
        if action_clip(index) not in self.clips:
            raise InvalidMessageError(f"this avatar has no action {index}", allowed=sorted(self.clips))
        queued = self.audio_queued or audio is not None
        if self.state is State.ACTION and audio is not None and index == self.action:
            return self._move(Trigger.EXTEND_ACTION, audio_queued=queued), Speech(audio, action=index)
        moved = self._move(Trigger.START_ACTION, audio_queued=queued)
        return replace(moved, action=index), ActionStarted(index, audio, by_state_change)

    # --- helpers ---

    def _check_id(self, session_id: str | None) -> None:
        if self.state is State.OPENING:
            raise InvalidSessionError("the session has not begun: send INIT first", allowed=["INIT"])
        # Left out, it can only mean this connection's session; a foreign one is refused.
        if session_id is not None and session_id not in (self.session_id, self.alias):
            raise InvalidSessionError("session_id is not this connection's", field="session_id")

    def _clip(self, name: str | None, kind: str) -> str:
        """The clip to play for a requested one: itself, or the kind's first where the avatar lacks it.

        Clients in the field name clips of a full avatar (idle_0..6, speaking_0..7), so a lacking one
        is replaced and the answer tells; a name outside the protocol is an error.
        """
        if name is not None and not CLIP_NAME.fullmatch(name):
            raise InvalidMessageError(
                f"unknown base_video {name[:32]!r}", field="base_video", allowed=sorted(self.clips)
            )
        if name is not None and name in self.clips and kind_of(name) == kind:
            return name
        return {IDLE: DEFAULT_CLIP, SPEAKING: DEFAULT_SPEAKING_CLIP, ACTION: action_clip(1)}[kind]

    def _move(self, trigger: Trigger, *, audio_queued: bool | None = None) -> "Session":
        target = TRANSITIONS[self.state].get(trigger)
        if target is None:
            raise self._refusal(trigger)
        queued = self.audio_queued if audio_queued is None else audio_queued
        if isinstance(target, Return):
            target = State.SPEAKING if queued or kind_of(self.base_clip) == SPEAKING else State.IDLE
        return replace(self, state=target, audio_queued=queued)

    def _refusal(self, trigger: Trigger) -> ServiceError:
        allowed = sorted({t.value.split()[0] for t in TRANSITIONS[self.state] if t.value.split()[0].isupper()})
        if self.state is State.CLOSED:
            return InvalidSessionError("the session has ended", allowed=allowed)
        if trigger is Trigger.INIT:
            return InvalidSessionError("the session has begun already", allowed=allowed)
        if trigger is Trigger.START_ACTION and self.state is State.ACTION:
            return InvalidMessageError(f"action {self.action} is playing; it goes on", allowed=allowed)
        return InvalidMessageError(f"{trigger.value} is not allowed while {self.state.value}", allowed=allowed)


def adopt_session_id(proposed: str | None, taken: Collection[str]) -> str:
    """The client's id when it is a UUID v4 that no live session has, else a new one.

    Some clients make the id themselves, others adopt the server's (protocol, "session_id").
    """
    if proposed is not None and _UUID4.fullmatch(proposed) and proposed not in taken:
        return proposed
    return str(uuid.uuid4())
