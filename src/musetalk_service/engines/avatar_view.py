"""The pictures of an avatar, and which part of which of them a frame of a given size shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.models.media import BASE_SIZE, FrameSize
from musetalk_service.utils import i420

_FACE_HEIGHT = 0.45
"""Where the middle of the face lies, from the top, in a part that is cut out of a higher picture."""


@dataclass(frozen=True)
class View:
    """One picture of an avatar. What it shows is told on the plane of the 512x512 portrait, its landmarks' own."""

    size: FrameSize
    left: float
    top: float
    width: float
    height: float
    read: Callable[[], NDArray[np.uint8]]
    """(height, width, 3) BGR; read only when it is wanted."""
    read_matte: Callable[[], NDArray[np.uint8]] | None = None
    """(height, width) how much of each pixel is the person, 255 all of it."""

    @property
    def shows_portrait(self) -> bool:
        """Whether it shows what the portrait shows, in whatever size."""
        return (self.left, self.top, self.width, self.height) == (0, 0, *BASE_SIZE)

    def place(self, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Landmarks (478, 3) of the portrait, in pixels of this picture; whole numbers are pixel centres."""
        scale = self.size.width / self.width
        moved = landmarks.astype(np.float64)
        moved[:, :2] = (moved[:, :2] + 0.5 - (self.left, self.top)) * scale - 0.5
        moved[:, 2] *= scale
        return moved.astype(np.float32)


@dataclass(frozen=True)
class Framing:
    """A view in the size in which it is drawn, and the part of that which is shown.

    The whole is drawn and then cut: a head that moves brings in what was beside the part.
    """

    view: View
    drawn: FrameSize
    left: int
    top: int
    size: FrameSize
    """Of the part: what frames are asked in, or less where the view has less: nothing is gained by drawing more."""

    @property
    def is_whole(self) -> bool:
        return self.size == self.drawn

    def prepare(self, landmarks: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The whole picture (height, width, 3) of :attr:`drawn`, and the portrait's landmarks on it."""
        scale = np.array(self.drawn) / self.view.size
        placed = self.view.place(landmarks).astype(np.float64)
        placed[:, :2] = (placed[:, :2] + 0.5) * scale - 0.5
        placed[:, 2] *= scale.mean()
        return self._scaled(self.view.read()), placed.astype(np.float32)

    def prepare_matte(self, of_portrait: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """The view's matte (height, width), else the portrait's where both show the same; None where there is none."""
        if self.view.read_matte is not None:
            return self._scaled(self.view.read_matte())
        if of_portrait is None or not self.view.shows_portrait:
            return None
        fitted = cv2.resize(of_portrait, self.view.size, interpolation=cv2.INTER_LINEAR)
        return self._scaled(np.asarray(fitted, np.uint8))

    def show(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of a drawn I420 picture."""
        return picture if self.is_whole else i420.cut(picture, self.left, self.top, self.size)

    def _scaled(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if picture.shape[1::-1] == self.drawn:
            return picture
        return np.asarray(cv2.resize(picture, self.drawn, interpolation=cv2.INTER_AREA), np.uint8)


def choose_framing(views: Sequence[View], landmarks: NDArray[np.float32], size: FrameSize) -> Framing:
    """The view that loses least by being cut to the shape of ``size``; of those that lose as little the
    smallest that is fine enough.

    Squares of up to 512 pixels are drawn in 512x512 and scaled down when they are encoded.
    """
    if size.width == size.height and size.width <= BASE_SIZE.width:
        size = BASE_SIZE

    def kept(view: View) -> float:
        shape, own = size.width / size.height, view.width / view.height
        return round(min(shape / own, own / shape), 2)

    best = max(map(kept, views))
    fitting = sorted((view for view in views if kept(view) == best), key=lambda view: view.size.pixels)
    enough = [view for view in fitting if view.size.pixels * best >= size.pixels]
    return _frame(enough[0] if enough else fitting[-1], landmarks, size)


def largest_within(outer: FrameSize, shape: FrameSize) -> FrameSize:
    """The largest size of a shape that fits into another."""
    scale = min(outer.width / shape.width, outer.height / shape.height)
    return FrameSize(min(outer.width, _even(shape.width * scale)), min(outer.height, _even(shape.height * scale)))


def _frame(view: View, landmarks: NDArray[np.float32], size: FrameSize) -> Framing:
    shape = size.width / size.height
    width = min(view.size.width, view.size.height * shape)
    scale = size.width / width
    if scale > 1:  # the view has less
        scale, size = 1.0, FrameSize(_even(width), _even(width / shape))
    drawn = FrameSize(
        max(size.width, _even(view.size.width * scale)), max(size.height, _even(view.size.height * scale))
    )
    middle = view.place(landmarks)[:, :2] * scale
    x, y = (middle.min(axis=0) + middle.max(axis=0)) / 2
    left = min(max(0, _even(float(x) - size.width / 2)), drawn.width - size.width)
    top = min(max(0, _even(float(y) - size.height * _FACE_HEIGHT)), drawn.height - size.height)
    return Framing(view, drawn, left, top, size)


def _even(length: float) -> int:
    return 2 * round(length / 2)
