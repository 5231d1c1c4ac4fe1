"""What the next frame of a session is. Pure: no clock, no socket, no picture.

A session shows either the shared idle packets or frames that a host renders for it ("live"). Live
begins at any frame, with an IDR; the way back is open only where the idle clip has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from musetalk_service.models.clips import ACTION, DEFAULT_CLIP, IDLE, SPEAKING, action_clip, kind_of
from musetalk_service.models.media import ClipPosition
from musetalk_service.models.messages import StateName
from musetalk_service.models.session import Trigger
from musetalk_service.services.audio_service import AudioTimeline
from musetalk_service.services.idle_playlist import IdlePlaylist

_SETTLE_FRAMES = 14
"""Frames after a change of clip or of the mouth until the picture equals the idle clip's again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One frame: what it shows, and how it is labelled."""

    frame: int
    place: ClipPosition
    live: bool
    """True: a host renders it. False: it is the idle packet at ``place``."""
    force_idr: bool
    state: StateName
    audio_position: int | None
    """Where in the audio this frame belongs, or None while none is played."""
    voiced: bool
    """Whether somebody speaks; a silence as long as the hold setting is not speech any more."""
    speaking: bool
    """Whether the mouth follows the audio in this frame: voiced, and the audio is there."""
    action_progress: float | None


@dataclass
class _Action:
    index: int
    start: int
    frames: int
    audio_until: int
    """Timeline position up to which its own audio lasts (protocol 1.0)."""


class Director:
    """Decides frame after frame; told of messages between frames."""

    def __init__(
        self,
        timeline: AudioTimeline,
        clip_frames: Mapping[str, int],
        playlist: IdlePlaylist,
        *,
        speech_end_s: float,
        silence_hold_s: float,
    ) -> None:
        self._timeline = timeline
        self._playlist = playlist
        self._clip_frames = clip_frames
        self._speech_end_s = speech_end_s
        self._silence_hold_s = silence_hold_s
        self._base_clip: str | None = None
        self._base_changed = False
        self._speech_clip = DEFAULT_CLIP
        self._has_audio = False
        self._last_audio = 0.0
        self._last_voice = 0.0
        self._action: _Action | None = None
        self._live = False
        self._clip: str | None = None
        self._changed_at = -_SETTLE_FRAMES
        self._mouth_moves = False

    # --- what the client asked for ---

    def set_base(self, clip: str | None) -> None:
        """The clip that plays when nothing else does; None: the idle clips, one after another."""
        self._base_changed = self._base_changed or clip != self._base_clip
        self._base_clip = clip

    def set_speech_clip(self, clip: str) -> None:
        """The clip under the lips while there is audio."""
        self._speech_clip = clip

    def start_action(self, index: int, next_frame: int) -> None:
        """Insert an action's clip from the next frame on."""
        self._action = _Action(index, next_frame, self._clip_frames[action_clip(index)], 0)

    def extend_action(self, audio_until: int) -> None:
        """The action lasts at least until this audio position has been spoken."""
        if self._action is not None:
            self._action.audio_until = audio_until

    def host_lost(self, frame: int) -> None:
        """Live frames from ``frame`` on will not come: idle packets take over there, at an IDR."""
        self._live = False
        self._playlist.enter(frame)

    # --- frame after frame ---

    def idle_place(self, frame: int) -> ClipPosition:
        """The idle packet that belongs to a frame; the first of each GOP is an IDR."""
        return self._playlist.place(frame)

    def opening(self, frame: int) -> Plan:
        """The plan of a frame that nothing could be asked for in advance: an idle packet; no audio is used up."""
        action = self._progress(frame, None)
        return Plan(frame, self.idle_place(frame), False, True, self._state(False), None, False, False, action)

    def plan(self, frame: int, now: float, *, host: bool, request_idr: bool) -> tuple[Plan, list[Trigger]]:
        """The plan of a frame, and what ended by itself.

        ``host``: whether a host can render it. ``request_idr``: a viewer needs an IDR soon.
        """
        triggers: list[Trigger] = []
        position = self._timeline.next_position(now)
        if self._listen(position, now):
            triggers.append(Trigger.SPEECH_ENDED)
        speaking = self._has_audio and now - self._last_voice < self._silence_hold_s
        progress = self._progress(frame, position)
        if self._action is not None and progress is None:
            self._action = None
            triggers.append(Trigger.ACTION_ENDED)
        jumps = self._pin_base(frame)
        clip = self._own_clip(frame, speaking)
        moves = speaking and position is not None
        if jumps or clip != self._clip or (self._mouth_moves and not moves):
            self._changed_at = frame
        self._clip, self._mouth_moves = clip, moves
        was_live = self._live
        self._choose_source(frame, host, busy=moves or jumps or clip is not None, settling=speaking)
        if (was_live or jumps) and not host:
            self.host_lost(frame)
        place = self.idle_place(frame) if clip is None or not self._live else self._place(frame, clip)
        plan = Plan(
            frame,
            place,
            self._live,
            force_idr=not was_live or request_idr or self._playlist.is_idr(frame),
            state=self._state(speaking),
            audio_position=position,
            voiced=speaking,
            speaking=moves,
            action_progress=progress,
        )
        return plan, triggers

    # --- helpers ---

    def _listen(self, position: int | None, now: float) -> bool:
        """Take note of the audio at the playhead; returns whether the utterance is over."""
        if position is not None:
            begins = not self._has_audio
            if begins or self._timeline.voice_until(self._timeline.playhead + self._timeline.look_ahead):
                self._last_voice = now
            self._has_audio, self._last_audio = True, now
        elif self._has_audio and not self._timeline.queued and now - self._last_audio >= self._speech_end_s:
            self._has_audio = False
            return True
        return False

    def _choose_source(self, frame: int, host: bool, *, busy: bool, settling: bool) -> None:
        if not host:
            self._live = False
        elif busy:
            self._live = True
        elif self._live:
            settled = not settling and frame - self._changed_at >= _SETTLE_FRAMES
            self._live = not (settled and self._playlist.is_idr(frame))

    def _progress(self, frame: int, position: int | None) -> float | None:
        action = self._action
        if action is None:
            return None
        shown = frame - action.start
        if shown >= action.frames and not (position is not None and position < action.audio_until):
            return None
        return min(1.0, (shown + 1) / action.frames)

    def _pin_base(self, frame: int) -> bool:
        """Let the playlist follow a change of the base clip; returns whether its picture jumps."""
        if not self._base_changed:
            return False
        self._base_changed = False
        base = self._base_clip
        return self._playlist.pin(base if base is not None and kind_of(base) == IDLE else None, frame)

    def _own_clip(self, frame: int, speaking: bool) -> str | None:
        """The clip that hides the idle ones in this frame, or None where they show."""
        action = self._action
        if action is not None and frame - action.start < action.frames:
            return action_clip(action.index)
        clip = self._speech_clip if speaking else self._base_clip
        return None if clip is None or kind_of(clip) == IDLE else clip

    def _place(self, frame: int, clip: str) -> ClipPosition:
        action = self._action
        if action is not None and clip == action_clip(action.index):
            return ClipPosition(clip, frame - action.start)
        return ClipPosition(clip, frame % self._clip_frames[clip])

    def _state(self, speaking: bool) -> StateName:
        if self._action is not None:
            return ACTION
        by_choice = self._base_clip is not None and kind_of(self._base_clip) == SPEAKING
        return SPEAKING if speaking or by_choice else IDLE
