"""An avatar of the published MuseTalk scripts becomes one of the library: same video, latents and masks, our frames.

Where MediaPipe finds the face in all frames, they get shut lips, a portrait and landmarks, as those of any video, and
every engine can use them. Otherwise the frames stay as they are, and MuseTalk alone makes them speak.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.blending import box_to_patch
from musetalk_service.models.avatar_manifest import (
    FRAMES_FILE,
    LATENTS_FILE,
    MASKS_FILE,
    PLACES_FILE,
    TRANSFORMS_FILE,
    ClipRange,
    Official,
    Source,
)
from musetalk_service.models.clips import DEFAULT_CLIP, DEFAULT_SPEAKING_CLIP
from musetalk_service.models.media import FPS, HEIGHT, WIDTH, FrameSize
from musetalk_service.models.preparation import PreparationLimits
from musetalk_service.preparation.base_video import find_face, shut_mouths
from musetalk_service.preparation.errors import LandmarkerError, NotOfficialError, PreparationError
from musetalk_service.preparation.geometry import Framing, Matrix, compose, invert
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.official_avatar import OfficialAvatar, load_official_avatar
from musetalk_service.preparation.photo import PORTRAIT_SIZE, PhotoLimits
from musetalk_service.preparation.portrait_files import file_digest, write_portrait
from musetalk_service.utils.i420 import from_bgr

_SHARES: Final = (0.54, 0.58, 0.62)
"""Heights of a face's box, mid-forehead to chin, in the square frame: that of a portrait's, and larger ones for
pictures that end too near."""
_BOTTOM: Final = 0.79
"""Where the box's bottom is, from the top of the frame."""
_ROOM: Final = 0.02
"""Part of the frame's side that is kept free around the faces."""

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class _Shown:
    """The frames as they were written."""

    matrix: Matrix
    """From pixels of the official pictures to those of the frames."""
    large: NDArray[np.uint8] | None
    portrait: NDArray[np.uint8]
    landmarks: NDArray[np.float32] | None
    refused: PreparationError | None
    """Why there are no landmarks."""


def take_official(
    source: Path,
    staged: Path,
    files: str,
    limits: PreparationLimits,
    landmarker: FaceLandmarker | LandmarkerError,
    report: Report,
) -> tuple[Source, dict[str, Any]]:
    """Write the library's files of an official avatar.

    Args:
        source: its folder.
        staged: an empty folder.
        files: what tells its files from later ones, for the manifest.
        limits: of each picture, and of how much of the video is kept.
        landmarker: finds the face; or why there is none.
        report: is told how far it has come.

    Returns:
        What the manifest says of the source, and its other fields.

    Raises:
        NotOfficialError: a file that is missing, damaged, or does not fit the others.
    """
    most = int(limits.clip_seconds * FPS)
    avatar = load_official_avatar(source, max_pixels=limits.max_pixels, max_frames=most)
    shown = _show(avatar, staged, landmarker, report)
    left, top = _write_painting(avatar, shown.matrix, staged)
    report("mouth", 95.0)
    extra = write_portrait(staged, shown.portrait, shown.landmarks, shown.large)
    clip = ClipRange(first=0, frames=avatar.expected, ping_pong=True)
    refused = shown.refused
    official = Official(
        files=files,
        version=avatar.version,
        mask_left=left,
        mask_top=top,
        no_face_code=None if refused is None else refused.code,
        no_face="" if refused is None else refused.message,
        no_face_advice="" if refused is None else refused.advice,
    )
    extra["base_video"] = {name: clip.model_dump() for name in (DEFAULT_CLIP, DEFAULT_SPEAKING_CLIP)}
    extra["official"] = official.model_dump()
    return Source(
        kind="video",
        width=avatar.size.width,
        height=avatar.size.height,
        seconds=avatar.expected / FPS,
        sha256=file_digest(source / "latents.pt"),
    ), extra


def _show(avatar: OfficialAvatar, staged: Path, landmarker: FaceLandmarker | LandmarkerError, report: Report) -> _Shown:
    """With shut lips where the face is found, else as they are."""
    target = staged / FRAMES_FILE
    refused: PreparationError
    if isinstance(landmarker, LandmarkerError):
        refused = landmarker
    else:
        try:
            limits = PhotoLimits(max_pixels=avatar.max_pixels)
            found = find_face(avatar, landmarker, lambda share: report("face", 10.0 + 40.0 * share), limits)
            video = shut_mouths(
                [found.take(avatar)], found.shown, target, lambda share: report("mouth", 50.0 + 40.0 * share)
            )
            np.save(staged / TRANSFORMS_FILE, video.transforms, allow_pickle=False)
            return _Shown(found.framing.matrix, found.large, video.portrait, video.landmarks, None)
        except NotOfficialError:
            raise
        except PreparationError as error:
            refused = error
    framing = frame_boxes([frame.face for frame in avatar.frames], avatar.size)
    shape = (avatar.expected, PORTRAIT_SIZE * 3 // 2, PORTRAIT_SIZE)
    written = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    portrait: NDArray[np.uint8] | None = None
    for index, picture in enumerate(avatar):
        cut = framing.cut(picture)
        portrait = cut if portrait is None else portrait
        written[index] = from_bgr(cut)
        if index % 10 == 0:
            report("video", 10.0 + 80.0 * index / avatar.expected)
    written.flush()
    assert portrait is not None  # there is at least a second of frames
    return _Shown(framing.matrix, None, portrait, None, refused)


def frame_boxes(boxes: Iterable[Box], size: FrameSize) -> Framing:
    """A square of 512 pixels that holds still around faces' boxes: as a portrait's, or larger so that all fit.

    Args:
        boxes: of a face in each frame, pixels.
        size: of the pictures.
    """
    rows = np.array([tuple(box) for box in boxes], np.float64)
    left, top, right, bottom = np.median(rows, axis=0)
    x, height = (left + right) / 2, bottom - top
    reaches = np.array([x - rows[:, 0], rows[:, 2] - x, bottom - rows[:, 1], rows[:, 3] - bottom]).max(axis=1)
    least = float((reaches / (np.array([0.5, 0.5, _BOTTOM, 1 - _BOTTOM]) - _ROOM)).max())

    def missing(share: float) -> float:
        side = max(height / share, least)
        gaps = (
            side / 2 - x,
            x + side / 2 - size.width,
            _BOTTOM * side - bottom,
            bottom + (1 - _BOTTOM) * side - size.height,
        )
        return float(sum(max(gap, 0.0) for gap in gaps) / side)

    side = max(height / min(_SHARES, key=lambda share: (round(missing(share), 2), share)), least)
    scale = PORTRAIT_SIZE / side
    # Boxes count the edges of pixels, the matrix their centres.
    corner = (np.array([x - side / 2, bottom - _BOTTOM * side]) - 0.5) * -scale - 0.5
    return Framing(np.array([[scale, 0, corner[0]], [0, scale, corner[1]]], np.float64), PORTRAIT_SIZE)


def _write_painting(avatar: OfficialAvatar, matrix: Matrix, staged: Path) -> tuple[int, int]:
    """Latents, masks and places; returns where in the frames the masks begin."""
    latents = avatar.latents.read([frame.latents for frame in avatar.frames])[:, 0]
    half = latents.astype(np.float16)
    np.save(staged / LATENTS_FILE, half if np.array_equal(half.astype(np.float32), latents) else latents)
    back = invert(matrix)
    np.save(staged / PLACES_FILE, np.array([compose(box_to_patch(frame.face), back) for frame in avatar.frames]))
    area = _masked_area(avatar, matrix)
    shape = (avatar.expected, area.bottom - area.top, area.right - area.left)
    written = np.lib.format.open_memmap(staged / MASKS_FILE, mode="w+", dtype=np.uint8, shape=shape)
    for index, frame in enumerate(avatar.frames):
        # From pixels of the mask over those of the picture to those of the part of the frame.
        onto = matrix.copy()
        onto[:, 2] += matrix[:, :2] @ (frame.crop.left, frame.crop.top) - (area.left, area.top)
        mask, painted = avatar.mask(index), frame.face.overlap(frame.crop).within(frame.crop).pixels
        inside = np.zeros_like(mask)
        inside[painted] = mask[painted]  # outside of the face nothing is painted, however soft the mask
        written[index] = cv2.warpAffine(inside, onto, (shape[2], shape[1]), flags=cv2.INTER_LINEAR)
    written.flush()
    return area.left, area.top


def _masked_area(avatar: OfficialAvatar, matrix: Matrix) -> Box:
    """The part of the frames in which a face is painted: where its box and its mask's square are."""
    corners = [frame.crop.overlap(frame.face).corners() for frame in avatar.frames]
    moved = np.concatenate(corners) @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0)) + 1
    area = Box(int(left), int(top), int(right), int(bottom)).overlap(Box(0, 0, WIDTH, HEIGHT))
    if area.is_empty:
        raise NotOfficialError("mask_coords.pkl has masks that do not lie on the faces")
    return area.even_around()
