"""What the command-line client finds about a session: its figures, and what was not as it should be."""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from musetalk_service.client import CloseAck, ReceivedFrame, ServerError
from musetalk_service.client_lipsync import Lag, Utterance, engine_track, measure_lag, mouth_openings
from support.client_speech import SpokenAudio

FRAME_MS = 40
ENGINE_WITH_LIPS = "builtin"


@dataclass
class Report:
    """What one session brought."""

    frames: list[ReceivedFrame] = field(default_factory=list)
    errors: list[ServerError] = field(default_factory=list)
    spoken: SpokenAudio = field(default_factory=SpokenAudio)
    events: list[str] = field(default_factory=list)
    close_ack: CloseAck | None = None
    engine: str = ""
    size: tuple[int, int] = (512, 512)
    resumptions: int = 0

    def first_lip_frames_ms(self) -> list[float]:
        """Of each utterance: from its first chunk sent to the first frame whose mouth follows it."""
        found = []
        for utterance in self.spoken.utterances:
            frame = next((f for f in self.frames if _follows(f, utterance.start_ms, utterance.end_ms)), None)
            if frame is not None and utterance.chunks:
                found.append((frame.received_at - utterance.chunks[0].at) * 1000)
        return found

    def chunk_to_frame_ms(self) -> list[float]:
        """Of each chunk sent in real time: until the frame that holds its first sample came."""
        shown = {at_ms // FRAME_MS: frame for at_ms, frame in self._spoken_frames()}
        return [
            (shown[slot].received_at - chunk.at) * 1000
            for utterance in self.spoken.utterances
            if utterance.paced
            for chunk in utterance.chunks
            if (slot := int(chunk.start_ms) // FRAME_MS) in shown
        ]

    def lag(self) -> Lag | None:
        """How far the lips are behind the sound; None where there is no mouth to be measured.

        Raises ValueError when the stream cannot be decoded, or its mouth does not move.
        """
        recording = self.spoken.recording(16_000)
        if recording is None or self.engine != ENGINE_WITH_LIPS or self.resumptions:
            return None
        openings = mouth_openings(frame.access_unit for frame in self.frames)
        utterances = []
        for utterance in self.spoken.utterances:
            rows = [i for i, f in enumerate(self.frames) if _follows(f, utterance.start_ms, utterance.end_ms)]
            at_ms = np.array([float(self.frames[i].audio_timestamp_ms or 0) for i in rows])
            utterances.append(Utterance(at_ms, openings[rows]))
        return measure_lag(utterances, engine_track(recording.samples(16_000)))

    def figures(self, with_sync: bool = False) -> dict[str, Any]:
        """Everything that was measured, for programs; what there is nothing to measure for is None."""
        if len(self.frames) < 2:
            return {"frames": len(self.frames)}
        times = np.array([frame.received_at for frame in self.frames])
        stamps = np.array([frame.timestamp_ms for frame in self.frames])
        keys = [frame.timestamp_ms for frame in self.frames if frame.is_keyframe]
        seconds = float(times[-1] - times[0])
        size = sum(len(frame.access_unit) for frame in self.frames)
        # Lateness of each frame against a steady 25 fps from the punctual ones on.
        late = times * 1000 - stamps
        figures: dict[str, Any] = {
            "frames": len(self.frames),
            "seconds": round(seconds, 3),
            "fps": round((len(times) - 1) / seconds, 3),
            "holes": int((stamps[-1] - stamps[0]) // FRAME_MS + 1 - len(stamps)),
            "bytes": size,
            "kbit_per_s": round(size * 8 / 1000 / seconds, 1),
            "key_frames": len(keys),
            "key_frame_interval_ms": _spread([b - a for a, b in itertools.pairwise(keys)], 50, 100),
            "jitter_ms": _spread(late - np.percentile(late, 5), 50, 95, 99, 100),
            "states": dict(sorted(Counter(frame.state for frame in self.frames).items())),
            "lip_frames": len(self._spoken_frames()),
            "first_lip_frame_ms": _spread(self.first_lip_frames_ms(), 50, 95),
            "chunk_to_frame_ms": _spread(self.chunk_to_frame_ms(), 50, 95),
            "events": self.events,
            "errors": [str(error) for error in self.errors],
            "resumptions": self.resumptions,
        }
        if with_sync:
            figures["sync"] = _sync(self.lag())
        return figures

    def problems(self) -> list[str]:
        """Why the session was not as it should be; empty when it was."""
        found = [str(error) for error in self.errors]
        if not self.frames:
            found.append("no frame came")
        elif not self.frames[0].is_keyframe:
            found.append("the first frame is no key frame")
        if self.spoken.recording() is not None and not self._spoken_frames():
            found.append("speech was sent, but no frame follows it")
        if self.close_ack is None:
            found.append("no CLOSE_ACK came")
        return found

    def _spoken_frames(self) -> list[tuple[int, ReceivedFrame]]:
        return [(f.audio_timestamp_ms, f) for f in self.frames if f.audio_timestamp_ms is not None]


def table(figures: dict[str, Any]) -> list[str]:
    """The figures for people, one a line."""
    return [f"{name.replace('_', ' '):<22} {_words(value)}" for name, value in figures.items()]


def _follows(frame: ReceivedFrame, start_ms: float, end_ms: float) -> bool:
    at_ms = frame.audio_timestamp_ms
    return at_ms is not None and int(start_ms) <= at_ms < end_ms


def _spread(values: Any, *percentiles: int) -> dict[str, float | int] | None:
    if not len(values):
        return None
    found: dict[str, float | int] = {"count": len(values)}
    for percentile in percentiles:
        name = "max" if percentile == 100 else f"p{percentile}"
        found[name] = round(float(np.percentile(values, percentile)), 1)
    return found


def _sync(lag: Lag | None) -> dict[str, float | int] | None:
    if lag is None:
        return None
    return {
        "lag_ms": round(lag.ms, 1),
        "low_ms": round(lag.low_ms, 1),
        "high_ms": round(lag.high_ms, 1),
        "correlation": round(lag.correlation, 3),
        "utterances": lag.utterances,
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)
