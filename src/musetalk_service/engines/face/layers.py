"""The person before a still background: a head that moves bends nothing behind it.

A matte says how much of each pixel is person. What is behind the person is filled in from around it, and the person's
colours are drawn out beyond the edge, where they were mixed with the background (the pull-push fill of Gortler et al.
1996). A moved person is laid over the background by the moved matte, in a band around the silhouette only: within it
all is person, and beyond it nothing has been touched.
"""

from typing import Final, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box, joined
from musetalk_service.engines.face.frame import WarpMaps, fetch
from musetalk_service.engines.face.head import Head, HeadShift
from musetalk_service.engines.face.interpolation import Flow, Lattice, sample
from musetalk_service.engines.face.landmarks import Picture
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import Plane, Planes, from_bgr, planes_of

_SHARES: Final = (0.05, 0.07, 0.1, 0.15, 0.22, 0.33, 0.5, 1.0)
"""Of the farthest that the largest pose carries each part of the silhouette: a band for each."""
_LEAST_REACH: Final = 2.0
"""As far every band reaches everywhere, in pixels of a picture like the default avatar's: shoulders breathe."""
_MOUTH_REACH: Final = 8.0
"""How far a mouth may carry it besides."""
_STRIPS: Final = 10
_SOLID: Final = 253
"""Of the matte: from here on nothing of the background is seen."""
_ROW: Final = 256
_MIXED: Final = (0.02, 0.1)
"""Shares of the person in a pixel from which its own colours are known, less and less of which is guessed."""
_COVERED: Final = (0.05, 0.15)
"""Shares from which what is behind is guessed, more and more."""


class Band(NamedTuple):
    """The pixels around the silhouette that one reach concerns."""

    areas: tuple[Box, ...]
    """Where the person may be, even, without overlap."""
    x: Flow
    """(n, 256) columns of the pixels that may show background; the last is repeated to fill the rows."""
    y: Flow
    pixels: NDArray[np.intp]
    """Of each, its place in the luma plane."""
    column: Flow
    """(n, 256) theirs on the head's lattice."""
    row: Flow
    sited: NDArray[np.intp]
    """Which of them carry chroma samples."""
    samples: NDArray[np.intp]
    """Of those, their places in a chroma plane."""
    behind: tuple[Flow, Flow, Flow]
    """What is seen there without the person: of the pixels, and of the samples in both chroma planes."""
    spoken: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
    """Those where a mouth may move pixels: which of the flattened ones they are, and their rows and columns."""
    bare: tuple[tuple[NDArray[np.intp], Plane], ...]
    """What lies in the areas and the person never reaches: places and values in each plane."""


class Layers:
    """Person and background of one portrait."""

    def __init__(self, portrait: Picture, matte: Plane, unit: float, head: Head, mouth: Box) -> None:
        """Part them.

        Args:
            portrait: (h, w, 3) BGR.
            matte: (h, w) 255 where the person is, 0 where nothing of it is seen.
            unit: pixels of this portrait for one of the default avatar's.
            head: what moves it.
            mouth: where the mouth moves pixels while the head rests.
        """
        self._unit = unit
        self._size = FrameSize(portrait.shape[1], portrait.shape[0])
        self._matte = matte.copy()
        cover = matte.astype(np.float32) / np.float32(255.0)
        behind = fill(portrait, _grown(matte > 0, 2) == 0)
        share = cover[..., None]
        solid = (matte > 250)[..., None]
        own = np.clip((portrait - (1.0 - share) * behind) / np.maximum(share, 0.05), 0.0, 255.0)
        spread = fill(portrait, cv2.erode(solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        person = np.where(solid, portrait, spread + (own - spread) * _ramp(share, _MIXED))
        self.person = np.round(person).astype(np.uint8)
        """(h, w, 3) the portrait, with the person's colours beyond the silhouette."""
        # A person laid over the plate where it was is the portrait again, or the edge of a head that comes to rest
        # would jump. Where nothing of the person is seen the plate is the portrait itself.
        rest = np.clip((portrait - share * self.person) / np.maximum(1.0 - share, 0.1), 0.0, 255.0)
        plate = rest + (behind - rest) * _ramp(share, _COVERED)
        plate = np.round(np.where(share > 0.0, plate, portrait)).astype(np.uint8)
        planes = planes_of(from_bgr(plate))
        self._mouth = mouth
        left, top, right, bottom = mouth
        self._mouth_bares = bool((matte[top:bottom, left:right] < _SOLID).any())

        edge = cv2.morphologyEx(matte, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        near = _grown(edge, round(16 * unit))
        lattice = head.lattice
        rows = np.clip(np.round(lattice.y[:, 0]), 0, self._size.height - 1).astype(np.intp)
        columns = np.clip(np.round(lattice.x[0]), 0, self._size.width - 1).astype(np.intp)
        self._edge = np.flatnonzero(near[np.ix_(rows, columns)])
        reaches = [np.maximum(share * head.farthest, _LEAST_REACH * unit) for share in _SHARES]
        self._reaches = np.stack([reach.reshape(-1)[self._edge] for reach in reaches])
        """(bands, n) how far each band lets the nodes around the silhouette go."""
        self._bands = tuple(self._band(matte, reach, lattice, planes) for reach in reaches)

    def band(self, shift: HeadShift | None, with_mouth: bool) -> Band | None:
        """That which a movement needs; None for one that bares nothing of the background."""
        if shift is None:
            return self._bands[0] if with_mouth and self._mouth_bares else None
        moved = shift.nodes.reshape(2, -1)[:, self._edge]
        fits = (np.hypot(moved[0], moved[1]) <= self._reaches).all(axis=1)
        return self._bands[int(fits.argmax())] if fits.any() else self._bands[-1]

    def _band(self, matte: Plane, reach: Flow, lattice: Lattice, plate: Planes) -> Band:
        width, height = self._size
        pixel = np.stack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        around = sample(reach[None], *lattice.index(pixel))[0] + np.float32(1.0)
        if self._mouth_bares:
            around[self._mouth.pixels] += _MOUTH_REACH * self._unit
        outer = _distance(matte > 0) <= around
        areas = []
        for rows in np.array_split(np.arange(0, height, 2), _STRIPS):
            top, bottom = int(rows[0]), int(rows[-1]) + 2
            used_rows = np.flatnonzero(outer[top:bottom].any(axis=1))
            used = np.flatnonzero(outer[top:bottom].any(axis=0))
            if used.size:
                box = Box(int(used[0]), top + int(used_rows[0]), int(used[-1]) + 1, bottom)
                areas.append(box.even_around())
        areas = list(joined(areas))
        loose = np.zeros((height, width), np.bool_)
        for box in areas:
            loose[box.pixels] = True
        bare = _places(loose & ~outer, plate)
        loose &= outer & (_distance(matte < _SOLID) <= around)
        pixels = np.flatnonzero(loose)
        if not pixels.size:
            pixels = np.zeros(1, np.intp)
        pixels = np.append(pixels, np.repeat(pixels[-1:], -len(pixels) % _ROW))
        y, x = np.divmod(pixels, width)
        sited = np.flatnonzero((x % 2 == 0) & (y % 2 == 0))
        samples = y[sited] // 2 * (width // 2) + x[sited] // 2
        luma, u, v = (plane.reshape(-1).astype(np.float32) for plane in plate)
        x_, y_ = (at.reshape(-1, _ROW).astype(np.float32) for at in (x, y))
        behind = (luma[pixels], u[samples], v[samples])
        left, top, right, bottom = self._mouth
        at = np.flatnonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))
        spoken = at, y[at], x[at]
        column, row = lattice.index(np.stack([x_, y_]))
        return Band(tuple(areas), x_, y_, pixels, column, row, sited, samples, behind, spoken, bare)

    def compose(self, planes: Planes, band: Band, shift: HeadShift | None, mouth: WarpMaps | None) -> None:
        """Put the background back where the moved person is not."""
        x, y = band.x, band.y
        if shift is not None:
            x, y = sample(0.5 * shift.origins, band.column, band.row)
        still = np.ones(x.size, np.bool_) if shift is None else None
        if mouth is not None and self._mouth_bares:
            at, row, column = band.spoken
            left, top, right, bottom = mouth.box
            inside = (column >= left) & (column < right) & (row >= top) & (row < bottom)
            at, within = at[inside], (row[inside] - top, column[inside] - left)
            if still is not None:
                x, y, still[at] = x.copy(), y.copy(), False
            x.reshape(-1)[at], y.reshape(-1)[at] = 0.5 * mouth.x[within], 0.5 * mouth.y[within]
        fetch(self._matte)
        found = cv2.remap(self._matte, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = np.divide(found, np.float32(255.0), dtype=np.float32).reshape(-1)
        if still is not None:
            cover[still] = 1.0  # there the portrait is seen, which is mixed already
        sited = cover[band.sited]
        for plane, (at, values) in zip(planes, band.bare, strict=True):
            plane.reshape(-1)[at] = values
        _mix(planes.y, band.behind[0], band.pixels, cover)
        _mix(planes.u, band.behind[1], band.samples, sited)
        _mix(planes.v, band.behind[2], band.samples, sited)


def _ramp(share: Flow, ends: tuple[float, float]) -> Flow:
    low, high = ends
    return np.asarray(np.clip((share - low) / (high - low), 0.0, 1.0), np.float32)


def _mix(plane: Plane, below: Flow, at: NDArray[np.intp], cover: Flow) -> None:
    flat = plane.reshape(-1)
    mixed = flat[at] - below
    mixed *= cover
    mixed += below
    mixed += np.float32(0.5)
    flat[at] = mixed.astype(np.uint8)


def _places(mask: NDArray[np.bool_], planes: Planes) -> tuple[tuple[NDArray[np.intp], Plane], ...]:
    """Of the pixels of a mask, and of the chroma samples that they carry, the places and values."""
    sampled = mask[::2, ::2]
    found = [np.flatnonzero(part) for part in (mask, sampled, sampled)]
    return tuple((at, plane.reshape(-1)[at]) for at, plane in zip(found, planes, strict=True))


def _distance(area: NDArray[np.bool_]) -> Flow:
    """Of each pixel from the nearest of an area."""
    return np.asarray(cv2.distanceTransform((~area).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.uint8]:
    size = 2 * reach + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)), np.uint8)


def fill(picture: Picture, known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The picture with its unknown pixels filled smoothly from the known ones, (h, w, 3) float32."""
    return _fill(picture.astype(np.float32), known.astype(np.float32))


def _fill(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = weight.shape
    if min(height, width) <= 2 or weight.min() >= 1.0:
        total = max(float(weight.sum()), 1e-6)
        mean = (values * weight[..., None]).sum(axis=(0, 1)) / total
        return cast(NDArray[np.float32], np.where(weight[..., None] > 0, values, mean).astype(np.float32))
    half = ((width + 1) // 2, (height + 1) // 2)
    mass = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(values * weight[..., None], half, interpolation=cv2.INTER_AREA)
    coarse = _fill((sums / np.maximum(mass, 1e-6)[..., None]).astype(np.float32), (mass > 0).astype(np.float32))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return cast(NDArray[np.float32], np.where(weight[..., None] > 0, values, smooth).astype(np.float32))
