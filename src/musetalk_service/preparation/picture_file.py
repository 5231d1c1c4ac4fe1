"""Picture files: what kind they are and how large, before they are decoded; then their pixels, upright."""

from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import FrameSize
from musetalk_service.preparation.errors import NotMediaError, TooLargeError
from musetalk_service.utils.pictures import PNG_HEAD, png_size

Picture = NDArray[np.uint8]

_BACKDROP: Final = 215
"""Grey level put behind transparent pictures."""
_HEAD: Final = 16


def is_picture(path: Path) -> bool:
    """Whether a file begins like a JPEG, PNG, WebP or BMP picture. Raises ``OSError``."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"))


def read_picture(path: Path, *, max_pixels: int) -> Picture:
    """Decode a picture file, turned as its EXIF orientation says, transparency laid on grey.

    Returns:
        (h, w, 3) BGR.

    Raises:
        NotMediaError: not a picture that can be decoded.
        TooLargeError: more than `max_pixels`; said before anything is decoded.
    """
    width, height = picture_size(path)
    if width * height > max_pixels:
        raise TooLargeError(f"the picture has {width}x{height} pixels, at most {max_pixels} are allowed")
    content = np.fromfile(path, np.uint8)
    try:
        colour = cv2.imdecode(content, cv2.IMREAD_COLOR)
        raw = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise NotMediaError(f"the picture cannot be decoded ({error.err})") from error
    if colour is None:
        raise NotMediaError("the picture cannot be decoded")
    picture = np.asarray(colour, np.uint8)
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4 or raw.shape[:2] != picture.shape[:2]:
        return picture
    cover = raw[..., 3:].astype(np.float32) / np.float32(255 if raw.dtype == np.uint8 else 65535)
    return np.asarray(np.rint(picture * cover + _BACKDROP * (1.0 - cover)), np.uint8)


def picture_size(path: Path) -> FrameSize:
    """Width and height, without decoding. Raises :class:`NotMediaError`, ``OSError``."""
    with path.open("rb") as file:
        size = png_size(file.read(PNG_HEAD))
    if size is not None:
        return size
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise NotMediaError("the file holds no picture")
            stream = container.streams.video[0]
            return FrameSize(stream.width, stream.height)
    except (av.error.FFmpegError, ValueError) as error:
        raise NotMediaError("the file is not a picture, or is damaged") from error
