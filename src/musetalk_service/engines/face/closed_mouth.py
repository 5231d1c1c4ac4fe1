"""Shut lips to start from: the exact seam of a closed mouth, or a closed mouth made from an open one.

Landmarks miss the line between closed lips by up to two pixels, enough to tear a lip when the mouth
opens; the seam is therefore traced along the darkest path (dynamic programming, as in live-wire
segmentation). When the photographed lips are apart, the lips are extended inwards over the teeth
and the resting shape brings both contours together.
"""

from dataclasses import dataclass, replace
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.engines.face.landmarks import (
    LOWER_INNER,
    LOWER_OUTER,
    UPPER_INNER,
    UPPER_OUTER,
    Face,
    FloatArray,
    Picture,
)
from musetalk_service.engines.face.photo_look import lip_colour

_LUMA: Final = np.array([0.114, 0.587, 0.299])
OPEN_GAP: Final = 0.022
"""Gap between the inner lips, in mouth widths, from which a portrait counts as open."""


@dataclass(frozen=True)
class ClosedMouth:
    """A portrait's lips at rest."""

    source: FloatArray
    """(478, 2) landmarks in the texture, the seam refined."""
    rest: FloatArray
    """(478, 2) where the landmarks are when the lips are shut; equals `source` for a closed mouth."""
    texture: Picture
    """(height, width, 3) picture to warp, teeth of an open mouth painted over with lip."""
    is_open: bool
    gap: float
    """Gap of the portrait between the inner lips in pixels."""
    stretch: float
    """0 to 1, how much a grin widens the photographed mouth."""


def close_mouth(portrait: Picture, face: Face) -> ClosedMouth:
    """Find or make the closed mouth of a portrait."""
    gap = float(np.hypot(*(face.points[13] - face.points[14])))
    if gap <= OPEN_GAP * face.mouth_width:
        source = refine_seam(portrait, face)
        return ClosedMouth(source, source.copy(), portrait, False, 0.0, 0.0)
    stretch = float(np.clip((face.mouth_width / face.eye_distance - 0.80) / 0.25, 0.0, 1.0))
    rest = _shut(face, stretch)
    return ClosedMouth(face.points.copy(), rest, _covered(portrait, face), True, gap, stretch)


def refine_seam(portrait: Picture, face: Face) -> FloatArray:
    """Landmarks with the inner lip contours moved onto the dark line between closed lips.

    Args:
        portrait: (height, width, 3) BGR.
        face: its landmarks.

    Returns:
        (478, 2) float64.
    """
    points: FloatArray = face.points.copy()
    grey = cv2.GaussianBlur(cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY), (0, 0), 0.8).astype(np.float32)
    x = np.arange(int(np.ceil(points[78, 0])), int(points[308, 0]) + 1)
    middle = (points[list(UPPER_INNER)] + points[list(LOWER_INNER)]) / 2
    order = np.argsort(middle[:, 0])
    guess = np.interp(x, middle[order, 0], middle[order, 1])
    reach = max(3, int(0.07 * face.mouth_width))
    offsets = np.arange(-reach, reach + 1)
    rows = (guess[:, None] + offsets).astype(np.float32)
    columns = np.repeat(x[:, None], len(offsets), axis=1).astype(np.float32)
    luma = cv2.remap(grey, columns, rows, cv2.INTER_LINEAR)
    low, high = luma.min(axis=1, keepdims=True), luma.max(axis=1, keepdims=True)
    cost = (luma - low) / (high - low + 8.0) + 0.25 * (offsets / reach) ** 2
    seam = guess + offsets[_cheapest_path(cost.astype(np.float64))]
    seam = cv2.GaussianBlur(seam[None].astype(np.float64), (0, 0), 2.0)[0]
    # At the corners there is no line to see: trust the landmarks there.
    trust = np.clip(np.minimum(x - x[0], x[-1] - x) / (0.12 * face.mouth_width), 0.0, 1.0)
    seam = guess * (1.0 - trust) + seam * trust
    for run in (UPPER_INNER, LOWER_INNER):
        inner = list(run[1:-1])
        points[inner, 1] = np.interp(points[inner, 0], x, seam)
    return points


def _cheapest_path(cost: FloatArray) -> NDArray[np.int64]:
    """Column index per row of the path of least cost that moves at most one column per row."""
    length, width = cost.shape
    total = cost.copy()
    came_from = np.zeros((length, width), dtype=np.int64)
    for i in range(1, length):
        padded = np.pad(total[i - 1], 1, constant_values=np.inf)
        options = np.stack([padded[:-2] + 0.15, padded[1:-1], padded[2:] + 0.15])
        best = options.argmin(axis=0)
        came_from[i] = np.arange(width) + best - 1
        total[i] += options[best, np.arange(width)]
    path = np.empty(length, dtype=np.int64)
    path[-1] = total[-1].argmin()
    for i in range(length - 1, 0, -1):
        path[i - 1] = came_from[i, path[i]]
    return path


def _shut(face: Face, stretch: float) -> FloatArray:
    """Resting landmarks of an open mouth: contours meet, a stretched mouth narrows a little."""
    points = face.points
    rest: FloatArray = points.copy()
    upper, lower = points[list(UPPER_INNER)], points[list(LOWER_INNER)]
    seam = 0.58 * upper + 0.42 * lower
    for inner, outer, contour in ((UPPER_INNER, UPPER_OUTER, upper), (LOWER_INNER, LOWER_OUTER, lower)):
        shift = (seam - contour)[1:-1]
        rest[list(inner[1:-1])] += shift
        # The lips keep most of their thickness; those that a grin stretched thin get some back.
        rest[list(outer[1:-1])] += (0.75 - 0.25 * stretch) * shift
    lips = sorted({*UPPER_INNER, *LOWER_INNER, *UPPER_OUTER, *LOWER_OUTER})
    centre = (rest[61, 0] + rest[291, 0]) / 2
    rest[lips, 0] = centre + (rest[lips, 0] - centre) * (1.0 - 0.10 * stretch)
    return rest


def _middle(face: Face) -> FloatArray:
    """(13, 2) points between the lips, from corner to corner."""
    inner = (face.points[list(UPPER_INNER)] + face.points[list(LOWER_INNER)]) / 2
    return np.vstack([face.points[61], inner, face.points[291]])


def _fill(contour: FloatArray, like: Picture) -> Picture:
    """(height, width) 255 inside a closed contour."""
    mask = np.zeros(like.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(contour * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return mask


def _mend_corners(covered: Picture, face: Face) -> Picture:
    """Lip instead of what is left of teeth and dark at the corners, which shut lips would show as dots."""
    points, width = face.points, face.mouth_width
    lip = lip_colour(covered, face)
    grey = cv2.GaussianBlur(cv2.cvtColor(covered, cv2.COLOR_BGR2GRAY), (0, 0), 0.8).astype(np.float32)
    lips = _fill(np.vstack([points[list(UPPER_OUTER)], points[list(LOWER_OUTER[-2:0:-1])]]), covered) > 0
    reach = max(3, int(0.03 * width) | 1)
    around = cv2.dilate(lips.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    x, y = np.arange(covered.shape[1]), np.arange(covered.shape[0])[:, None]
    # Away from the corners less and less of it, so that no step is seen.
    beside = np.minimum(x - points[78, 0], points[308, 0] - x) / width
    near = np.abs(y - np.interp(x, *_middle(face).T)) / width
    share = (1.0 - smoothstep(0.12, 0.26, beside)) * (1.0 - smoothstep(0.07, 0.12, near))
    # A dot is darker than what is above and below it: not so where a moustache or the light makes all of it dark.
    soft, away = cv2.GaussianBlur(grey, (0, 0), 0.03 * width), round(0.10 * width)
    usual = np.minimum(np.minimum(np.roll(soft, away, axis=0), np.roll(soft, -away, axis=0)), float(lip @ _LUMA))
    odd = ((grey < 0.8 * usual) & around) | (_like_teeth(covered, lip) & lips)
    odd &= share > 0.0
    fine = (lips & ~odd).astype(np.float32)
    weight = cv2.GaussianBlur(fine, (0, 0), 0.06 * width)[..., None]
    nearby = cv2.GaussianBlur(covered * fine[..., None], (0, 0), 0.06 * width) + 0.05 * 0.88 * lip
    mended = cv2.morphologyEx(odd.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    share *= cv2.GaussianBlur(mended, (0, 0), max(0.8, 0.012 * width))
    return cast(Picture, np.round(covered + (nearby / (weight + 0.05) - covered) * share[..., None]).astype(np.uint8))


def _like_teeth(picture: Picture, lip: FloatArray) -> NDArray[np.bool_]:
    """(height, width) whether a pixel is clearly less red than a lip of a colour (3,), and not dark."""
    blue, green, red = cv2.split(picture.astype(np.float32))
    total, redness = red + green + blue, float(lip @ (-0.5, -0.5, 1.0)) / float(lip.sum())
    pale = (red - 0.5 * (blue + green)) < 0.7 * redness * total
    return np.asarray(pale & (total > 0.5 * float(lip.sum())), np.bool_)


def _opening(portrait: Picture, face: Face) -> Picture:
    """(height, width) 255 between the inner lips, and on upper teeth beyond, since landmarks may miss an opening."""
    points = face.points
    mask = _fill(np.vstack([points[list(UPPER_INNER)], points[list(LOWER_INNER[-2:0:-1])]]), portrait)
    lips = _fill(np.vstack([points[list(UPPER_OUTER)], points[list(LOWER_OUTER[-2:0:-1])]]), portrait)
    x, y = np.arange(portrait.shape[1]), np.arange(portrait.shape[0])[:, None]
    width = face.mouth_width
    above = np.interp(x, *_middle(face).T) - y
    near = (above > 0.0) & (above < 0.10 * width)  # what is pale on the lower lip is its shine
    near &= np.minimum(x - points[78, 0], points[308, 0] - x) > 0.20 * width  # the corners are skin as often
    teeth = near & (lips > 0) & _like_teeth(portrait, lip_colour(portrait, face))
    _, parts = cv2.connectedComponents(((mask > 0) | teeth).astype(np.uint8))
    return np.asarray(np.where(np.isin(parts, np.unique(parts[mask > 0])), 255, 0), np.uint8)


def _covered(portrait: Picture, face: Face) -> Picture:
    """The portrait with its teeth covered; only the surroundings of the lips are looked at."""
    lips = face.points[[*UPPER_OUTER, *LOWER_OUTER]]
    reach = 0.4 * face.mouth_width
    low, high = (lips.min(axis=0) - reach).astype(int), (lips.max(axis=0) + reach).astype(int)
    box = Box(low[0], low[1], high[0], high[1]).clipped(face.size)
    covered: Picture = portrait.copy()
    covered[box.pixels] = _cover_teeth(portrait[box.pixels], replace(face, points=face.points - (box.left, box.top)))
    return covered


def _cover_teeth(portrait: Picture, face: Face) -> Picture:
    """The portrait with everything between the lips overwritten by the nearest lip in the column."""
    height, width = portrait.shape[:2]
    mask = _opening(portrait, face)
    size = max(3, int(0.03 * face.mouth_width) | 1)
    mask = cast(Picture, cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))))
    mask = cast(Picture, cv2.dilate(mask, np.ones((1, int(0.07 * face.mouth_width) | 1), np.uint8)))
    ys, xs = np.nonzero(mask)
    first = np.full(width, height, dtype=np.int64)
    last = np.full(width, -1, dtype=np.int64)
    np.minimum.at(first, xs, ys)
    np.maximum.at(last, xs, ys)
    seam = np.interp(xs, *_middle(face).T)
    # Mirroring the outermost three rows keeps a little of the lip's texture.
    from_above = first[xs] - 1 - 0.7 * np.minimum(ys - first[xs], 3)
    from_below = last[xs] + 1 + 0.7 * np.minimum(last[xs] - ys, 3)
    rows = np.round(np.where(ys < seam, from_above, from_below)).astype(np.int64)
    covered = portrait.astype(np.float32)
    covered[ys, xs] = portrait[np.clip(rows, 0, height - 1), xs]
    soft = cv2.GaussianBlur(covered, (0, 0), 1.2)
    weight = (cv2.GaussianBlur(mask, (0, 0), 1.0).astype(np.float32) / 255.0)[..., None]
    filled = np.clip(covered * (1 - weight) + soft * weight, 0, 255).astype(np.uint8)
    return _mend_corners(cast(Picture, filled), face)
