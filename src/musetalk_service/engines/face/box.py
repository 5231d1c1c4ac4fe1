"""Rectangles of pixels."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from musetalk_service.engines.face.landmarks import FloatArray
from musetalk_service.models.media import FrameSize

_CALL: Final = 3500
"""Pixels that take as long to be read as one more rectangle does, however small."""


class Box(NamedTuple):
    """A rectangle in a portrait; right and bottom are just outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index of the rectangle in a picture: rows, columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def chroma(self) -> tuple[slice, slice]:
        """Index of an even rectangle in a plane of half the size."""
        return slice(self.top // 2, self.bottom // 2), slice(self.left // 2, self.right // 2)

    @property
    def is_empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def area(self) -> int:
        """Its pixels, if it is not empty."""
        return (self.right - self.left) * (self.bottom - self.top)

    def clipped(self, size: FrameSize) -> "Box":
        """The part inside a picture."""
        return self.overlap(Box(0, 0, *size))

    def overlap(self, other: "Box") -> "Box":
        """What both cover, possibly empty."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def within(self, outer: "Box") -> "Box":
        """The same pixels, counted from a corner of another rectangle."""
        left, top = outer.left, outer.top
        return Box(self.left - left, self.top - top, self.right - left, self.bottom - top)

    def even_around(self) -> "Box":
        """The smallest rectangle around it that holds whole chroma samples."""
        return Box(self.left & ~1, self.top & ~1, (self.right + 1) & ~1, (self.bottom + 1) & ~1)

    def even_inside(self) -> "Box":
        """The largest rectangle in it that holds whole chroma samples."""
        return Box((self.left + 1) & ~1, (self.top + 1) & ~1, self.right & ~1, self.bottom & ~1)

    def corners(self) -> FloatArray:
        """(4, 2) x and y of the corner pixels."""
        left, top, right, bottom = self.left, self.top, self.right - 1, self.bottom - 1
        return np.array([[left, top], [right, top], [left, bottom], [right, bottom]], dtype=np.float64)

    def without(self, *holes: "Box") -> list["Box"]:
        """The rest around holes: up to four rectangles for one."""
        rest = [self]
        for hole in holes:
            rest = [part for box in rest for part in box._around(hole.overlap(box))]
        return rest

    def _around(self, hole: "Box") -> list["Box"]:
        """The rest around a hole that is not outside."""
        if hole.is_empty:
            return [self]
        around = (
            Box(self.left, self.top, self.right, hole.top),
            Box(self.left, hole.top, hole.left, hole.bottom),
            Box(hole.right, hole.top, self.right, hole.bottom),
            Box(self.left, hole.bottom, self.right, self.bottom),
        )
        return [box for box in around if not box.is_empty]


def joined(strips: Iterable[Box]) -> tuple[Box, ...]:
    """Strips from top to bottom, those made one that are dearer to be read apart than together."""
    boxes: list[Box] = []
    for strip in strips:
        last = boxes[-1] if boxes else None
        if last is not None and last.bottom == strip.top:
            both = Box(min(last.left, strip.left), last.top, max(last.right, strip.right), strip.bottom)
            if both.area - last.area - strip.area <= _CALL:
                boxes[-1] = both
                continue
        boxes.append(strip)
    return tuple(boxes)
