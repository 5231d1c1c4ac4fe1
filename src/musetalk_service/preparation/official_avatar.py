"""Avatars that the published MuseTalk scripts, or LiveTalking, have prepared, read as they lie on disk.

    full_imgs/%08d.png   the video's frames            coords.pkl        the faces in them
    mask/%08d.png        how much of each is painted   mask_coords.pkl   where the masks lie
    latents.pt           the faces for the UNet        avator_info.json  (sic) which version made them

The published scripts store the frames forwards and then backwards, LiveTalking forwards only. Here both are kept
forwards, to be played to and fro. Frames without a face are left out everywhere, so that nothing is shifted against
the rest. Nothing that the files hold is executed, no link is followed.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.options import LATENT_SHAPE
from musetalk_service.models.media import GOP_FRAMES, FrameSize
from musetalk_service.preparation.errors import NotMediaError, NotOfficialError
from musetalk_service.preparation.picture_file import Picture, picture_size
from musetalk_service.preparation.plain_pickle import check_file, read_boxes
from musetalk_service.preparation.tensor_file import TensorFile

_MAX_INFO_BYTES: Final = 1 << 20
_MAX_PICTURES: Final = 200_000
_BYTES_PER_PIXEL: Final = 8
"""More than the largest picture file of its kind has."""
_LEAST_SIDE: Final = 16
"""Pixels of a face."""
_VERSIONS: Final[dict[str, Literal["1.5", "1.0"]]] = {"v15": "1.5", "v1": "1.0"}


@dataclass(frozen=True)
class OfficialFrame:
    """One frame with a face."""

    picture: Path
    mask: Path
    face: Box
    crop: Box
    """Where the mask lies; it may reach beyond the picture."""
    latents: int
    """Index in the file of latents."""


@dataclass(frozen=True)
class OfficialAvatar:
    """A prepared video. Pictures and latents are read when they are asked for."""

    version: Literal["1.5", "1.0"] | None
    """Which MuseTalk prepared it; None where it does not say."""
    frames: tuple[OfficialFrame, ...]
    """To be played to and fro: whole seconds of them."""
    latents: TensorFile
    size: FrameSize
    """Of the pictures."""
    max_pixels: int

    @property
    def expected(self) -> int:
        """How many frames there are."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Picture]:
        """(height, width, 3) BGR each. Raises :class:`NotOfficialError` for a damaged file, or one of another size."""
        for frame in self.frames:
            picture = _read_picture(frame.picture, cv2.IMREAD_COLOR, self.max_pixels)
            if picture.shape[1::-1] != self.size:
                raise NotOfficialError(f"full_imgs/{frame.picture.name} has not the size of the first picture")
            yield picture

    def mask(self, index: int) -> NDArray[np.uint8]:
        """(height, width) of the frame's crop. Raises :class:`NotOfficialError` for a damaged file."""
        crop, path = self.frames[index].crop, self.frames[index].mask
        mask = _read_picture(path, cv2.IMREAD_GRAYSCALE, self.max_pixels)
        if mask.shape != (crop.bottom - crop.top, crop.right - crop.left):
            raise NotOfficialError(f"mask/{path.name} has not the size that mask_coords.pkl says")
        return mask


def load_official_avatar(folder: Path, *, max_pixels: int, max_frames: int) -> OfficialAvatar:
    """Read an avatar's tables.

    Args:
        folder: where it lies.
        max_pixels: of each picture.
        max_frames: more than these are left out; at least 25.

    Raises:
        NotOfficialError: names the file that is missing, damaged, or does not fit the others.
    """
    pictures, masks = _pictures(folder / "full_imgs"), _pictures(folder / "mask")
    faces, crops = read_boxes(folder / "coords.pkl"), read_boxes(folder / "mask_coords.pkl")
    latents = TensorFile(folder / "latents.pt", (1, *LATENT_SHAPE))
    _same("coords.pkl", len(faces), "pictures in full_imgs", len(pictures))
    seen = [index for index, (left, top, right, bottom) in enumerate(faces) if right > left and bottom > top]
    if not seen:
        raise NotOfficialError("coords.pkl has no frame with a face")
    _same("latents.pt", len(latents), "frames with a face", len(seen))
    _same("mask_coords.pkl", len(crops), "pictures in mask", len(masks))
    if len(masks) not in (len(seen), len(pictures)):
        raise NotOfficialError(f"mask has {len(masks)} pictures for {len(pictures)} frames")
    size = _size(pictures[0], max_pixels)
    frames = []
    for latent, index in enumerate(seen):
        mask = latent if len(masks) == len(seen) else index  # a frame without a face may have a mask, or none
        face, crop = _box(faces[index]), _box(crops[mask])
        part = face.clipped(size)
        if min(part.right - part.left, part.bottom - part.top) < _LEAST_SIDE or crop.is_empty:
            raise NotOfficialError(f"coords.pkl has a face, {tuple(face)}, that does not lie in the {size} picture")
        frames.append(OfficialFrame(pictures[index], masks[mask], face, crop, latent))
    boxes = [frame.face for frame in frames]
    if len(boxes) % 2 == 0 and boxes == boxes[::-1]:
        frames = frames[: len(frames) // 2]  # stored forwards and backwards
    version = _version(folder / "avator_info.json")
    return OfficialAvatar(version, _whole_seconds(frames, max_frames), latents, size, max_pixels)


def _whole_seconds(frames: list[OfficialFrame], most: int) -> tuple[OfficialFrame, ...]:
    """Frames that can be played to and fro in whole seconds: a few go at the end, or some are played again."""
    if len(frames) >= GOP_FRAMES:
        return tuple(frames[: min(len(frames), most) // GOP_FRAMES * GOP_FRAMES])
    to_and_fro = [*frames, *reversed(frames)]
    return tuple(to_and_fro[index % len(to_and_fro)] for index in range(GOP_FRAMES))


def _pictures(folder: Path) -> list[Path]:
    found = []
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotOfficialError(f"{folder.name} is a link, or no folder")
        for entry in os.scandir(folder):
            path = Path(entry.path)
            if path.suffix in (".png", ".jpg") and path.stem.isdecimal() and len(path.stem) <= 9:
                found.append(path)
            if len(found) > _MAX_PICTURES:
                raise NotOfficialError(f"{folder.name} has more than {_MAX_PICTURES} pictures")
    except OSError as error:
        raise NotOfficialError(f"{folder.name} cannot be read: {error.strerror}") from None
    if not found:
        raise NotOfficialError(f"{folder.name} has no pictures")
    return sorted(found, key=lambda path: int(path.stem))


def _read_picture(path: Path, kind: int, max_pixels: int) -> Picture:
    _size(path, max_pixels)
    try:
        picture = cv2.imdecode(np.fromfile(path, np.uint8), kind)
    except (OSError, cv2.error):
        picture = None
    if picture is None:
        raise NotOfficialError(f"{path.parent.name}/{path.name} is no picture")
    return np.asarray(picture, np.uint8)


def _size(path: Path, max_pixels: int) -> FrameSize:
    """Of a picture that may be decoded."""
    check_file(path, _BYTES_PER_PIXEL * max_pixels)
    try:
        size = picture_size(path)
    except (NotMediaError, OSError):
        raise NotOfficialError(f"{path.parent.name}/{path.name} is no picture") from None
    if size.pixels > max_pixels:
        raise NotOfficialError(f"{path.name} has {size} pixels, at most {max_pixels} are allowed")
    return size


def _version(path: Path) -> Literal["1.5", "1.0"] | None:
    """LiveTalking writes none."""
    try:
        check_file(path, _MAX_INFO_BYTES)
        info = json.loads(path.read_text("utf-8"))
    except (NotOfficialError, OSError, ValueError):
        return None
    version = info.get("version") if isinstance(info, dict) else None
    return _VERSIONS.get(version) if isinstance(version, str) else None


def _same(name: str, count: int, what: str, other: int) -> None:
    if count != other:
        raise NotOfficialError(f"{name} has {count} entries for {other} {what}")


def _box(row: tuple[float, float, float, float]) -> Box:
    return Box(*(int(edge) for edge in row))
