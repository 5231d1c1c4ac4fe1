"""What MuseTalk needs of an avatar, made once: where the face is, its mask, and its latents, kept on disk."""

import logging
import os
import secrets
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import Avatar
from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.blending import Overlay
from musetalk_service.engines.musetalk.face_crop import (
    EXTRA_MARGIN,
    Landmarks,
    crop_box,
    cut_face,
    face_box,
    jaw_mask,
    to_68,
)
from musetalk_service.engines.musetalk.options import LATENT_SHAPE, MaskSource, Version
from musetalk_service.engines.musetalk.painter import Latents, Painter
from musetalk_service.engines.painted_video import PaintedVideo
from musetalk_service.errors import EngineError
from musetalk_service.models.avatar_manifest import ENGINES_FOLDER
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.byte_cache import ByteCache
from musetalk_service.utils.i420 import to_bgr

log = logging.getLogger(__name__)

_FORMAT: Final = 1


@dataclass(frozen=True)
class AvatarFace:
    """One avatar at one size: its portrait, or one frame of its base video."""

    name: str
    """Unique: of this picture at this size."""
    overlay: Overlay
    latents: Latents

    def memory_bytes(self) -> int:
        return self.overlay.mask.nbytes + self.latents.nbytes


class FaceStore:
    """The faces of the avatars in use; what falls out is read from disk again."""

    def __init__(
        self, painter: Painter, version: Version, folder: Path, *, mask: MaskSource, memory_bytes: int
    ) -> None:
        """Nothing is read or written yet.

        Args:
            painter: makes latents; those of other weights are not used.
            version: decides about the margin under the chin.
            folder: where latents of avatars are kept that have no folder of their own, or one that is only read.
            mask: what tells where a face is painted.
            memory_bytes: what all faces in memory may take.
        """
        self._painter = painter
        self._version = version
        self._margin = EXTRA_MARGIN if version == "1.5" else 0
        self._folder = folder
        self._mask_source = mask
        self._kept: ByteCache[tuple[str, FrameSize, int | None], AvatarFace] = ByteCache(
            memory_bytes, AvatarFace.memory_bytes, grow=False
        )

    def get(self, avatar: Avatar, size: FrameSize, frame: int | None = None) -> AvatarFace:
        """Of the portrait, or of a frame of the base video: what came with that, where something did.

        Raises :class:`EngineError` for an avatar whose face does not lie in the picture, :class:`PainterGoneError`
        when the face has to be encoded and cannot.
        """
        key = (avatar.digest, avatar.canvas_size(size), frame)
        face = self._kept.get(key)
        if face is None:
            own = None if frame is None or avatar.base_video is None else avatar.base_video.painted
            if own is None or frame is None:
                face = self._make(avatar, size, frame)
            else:
                face = _take(own, f"{avatar.digest}/{frame}", frame)
            self._kept.put(key, face)
        return face

    def _make(self, avatar: Avatar, size: FrameSize, frame: int | None) -> AvatarFace:
        landmarks = _landmarks(avatar, size, frame)
        drawn = avatar.canvas_size(size)
        try:
            box = face_box(to_68(landmarks), drawn, margin=self._margin)
        except ValueError as error:
            raise EngineError(f"MuseTalk cannot use avatar {avatar.name!r}: {error}") from None
        picture, name = f"{avatar.digest}-{drawn}", "portrait" if frame is None else f"{frame:08d}"
        root = self._root(avatar)
        path = root / f"musetalk-{self._version}-{self._painter.info.checkpoint}" / picture / f"{name}.npz"
        latents = _read(path, box)
        if latents is None:
            latents = self._painter.encode_face(cut_face(_picture(avatar, size, frame), box))
            self._keep(root, path, _packed(box, latents))
        mask = jaw_mask(landmarks, box) if self._mask_source == "landmarks" else _read_mask(path, box)
        if mask is None:
            mask = self._parse(_picture(avatar, size, frame), box)
            self._keep(root, _mask_path(path), cv2.imencode(".png", mask)[1].tobytes())
        return AvatarFace(f"{picture}/{name}", Overlay(box, mask), latents)

    def _parse(self, picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """The published mask of a face."""
        # Needs Pillow, which comes with the networks' libraries: only those have it who have them.
        from musetalk_service.engines.musetalk.parsed_mask import parsed_mask, picture_to_parse

        return parsed_mask(self._painter.parse_face(picture_to_parse(picture, box)), box, self._version)

    def _keep(self, root: Path, path: Path, data: bytes) -> None:
        """Whole or not at all; a disk that is full costs time at the next start, nothing else."""
        aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        try:
            if root == self._folder:
                root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (root, path.parent.parent, path.parent):
                folder.mkdir(exist_ok=True)  # never the avatar's own folder: it may have been deleted
            aside.write_bytes(data)
            os.replace(aside, path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            log.warning("what was made of a face could not be kept", extra={"path": str(path)}, exc_info=error)

    def _root(self, avatar: Avatar) -> Path:
        """Beside the avatar, with which it goes; a folder that is gone stays that."""
        own = avatar.folder
        if own is None or (own.is_dir() and not os.access(own, os.W_OK)):
            return self._folder
        return own / ENGINES_FOLDER


def _take(own: PaintedVideo, name: str, frame: int) -> AvatarFace:
    """What the published scripts have made."""
    corners, mask = own.corners(frame), np.array(own.masks[frame])
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    face = Box(int(left), int(top), int(right) + 1, int(bottom) + 1)
    crop = Box(own.left, own.top, own.left + mask.shape[1], own.top + mask.shape[0])
    return AvatarFace(name, Overlay(face, mask, crop, own.places[frame]), np.array(own.latents[frame], np.float32))


def _landmarks(avatar: Avatar, size: FrameSize, frame: int | None) -> Landmarks:
    """Of the portrait, or where they are in a frame: the transform there is that of the lower face."""
    landmarks = avatar.renderer(size).landmarks
    if frame is None or avatar.base_video is None or avatar.base_video.transforms is None:
        return landmarks
    matrix = avatar.base_video.transforms[frame]
    return np.asarray(landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _picture(avatar: Avatar, size: FrameSize, frame: int | None) -> NDArray[np.uint8]:
    """BGR, with shut lips."""
    if frame is None or avatar.base_video is None:
        return avatar.renderer(size).portrait
    return to_bgr(np.array(avatar.base_video.frames[frame]))


def _read(path: Path, box: Box) -> NDArray[np.float32] | None:
    """Latents that were kept; None where there are none, or not for this part of the picture."""
    try:
        with np.load(path, allow_pickle=False) as held:
            if int(held["format"]) != _FORMAT or held["box"].tolist() != [int(edge) for edge in box]:
                return None
            latents = np.asarray(held["latents"], np.float32)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError) as error:
        log.warning("kept latents are damaged", extra={"path": str(path)}, exc_info=error)
        return None
    return latents if latents.shape == LATENT_SHAPE and bool(np.isfinite(latents).all()) else None


def _mask_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}-mask.png")


def _read_mask(path: Path, box: Box) -> NDArray[np.uint8] | None:
    """The mask that was kept beside latents; None where there is none that fits."""
    try:
        mask = cv2.imdecode(np.fromfile(_mask_path(path), np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error):
        return None
    crop = crop_box(box)
    fits = mask is not None and mask.shape == (crop.bottom - crop.top, crop.right - crop.left)
    return np.asarray(mask, np.uint8) if fits else None


def _packed(box: Box, latents: NDArray[np.float32]) -> bytes:
    file = BytesIO()
    np.savez(file, format=np.int64(_FORMAT), box=np.asarray(box, np.int64), latents=latents)
    return file.getvalue()
