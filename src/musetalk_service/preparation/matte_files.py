"""The matte of an avatar, beside the portrait that it belongs to."""

import json
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from musetalk_service.preparation.matte import cut_out
from musetalk_service.preparation.portrait_files import LANDMARKS, PORTRAIT, write_png
from musetalk_service.preparation.segmenter import PersonSegmenter

_MATTE: Final = "matte.png"


def write_matte(staged: Path, segmenter: PersonSegmenter) -> dict[str, str]:
    """Tell the person from the background in the portrait that lies in a folder.

    Returns:
        Manifest fields; none where there is no face, or no clear difference.
    """
    if not (staged / LANDMARKS).exists():
        return {}
    points = json.loads((staged / LANDMARKS).read_text())["points"]
    read = cv2.imread(str(staged / PORTRAIT), cv2.IMREAD_COLOR)
    assert read is not None  # written by this process
    portrait = np.asarray(read, np.uint8)
    matte = cut_out(portrait, np.array(points, np.float32), segmenter.believe(portrait))
    if matte is None:
        return {}
    write_png(staged / _MATTE, matte)
    return {"matte": _MATTE}
