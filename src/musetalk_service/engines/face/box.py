"""Rectangles of pixels."""

from typing import NamedTuple

import numpy as np

from musetalk_service.engines.face.landmarks import SIZE, FloatArray


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
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def clipped(self) -> "Box":
        """The part inside the picture."""
        return Box(max(self.left, 0), max(self.top, 0), min(self.right, SIZE), min(self.bottom, SIZE))

    def corners(self) -> FloatArray:
        """(4, 2) x and y of the corner pixels."""
        left, top, right, bottom = self.left, self.top, self.right - 1, self.bottom - 1
        return np.array([[left, top], [right, top], [left, bottom], [right, bottom]], dtype=np.float64)

    def surroundings(self) -> tuple["Box", ...]:
        """The rest of the picture in four rectangles, some possibly empty."""
        return (
            Box(0, 0, SIZE, self.top),
            Box(0, self.top, self.left, self.bottom),
            Box(self.right, self.top, SIZE, self.bottom),
            Box(0, self.bottom, SIZE, SIZE),
        )
