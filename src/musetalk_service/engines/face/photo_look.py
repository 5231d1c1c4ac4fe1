"""How a portrait was taken: its light, its sharpness and its grain, for what is painted into it to match.

Whites tell the light, skin does not: dark skin in bright light has bright teeth. The white of the eyes is
measured, and kept between what the skin proves (no skin reflects more than the palest) and what the
brightest parts of the picture allow. Colours are computed as linear light, with a plain power for sRGB.
"""

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.landmarks import EYES, EyeIndices, Face, FloatArray, Picture

_GAMMA: Final = 2.2
_LUMA: Final = np.array([0.0722, 0.7152, 0.2126])
"""Rec. 709 luminance of linear blue, green, red."""
_TOOTH: Final = np.array([0.62, 0.72, 0.77])
"""Share of the light that a tooth reflects."""
_PALEST_SKIN, _EYE_WHITE, _FALLBACK_SKIN = 0.62, 0.58, 0.36
"""Shares of the light: of the palest skin, of an eye's white (in the lids' shade), of skin in general."""
_USUAL_SKIN: Final = np.array([0.54, 0.87, 1.56])
"""Linear colour of a light skin in white light, over its luminance."""
_ABOVE_BRIGHTEST: Final = 1.15
"""The light may be that much above the picture's brightest percent: not every picture holds a white."""
_SKIN_SPOTS: Final = (205, 425, 50, 280, 199)
_INNER_LIP: Final = (13, 14, 82, 312, 87, 317)
_OUTER_LIP: Final = (0, 17, 37, 267, 84, 314)
_GRAIN_SPOTS: Final = (*_SKIN_SPOTS, 151, 108, 337, 101, 330, 117, 346)
_SHARPEST: Final = 0.65
"""What the measure of blur gives for a sharp picture, in pixels."""


@dataclass(frozen=True)
class PhotoLook:
    """Light, sharpness and grain of a portrait."""

    light: float
    """Linear luminance of a white surface at the mouth; 1 is the picture's white, above is overexposed."""
    tooth: FloatArray
    """(3,) BGR 0..255 of a fully lit tooth."""
    blur: float
    """Standard deviation in pixels of the blur beyond that of a sharp picture."""
    grain: float
    """Standard deviation of the luma noise on the skin, in grey levels."""

    @property
    def exposure(self) -> float:
        """How bright a surface is coded, against one in full light: the light's square root, roughly."""
        return float(np.clip(self.light, 0.02, 1.2) ** (1.0 / _GAMMA))


def measure_look(portrait: Picture, face: Face) -> PhotoLook:
    """Measure a portrait, (height, width, 3) BGR."""
    light, tint = _light(portrait, face)
    tooth = 255.0 * np.clip(light * _TOOTH * tint, 0.0, 1.0) ** (1.0 / _GAMMA)
    grey = cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return PhotoLook(light, np.minimum(tooth, 245.0), _blur(grey, face), _grain(grey, face))


def median_colour(picture: Picture, points: FloatArray, radius: int) -> FloatArray:
    """Median BGR of the squares of `radius` pixels around points, (3,)."""
    patches = [
        picture[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].reshape(-1, 3)
        for x, y in points.astype(np.int64)
    ]
    return cast(FloatArray, np.median(np.vstack(patches), axis=0).astype(np.float64))


def lip_colour(picture: Picture, face: Face) -> FloatArray:
    """Median BGR of the middle of both lips, (3,)."""
    inner, outer = face.points[list(_INNER_LIP)], face.points[list(_OUTER_LIP)]
    return median_colour(picture, 0.5 * (inner + outer), max(1, round(0.02 * face.mouth_width)))


def _linear(colour: NDArray[np.uint8] | FloatArray) -> FloatArray:
    return (np.asarray(colour, np.float64) / 255.0) ** _GAMMA


def _light(portrait: Picture, face: Face) -> tuple[float, FloatArray]:
    """Luminance of a white at the mouth, and the light's colour, (3,) around 1."""
    skin = _linear(median_colour(portrait, face.points[list(_SKIN_SPOTS)], max(2, round(0.04 * face.eye_distance))))
    skin_luma = float(skin @ _LUMA)
    least = skin_luma / _PALEST_SKIN
    most = max(_ABOVE_BRIGHTEST * float(np.quantile(_linear(portrait[::4, ::4]) @ _LUMA, 0.99)), least)
    whites = [white for eye in EYES if (white := _eye_white(portrait, face, eye, skin)) is not None]
    if not whites:
        # Skins differ in colour, but not as far as candles and varnish go: trust a third of it.
        tint = np.cbrt(np.clip(skin / (skin_luma * _USUAL_SKIN), 0.5, 1.6))
        return float(np.clip(skin_luma / _FALLBACK_SKIN, least, most)), tint / float(tint @ _LUMA)
    white = max(whites, key=lambda colour: float(colour @ _LUMA))  # the other eye may be in shadow
    luma = float(white @ _LUMA)
    # An eye's white is never quite white: trust half its colour.
    tint = np.sqrt(np.clip(white / luma, 0.5, 1.6))
    return float(np.clip(luma / _EYE_WHITE, least, most)), tint / float(tint @ _LUMA)


def _eye_white(portrait: Picture, face: Face, eye: EyeIndices, skin: FloatArray) -> FloatArray | None:
    """Linear colour of the white beside the iris, or None when none is seen."""
    outline = face.points[[*eye.upper_lid, *eye.lower_lid[-2:0:-1]]]
    corner = np.floor(outline.min(axis=0)).astype(np.int64)
    width, height = (np.ceil(outline.max(axis=0)).astype(np.int64) - corner + 1).tolist()
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round((outline - corner) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    centre = face.points[eye.iris] - corner
    radius = float(np.hypot(*(face.points[eye.iris + 1] - face.points[eye.iris])))
    y, x = np.mgrid[:height, :width]
    area = portrait[corner[1] : corner[1] + height, corner[0] : corner[0] + width]
    seen = (mask > 0) & (np.hypot(x - centre[0], y - centre[1]) > 1.15 * radius)
    seen = seen[: area.shape[0], : area.shape[1]]
    if seen.sum() < 0.004 * face.eye_distance**2:
        return None
    pixels = _linear(area[seen])
    luma = pixels @ _LUMA
    white = np.median(pixels[luma >= np.quantile(luma, 0.8)], axis=0)
    # Lids seen through wrong landmarks, and eyes that are shut, have the colour of skin or are dark.
    paleness = float(white.min() / max(white.max(), 1e-6))
    if paleness < 1.15 * float(skin.min() / max(skin.max(), 1e-6)) and paleness < 0.6:
        return None
    return cast(FloatArray, white) if float(white @ _LUMA) > 0.25 * float(skin @ _LUMA) else None


def _blur(grey: NDArray[np.float32], face: Face) -> float:
    """Blur in pixels by reblurring: a soft edge loses less of its slope (Zhuo and Sim 2011)."""
    low, high = face.points[:468].min(axis=0).astype(int), face.points[:468].max(axis=0).astype(int)
    area = grey[low[1] : high[1], low[0] : high[0]]
    soft = cast(NDArray[np.float32], cv2.GaussianBlur(area, (0, 0), 1.0))
    inside = np.s_[4:-4, 4:-4]  # out of reach of the rim
    before, after = _slope(area)[inside], _slope(soft)[inside]
    edges = (before >= np.quantile(before, 0.98)) & (before >= 0.999 * cv2.dilate(before, np.ones((3, 3), np.uint8)))
    ratio = before[edges] / np.maximum(after[edges], 1e-3)
    widths = 1.0 / np.sqrt(np.maximum(ratio.astype(np.float64) ** 2 - 1.0, 1e-3))
    # The sharpest quarter: most edges of a face are soft in any picture.
    return float(np.sqrt(max(np.quantile(widths, 0.25) ** 2 - _SHARPEST**2, 0.0)))


def _slope(area: NDArray[np.float32]) -> NDArray[np.float32]:
    slope = np.zeros_like(area)
    slope[1:-1, 1:-1] = np.hypot(area[1:-1, 2:] - area[1:-1, :-2], area[2:, 1:-1] - area[:-2, 1:-1])
    return slope


def _grain(grey: NDArray[np.float32], face: Face) -> float:
    """Standard deviation of the noise on the skin (Immerkaer 1996, by the median for robustness)."""
    kernel = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], np.float32) / 6.0
    rough = np.abs(cv2.filter2D(grey, -1, kernel))
    radius = max(3, round(0.05 * face.eye_distance))
    spots = [
        1.4826 * float(np.median(rough[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]))
        for x, y in face.points[list(_GRAIN_SPOTS)].astype(int)
    ]
    return float(np.median(spots))
