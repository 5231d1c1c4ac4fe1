"""Which stretches of a video become an avatar's clips: where it is quiet to idle on, where it speaks to speak on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from musetalk_service.errors import MediaFileError
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.clips import DEFAULT_SPEAKING_CLIP, IDLE, SPEAKING, kind_of
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
_FADE: Final = 8
"""Frames over which a clip's ends fade to what is seen before or after: as many as in a session's own dissolve."""


@dataclass(frozen=True)
class ChosenClip:
    """Frames of the video, from `first` on, that are played in a circle or to and fro."""

    name: str
    first: int
    frames: int
    ping_pong: bool


def choose_clips(
    points: NDArray[np.float32], speaking: NDArray[np.bool_], max_frames: int, most: int
) -> tuple[ChosenClip, ...]:
    """Clips to idle on and clips to speak on; one serves for both where the video has no stretches of both kinds.

    No frame is in two clips, but for that one. Idle clips after the first begin and end as that begins, if they can.

    Args:
        points: (n, 478, 3) landmarks of each frame, pixels.
        speaking: (n,) whether the face speaks in the video.
        max_frames: of the video that a clip may take, at least 50.
        most: clips of each kind, 1 to 6.
    """
    held = _held(points)
    quiet, spoken = _longest_run(~speaking), _longest_run(speaking)
    where = ~speaking if quiet is not None else np.ones(len(points), bool)
    idle = _clips(IDLE, held, where, max_frames, most)
    if spoken is None or quiet is None:  # one way to hold the head: the lips alone tell whether it speaks
        return *idle, replace(idle[0], name=DEFAULT_SPEAKING_CLIP)
    return *idle, *_clips(SPEAKING, held, speaking, max_frames, most)


def fade_plan(clips: tuple[ChosenClip, ...], kept: NDArray[np.intp]) -> list[tuple[int, int, float]]:
    """What clips' last frames fade to, in this order, so that nothing jumps.

    A circle ends in the frames before its first one. Idle clips after the first begin as that begins and end as that
    ends, so that any may follow any.

    Args:
        clips: that were chosen, the first to idle on before the others.
        kept: the frames that `as_ranges` keeps of them.

    Returns:
        (frame, other, share), indices into `kept`: `share` of the other frame, 0 to 1, is laid over the frame.
    """
    plan: list[tuple[int, int, float]] = []
    idle, done = clips[0], set()
    for clip in clips:
        last = clip.first + clip.frames - 1
        if clip != idle and kind_of(clip.name) == IDLE:
            for step in range(_FADE):
                share = 1.0 - (step + 1) / (_FADE + 1)
                plan.append((clip.first + step, idle.first + step, share))
                if not clip.ping_pong:  # else it ends where it begins
                    end = idle.first + step if idle.ping_pong else idle.first + idle.frames - 1 - step
                    plan.append((last - step, end, share))
        elif not clip.ping_pong and clip.first not in done:
            lead = _lead(clip)
            plan += [(last - step, clip.first - 1 - step, 1.0 - (step + 1) / (lead + 1)) for step in range(lead)]
        done.add(clip.first)
    place = {int(frame): index for index, frame in enumerate(kept)}
    return [(place[frame], place[other], share) for frame, other, share in plan]


def speaking_frames(source: Path, aperture: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n,) where a video's face speaks: by its sound track where that has a voice, else by how its mouth moves."""
    by_sound = _voiced(source, len(aperture))
    return by_sound if by_sound is not None else _moving(aperture)


def as_ranges(clips: tuple[ChosenClip, ...]) -> tuple[NDArray[np.intp], dict[str, ClipRange]]:
    """The frames to keep, in order, and where among them each clip lies."""
    kept = np.unique(np.concatenate([np.arange(clip.first - _lead(clip), clip.first + clip.frames) for clip in clips]))
    return kept, {
        clip.name: ClipRange(first=int(np.searchsorted(kept, clip.first)), frames=clip.frames, ping_pong=clip.ping_pong)
        for clip in clips
    }


def _lead(clip: ChosenClip) -> int:
    """Frames before a circle that its end fades to."""
    return 0 if clip.ping_pong else min(_FADE, clip.first)


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


def _held(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 18, 2) how head and brows are held, in eye distances."""
    eyes = points[:, list(_EYE_CORNERS), :2].astype(np.float64)
    distance = float(np.median(np.hypot(*(eyes[:, 0] - eyes[:, 1]).T)))
    return np.asarray(points[:, list(_STEADY), :2].astype(np.float64) / distance)


def _clips(
    kind: str, held: NDArray[np.float64], wanted: NDArray[np.bool_], max_frames: int, most: int
) -> list[ChosenClip]:
    """The longest first; each from the longest stretch that the ones before it have left."""
    left = wanted.copy()
    clips: list[ChosenClip] = []
    for number in count():
        stretch = _longest_run(left)
        if stretch is None or number == most:
            break
        like = clips[0].first if kind == IDLE and clips else None
        clip = _loop(f"{kind}_{number}", held, stretch, max_frames, like)
        clips.append(clip)
        left[clip.first : clip.first + clip.frames] = False
    return clips


def _loop(
    name: str, held: NDArray[np.float64], stretch: tuple[int, int], max_frames: int, like: int | None
) -> ChosenClip:
    """The longest circle in a stretch, in whole GOPs, whose end is like its beginning; else to and fro.

    `like`: a frame that beginning and end should be like, too, if any are.
    """
    first, end = stretch
    inside = held[first:end]
    longest = min(len(inside), max_frames + 2) - 2
    circle = None
    if like is not None:
        off = _gap(inside, held[like])
        circle = _circle(lambda length: off[:-length] + off[length:], longest, 2.0 * _ALIKE)
    if circle is None:
        circle = _circle(lambda length: _gap(inside[:-length], inside[length:]), longest, _ALIKE)
    if circle is not None:
        return ChosenClip(name, first + circle[0], circle[1], ping_pong=False)
    frames = max(GOP_FRAMES, min(len(inside), max_frames) // GOP_FRAMES * GOP_FRAMES)
    return ChosenClip(name, first, min(frames, len(inside)), ping_pong=True)


def _circle(gaps: Callable[[int], NDArray[np.float64]], longest: int, limit: float) -> tuple[int, int] | None:
    """(start, length) of the longest whose ends differ by less than the limit; `gaps` by length, for all starts."""
    for length in range(longest // GOP_FRAMES * GOP_FRAMES, _LEAST - 1, -GOP_FRAMES):
        gap = gaps(length)
        jolt = gap[:-1] + gap[1:]  # alike in place and in movement
        start = int(jolt.argmin())
        if jolt[start] < 2.0 * limit:
            return start, length
    return None


def _gap(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean distance of (n, 18, 2) positions, or of all from one (18, 2)."""
    return np.asarray(np.linalg.norm(one - other, axis=-1).mean(axis=-1))
