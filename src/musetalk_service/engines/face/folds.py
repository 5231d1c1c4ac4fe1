"""The folds from nose to mouth, which deepen as cheeks rise: a little shade and light along each of them.

A warp moves the cheeks of a smile, but their shading stays that of a straight face; without it the smile is of the
lips alone.
"""

import math
from typing import Final, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.closed_mouth import ClosedMouth
from musetalk_service.engines.face.interpolation import smoothstep, spline_basis
from musetalk_service.engines.face.landmarks import Face, FloatArray
from musetalk_service.engines.face.mouth_shape import LipShape, MouthShaper
from musetalk_service.models.face import Mouth
from musetalk_service.models.media import FrameSize

_PATHS: Final = ((129, 203, 206, 216), (358, 423, 426, 436))
"""From the wing of the nose to beside the corner of the mouth, one on either side."""
_DEPTH: Final = 0.16
"""Share of the luma that the fold of a full smile loses."""
_WIDE: Final = 0.35
"""How deep lips spread in speech make the folds, against a smile."""
_LEAST: Final = 0.03


class _Fold(NamedTuple):
    relief: NDArray[np.float32]
    """(h, w) share of the luma that is lost; negative where it is gained."""
    anchor: FloatArray
    """(2,) of the relief's first pixel, from the middle of the shut lips."""
    fields: FloatArray
    """(fields, 2) how the skin's fields move it."""


class Folds:
    """The folds of one portrait."""

    def __init__(self, face: Face, closed: ClosedMouth, shaper: MouthShaper) -> None:
        # Who smiles in the portrait shows the folds already.
        self._depth = _DEPTH * (1.0 - closed.stretch)
        self._folds = [_prepare(face, shaper, path) for path in _PATHS]

    def shade(self, luma: NDArray[np.uint8], shape: LipShape, smile: float, mouth: Mouth) -> None:
        """Shade a picture in which the skin is in place.

        Args:
            luma: (height, width), changed in place.
            shape: the lips, carried along by the head.
            smile: 0..1.
            mouth: the speaking mouth.
        """
        wide = _WIDE * min(max(mouth.wide, 0.0), 1.0)
        smile = min(max(smile, 0.0), 1.0)
        amount = (1.0 - (1.0 - smile) * (1.0 - wide)) * (1.0 - 0.8 * min(max(mouth.round, 0.0), 1.0))
        if amount < _LEAST or self._depth == 0.0:
            return
        strength = np.float32(self._depth * (amount - _LEAST) / (1.0 - _LEAST))
        cos, sin = math.cos(shape.angle), math.sin(shape.angle)
        size = FrameSize(luma.shape[1], luma.shape[0])
        for fold in self._folds:
            off_x, off_y = (fold.anchor + shape.fields @ fold.fields).tolist()
            x = shape.centre[0] + cos * off_x - sin * off_y
            y = shape.centre[1] + sin * off_x + cos * off_y
            height, width = fold.relief.shape
            reach = math.ceil(abs(sin) * max(height, width)) + 1
            box = Box(int(x) - reach, int(y) - reach, int(x) + width + reach, int(y) + height + reach).clipped(size)
            if box.is_empty:
                continue
            matrix = np.array([[cos, -sin, x - box.left], [sin, cos, y - box.top]])
            relief = cv2.warpAffine(fold.relief, matrix, (box.right - box.left, box.bottom - box.top))
            area = luma[box.pixels]
            cv2.multiply(area, 1.0 - strength * relief, dst=area, dtype=cv2.CV_8U)


def _prepare(face: Face, shaper: MouthShaper, path: tuple[int, ...]) -> _Fold:
    width = face.mouth_width
    knots = face.points[list(path)]
    curve = spline_basis(len(path), 33) @ knots
    margin = 0.20 * width
    low = np.floor(curve.min(axis=0) - margin)
    columns, rows = (np.ceil(curve.max(axis=0) + margin) - low + 1).astype(int).tolist()
    x, y = np.meshgrid(np.arange(columns) + low[0], np.arange(rows) + low[1])
    square = (x[..., None] - curve[:, 0]) ** 2 + (y[..., None] - curve[:, 1]) ** 2
    nearest = square.argmin(axis=-1)
    distance = np.sqrt(square.min(axis=-1)) / width
    along = nearest / (len(curve) - 1)
    # Which side of the curve: outwards, on the cheek, is positive.
    tangent = np.gradient(curve, axis=0)[nearest]
    side = tangent[..., 1] * (x - curve[nearest, 0]) - tangent[..., 0] * (y - curve[nearest, 1])
    outwards = np.where(side * np.sign(knots[0, 0] - face.points[4, 0]) > 0, distance, -distance)
    # The groove, its shade towards the mouth, and the light on the cheek that bulges beside it.
    groove = 0.6 * np.exp(-((outwards / 0.022) ** 2))
    shade = 0.4 * np.where(outwards < 0, np.exp(-((outwards / 0.08) ** 2)), np.exp(-((outwards / 0.022) ** 2)))
    light = 0.35 * np.exp(-(((outwards - 0.085) / 0.045) ** 2))
    ends = smoothstep(0.0, 0.35, along) * (1.0 - smoothstep(0.65, 1.0, along))
    relief = cast(NDArray[np.float32], ((groove + shade - light) * ends).astype(np.float32))
    soft = cv2.GaussianBlur(relief, (0, 0), max(0.8, 0.015 * width))
    fields = shaper.fields(knots).mean(axis=1)
    return _Fold(np.asarray(soft, np.float32), low - np.array(shaper.centre), fields)
