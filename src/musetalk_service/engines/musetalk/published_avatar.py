"""Avatars that the published scripts, or LiveTalking, have prepared, used as they lie on disk.

    full_imgs/%08d.png   the video's frames          coords.pkl        the faces in them
    mask/%08d.png        how much of each is painted mask_coords.pkl   where the masks lie
    latents.pt           the faces for the UNet      avator_info.json  (sic) which version made them

The published scripts store the frames forwards and then backwards, LiveTalking forwards only. Here both are kept
forwards and played to and fro. Frames without a face are left out everywhere, so that nothing is shifted against
the rest.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.blending import Overlay
from musetalk_service.engines.musetalk.model import LATENT_SHAPE
from musetalk_service.engines.musetalk.plain_pickle import read_boxes
from musetalk_service.errors import CheckpointError

_MAX_LATENTS_BYTES: Final = 4 << 30
_MAX_INFO_BYTES: Final = 1 << 20
_MAX_SIDE: Final = 4096
_AGAIN: Final = "prepare the avatar again"


@dataclass(frozen=True)
class PublishedAvatar:
    """A prepared video. Pictures are read when they are asked for."""

    version: str | None
    """Which MuseTalk prepared it, ``v1`` or ``v15``; None where it does not say."""
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]
    faces: tuple[Box, ...]
    crops: tuple[Box, ...]
    latents: Tensor
    """(frames, 8, 32, 32) float32."""

    def __len__(self) -> int:
        return len(self.frames)

    def place(self, index: int) -> int:
        """Which frame is shown at an index that runs on: to and fro without end."""
        count = len(self.frames)
        step = index % (2 * count)
        return step if step < count else 2 * count - 1 - step

    def picture(self, place: int) -> NDArray[np.uint8]:
        """(height, width, 3) BGR. Raises :class:`CheckpointError` for a damaged file."""
        return _read_picture(self.frames[place], cv2.IMREAD_COLOR)

    def overlay(self, place: int) -> Overlay:
        """Where and how the mouth is painted. Raises :class:`CheckpointError` for a damaged file."""
        crop, path = self.crops[place], self.masks[place]
        mask = _read_picture(path, cv2.IMREAD_GRAYSCALE)
        if mask.shape != (crop.bottom - crop.top, crop.right - crop.left):
            raise CheckpointError(f"{path} has not the size that mask_coords.pkl says; {_AGAIN}")
        return Overlay(self.faces[place], mask, crop)


def load_published_avatar(folder: Path) -> PublishedAvatar:
    """Read an avatar's tables; nothing that the files hold is executed.

    Raises :class:`CheckpointError` that names the file that is missing, damaged, or does not fit the others.
    """
    frames, masks = _pictures(folder / "full_imgs"), _pictures(folder / "mask")
    faces, crops = read_boxes(folder / "coords.pkl"), read_boxes(folder / "mask_coords.pkl")
    latents = _read_latents(folder / "latents.pt")
    _same(folder, "coords.pkl", len(faces), "pictures in full_imgs", len(frames))
    seen = [index for index, (left, top, right, bottom) in enumerate(faces) if right > left and bottom > top]
    if not seen:
        raise CheckpointError(f"{folder / 'coords.pkl'} has no frame with a face; {_AGAIN}")
    _same(folder, "latents.pt", len(latents), "frames with a face", len(seen))
    # A frame without a face may have a mask, or none.
    mask_of = dict(zip(seen, range(len(seen)), strict=True)) if len(masks) == len(seen) else {i: i for i in seen}
    _same(folder, "mask_coords.pkl", len(crops), "pictures in mask", len(masks))
    if len(masks) not in (len(seen), len(frames)):
        raise CheckpointError(f"{folder / 'mask'} has {len(masks)} pictures for {len(frames)} frames; {_AGAIN}")
    if len(seen) % 2 == 0 and len(seen) > 1 and [faces[i] for i in seen] == [faces[i] for i in reversed(seen)]:
        seen = seen[: len(seen) // 2]  # stored forwards and backwards
    return PublishedAvatar(
        _version(folder / "avator_info.json"),
        tuple(frames[i] for i in seen),
        tuple(masks[mask_of[i]] for i in seen),
        tuple(_box(faces[i]) for i in seen),
        tuple(_box(crops[mask_of[i]]) for i in seen),
        latents[: len(seen)],
    )


def _pictures(folder: Path) -> list[Path]:
    found = sorted((path for path in folder.glob("*.[pj][np]g") if path.stem.isdigit()), key=lambda p: int(p.stem))
    if not found:
        raise CheckpointError(f"{folder} has no pictures; {_AGAIN}")
    return found


def _read_latents(path: Path) -> Tensor:
    try:
        if path.stat().st_size > _MAX_LATENTS_BYTES:
            raise CheckpointError(f"{path} is larger than {_MAX_LATENTS_BYTES} bytes")
        held = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors, and is not opened for that reason") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); {_AGAIN}") from None
    shapes = (
        {tuple(t.shape) if isinstance(t, torch.Tensor) else None for t in held} if isinstance(held, list) else set()
    )
    if shapes != {(1, *LATENT_SHAPE)}:
        raise CheckpointError(f"{path} is no list of latents of the shape {(1, *LATENT_SHAPE)}; {_AGAIN}")
    latents = torch.cat(held).float()
    if not bool(torch.isfinite(latents).all()):
        raise CheckpointError(f"{path} holds latents that are not finite; {_AGAIN}")
    return latents


def _read_picture(path: Path, kind: int) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), kind)
    if picture is None or max(picture.shape) > _MAX_SIDE:
        raise CheckpointError(f"{path} is no picture of up to {_MAX_SIDE} pixels a side; {_AGAIN}")
    return np.asarray(picture, np.uint8)


def _version(path: Path) -> str | None:
    """LiveTalking writes none."""
    try:
        if path.stat().st_size > _MAX_INFO_BYTES:
            return None
        info = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    version = info.get("version") if isinstance(info, dict) else None
    return version if version in ("v1", "v15") else None


def _same(folder: Path, name: str, count: int, what: str, other: int) -> None:
    if count != other:
        raise CheckpointError(f"{folder / name} has {count} entries for {other} {what}; {_AGAIN}")


def _box(row: tuple[float, float, float, float]) -> Box:
    return Box(*(int(edge) for edge in row))
