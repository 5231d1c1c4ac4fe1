"""Which stretches of a video become an avatar's clips: where it is quiet to idle on, where it speaks to speak on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.errors import MediaFileError
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.clips import DEFAULT_CLIP, DEFAULT_SPEAKING_CLIP
from musetalk_service.models.media import FPS, GOP_FRAMES, SAMPLES_PER_FRAME
from musetalk_service.utils.audio_file import read_audio_file

_LEAST: Final = 2 * FPS
"""Frames of a stretch that is worth a clip."""
_MOVING: Final = 0.010
"""Spread of the mouth's opening within half a second, in eye distances, from which it speaks."""
_WINDOW: Final = 13
_VOICE_BELOW_PEAK_DB: Final = 30.0
_SILENCE_DB: Final = -55.0
_ALIKE: Final = 0.02
"""Mean distance of landmarks, in eye distances, up to which two frames may follow each other."""
_STEADY: Final = (10, 9, 8, 168, 6, 197, 33, 263, 133, 362, 234, 454, 127, 356, 70, 300, 4, 152)
"""Landmarks that show how head and brows are held."""
_EYE_CORNERS: Final = (33, 263)


@dataclass(frozen=True)
class ChosenClip:
    """Frames of the video, from `first` on, that are played in a circle or to and fro."""

    name: str
    first: int
    frames: int
    ping_pong: bool


def choose_clips(points: NDArray[np.float32], speaking: NDArray[np.bool_], max_frames: int) -> tuple[ChosenClip, ...]:
    """The clip to idle on, and the one to speak on: the same where the video has no stretches of both kinds.

    Args:
        points: (n, 478, 3) landmarks of each frame, pixels.
        speaking: (n,) whether the face speaks in the video.
        max_frames: of the video that a clip may take, at least 50.
    """
    whole = (0, len(points))
    quiet, spoken = _longest_run(~speaking), _longest_run(speaking)
    idle = _loop(DEFAULT_CLIP, points, quiet or whole, max_frames)
    if spoken is None or quiet is None:  # one way to hold the head: the lips alone tell whether it speaks
        return idle, replace(idle, name=DEFAULT_SPEAKING_CLIP)
    return idle, _loop(DEFAULT_SPEAKING_CLIP, points, spoken, max_frames)


def speaking_frames(source: Path, aperture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n,) where a video's face speaks: by its sound track where that has a voice, else by how its mouth moves."""
    by_sound = _voiced(source, len(aperture))
    return by_sound if by_sound is not None else _moving(aperture)


def as_ranges(clips: tuple[ChosenClip, ...]) -> tuple[NDArray[np.intp], dict[str, ClipRange]]:
    """The frames to keep, in order, and where among them each clip lies."""
    kept = np.unique(np.concatenate([np.arange(clip.first, clip.first + clip.frames) for clip in clips]))
    return kept, {
        clip.name: ClipRange(first=int(np.searchsorted(kept, clip.first)), frames=clip.frames, ping_pong=clip.ping_pong)
        for clip in clips
    }


def _voiced(source: Path, frames: int) -> NDArray[np.bool_] | None:
    try:
        pcm = read_audio_file(source)
    except MediaFileError:
        return None
    padded = np.zeros(frames * SAMPLES_PER_FRAME, np.float64)
    padded[: min(len(pcm), len(padded))] = pcm[: len(padded)]
    power = (padded.reshape(frames, SAMPLES_PER_FRAME) / 32768.0) ** 2
    level = 10.0 * np.log10(power.mean(axis=1) + 1e-12)
    peak = float(np.quantile(level, 0.95))
    if peak < _SILENCE_DB:
        return None
    loud = (level > max(peak - _VOICE_BELOW_PEAK_DB, _SILENCE_DB)).astype(np.float64)
    return np.asarray(np.convolve(loud, np.ones(_WINDOW) / _WINDOW, "same") > 0.3)


def _moving(aperture: NDArray[np.float32]) -> NDArray[np.bool_]:
    half = _WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(aperture, half, mode="edge"), _WINDOW)
    return np.asarray(windows.std(axis=1) > _MOVING)


def _longest_run(wanted: NDArray[np.bool_]) -> tuple[int, int] | None:
    """(first, end) of the longest run of True; None where all are too short."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    runs = [(int(first), int(end)) for first, end in edges.reshape(-1, 2) if end - first >= _LEAST]
    return max(runs, key=lambda run: run[1] - run[0], default=None)


def _loop(name: str, points: NDArray[np.float32], stretch: tuple[int, int], max_frames: int) -> ChosenClip:
    """The longest circle in a stretch, in whole GOPs, whose end is like its beginning; else to and fro."""
    first, end = stretch
    held = points[first:end, list(_STEADY), :2].astype(np.float64)
    eyes = points[first:end, list(_EYE_CORNERS), :2].astype(np.float64)
    held /= float(np.median(np.hypot(*(eyes[:, 0] - eyes[:, 1]).T)))
    longest = min(len(held) - 2, max_frames) // GOP_FRAMES * GOP_FRAMES
    for length in range(longest, _LEAST - 1, -GOP_FRAMES):
        gap = np.linalg.norm(held[:-length] - held[length:], axis=-1).mean(axis=-1)
        jolt = gap[:-1] + gap[1:]  # alike in place and in movement
        start = int(jolt.argmin())
        if jolt[start] < 2.0 * _ALIKE:
            return ChosenClip(name, first + start, length, ping_pong=False)
    frames = max(GOP_FRAMES, min(len(held), max_frames) // GOP_FRAMES * GOP_FRAMES)
    return ChosenClip(name, first, min(frames, len(held)), ping_pong=True)
