"""An upload becomes the files of an avatar."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.avatar_manifest import FRAMES_FILE, TRANSFORMS_FILE, ClipRange, Source
from musetalk_service.models.media import FPS
from musetalk_service.models.preparation import Crop, PreparationLimits
from musetalk_service.preparation.action_clips import ActionBase, follow_action
from musetalk_service.preparation.base_clips import as_ranges, choose_clips, fade_plan, speaking_frames
from musetalk_service.preparation.base_video import BestFrame, Take, find_face, shut_mouths
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.preparation.picture_file import is_picture, read_picture
from musetalk_service.preparation.portrait_files import file_digest, write_portrait
from musetalk_service.preparation.video_file import VideoFrames, VideoLimits

Report = Callable[[str, float], None]
"""Told the stage and the per cent of the whole job as it goes on."""


def prepare_avatar(
    source: Path,
    staged: Path,
    limits: PreparationLimits,
    landmarker: FaceLandmarker,
    report: Report,
    actions: Mapping[str, Path] | None = None,
    crop: Crop | None = None,
) -> tuple[Source, dict[str, Any]]:
    """Write an avatar's files: portrait and landmarks, of a photo or of a video's best frame, and the clips of videos.

    Args:
        source: the upload, of any kind.
        staged: an empty folder.
        limits: what is accepted.
        landmarker: finds the face.
        report: is told how far it has come.
        actions: videos of the same face for action clips, by the clips' names.
        crop: the square that becomes the portrait; None: it is chosen around the face.

    Returns:
        What the manifest says of the upload, and fields of the manifest beyond those that every avatar has.

    Raises:
        PreparationError: one of its kinds, for an upload from which no avatar can be made.
    """
    make = _of_photo if is_picture(source) else _of_video
    return make(source, staged, limits, landmarker, report, actions or {}, crop)


def _of_video(
    source: Path,
    staged: Path,
    limits: PreparationLimits,
    landmarker: FaceLandmarker,
    report: Report,
    actions: Mapping[str, Path],
    crop: Crop | None,
) -> tuple[Source, dict[str, Any]]:
    film = VideoFrames(source, VideoLimits(max_pixels=limits.max_pixels, max_seconds=limits.max_seconds))
    found = find_face(film, landmarker, lambda share: report("face", 10.0 + 40.0 * share), _face_limits(limits), crop)
    speaking = speaking_frames(source, found.aperture)
    clips = choose_clips(found.points, speaking, round(limits.clip_seconds * FPS), limits.video_clips)
    kept, ranges = as_ranges(clips)
    base = ActionBase(np.median(found.points, axis=0), found.framing.matrix, found.width)
    takes = _follow_actions(actions, base, landmarker, limits, report)
    portrait, landmarks = _write_video(
        staged, [found.take(film, kept), *takes.values()], found.shown, report, fade_plan(clips, kept)
    )
    extra = write_portrait(staged, portrait, landmarks, found.large)
    ranges |= _action_ranges(takes, len(kept))
    extra["base_video"] = {name: clip.model_dump() for name, clip in ranges.items()}
    seconds = len(found.points) / FPS
    digest = file_digest(source)
    return Source(kind="video", width=found.width, height=found.height, seconds=seconds, sha256=digest), extra


def _of_photo(
    source: Path,
    staged: Path,
    limits: PreparationLimits,
    landmarker: FaceLandmarker,
    report: Report,
    actions: Mapping[str, Path],
    crop: Crop | None,
) -> tuple[Source, dict[str, Any]]:
    photo = read_picture(source, max_pixels=limits.max_pixels)
    report("face", 30.0)
    portrait = make_portrait(photo, landmarker, _face_limits(limits), crop)
    report("portrait", 40.0 if actions else 80.0)
    extra = write_portrait(staged, portrait.picture, portrait.landmarks, portrait.large)
    height, width = photo.shape[:2]
    if actions:
        base = ActionBase(portrait.landmarks, None, width)
        takes = _follow_actions(actions, base, landmarker, limits, report)
        best = BestFrame(portrait.picture, portrait.landmarks, portrait.landmarks)
        _write_video(staged, list(takes.values()), best, report, [])
        extra["base_video"] = {name: clip.model_dump() for name, clip in _action_ranges(takes, 0).items()}
    return Source(kind="photo", width=width, height=height, sha256=file_digest(source)), extra


def _follow_actions(
    actions: Mapping[str, Path],
    base: ActionBase,
    landmarker: FaceLandmarker,
    limits: PreparationLimits,
    report: Report,
) -> dict[str, Take]:
    seconds = min(limits.max_seconds, limits.clip_seconds)
    accepted = VideoLimits(max_pixels=limits.max_pixels, max_seconds=seconds), _face_limits(limits)
    takes = {}
    for number, (name, file) in enumerate(sorted(actions.items())):

        def following(share: float, done: int = number) -> None:
            report("actions", 50.0 + 15.0 * (done + share) / len(actions))

        takes[name] = follow_action(name, file, base, landmarker, accepted, following)
    return takes


def _write_video(
    staged: Path, takes: list[Take], best: BestFrame, report: Report, fades: list[tuple[int, int, float]]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The two files of a video; returns portrait and landmarks with the mouth shut."""
    video = shut_mouths(takes, best, staged / FRAMES_FILE, lambda share: report("mouth", 65.0 + 30.0 * share), fades)
    np.save(staged / TRANSFORMS_FILE, video.transforms, allow_pickle=False)
    return video.portrait, video.landmarks


def _action_ranges(takes: Mapping[str, Take], first: int) -> dict[str, ClipRange]:
    """Where the actions lie in the frames, one after the other from `first` on."""
    ranges = {}
    for name, take in takes.items():
        ranges[name] = ClipRange(first=first, frames=len(take.points))
        first += len(take.points)
    return ranges


def _face_limits(limits: PreparationLimits) -> PhotoLimits:
    return PhotoLimits(limits.min_eye_distance, limits.max_pixels)
