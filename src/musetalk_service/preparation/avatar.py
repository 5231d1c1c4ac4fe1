"""An upload becomes the files of an avatar."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from musetalk_service.models.avatar_manifest import FRAMES_FILE, TRANSFORMS_FILE, Source
from musetalk_service.models.media import FPS
from musetalk_service.models.preparation import PreparationLimits
from musetalk_service.preparation.base_clips import as_ranges, choose_clips, fade_plan, speaking_frames
from musetalk_service.preparation.base_video import find_face, shut_mouths
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.preparation.picture_file import is_picture, read_picture
from musetalk_service.preparation.portrait_files import file_digest, write_portrait
from musetalk_service.preparation.video_file import VideoFrames, VideoLimits

Report = Callable[[str, float], None]
"""Told the stage and the per cent of the whole job as it goes on."""


def prepare_avatar(
    source: Path, staged: Path, limits: PreparationLimits, landmarker: FaceLandmarker, report: Report
) -> tuple[Source, dict[str, Any]]:
    """Write an avatar's files: portrait and landmarks, of a photo or of a video's best frame, and a video's clips.

    Args:
        source: the upload, of any kind.
        staged: an empty folder.
        limits: what is accepted.
        landmarker: finds the face.
        report: is told how far it has come.

    Returns:
        What the manifest says of the upload, and fields of the manifest beyond those that every avatar has.

    Raises:
        PreparationError: one of its kinds, for an upload from which no avatar can be made.
    """
    face_limits = PhotoLimits(limits.min_eye_distance, limits.max_pixels)
    if not is_picture(source):
        film = VideoFrames(source, VideoLimits(max_pixels=limits.max_pixels, max_seconds=limits.max_seconds))
        found = find_face(film, landmarker, lambda share: report("face", 10.0 + 40.0 * share), face_limits)
        speaking = speaking_frames(source, found.aperture)
        clips = choose_clips(found.points, speaking, round(limits.clip_seconds * FPS), limits.video_clips)
        kept, ranges = as_ranges(clips)
        video = shut_mouths(
            film,
            found,
            staged / FRAMES_FILE,
            lambda share: report("mouth", 50.0 + 45.0 * share),
            kept,
            fade_plan(clips, kept),
        )
        np.save(staged / TRANSFORMS_FILE, video.transforms, allow_pickle=False)
        extra = write_portrait(staged, video.portrait, video.landmarks, found.large)
        extra["base_video"] = {name: clip.model_dump() for name, clip in ranges.items()}
        seconds = len(found.points) / FPS
        digest = file_digest(source)
        return Source(kind="video", width=found.width, height=found.height, seconds=seconds, sha256=digest), extra
    photo = read_picture(source, max_pixels=limits.max_pixels)
    report("face", 30.0)
    portrait = make_portrait(photo, landmarker, face_limits)
    report("portrait", 80.0)
    extra = write_portrait(staged, portrait.picture, portrait.landmarks, portrait.large)
    height, width = photo.shape[:2]
    return Source(kind="photo", width=width, height=height, sha256=file_digest(source)), extra
