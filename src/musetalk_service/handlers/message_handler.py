"""One typed client message to its effect: the state machine says what it means, this does it."""

import math

from typing_extensions import assert_never

from musetalk_service.models import messages as wire
from musetalk_service.models.clips import DEFAULT_CLIP
from musetalk_service.models.media import SAMPLE_RATE, samples_to_ms
from musetalk_service.models.session import (
    ActionStarted,
    BargedIn,
    BaseChanged,
    Ended,
    EngineChosen,
    Opened,
    Session,
    Speech,
    SpeechEndMarked,
    State,
)
from musetalk_service.services.live_session import LiveSession
from musetalk_service.services.session_service import SessionService


class MessageHandler:
    """Applies messages to sessions. Either all of a message happens, or none of it."""

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    def handle(self, live: LiveSession, message: wire.ClientMessage) -> None:
        """Apply one message and queue its answer; raises :class:`ServiceError`, nothing changed."""
        before = live.protocol
        if isinstance(message, wire.Init):
            token = message.data.resume_token
            if token is not None and before.state is State.OPENING:
                self._resume(live, token)
                return
            before = self._sessions.rename(live, message.session_id)
        session, event = before.receive(message)
        session_id = session.session_id
        match event:
            case Opened():
                self._sessions.begin(live, session, event.options)
                live.greet()
                live.start()
            case Speech():
                if not self._take_audio(live, event.audio):
                    return  # all of it is still in the resampler: nothing has begun to speak
                if event.action is not None:
                    live.director.extend_action(live.timeline.accepted)
            case BaseChanged():
                live.answer(
                    wire.StateChanged(
                        session_id=session_id,
                        data=wire.StateChangedData(current_state=event.state, current_video=event.video),
                    )
                )
            case ActionStarted():
                self._start_action(live, session, event)
            case SpeechEndMarked():
                live.timeline.push(live.intake.flush(), self._sessions.clock.now())
                live.timeline.end_of_speech()
            case BargedIn():
                self._interrupt(live, session_id)
            case EngineChosen():
                self._sessions.switch_engine(live, event.name)
            case Ended():
                live.protocol = session
                live.finish(event.reason)
            case _:
                assert_never(event)
        live.protocol = session
        # The default clip is the one that varies; any other is played as asked.
        live.director.set_base(None if session.base_clip == DEFAULT_CLIP else session.base_clip)
        live.director.set_speech_clip(session.speech_clip)

    def _resume(self, live: LiveSession, token: str) -> None:
        self._sessions.resume(live, token)
        live.greet(resumed=True)
        live.start()

    def _take_audio(self, live: LiveSession, audio: wire.AudioChunk) -> bool:
        """Queue a chunk; returns whether any sample has come out of it yet."""
        pcm = live.intake.decode(audio)
        live.timeline.check_room(math.ceil(len(pcm) * SAMPLE_RATE / audio.sample_rate))
        samples = live.intake.resample(pcm, audio.sample_rate)
        live.timeline.push(samples, self._sessions.clock.now())
        return len(samples) > 0

    def _start_action(self, live: LiveSession, session: Session, event: ActionStarted) -> None:
        assert live.stream is not None  # an action is possible only in a session that has begun
        if event.audio is not None:
            self._take_audio(live, event.audio)
        live.director.start_action(event.index, live.stream.next_frame)
        if event.audio is not None:
            live.director.extend_action(live.timeline.accepted)
        if event.by_state_change:
            answer: wire.ServerMessage = wire.StateChanged(
                session_id=session.session_id,
                data=wire.StateChangedData(current_state="action", current_video=f"action_{event.index}"),
            )
        else:
            index: wire.ActionIndex = 1 if event.index == 1 else 2
            answer = wire.ActionTriggered(
                session_id=session.session_id, data=wire.ActionTriggeredData(action_index=index)
            )
        live.answer(answer)

    def _interrupt(self, live: LiveSession, session_id: str) -> None:
        live.intake.flush()
        played, dropped = live.timeline.interrupt()
        if live.stream is not None:
            live.stream.skip_to_playhead()
        live.answer(
            wire.Interrupted(
                session_id=session_id,
                data=wire.InterruptedData(
                    audio_played_ms=samples_to_ms(played), audio_dropped_ms=samples_to_ms(dropped)
                ),
            )
        )
