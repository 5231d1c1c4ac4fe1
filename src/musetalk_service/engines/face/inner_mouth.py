"""What is seen between the lips: the dark of the mouth, tongue, teeth, and the shade of the lips.

Colours come from the portrait: its lips tint the cavity and the tongue, its skin sets the exposure
and the tint of the teeth. The upper teeth are fixed to the skull, the lower ones to the jaw.
"""

import math
from typing import Final, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.closed_mouth import ClosedMouth
from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.engines.face.landmarks import Face, FloatArray, Picture
from musetalk_service.engines.face.mouth_shape import LipShape
from musetalk_service.engines.face.teeth import Canvas, paint_row, photographed_row
from musetalk_service.models.face import Mouth

_MARGIN: Final = 4
"""Pixels around the opening that are touched too."""
_FIRST_GAP: Final = 0.3
"""Gap in pixels at which the opening begins to show."""
# How strongly the lips' shade darkens blue, green and red: reds stay, as in flesh.
_SHADE: Final = np.array([1.2, 1.15, 0.8], np.float32)
_RIM: Final = np.array([0.30, 0.30, 0.225], np.float32)
_SKIN_SPOTS: Final = (205, 425, 50, 280, 199)
_LIP_SPOTS: Final = (0, 17, 37, 267, 84, 314)
_REFERENCE_SKIN: Final = np.array([150.0, 172.0, 210.0])


class _Place(NamedTuple):
    """The middle of the shut lips on the skull, and how far the mouth is turned, clockwise in radians."""

    x: float
    y: float
    angle: float

    def below(self, distance: float) -> "_Place":
        """The place so many pixels towards the chin."""
        return _Place(self.x - distance * math.sin(self.angle), self.y + distance * math.cos(self.angle), self.angle)


class InnerMouth:
    """Paints the opening between the lips of one portrait."""

    def __init__(self, portrait: Picture, face: Face, closed: ClosedMouth, centre: tuple[float, float]) -> None:
        self._width = face.mouth_width
        skin = _median_colour(portrait, face.points[list(_SKIN_SPOTS)], 5)
        lip = _median_colour(portrait, face.points[list(_LIP_SPOTS)], 2)
        luma = float(skin @ np.array([0.114, 0.587, 0.299]))
        exposure = float(np.clip(luma / 185.0, 0.35, 1.08))
        tint = (skin / skin.mean()) / (_REFERENCE_SKIN / _REFERENCE_SKIN.mean())
        tooth = np.clip(np.array([192.0, 208.0, 222.0]) * exposure * (0.5 + 0.5 * tint), 0.0, 245.0)
        cavity = (0.30 * lip * np.array([0.75, 0.75, 1.0]) + np.array([14.0, 13.0, 22.0])) * exposure**0.5
        tongue = (0.6 * np.array([84.0, 80.0, 165.0]) + 0.4 * lip) * exposure**0.7 * 0.95
        self._cavity = cavity.astype(np.float32)
        self._tongue = tongue.astype(np.float32)
        self._wet_lip = (lip * np.array([0.36, 0.36, 0.48])).astype(np.float32)
        self._upper = paint_row(face.mouth_width, tooth, upper=True)
        self._lower = paint_row(face.mouth_width, tooth, upper=False)
        self._own_teeth = photographed_row(portrait, face, centre) if closed.is_open else None
        self._painted_seam = closed.is_open  # a mouth that was open has no dark line when shut
        self._slant = _light_slant(portrait, face)

    def paint(self, picture: Picture, shape: LipShape, mouth: Mouth) -> None:
        """Draw the opening into a picture whose lips are already in place.

        Args:
            picture: (512, 512, 3) BGR, changed in place.
            shape: where the lips are.
            mouth: the channels for teeth, tongue and rounding.
        """
        gap = shape.gap
        if gap <= _FIRST_GAP and not self._painted_seam:
            return
        upper, lower = shape.upper, shape.lower
        left = max(int(min(upper[:, 0].min(), lower[:, 0].min())) - _MARGIN, 0)
        right = min(int(max(upper[:, 0].max(), lower[:, 0].max())) + _MARGIN + 1, picture.shape[1])
        top = max(int(upper[:, 1].min()) - _MARGIN, 0)
        bottom = min(int(lower[:, 1].max()) + _MARGIN + 1, picture.shape[0])
        area = picture[top:bottom, left:right]
        painted = area.astype(np.float32)
        corner = np.array([left, top], dtype=np.float64)
        upper, lower = upper - corner, lower - corner
        place = _Place(shape.centre[0] - left, shape.centre[1] - top, shape.angle)
        if gap > _FIRST_GAP:
            mask = _opening(upper, lower, area.shape[1], area.shape[0])
            mask *= min((gap - _FIRST_GAP) / 1.5, 1.0)
            inside = self._inside(upper, lower, place, mouth, shape.jaw_drop, mask.shape)
            inside *= _lip_shade(mask, gap, self._width)
            soft = cv2.GaussianBlur(mask, (0, 0), 0.55)[..., None]
            rim = cv2.GaussianBlur(mask, (0, 0), 1.3)[..., None] * (1.0 - soft)
            painted *= 1.0 - rim * _RIM
            painted += (inside - painted) * soft
        if self._painted_seam and gap < 3.0:
            painted *= 1.0 - _seam_line(0.5 * (upper + lower), area.shape, 1.0 - gap / 3.0)
        np.clip(painted, 0.0, 255.0, out=painted)
        picture[top:bottom, left:right] = painted.astype(np.uint8)

    def _inside(
        self,
        upper: FloatArray,
        lower: FloatArray,
        place: "_Place",
        mouth: Mouth,
        jaw_drop: float,
        size: tuple[int, ...],
    ) -> Canvas:
        """Everything behind the lips, (h, w, 3) float32; positions are the canvas's."""
        width = self._width
        middle = len(upper) // 2
        x, y = np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64)[:, None]
        upper_y = float(upper[middle, 1])
        lower_y = max(float(lower[middle, 1]), upper_y + 1.0)
        opening = lower_y - upper_y

        down = np.clip((y - upper_y) / opening, 0.0, 1.0)
        dark = (1.15 - 0.50 * min(opening / (0.25 * width), 1.0)) * (0.8 + 0.4 * down)
        gaps = np.interp(x, upper[:, 0], lower[:, 1] - upper[:, 1])
        # Where the opening is narrow, wet lip is seen, not the cavity.
        wet = (np.clip(1.0 - gaps / (0.10 * width), 0.0, 1.0) ** 1.5).astype(np.float32)[:, None]
        canvas: Canvas = dark.astype(np.float32)[..., None] * (self._cavity * (1.0 - wet))
        canvas += self._wet_lip * wet

        round_, tongue = _unit(mouth.round), _unit(mouth.tongue)
        tip = lower_y - (0.05 + 0.14 * tongue) * width - 0.32 * jaw_drop
        self._draw_tongue(canvas, x - place.x, y - tip, opening, round_, tongue)
        show = _unit(mouth.teeth_lower)
        if show > 0.0:
            # A tongue that comes forward lies over the lower teeth.
            opacity = 0.88 * min(show / 0.25, 1.0) * (1.0 - float(smoothstep(0.3, 0.9, tongue)))
            self._lower.draw(canvas, *place.below(jaw_drop + (0.050 - 0.035 * show) * width), opacity)
        if self._own_teeth is not None:
            self._own_teeth.draw(canvas, *place, float(np.clip(1.15 - 1.3 * round_, 0.0, 1.0)))
        else:
            # The tongue's tip shows below the upper teeth.
            edge = -0.012 + 0.082 * _unit(mouth.teeth_upper) - 0.06 * round_ - 0.035 * tongue**2
            self._upper.draw(canvas, *place.below(edge * width))
        light = np.exp(-self._slant * np.clip((x - place.x) / (0.5 * width), -1.2, 1.2))
        canvas *= light.astype(np.float32)[:, None]
        return canvas

    def _draw_tongue(
        self, canvas: Canvas, x: FloatArray, y: FloatArray, opening: float, round_: float, tongue: float
    ) -> None:
        """Lay the tongue over the cavity; x from its middle line, y from its tip."""
        width = self._width
        half_width, half_height = 0.30 * width * (1.0 - 0.25 * round_), 0.20 * width * (1.0 + 0.4 * tongue)
        across = x / half_width
        distance = across**2 + (y / half_height - 1.0) ** 2
        alpha = np.clip((1.0 - distance) / 0.45, 0.0, 1.0) * min(opening / (0.10 * width), 1.0)
        shade = 0.55 + 0.45 * np.clip(1.0 - distance, 0.0, 1.0) - 0.12 * np.exp(-((across / 0.08) ** 2))
        cover = alpha.astype(np.float32)[..., None]
        shade *= 1.0 + 0.25 * tongue**2  # forward, and so in the light
        canvas += (shade.astype(np.float32)[..., None] * self._tongue - canvas) * cover


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)


def _median_colour(picture: Picture, points: FloatArray, radius: int) -> FloatArray:
    patches = [
        picture[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius].reshape(-1, 3)
        for x, y in points.astype(np.int64)
    ]
    return cast(FloatArray, np.median(np.vstack(patches), axis=0).astype(np.float64))


def _light_slant(portrait: Picture, face: Face) -> float:
    """Log ratio of the light on the mouth's left to that on its right, halved twice over."""
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 0.25 * face.mouth_width) + 1.0
    row = int(np.clip((face.points[61, 1] + face.points[291, 1]) / 2, 0, 511))
    left, right = (int(np.clip(face.points[i, 0], 0, 511)) for i in (61, 291))
    return 0.5 * float(np.clip(np.log(soft[row, left] / soft[row, right]), -0.5, 0.5))


def _opening(upper: FloatArray, lower: FloatArray, width: int, height: int) -> Canvas:
    """(h, w) coverage of the area between the lips in 0..1, drawn at twice the size."""
    outline = np.vstack([upper, lower[-2:0:-1]])
    large = np.zeros((2 * height, 2 * width), np.uint8)
    cv2.fillPoly(large, [np.round((outline * 2.0 + 0.5) * 16.0).astype(np.int32)], 255, cv2.LINE_AA, 4)
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    coverage: Canvas = small.astype(np.float32) * np.float32(1.0 / 255.0)
    return coverage


def _lip_shade(mask: Canvas, gap: float, width: float) -> Canvas:
    """Ambient occlusion: dark near the lips, most of all under the upper one; (h, w, 3) factors."""
    sigma = max(0.8, min(0.16 * gap, 0.045 * width))
    near = cv2.GaussianBlur(mask, (0, 0), sigma)
    shift = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.1 * sigma]])
    light = np.minimum(near, cv2.warpAffine(near, shift, (mask.shape[1], mask.shape[0])))
    loss = np.clip(0.40 * (1.7 - 1.9 * light) / 0.95, 0.0, 0.40)
    return cast(Canvas, 1.0 - loss[..., None] * _SHADE)


def _seam_line(path: FloatArray, shape: tuple[int, ...], strength: float) -> NDArray[np.float32]:
    """(h, w, 1) darkening along shut lips."""
    line = np.zeros(shape[:2], np.uint8)
    cv2.polylines(line, [np.round(path * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(line, (0, 0), 0.8).astype(np.float32)
    return cast(NDArray[np.float32], soft[..., None] * np.float32(0.68 * strength / 255.0))
