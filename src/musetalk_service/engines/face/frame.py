"""The portrait as textures, and a picture on its way from them to I420.

Luma is read from a portrait of twice the size, chroma from the planes of I420, for a quarter of the pixels: this costs
half of reading BGR everywhere, and nothing needs converting afterwards. Only where something is painted are there BGR
pixels, for as long as they are painted on.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.interpolation import Flow, double_size
from musetalk_service.engines.face.landmarks import Picture
from musetalk_service.models.media import FrameSize
from musetalk_service.utils.i420 import Plane, Planes, from_bgr, planes_of

_CACHE_LINE: Final = 64


class WarpMaps(NamedTuple):
    """Where the pixels of a rectangle come from, in pixels of the doubled picture."""

    box: Box
    """Even on all sides."""
    x: Flow
    """(height, width)."""
    y: Flow
    """(height, width)."""

    def part(self, box: Box) -> "WarpMaps":
        """The maps of a rectangle inside this one."""
        pixels = box.within(self.box).pixels
        return WarpMaps(box, self.x[pixels], self.y[pixels])

    def lay(self, other: "WarpMaps") -> None:
        """Let the pixels that another rectangle shares with this one come from where it says."""
        common = self.box.overlap(other.box)
        if not common.is_empty:
            here, there = common.within(self.box).pixels, common.within(other.box).pixels
            self.x[here], self.y[here] = other.x[there], other.y[there]


class Warp(Protocol):
    """Where all pixels of the picture come from."""

    def part(self, box: Box) -> WarpMaps:
        """The maps of a rectangle inside the picture, in new arrays."""
        ...


class Canvas(Protocol):
    """A picture that can be painted on."""

    size: FrameSize

    def bgr(self, box: Box) -> Picture:
        """The pixels of a rectangle inside the picture, (h, w, 3) BGR; what is painted on them will be seen."""
        ...


class Texture:
    """One portrait in the forms that frames are made from."""

    def __init__(self, portrait: Picture, moved: Picture | None = None) -> None:
        """Convert.

        Args:
            portrait: (height, width, 3) BGR.
            moved: what is read where something moves, in place of the portrait.
        """
        height, width = portrait.shape[:2]
        self.size = FrameSize(width, height)
        self.portrait = portrait.copy()
        self.base: Plane = from_bgr(portrait)
        """The portrait as I420."""
        moved = portrait if moved is None else moved
        self.double = double_size(moved)
        """(2 * height, 2 * width, 3) BGR."""
        self._double_bytes = self.double.reshape(2 * height, -1)
        self._luma = from_bgr(self.double)[: 2 * height].copy()
        # Not from chroma for each pixel, which looks the same: a source of a quarter stays in the cache with the luma.
        # Four channels are read in half the time of two: OpenCV has that case vectorised.
        _, u, v = planes_of(from_bgr(moved))
        nothing = np.zeros_like(u)
        self._chroma = np.dstack([u, v, nothing, nothing])
        self._chroma_bytes = self._chroma.reshape(len(u), -1)

    def read(self, maps: WarpMaps, into: Planes) -> None:
        """Put the pixels of a rectangle into planes of its size."""
        x, y = maps.x[::2, ::2] * np.float32(0.25), maps.y[::2, ::2] * np.float32(0.25)
        top, bottom = maps.box.top, maps.box.bottom
        fetch(self._luma[2 * top : 2 * bottom])
        fetch(self._chroma_bytes[top // 2 : bottom // 2])
        cv2.remap(self._luma, maps.x, maps.y, cv2.INTER_LINEAR, dst=into.y, borderMode=cv2.BORDER_REPLICATE)
        chroma = _sample(self._chroma, x, y)
        into.u[:], into.v[:] = chroma[..., 0], chroma[..., 1]

    def read_bgr(self, maps: WarpMaps) -> Picture:
        """The pixels of a rectangle, (h, w, 3) BGR."""
        left, top, right, bottom = maps.box
        fetch(self._double_bytes[2 * top : 2 * bottom, 6 * left : 6 * right])
        return _sample(self.double, maps.x, maps.y)


class Frame:
    """One picture being made."""

    def __init__(self, texture: Texture, head: Warp | None, areas: Sequence[Box], mouth: WarpMaps | None) -> None:
        """The portrait, moved.

        Args:
            texture: the portrait.
            head: where all pixels come from; None where the head rests.
            areas: where the head may move pixels; everywhere else is as in the portrait.
            mouth: where those around the mouth come from; None where nothing there moves but with the head.
        """
        self.size = texture.size
        self.texture = texture
        self._head = head
        self._mouth = mouth
        self._painted: list[tuple[Box, Picture]] = []
        self.picture: Plane = texture.base.copy()
        """As far as it is made."""
        self.planes = planes_of(self.picture)
        if head is not None:
            for area in areas:
                maps = head.part(area)
                if mouth is not None:
                    maps.lay(mouth)
                texture.read(maps, self._part(area))
        if mouth is not None:
            for box in mouth.box.without(*(areas if head is not None else ())):
                texture.read(mouth.part(box), self._part(box))

    def lay(self, maps: WarpMaps, cover: Flow) -> None:
        """Lay pixels of the portrait from elsewhere over a rectangle, by a coverage of 0 to 1 for each."""
        below = self._part(maps.box)
        above = Planes(*(np.empty_like(plane) for plane in below))
        self.texture.read(maps, above)
        sparse = cover[::2, ::2]
        _mix(below.y, above.y, cover)
        _mix(below.u, above.u, sparse)
        _mix(below.v, above.v, sparse)

    def _part(self, box: Box) -> Planes:
        """Views of an even rectangle."""
        return Planes(self.planes.y[box.pixels], self.planes.u[box.chroma], self.planes.v[box.chroma])

    def bgr(self, box: Box) -> Picture:
        """The pixels of a rectangle inside the picture, (h, w, 3) BGR; what is painted on them will be seen."""
        around = box.even_around()
        if self._head is None:
            pixels = self.texture.portrait[around.pixels].copy()
        else:
            pixels = self.texture.read_bgr(self._head.part(around))
        if self._mouth is not None:
            common = around.overlap(self._mouth.box)
            if not common.is_empty:
                pixels[common.within(around).pixels] = self.texture.read_bgr(self._mouth.part(common))
        self._painted.append((around, pixels))
        inner: Picture = pixels[box.within(around).pixels]
        return inner

    def finish(self) -> Plane:
        """The picture as I420, with all that was painted; to be called once, at the end."""
        for box, pixels in self._painted:
            y, u, v = planes_of(from_bgr(pixels))
            self.planes.y[box.pixels] = y
            self.planes.u[box.chroma] = u
            self.planes.v[box.chroma] = v
        return self.picture


def _mix(below: NDArray[np.uint8], above: NDArray[np.uint8], cover: Flow) -> None:
    """Lay a plane over one that is changed in place."""
    mixed = above.astype(np.float32)
    mixed -= below
    mixed *= cover
    mixed += below
    mixed += np.float32(0.5)
    below[:] = mixed.astype(np.uint8)


def fetch(rows: NDArray[np.uint8]) -> None:
    """Bring rows of bytes, (n, m), into the cache.

    Encoding the frame before has driven them out. Read in order they come several at a time; `cv2.remap`, which
    gathers, would wait for each.
    """
    rows[:, ::_CACHE_LINE].copy()


def _sample(source: NDArray[np.uint8], x: Flow, y: Flow) -> NDArray[np.uint8]:
    found = cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)
