"""Eyelids that close: skin painted between the open eye's edge and where the lid has come down to.

The lid has the colour of the portrait's own lid, and its edge is the photographed lash line carried down.
Nothing is changed above the lashes or beside the eye, so brows and the frames of glasses stay.
"""

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.interpolation import Flow, smoothstep
from musetalk_service.engines.face.landmarks import EyeIndices, Face, FloatArray, Picture

LEVELS: Final = 24
"""Prepared closures; with an eye 20 px high the lid moves less than a pixel from one to the next."""
# Heights in eye widths.
_LASH_LINE: Final = 0.05
"""The band of lashes that moves with the lid's edge."""
_LONGEST_LASHES: Final = 0.30
_FADE: Final = 0.12
_OPEN_FROM, _OPEN_FULL = 0.07, 0.14
"""Opening below which an eye counts as shut already, and from which the lid closes in full."""
_LUMA: Final = np.array([0.114, 0.587, 0.299], np.float32)


@dataclass(frozen=True)
class Lids:
    """An eye at one closure."""

    lid: NDArray[np.float32]
    """(h, w, 3) upper lid with lashes, multiplied by its coverage."""
    open_share: NDArray[np.float32]
    """(h, w, 1) how much of the pixels below is seen, and in what light."""
    below_x: Flow
    below_y: Flow
    """Where the pixels below come from: the lower lid comes up a little."""


def eye_box(face: Face, eye: EyeIndices, height: int, width: int) -> Box:
    """The rectangle that a blink changes, inside a picture of some height and width."""
    points = face.points
    lids = points[[*eye.upper_lid, *eye.lower_lid]]
    start, end = float(lids[:, 0].min()), float(lids[:, 0].max())
    span = end - start
    return Box(
        max(0, int(start - 0.30 * span)),
        max(0, int(lids[:, 1].min() - (_LONGEST_LASHES + 2 * _FADE) * span)),
        min(width, int(end + 0.30 * span)),
        min(height, int(lids[:, 1].max() + 0.22 * span)),
    )


def prepare_lids(portrait: Picture, face: Face, eye: EyeIndices, box: Box) -> list[Lids]:
    """The lids of an eye at closures 1/LEVELS, 2/LEVELS ... 1."""
    points = face.points
    corners = points[list(eye.upper_lid), 0]
    start, end = float(corners.min()), float(corners.max())
    width = end - start
    columns = np.arange(box.left, box.right, dtype=np.float64)
    rows = np.arange(box.top, box.bottom, dtype=np.float64)[:, None]

    def smooth(curve: FloatArray, reach: float = 0.03) -> FloatArray:
        soft = cv2.GaussianBlur(curve[None], (0, 0), max(1.0, reach * width))
        return cast(FloatArray, soft[0])

    upper = smooth(_contour(face, eye.upper_lid, columns))
    lower = smooth(_contour(face, eye.lower_lid, columns))
    gap = np.maximum(lower - upper, 0.0)
    source = portrait[box.pixels].astype(np.float32)
    skin = _lid_skin(source, face, eye, columns, rows, upper, width)
    # 1 between the corners, 0 from a little outside; above the lid it fades earlier.
    inwards = np.minimum(columns - start, end - columns) / width
    between = smoothstep(-0.06, 0.04, inwards)
    between = between + (smoothstep(-0.10, 0.26, inwards) - between) * smoothstep(0.0, 0.08, (upper - rows) / width)
    able = float(np.clip((gap.max() / width - _OPEN_FROM) / (_OPEN_FULL - _OPEN_FROM), 0.0, 1.0))
    lashes = smooth(_lash_height(source, skin, rows, upper, width), 0.06)
    rim = upper - lashes - _FADE * width
    crease = _rim_skin(source, rim - box.top, width)
    sideways = 1.0 - 0.10 * np.clip(np.abs(columns - (start + end) / 2) / (0.5 * width), 0.0, 1.0) ** 2
    across = np.repeat((columns - box.left)[None], len(rows), axis=0).astype(np.float32)
    # The lashes fade from the lid's edge upwards.
    above = upper - rows
    levels = []
    for level in range(1, LEVELS + 1):
        closure = level / LEVELS
        lower_to = lower - 0.07 * closure * gap * able
        travel = 0.93 + 0.04 * float(np.clip((closure - 0.9) / 0.1, 0.0, 1.0))
        upper_to = np.minimum(upper + travel * closure * gap * able, np.maximum(lower_to + 0.02 * width, upper))
        moved = upper_to - upper
        # Bare skin from above the old lashes down to the lid's edge.
        bare = smoothstep(0.0, 1.0, (lashes + _FADE * width - above) / (_FADE * width))
        bare *= float(np.clip(closure / 0.15, 0.0, 1.0))
        bare = np.where(rows > upper, np.clip((upper_to - rows) / 1.2 + 0.5, 0.0, 1.0), bare)
        edge = (upper_to - rows) / width
        # Round over the eyeball: a little brighter in its middle, darker towards the lashes.
        round_ = 1.0 + 0.05 * np.exp(-(((edge - 0.16) / 0.10) ** 2)) - 0.10 * np.exp(-np.maximum(edge, 0.0) / 0.04)
        # From the colour above it to that of the lid, so that no edge is seen where the paint begins.
        blend = smoothstep(0.0, 0.65, (rows - rim) / np.maximum(upper_to - rim, 1.0)).astype(np.float32)[..., None]
        colour = crease + (skin * (round_ * sideways).astype(np.float32)[..., None] - crease) * blend
        line = cv2.remap(
            source,
            across,
            (rows - moved - box.top).astype(np.float32) + np.zeros_like(across),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        held = np.clip((_LASH_LINE + 0.03 - edge) / 0.03, 0.0, 1.0).astype(np.float32)[..., None]
        colour += (np.minimum(line, colour) - colour) * held
        cover = np.maximum(bare, np.clip((upper_to - rows) / 1.2 + 0.5, 0.0, 1.0) * held[..., 0])
        cover = (cover * between * able).astype(np.float32)[..., None]
        rise = (lower - lower_to) * np.clip(1.0 - (rows - lower_to) / (0.18 * width), 0.0, 1.0)
        below = np.where(rows > lower_to, rows + rise, rows) - box.top
        # The lid's shadow on the eyeball, deeper as it comes down.
        depth = np.clip(1.0 - (rows - upper_to) / (0.14 * width), 0.0, 1.0)
        depth *= np.clip((lower_to - rows) / (0.04 * width), 0.0, 1.0) * np.clip(gap / (0.2 * gap.max()), 0.0, 1.0)
        depth *= np.clip((rows - upper) / 1.2 + 0.5, 0.0, 1.0)
        light = 1.0 - 0.35 * able * min(closure / 0.4, 1.0) * depth
        seen = (1.0 - cover) * light.astype(np.float32)[..., None]
        levels.append(Lids(np.clip(colour, 0, 255) * cover, seen, across, below.astype(np.float32)))
    return levels


def _contour(face: Face, indices: tuple[int, ...], columns: FloatArray) -> FloatArray:
    points = face.points[list(indices)]
    order = np.argsort(points[:, 0])
    return cast(FloatArray, np.interp(columns, points[order, 0], points[order, 1]))


def _lid_skin(
    source: NDArray[np.float32],
    face: Face,
    eye: EyeIndices,
    columns: FloatArray,
    rows: FloatArray,
    upper: FloatArray,
    width: float,
) -> NDArray[np.float32]:
    """Colour of the bare lid in each column, (1, w, 3): of the brighter skin between lashes and brow."""
    brow = _contour(face, eye.brow_edge, columns)
    space = upper - brow
    region = (rows > brow + 0.3 * space) & (rows < upper - 0.05 * width)
    luma = source @ _LUMA
    weight = np.zeros_like(luma)
    reach = max(2, round(0.08 * width))
    for column in range(luma.shape[1]):
        near = slice(max(0, column - reach), column + reach + 1)
        seen = luma[:, near][region[:, near]]
        if seen.size:
            low, high = np.quantile(seen, (0.40, 0.93))
            bright = region[:, column] & (luma[:, column] >= low) & (luma[:, column] <= high)
            weight[:, column] = bright
    total = weight.sum(axis=0)[None]
    colour = (source * weight[..., None]).sum(axis=0)[None]
    spread = max(1.0, 0.10 * width)
    soft = cv2.GaussianBlur(np.dstack([colour, total]), (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
    return cast(NDArray[np.float32], soft[..., :3] / np.maximum(soft[..., 3:], 1e-3))


def _rim_skin(source: NDArray[np.float32], rim: FloatArray, width: float) -> NDArray[np.float32]:
    """Colour of the skin along a row per column, (1, w, 3), smoothed along it."""
    soft = cv2.GaussianBlur(source, (0, 0), max(0.8, 0.03 * width))
    columns = np.arange(source.shape[1], dtype=np.float32)[None]
    row = cv2.remap(soft, columns, rim.astype(np.float32)[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    smooth = cv2.GaussianBlur(row, (0, 0), max(1.0, 0.06 * width), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)


def _lash_height(
    source: NDArray[np.float32], skin: NDArray[np.float32], rows: FloatArray, upper: FloatArray, width: float
) -> FloatArray:
    """How far lashes reach above the lid's edge in each column, (w,) pixels: where it is darker than skin."""
    dark = (source @ _LUMA) < 0.82 * (skin @ _LUMA)
    above = upper - rows
    height = np.zeros(len(upper))
    for column in range(len(upper)):
        reach = np.flatnonzero((above[:, column] > 0) & (above[:, column] < _LONGEST_LASHES * width))
        for row in reach[::-1]:  # upwards from the lid
            if not dark[row, column] and above[row, column] > 0.04 * width:
                break
            height[column] = above[row, column]
    return height
