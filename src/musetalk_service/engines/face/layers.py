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
from musetalk_service.engines.face.head import HeadShift
from musetalk_service.engines.face.interpolation import Flow, Lattice, sample
from musetalk_service.engines.face.landmarks import Picture
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import Plane, from_bgr

_REACHES: Final = (3, 4, 6, 9, 14, 24, 56)
"""How far a pose may carry the silhouette, in pixels of a picture like the default avatar's: a band for each."""
_MOUTH_REACH: Final = 8.0
"""How far a mouth may carry it besides."""
_STRIPS: Final = 10
_SOLID: Final = 253
"""Of the matte: from here on nothing of the background is seen."""
_ROW: Final = 256


class Band(NamedTuple):
    """The pixels around the silhouette that one reach concerns."""

    areas: tuple[Box, ...]
    """Where the person may be, even, without overlap."""
    x: NDArray[np.int16]
    """(n, 256) columns of the pixels that may show background; the last is repeated to fill the rows."""
    y: NDArray[np.int16]
    column: Flow
    """(n, 256) theirs on the head's lattice."""
    row: Flow
    sited: NDArray[np.intp]
    """Which of them carry chroma samples."""
    places: NDArray[np.intp]
    """Of the pixels, then of those samples in U and in V: where they are in the flattened picture."""
    behind: Plane
    """(places,) what is seen there without the person."""
    bare: NDArray[np.intp]
    """Where the areas hold what the person never reaches."""
    bare_values: Plane
    """(bare,) what is there."""


class Layers:
    """Person and background of one portrait."""

    def __init__(self, portrait: Picture, matte: Plane, unit: float, lattice: Lattice, mouth: Box) -> None:
        """Part them.

        Args:
            portrait: (h, w, 3) BGR.
            matte: (h, w) 255 where the person is, 0 where nothing of it is seen.
            unit: pixels of this portrait for one of the default avatar's.
            lattice: the head's.
            mouth: where the mouth moves pixels while the head rests.
        """
        self._unit = unit
        self._size = FrameSize(portrait.shape[1], portrait.shape[0])
        self._matte = matte.copy()
        cover = matte.astype(np.float32) / np.float32(255.0)
        behind = fill(portrait, _grown(matte > 0, 2) == 0)
        mixed = cover[..., None]
        own = np.clip((portrait - (1.0 - mixed) * behind) / np.maximum(mixed, 0.05), 0.0, 255.0)
        solid = matte > 250
        spread = fill(portrait, cv2.erode(solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        trust = np.where(solid, 1.0, np.clip((mixed[..., 0] - 0.5) / 0.4, 0.0, 1.0))[..., None]
        person = np.where(solid[..., None], portrait, own * trust + spread * (1.0 - trust))
        self.person = np.round(person).astype(np.uint8)
        """(h, w, 3) the portrait, with the person's colours beyond the silhouette."""
        # Where nothing of the person is seen the plate is the portrait itself.
        plate = np.where((matte > 0)[..., None], behind, portrait).astype(np.uint8)
        still = from_bgr(plate).reshape(-1)
        self._bands = tuple(self._band(matte, max(2, round(reach * unit)), lattice, still) for reach in _REACHES)

        left, top, right, bottom = mouth
        self._mouth_bares = bool((matte[top:bottom, left:right] < _SOLID).any())
        edge = cv2.morphologyEx(matte, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        near = _grown(edge, round(16 * unit))
        rows = np.clip(np.round(lattice.y[:, 0]), 0, self._size.height - 1).astype(np.intp)
        columns = np.clip(np.round(lattice.x[0]), 0, self._size.width - 1).astype(np.intp)
        self._edge = np.flatnonzero(near[np.ix_(rows, columns)])

    def band(self, shift: HeadShift | None, with_mouth: bool) -> Band | None:
        """That which a movement needs; None for one that bares nothing of the background."""
        reach = _MOUTH_REACH * self._unit if with_mouth and self._mouth_bares else 0.0
        if shift is not None:
            reach += 1.0 + float(np.abs(shift.nodes.reshape(2, -1)[:, self._edge]).max(initial=0.0))
        if not reach:
            return None
        return next((b for b, r in zip(self._bands, _REACHES, strict=True) if reach <= r * self._unit), self._bands[-1])

    def _band(self, matte: Plane, reach: int, lattice: Lattice, plate: Plane) -> Band:
        width, height = self._size
        outer = _grown(matte > 0, reach) > 0
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
        bare = _places(np.flatnonzero(loose & ~outer), self._size)[0]
        loose &= outer & (_grown(matte < _SOLID, reach) > 0)
        pixels = np.flatnonzero(loose)
        if not pixels.size:
            pixels = np.zeros(1, np.intp)
        pixels = np.append(pixels, np.repeat(pixels[-1:], -len(pixels) % _ROW))
        y, x = (at.reshape(-1, _ROW).astype(np.int16) for at in np.divmod(pixels, width))
        column, row = lattice.index(np.stack([x, y]).astype(np.float32))
        places, sited = _places(pixels, self._size)
        return Band(tuple(areas), x, y, column, row, sited, places, plate[places], bare, plate[bare])

    def compose(self, picture: Plane, band: Band, shift: HeadShift | None, mouth: WarpMaps | None) -> None:
        """Put the background back where the moved person is not, in an I420 picture."""
        if shift is not None:
            x, y = sample(0.5 * shift.origins, band.column, band.row)
        else:
            x, y = band.x.astype(np.float32), band.y.astype(np.float32)
        if mouth is not None and self._mouth_bares:
            left, top, right, bottom = mouth.box
            inside = (band.x >= left) & (band.x < right) & (band.y >= top) & (band.y < bottom)
            if inside.any():
                column, row = band.x[inside] - left, band.y[inside] - top
                x[inside], y[inside] = 0.5 * mouth.x[row, column], 0.5 * mouth.y[row, column]
        fetch(self._matte)
        found = cv2.remap(self._matte, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = np.divide(found, np.float32(255.0), dtype=np.float32).reshape(-1)
        sited = cover[band.sited]
        cover = np.concatenate((cover, sited, sited))
        flat = picture.reshape(-1)
        flat[band.bare] = band.bare_values
        mixed = np.subtract(flat[band.places], band.behind, dtype=np.float32)
        mixed *= cover
        mixed += band.behind
        mixed += np.float32(0.5)
        flat[band.places] = mixed.astype(np.uint8)


def _places(pixels: NDArray[np.intp], size: FrameSize) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """In a flattened I420 picture, of pixels by their numbers: theirs, then of the U and V that some of them carry.

    Besides, which of them do.
    """
    y, x = np.divmod(pixels, size.width)
    sited = np.flatnonzero((x % 2 == 0) & (y % 2 == 0))
    samples = size.pixels + y[sited] // 2 * (size.width // 2) + x[sited] // 2
    return np.concatenate((pixels, samples, samples + size.pixels // 4)), sited


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
