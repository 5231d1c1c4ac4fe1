"""What is seen between the lips: the dark of the mouth, tongue, teeth, and the shade of the lips.

The portrait's light sets how bright teeth and tongue are, its lips tint the rest, and all of it gets
the portrait's blur and grain. The upper teeth are fixed to the skull, the lower ones to the jaw.
"""

import math
from typing import Final, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.closed_mouth import ClosedMouth
from musetalk_service.engines.face.frame import Canvas as Paintable
from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.engines.face.landmarks import Face, FloatArray, Picture
from musetalk_service.engines.face.mouth_shape import CURVE_POINTS, LipShape
from musetalk_service.engines.face.photo_look import lip_colour, measure_look, median_colour
from musetalk_service.engines.face.teeth import Canvas, coloured, paint_row, photographed_row, thrice
from musetalk_service.engines.face.tongue import paint_tongue
from musetalk_service.models.face import Mouth

_MARGIN: Final = 4
"""Pixels around the opening that are touched too."""
_FIRST_GAP: Final = 0.3
"""Gap in pixels at which the opening begins to show."""
# How strongly the lips' shade darkens blue, green and red: reds stay, as in flesh.
_SHADE: Final = np.array([1.2, 1.15, 0.8], np.float32)
_RIM: Final = np.array([0.30, 0.30, 0.225], np.float32)
_TONGUE: Final = np.array([112.0, 106.0, 192.0])
_SEAM: Final = np.array([0.78, 0.76, 0.60], np.float32)
_ARCH: Final = (1.0 - np.linspace(-1.0, 1.0, CURVE_POINTS) ** 2) ** 0.5
"""How the teeth's edge comes over the lower lip, corner to corner."""
_SKIN: Final = 150.0
"""Grey level of a usual skin."""
_LEAST_GRAIN: Final = 0.5
"""Grey levels of noise below which none is added."""


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
        self._width = width = face.mouth_width
        look = measure_look(portrait, face)
        exposure = look.exposure
        lip = lip_colour(portrait, face)
        self._cavity = (0.28 * lip * (0.75, 0.75, 1.0) + exposure * np.array([13.0, 12.0, 20.0])).astype(np.float32)
        self._tongue = paint_tongue(width, 0.78 * exposure * _TONGUE + 0.22 * lip, look.blur)
        self._wet_lip = (lip * (0.40, 0.40, 0.52)).astype(np.float32)
        self._inner_lip = (lip * (0.58, 0.58, 0.68)).astype(np.float32)
        own = photographed_row(portrait, face, centre) if closed.is_open else None
        tooth = look.tooth if own is None else own.tone
        self._own_teeth = own
        self._upper = paint_row(width, tooth, look.blur, upper=True)
        self._lower = paint_row(width, 0.94 * tooth, look.blur, upper=False)
        self._feather = math.hypot(0.55, 0.7 * look.blur)
        self._painted_seam = closed.is_open  # a mouth that was open has no dark line when shut
        self._slant = _light_slant(portrait, face)
        self._grain = _grain(look.grain, look.blur, width) if look.grain > _LEAST_GRAIN else None

    def paint(self, frame: Paintable, shape: LipShape, mouth: Mouth) -> None:
        """Draw the opening into a picture whose lips are already in place.

        Args:
            frame: the picture.
            shape: where the lips are.
            mouth: the channels for teeth, tongue and rounding.
        """
        gap = shape.gap
        if gap <= _FIRST_GAP and not self._painted_seam:
            return
        upper, lower = shape.upper, shape.lower
        left = int(min(upper[:, 0].min(), lower[:, 0].min())) - _MARGIN
        right = int(max(upper[:, 0].max(), lower[:, 0].max())) + _MARGIN + 1
        top, bottom = int(upper[:, 1].min()) - _MARGIN, int(lower[:, 1].max()) + _MARGIN + 1
        box = Box(left, top, right, bottom).clipped(frame.size)
        if box.is_empty:
            return
        left, top = box.left, box.top
        area = frame.bgr(box)
        painted = area.astype(np.float32)
        corner = np.array([left, top], dtype=np.float64)
        upper, lower = upper - corner, lower - corner
        place = _Place(shape.centre[0] - left, shape.centre[1] - top, shape.angle)
        if gap > _FIRST_GAP:
            bite = _unit(2.0 * mouth.tuck - 1.0) * (1.0 - _unit(mouth.press))
            lips = _opening(upper, lower, area.shape[1], area.shape[0])
            mask = lips
            if bite > 0.0:  # the teeth's edge lies on the lower lip
                over = lower + np.stack([np.zeros(len(lower)), 0.035 * self._width * bite * _ARCH], axis=1)
                mask = _opening(upper, over, area.shape[1], area.shape[0])
            mask *= min((gap - _FIRST_GAP) / (0.016 * self._width), 1.0)
            inside = self._behind(upper, lower, place, mouth, shape.jaw_drop, mask.shape)
            if bite > 0.0:
                inside = painted + (inside - painted) * lips[..., None]
            self._draw_upper_teeth(inside, float(lower[len(lower) // 2, 1]), place, mouth, bite)
            self._light(inside, place)
            shade = _lip_shade(mask, gap, self._width)
            inside *= shade if bite == 0.0 else 1.0 - (1.0 - shade) * np.maximum(lips, 1.0 - bite)[..., None]
            if self._grain is not None:
                inside *= self._grain[: mask.shape[0], : mask.shape[1]]
            soft = cv2.GaussianBlur(mask, (0, 0), self._feather)
            rim = cv2.GaussianBlur(mask, (0, 0), self._feather + 0.75) * (1.0 - soft)
            painted *= 1.0 - coloured(rim, _RIM)
            painted += (inside - painted) * thrice(soft)
        shut = 0.035 * self._width
        if self._painted_seam and gap < shut:
            painted *= 1.0 - _seam_line(0.5 * (upper + lower), area.shape, 1.0 - gap / shut)
        np.clip(painted, 0.0, 255.0, out=painted)
        area[:] = painted

    def _behind(
        self,
        upper: FloatArray,
        lower: FloatArray,
        place: "_Place",
        mouth: Mouth,
        jaw_drop: float,
        size: tuple[int, ...],
    ) -> Canvas:
        """Cavity, tongue and lower teeth, (h, w, 3) float32; positions are the canvas's."""
        width = self._width
        middle = len(upper) // 2
        x = np.arange(size[1], dtype=np.float32)
        y = np.arange(size[0], dtype=np.float32)[:, None]
        upper_y = float(upper[middle, 1])
        lower_y = max(float(lower[middle, 1]), upper_y + 1.0)
        opening = lower_y - upper_y

        down = np.clip((y - upper_y) / opening, 0.0, 1.0)
        dark = (1.15 - 0.50 * min(opening / (0.25 * width), 1.0)) * (0.8 + 0.4 * down)
        floor = np.interp(x, lower[:, 0], lower[:, 1]).astype(np.float32)
        gaps = floor - np.interp(x, upper[:, 0], upper[:, 1]).astype(np.float32)
        # Where the opening is narrow, wet lip is seen, not the cavity.
        wet = np.clip(1.0 - gaps / (0.10 * width), 0.0, 1.0)[:, None] ** 1.5
        canvas: Canvas = dark[..., None] * (self._cavity * (1.0 - wet))
        canvas += self._wet_lip * wet

        tongue = _unit(mouth.tongue)
        self._draw_tongue(canvas, place, mouth, lower_y - place.y, jaw_drop, opening)
        show = _unit(mouth.teeth_lower)
        if show > 0.0:
            # A tongue that comes forward lies over the lower teeth.
            opacity = 0.92 * min(show / 0.25, 1.0) * (1.0 - float(smoothstep(0.6, 0.9, tongue)))
            self._lower.draw(canvas, *place.below(jaw_drop + (0.020 - 0.015 * show) * width), opacity)
        # In a narrow opening the lower lip's inner side is seen: no dark line along the lip.
        near = np.clip(1.0 - (floor - y) / (0.030 * width), 0.0, 1.0)[..., None]
        canvas += (self._inner_lip - canvas) * (0.75 * max(1.0 - opening / (0.20 * width), 0.0) * near)
        return canvas

    def _teeth_edge(self, mouth: Mouth) -> float:
        """How far below the middle of the shut lips the upper teeth end, in pixels."""
        return (0.062 * _unit(mouth.teeth_upper) - 0.06 * _unit(mouth.round)) * self._width

    def _draw_upper_teeth(self, canvas: Canvas, lip: float, place: "_Place", mouth: Mouth, bite: float) -> None:
        """Lay the upper teeth over the canvas; `lip` is the row of the lower lip's middle."""
        width, round_ = self._width, _unit(mouth.round)
        edge = self._teeth_edge(mouth)
        if bite > 0.0:
            edge += (lip - place.y + 0.02 * width - edge) * bite
            self._upper.shade(canvas, *place.below(edge + 0.025 * width), 0.35 * bite)
        own = self._own_teeth
        if own is None:
            self._upper.draw(canvas, *place.below(edge))
        else:
            self._upper.draw(canvas, *place.below(edge - 0.04 * width))  # beside those that were seen
            # Part of a grin is a raised lip: at other times less of the teeth is seen, least where the tongue is.
            more = 0.5 * max(own.edge - edge, 0.0) * (1.0 - bite) * (1.0 - round_)
            more *= 1.0 - 0.6 * _forward(mouth.tongue)
            own.sprite.draw(canvas, *place.below(edge + more))

    def _light(self, canvas: Canvas, place: "_Place") -> None:
        """One side of the mouth may be brighter."""
        if abs(self._slant) > 0.01:
            x = np.arange(canvas.shape[1], dtype=np.float32) - np.float32(place.x)
            canvas *= np.exp(-self._slant * np.clip(x / (0.5 * self._width), -1.2, 1.2))[:, None]

    def _draw_tongue(
        self, canvas: Canvas, place: "_Place", mouth: Mouth, floor: float, jaw_drop: float, opening: float
    ) -> None:
        """Lay the tongue over the cavity; `floor` is the lower lip's distance below the place, in pixels."""
        width, tongue = self._width, _unit(mouth.tongue)
        shown = min(opening / (0.10 * width), 1.0)
        forward = _forward(tongue)
        back = floor - (0.06 + 0.10 * tongue) * width - 0.40 * jaw_drop
        self._tongue.body.draw(canvas, *place.below(back), shown)
        if forward > 0.0:
            # From behind the lower teeth up to behind the edge of the upper ones.
            edge = self._teeth_edge(mouth) - 0.015 * width
            self._tongue.blade.draw(canvas, *place.below(edge + 0.10 * width * (1.0 - forward)), shown * forward)


def _forward(tongue: float) -> float:
    """How far the tongue's blade has come up to the upper teeth, 0 to 1: in fluent speech, `tongue` is at most 0.6."""
    return float(smoothstep(0.28, 0.52, tongue))


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)


def _light_slant(portrait: Picture, face: Face) -> float:
    """Log ratio of the light on the mouth's left to that on its right, halved twice over."""
    corners = face.points[[61, 291]]
    radius = round(0.25 * face.mouth_width)
    left, right = (float(median_colour(portrait, corner[None], radius).mean()) + 1.0 for corner in corners)
    return 0.5 * float(np.clip(np.log(left / right), -0.5, 0.5))


def _grain(sigma: float, blur: float, width: float) -> Canvas:
    """Noise like the portrait's for the largest opening, the same at every start, as factors (h, w, 1).

    What is dark gets less of it: most of what is measured as grain on a skin is its texture, and that is lit.
    """
    size = (int(1.2 * width) + 2 * _MARGIN, int(1.6 * width) + 2 * _MARGIN)
    noise = np.random.default_rng(0).normal(0.0, 1.0, size).astype(np.float32)
    if blur > 0.3:
        noise = cast(Canvas, cv2.GaussianBlur(noise, (0, 0), blur))
        noise /= noise.std()
    return cast(Canvas, 1.0 + noise[..., None] * np.float32(sigma / _SKIN))


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
    sigma = max(0.008 * width, min(0.16 * gap, 0.045 * width))
    near = cv2.GaussianBlur(mask, (0, 0), sigma)
    shift = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.1 * sigma]])
    light = np.minimum(near, cv2.warpAffine(near, shift, (mask.shape[1], mask.shape[0])))
    loss = np.clip(0.36 * (1.7 - 1.9 * light) / 0.95, 0.0, 0.36)
    return 1.0 - coloured(loss, _SHADE)


def _seam_line(path: FloatArray, shape: tuple[int, ...], strength: float) -> NDArray[np.float32]:
    """(h, w, 3) darkening along shut lips: least of red, for the lips' shadow is red."""
    line = np.zeros(shape[:2], np.uint8)
    cv2.polylines(line, [np.round(path * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(line, (0, 0), 0.8).astype(np.float32)
    # It fades towards the corners.
    ends = np.minimum(np.arange(shape[1]) - path[0, 0], path[-1, 0] - np.arange(shape[1]))
    fade = np.clip(ends / (0.12 * (path[-1, 0] - path[0, 0])), 0.25, 1.0) * (strength / 255.0)
    return cast(NDArray[np.float32], (soft * fade.astype(np.float32))[..., None] * _SEAM)
