"""How much of each pixel of a portrait is the person, so that a head that moves bends nothing behind it.

The segmenter's belief is coarse, and of drawings and paintings often unsure. Colours decide what it leaves open
(GrabCut: Rother, Kolmogorov and Blake, 2004), with what it is sure of as seeds. A guided filter draws the edge along
that of the picture, hair by hair (He, Sun and Tang, 2013, "Guided Image Filtering").

Rather too much is taken for the person than too little: hair that a moving head leaves behind is seen at once, a rim
of the background that moves along with it is not.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.interpolation import smoothstep
from musetalk_service.preparation.segmenter import Belief, Picture

_SIDE: Final = 512
"""Pixels a side of a portrait, in which all lengths here are."""
_COARSE: Final = 256
_SURE: Final = 0.95
_SEED_DEPTH: Final = 8.0
"""So far inside what it takes for the person the segmenter is believed, where it is sure."""
_SEED_DISTANCE: Final = 24.0
"""So far outside: its edges miss loose hair."""
_ROUNDS: Final = 3
_LARGEST_HOLE: Final = 240
"""Pixels of background that are taken for the person where it surrounds them."""
_NEAR: Final = (6.0, 12.0)
"""Distances from the silhouette up to which the belief counts besides, fading."""
_REACH: Final = (14.0, 20.0)
"""Distances from it at which the matte ends, fading."""
_RADIUS: Final = 8
_EPSILON: Final = 1e-4
"""Of the guided filter: its window, and the variance of colours (0 to 1) from which an edge is one."""
_LEAST, _GAIN = 0.02, 1 / 0.7
"""What is filtered is spread so that traces count as nothing, and most of a pixel as all of it."""
_LEAST_COVERED: Final = 0.97
"""Share of the face that a matte has to cover."""
_LEAST_BACKGROUND: Final = 0.03
"""Share of the portrait that is background, if there is to be any use in a matte."""


def cut_out(portrait: Picture, landmarks: NDArray[np.float32], belief: Belief) -> NDArray[np.uint8] | None:
    """The matte of a portrait; None where person and background cannot be told apart, or there is only one of them.

    Args:
        portrait: (512, 512, 3) BGR.
        landmarks: (478, 3) pixels of it.
        belief: (512, 512) how probably each pixel is part of a person, 0 to 1.

    Returns:
        (512, 512) how much of each pixel is the person, 255 all of it.
    """
    face = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(landmarks[:468, :2]).astype(np.int32)), 1)
    if belief[face > 0].mean() < 0.5:
        return None
    silhouette = _silhouette(portrait, belief, face > 0)
    if silhouette is None:
        return None
    outside = _depth(silhouette < 0.5)
    rough = np.maximum(silhouette, belief * (1.0 - smoothstep(*_NEAR, outside)))
    cover = np.clip((_guided(portrait, rough.astype(np.float32)) - _LEAST) * _GAIN, 0.0, 1.0)
    matte: NDArray[np.uint8] = np.round(255.0 * cover * (1.0 - smoothstep(*_REACH, outside))).astype(np.uint8)
    is_whole = matte[face > 0].mean() >= 255.0 * _LEAST_COVERED
    return matte if is_whole and (matte == 0).mean() >= _LEAST_BACKGROUND else None


def _silhouette(portrait: Picture, belief: Belief, face: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """(512, 512) 1 for the person, 0 for the background; None where either is missing."""
    scale = _SIDE / _COARSE
    small = cv2.resize(portrait, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    sure = cv2.resize(belief, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    person = sure > 0.5
    depth, distance = scale * _depth(person), scale * _depth(~person)
    seeds = np.where(person, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[(sure > _SURE) & (depth > _SEED_DEPTH)] = cv2.GC_FGD
    seeds[face[:: int(scale), :: int(scale)]] = cv2.GC_FGD
    seeds[(sure < 1.0 - _SURE) & (distance > _SEED_DISTANCE)] = cv2.GC_BGD
    if not (seeds == cv2.GC_BGD).any():
        return None
    cv2.setRNGSeed(0)  # it begins with k-means
    cv2.grabCut(small, seeds, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = person | (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(found)
    rows, columns = np.nonzero(face)
    whole = parts == parts[int(rows.mean() / scale), int(columns.mean() / scale)]
    count, gaps, sizes, _ = cv2.connectedComponentsWithStats((~whole).astype(np.uint8))
    for gap in range(1, count):
        if sizes[gap, cv2.CC_STAT_AREA] * scale**2 < _LARGEST_HOLE:
            whole |= gaps == gap
    upright = cv2.resize(whole.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(upright, np.float32)


def _depth(area: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel of an area is from its edge; 0 outside."""
    return np.asarray(cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 5), np.float64)


def _guided(portrait: Picture, rough: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) a rough matte, filtered so that its edge is the picture's: in each window it is linear in the colour."""
    colour = portrait.astype(np.float32) / np.float32(255.0)
    mean, mean_rough = _box(colour), _box(rough)
    together = _box(colour * rough[..., None]) - mean * mean_rough[..., None]
    spread = _box((colour[..., :, None] * colour[..., None, :]).reshape(*rough.shape, 9)).reshape(*rough.shape, 3, 3)
    spread = spread - mean[..., :, None] * mean[..., None, :] + _EPSILON * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    offset = mean_rough - (slope * mean).sum(axis=-1)
    fitted: NDArray[np.float32] = (_box(slope) * colour).sum(axis=-1) + _box(offset)
    return fitted


def _box(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over the window, of each channel of (h, w, n)."""
    size = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
    return np.asarray(cv2.blur(values, size, borderType=cv2.BORDER_REFLECT), np.float32)
