"""From mouth channels to lip positions: what jaw, lips and smile do to each lip point and the skin.

The skin moves along five fixed fields (jaw, width, smile, flattening, chin push), so a frame needs
only their five coefficients; the 40 lip points are placed one by one. Signs: y grows downwards.
The position along the mouth is t, -1 at the left corner, 0 in the middle, 1 at the right corner.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

import numpy as np

from musetalk_service.engines.face.closed_mouth import ClosedMouth
from musetalk_service.engines.face.interpolation import smoothstep, spline_basis
from musetalk_service.engines.face.landmarks import (
    CHIN_TIP,
    CORNERS,
    LEFT_EAR,
    LOWER_INNER,
    LOWER_OUTER,
    RIGHT_EAR,
    UPPER_INNER,
    UPPER_OUTER,
    Face,
    FloatArray,
)
from musetalk_service.models.face import Mouth

LIPS: Final = (*CORNERS, *UPPER_OUTER[1:-1], *UPPER_INNER[1:-1], *LOWER_OUTER[1:-1], *LOWER_INNER[1:-1])
"""Landmark index of each of the 40 lip points."""
_CORNER, _UPPER_OUT, _UPPER_IN = slice(0, 4), slice(4, 13), slice(13, 22)
_LOWER_OUT, _LOWER_IN = slice(22, 31), slice(31, 40)
_UPPER, _LOWER = slice(4, 22), slice(22, 40)

FIELDS: Final = 5
_JAW, _WIDTH, _SMILE, _FLAT, _CHIN = range(FIELDS)

CURVE_POINTS: Final = 33
_JAW_RANGE: Final = 0.21
"""Drop of the chin at jaw 1, in nose-to-chin heights."""
_LINE: Final = 0.018
"""Half the thickness of the dark line between shut lips, in mouth widths."""
_HOLLOW: Final = 0.12
"""How far the cheeks go in, in drops of the chin."""


@dataclass(frozen=True)
class LipShape:
    """The mouth of one frame in picture pixels."""

    lips: FloatArray
    """(40, 2) displacement of each lip point from the texture; the lower lip's skin goes a little over its edge."""
    fields: FloatArray
    """(5,) coefficients of the skin fields."""
    upper: FloatArray
    """(33, 2) lower edge of the upper lip, corner to corner."""
    lower: FloatArray
    """(33, 2) upper edge of the lower lip, never above `upper`."""
    jaw_drop: float
    """How far the lower teeth went down."""
    centre: tuple[float, float]
    """Where the middle of the shut lips is on the skull."""
    angle: float = 0.0
    """How far the head has turned the mouth, clockwise in radians."""

    @cached_property
    def gap(self) -> float:
        """Largest distance between the lips."""
        return float((self.lower[:, 1] - self.upper[:, 1]).max())


class MouthShaper:
    """Places the lips of one portrait for any mouth."""

    def __init__(self, face: Face, closed: ClosedMouth) -> None:
        self._width = face.mouth_width
        self._jaw = _JAW_RANGE * face.lower_height
        self._chin_up = 0.55 * closed.gap
        self._stretch = closed.stretch
        rest = closed.rest
        middle = (rest[13] + rest[14]) / 2
        self.centre = (float(middle[0]), float(middle[1]))
        """Middle of the shut lips: where the edges of the front teeth meet."""
        self._left, self._right = rest[61], rest[291]
        self._face = face
        ears = (face.points[RIGHT_EAR, 0] + face.points[LEFT_EAR, 0]) / 2
        self._axis = (ears + face.points[CHIN_TIP, 0] + middle[0]) / 3
        self._home = rest[list(LIPS)]
        self._line = 0.0 if closed.is_open else _LINE * self._width
        self._offset = self._home - closed.source[list(LIPS)]
        t = np.clip(np.abs(self._along(self._home[:, 0])), 0.0, 1.0)
        self._t = t
        self._edge = 1.0 - t**3
        self._lip_fields = self.fields(self._home, lips=True).reshape(FIELDS, -1)
        self._relax = self._relaxed_lower_lip()
        self._edges = np.zeros((2, CURVE_POINTS, len(LIPS)))
        """Both lips' edges from all lip points."""
        for lip, inner in enumerate((UPPER_INNER, LOWER_INNER)):
            self._edges[lip][:, [LIPS.index(i) for i in inner]] = spline_basis(len(inner), CURVE_POINTS)

    def _along(self, x: FloatArray) -> FloatArray:
        centre = self.centre[0]
        left, right = max(1.0, centre - self._left[0]), max(1.0, self._right[0] - centre)
        along: FloatArray = (x - centre) / np.where(x < centre, left, right)
        return along

    def _relaxed_lower_lip(self) -> FloatArray:
        """(9,) rows that the lower lip's upper edge moves by when nothing presses on it any more.

        The upper lip's bow dents it while the mouth is shut; free, it is a plain arc.
        """
        x, y = (self._home[_LOWER_IN] - self.centre).T
        arc = np.polynomial.Polynomial.fit(x / self._width, y, 2)(x / self._width)
        return cast(FloatArray, np.clip(arc - y, -0.03 * self._width, 0.03 * self._width) * self._edge[_LOWER_IN])

    def fields(self, points: FloatArray, lips: bool = False) -> FloatArray:
        """Displacement of points per unit of each skin field.

        Args:
            points: (n, 2) pixels, on the face at rest.
            lips: the points are on the lips, which follow the jaw by themselves.

        Returns:
            (5, n, 2).
        """
        x, y = points[:, 0], points[:, 1]
        centre_x, centre_y = self.centre
        width, face = self._width, self._face
        t = np.abs(self._along(x))
        down = (y - centre_y) / (face.points[CHIN_TIP, 1] - centre_y)  # 0 at the seam, 1 at the chin
        side = np.abs(x - self._axis) / face.half_width  # 0 in the middle, 1 at the ear
        out = np.zeros((FIELDS, len(points), 2))

        if not lips:
            # The jaw turns about its joints near the ears, so the chin moves most and the jaw line less towards the
            # ears. The cheeks stretch: beside the mouth from the corners' height down, further out from the cheekbone.
            out_there = smoothstep(0.30, 0.85, side)
            reach = smoothstep(0.0, 1.0, (down + 0.15 + 0.60 * out_there) / (0.70 + 0.20 * out_there))
            out[_JAW, :, 1] = reach * (1.0 - smoothstep(0.25, 1.05, side))
            # They hollow as the jaw goes down.
            hollow = smoothstep(0.30, 0.75, side) * (1.0 - smoothstep(0.85, 1.0, side)) * smoothstep(-0.6, 0.0, down)
            out[_JAW, :, 0] = -_HOLLOW * np.sign(x - centre_x) * hollow

        fall = np.exp(-((np.maximum(t - 0.9, 0.0) / 0.75) ** 2))
        fall *= np.exp(-((np.maximum(np.abs(y - centre_y) - 0.12 * width, 0.0) / (0.45 * width)) ** 2))
        out[_WIDTH, :, 0] = (x - centre_x) / np.maximum(t, 1.0) * fall

        # A smile is an arc: level in the middle, steep at the corners.
        lift = np.where(t < 1.0, 0.04 + 0.96 * t**1.8, np.exp(-((np.maximum(t - 1.0, 0.0) / 0.6) ** 2)))
        lift *= np.exp(-(((y - centre_y + 0.15 * width) / (0.55 * width)) ** 2))
        if not lips:  # the cheeks rise with the corners, and push the lower lids up a little
            cheeks = np.exp(-(((t - 1.15) / 0.75) ** 2))
            lift += 0.30 * cheeks * np.exp(-(((y - centre_y + 0.80 * width) / (0.45 * width)) ** 2))
        out[_SMILE, :, 1] = -lift

        # Raised corners come down to the level of the middle, and the skin beside them follows.
        seam = np.interp(
            np.clip(self._along(x), -1.0, 1.0), [-1.0, 0.0, 1.0], [self._left[1], centre_y, self._right[1]]
        )
        near = np.exp(-((np.maximum(t - 1.0, 0.0) / 0.5) ** 2))
        near *= np.exp(-((np.maximum(np.abs(y - centre_y) - 0.2 * width, 0.0) / (0.35 * width)) ** 2))
        out[_FLAT, :, 1] = np.maximum(centre_y - seam, 0.0) * (1.0 if lips else near)

        push = smoothstep(0.2, 0.8, down) * (1.0 - smoothstep(0.2, 0.6, side))
        out[_CHIN, :, 1] = -push
        return out

    def neck(self) -> tuple[FloatArray, FloatArray]:
        """Points on the neck below the chin and how much they go down with the jaw.

        Returns:
            (15, 2) positions in pixels and (15,) weights.
        """
        chin, height = self._face.points[CHIN_TIP], self._face.lower_height
        points, weights = [], []
        for below, weight in ((0.22, 0.5), (0.45, 0.14), (0.70, 0.0)):
            for side in (-0.5, -0.25, 0.0, 0.25, 0.5):
                rise = 0.25 * abs(side)  # the jaw line rises towards the sides
                points.append(chin + height * np.array([1.3 * side, below - rise]))
                weights.append(weight * (1.0 - 0.8 * abs(side)))
        return np.array(points), np.array(weights)

    def shape(self, mouth: Mouth, smile: float, gain: float = 1.0) -> LipShape:
        """Place the lips.

        Args:
            mouth: channels, clamped to 0..1.
            smile: 0..1, clamped.
            gain: 0..1, scales every displacement; below 1 where a portrait does not bear more.
        """
        m = Mouth(*(min(max(float(value), 0.0), 1.0) for value in mouth))
        smile = min(max(float(smile), 0.0), 1.0)
        width = self._width
        # Lips cannot be spread and rounded at once, nor apart while pressed.
        smile *= 1.0 - 0.6 * m.round
        spread = min(0.13 * m.wide * (1.0 - m.round) + 0.15 * smile, 0.20)
        apart = 1.0 - m.press
        tuck = m.tuck * (1.0 - 0.7 * m.press)
        # A wide open or rounded mouth has little lip left to raise or drop.
        spare = apart * (1.0 - 0.5 * m.jaw) * (1.0 - 0.6 * m.round)
        jaw = self._jaw * m.jaw * (1.0 - 0.15 * m.round)
        lip_jaw = jaw * apart

        fields = np.empty(FIELDS)
        fields[_JAW] = jaw * (1.0 - 0.6 * m.press) - self._chin_up
        fields[_WIDTH] = spread - (0.26 + 0.03 * self._stretch) * m.round - 0.05 * m.jaw * apart * (1.0 - m.round)
        fields[_SMILE] = 0.125 * width * smile
        fields[_FLAT] = min(0.30 * self._stretch * (1.0 - smile) + 0.75 * m.round * (1.0 - 0.55 * self._stretch), 0.9)
        fields[_CHIN] = 0.02 * width * m.press

        t, edge = self._t, self._edge
        profile = (1.0 - t ** (2.4 - 0.3 * m.round)) ** (0.75 - 0.17 * m.round)
        corner = 0.36 * (1.0 - 0.25 * m.round) * lip_jaw
        raised = 0.19 * lip_jaw * (1.0 + 0.2 * m.round)
        raised += width * (0.012 * m.round * apart + 0.075 * m.upper_raise * spare)
        # A tucked lower lip stays at the teeth while the jaw opens.
        dropped = lip_jaw * (1.0 - 0.6 * tuck) + 0.07 * width * m.lower_drop * spare * (1.0 - tuck)
        upper_thick = width * (0.035 * m.round - 0.050 * m.press)
        lower_thick = width * (0.045 * m.round - 0.060 * m.press - 0.055 * tuck)

        move = (fields @ self._lip_fields).reshape(-1, 2)
        dy = move[:, 1]
        dy[_CORNER] += 0.95 * corner
        lift = corner * t[_UPPER] ** 2 - raised * profile[_UPPER]
        lift[:9] *= 0.80  # the outer contour follows less: the lip thins
        dy[_UPPER] += lift
        dy[_UPPER_OUT] -= upper_thick * edge[_UPPER_OUT]
        share = 0.36 * (1.0 - 0.25 * m.round)
        drop = dropped * (share * (1.0 - profile[_LOWER]) + profile[_LOWER])
        drop -= 0.015 * width * tuck * profile[_LOWER]
        drop[:9] *= 0.96
        dy[_LOWER] += drop
        dy[_LOWER_IN] += self._relax * min((dropped + raised) / (0.07 * width), 1.0)
        dy[_LOWER_OUT] += lower_thick * edge[_LOWER_OUT]

        target = self._home + gain * move
        crossed = target[_UPPER_IN, 1] > target[_LOWER_IN, 1]
        if crossed.any():
            meet = target[_LOWER_IN, 1] if tuck > 0 else 0.5 * (target[_UPPER_IN, 1] + target[_LOWER_IN, 1])
            target[_UPPER_IN, 1] = np.where(crossed, meet, target[_UPPER_IN, 1])
            target[_LOWER_IN, 1] = np.where(crossed, meet, target[_LOWER_IN, 1])
        lips = target - self._home + self._offset
        # The dark line between shut lips is the upper one's shadow: it does not stay on a lower lip that goes down.
        gaps = target[_LOWER_IN, 1] - target[_UPPER_IN, 1]
        lips[_LOWER_IN, 1] -= np.minimum(self._line, 0.5 * gaps)
        upper, lower = self._edges @ target
        lower[:, 1] = np.maximum(lower[:, 1], upper[:, 1])
        return LipShape(
            lips=lips,
            fields=gain * fields,
            upper=upper,
            lower=lower,
            jaw_drop=gain * lip_jaw,
            centre=self.centre,
        )
