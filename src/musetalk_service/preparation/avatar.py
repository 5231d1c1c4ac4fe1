"""An upload becomes the files of an avatar."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.avatar_manifest import Source
from musetalk_service.models.preparation import PreparationLimits
from musetalk_service.preparation.errors import NotMediaError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.photo import PhotoLimits, make_portrait
from musetalk_service.preparation.picture_file import is_picture, read_picture

Report = Callable[[str, float], None]
"""Told the stage and the per cent of the whole job as it goes on."""


def prepare_avatar(
    source: Path, staged: Path, limits: PreparationLimits, landmarker: FaceLandmarker, report: Report
) -> tuple[Source, dict[str, Any]]:
    """Write an avatar's files.

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
    if not is_picture(source):
        raise NotMediaError("the file is not a picture")
    photo = read_picture(source, max_pixels=limits.max_pixels)
    report("face", 30.0)
    portrait = make_portrait(photo, landmarker, PhotoLimits(max_pixels=limits.max_pixels))
    report("portrait", 80.0)
    write_portrait(staged, portrait.picture, portrait.landmarks)
    height, width = photo.shape[:2]
    return Source(kind="photo", width=width, height=height, sha256=file_digest(source)), {}


def write_portrait(staged: Path, picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """The two files that every avatar has."""
    encoded, data = cv2.imencode(".png", picture)
    if not encoded:
        raise OSError("the portrait cannot be encoded")
    (staged / "portrait.png").write_bytes(data.tobytes())
    points = [[round(float(value), 3) for value in row] for row in landmarks]
    (staged / "landmarks.json").write_text(json.dumps({"points": points}))


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
