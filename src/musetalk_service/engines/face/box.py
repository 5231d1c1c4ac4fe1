"""Rectangles of pixels."""

from typing import NamedTuple

from musetalk_service.engines.face.landmarks import SIZE


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

    def grown(self, margin: int) -> "Box":
        """Larger by a margin on every side, as far as the picture reaches."""
        return Box(
            max(self.left - margin, 0),
            max(self.top - margin, 0),
            min(self.right + margin, SIZE),
            min(self.bottom + margin, SIZE),
        )

    def contains(self, other: "Box") -> bool:
        """Whether the other lies inside."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def surroundings(self) -> tuple["Box", ...]:
        """The rest of the picture in four rectangles, some possibly empty."""
        return (
            Box(0, 0, SIZE, self.top),
            Box(0, self.top, self.left, self.bottom),
            Box(self.right, self.top, SIZE, self.bottom),
            Box(0, self.bottom, SIZE, SIZE),
        )
