"""Which pixels are a person: MediaPipe's selfie segmentation network, run by OpenCV.

The model takes 256x256 RGB in 0..1 and gives the probability of a person for each pixel (model card "MediaPipe Selfie
Segmentation", general model). It was made for people before a webcam and is unsure of what it has seldom seen, such as
drawings: it looks several times.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from musetalk_service.models.preparation import PreparationModels
from musetalk_service.preparation.errors import SegmenterError
from musetalk_service.preparation.model_file import PERSON_SEGMENTER, find_model

Picture = NDArray[np.uint8]
Belief = NDArray[np.float32]

_SIDE: Final = 256
_SCALES: Final = (1.0, 0.85, 0.7)
"""Looks from further away, with more room above the head; each also mirrored."""


class PersonSegmenter:
    """Tells people from what is behind them."""

    def __init__(self, model: Path) -> None:
        """Load the model. Raises :class:`SegmenterError` when OpenCV cannot."""
        try:
            self._network = cv2.dnn.readNetFromTFLite(str(model))
        except cv2.error as error:
            raise SegmenterError(f"OpenCV does not take the person segmenter's model {model} ({error.err})") from error

    def believe(self, picture: Picture) -> Belief:
        """How probably each pixel of a square portrait is part of a person, 0 to 1.

        Args:
            picture: (n, n, 3) BGR.

        Returns:
            (n, n) the median of several looks.
        """
        side = len(picture)
        looks = []
        for scale in _SCALES:
            away = np.array([[scale, 0.0, (1.0 - scale) * side / 2], [0.0, scale, (1.0 - scale) * side]])
            seen = cv2.warpAffine(picture, away, (side, side), borderMode=cv2.BORDER_REPLICATE)
            for found in (self._look(seen), cv2.flip(self._look(cv2.flip(seen, 1)), 1)):
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                looks.append(cv2.warpAffine(found, away, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))
        return np.asarray(np.median(np.stack(looks), axis=0), np.float32)

    def _look(self, picture: MatLike) -> MatLike:
        self._network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, (_SIDE, _SIDE), swapRB=True))
        found = self._network.forward().reshape(_SIDE, _SIDE).clip(0.0, 1.0)
        return cv2.resize(found, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def load_segmenter(models: PreparationModels) -> PersonSegmenter:
    """Raises :class:`SegmenterError` where there is no model, or none that OpenCV takes."""
    return PersonSegmenter(find_model(PERSON_SEGMENTER, models.segmenter, models.folder, models.cache_dir))
