"""Files that every avatar has."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

PORTRAIT: Final = "portrait.png"
LANDMARKS: Final = "landmarks.json"
_LARGE: Final = "portrait_1024.png"


def write_portrait(
    staged: Path,
    picture: NDArray[np.uint8],
    landmarks: NDArray[np.float32] | None,
    large: NDArray[np.uint8] | None = None,
) -> dict[str, Any]:
    """Portrait and landmarks, where there are any, and the larger picture if there is one; returns manifest fields."""
    write_png(staged / PORTRAIT, picture)
    if landmarks is None:
        return {"landmarks": None}
    points = [[round(float(value), 3) for value in row] for row in landmarks]
    (staged / LANDMARKS).write_text(json.dumps({"points": points}))
    if large is None:
        return {}
    write_png(staged / _LARGE, large)
    return {"large": _LARGE}


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Without loss. Raises ``OSError``."""
    encoded, data = cv2.imencode(".png", picture)
    if not encoded:
        raise OSError(f"{path.name} cannot be encoded")
    path.write_bytes(data.tobytes())


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
