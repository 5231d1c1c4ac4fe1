"""A base video with a mouth of its own: each frame shows shut lips, and the spoken mouth is laid on it.

What moves lips, skin and teeth is prepared once, for the portrait that was made of the video's best frame. A frame
knows by which affine transform the lower face got there from the portrait; mouth and inner mouth are computed for the
portrait and carried over, and only the rectangle around the mouth is touched.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.frame import WarpMaps
from musetalk_service.engines.face.interpolation import Flow
from musetalk_service.engines.face.landmarks import FloatArray, Picture
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import REST, Mouth
from musetalk_service.utils.i420 import Plane, from_bgr, planes_of, size_of, to_bgr

_LARGEST_STRETCH: Final = 2.0
"""Largest singular value of a frame's transform, and the inverse of the smallest, that is taken for a head's move."""


@dataclass(frozen=True)
class AffineShift:
    """How the face of a frame lies against the portrait's."""

    matrix: FloatArray
    """(2, 3) from pixels of the portrait to those of the frame."""

    @cached_property
    def _back(self) -> FloatArray:
        linear = np.linalg.inv(self.matrix[:, :2])
        return np.column_stack([linear, -linear @ self.matrix[:, 2]])

    def at(self, positions: Flow) -> Flow:
        """Displacement that ends at positions, x and y of them: (2, h, w) pixels of (2, h, w)."""
        x, y = positions
        (a, b, c), (d, e, f) = self._back.astype(np.float32)
        return np.stack([x - (a * x + b * y + c), y - (d * x + e * y + f)])

    def move(self, points: FloatArray) -> FloatArray:
        """Where points of the portrait are in the frame, (n, 2) pixels."""
        moved: FloatArray = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return moved

    def onto_frame(self, maps: WarpMaps) -> WarpMaps:
        """Maps into the doubled portrait as maps into the frame itself."""
        (a, b, c), (d, e, f) = self.matrix.astype(np.float32)
        half = np.float32(0.5)
        return WarpMaps(
            maps.box, (half * a) * maps.x + (half * b) * maps.y + c, (half * d) * maps.x + (half * e) * maps.y + f
        )


class VideoFace:
    """Draws the frames of one base video. Threads may share it: drawing changes nothing."""

    def __init__(self, renderer: FaceRenderer, frames: NDArray[np.uint8], transforms: NDArray[np.float32]) -> None:
        """Put a video and the portrait of its face together.

        Args:
            renderer: of the portrait.
            frames: (n, height * 3 / 2, width) I420 with shut lips, usually mapped from a file.
            transforms: (n, 2, 3) from pixels of the portrait to those of each frame.

        Raises:
            ValueError: shapes that do not fit, or a transform that is no head's movement.
        """
        if frames.ndim != 3 or not len(frames) or frames.dtype != np.uint8:
            raise ValueError(f"frames must be (n, height * 3 / 2, width) uint8, not {frames.shape} {frames.dtype}")
        if transforms.shape != (len(frames), 2, 3) or not np.isfinite(transforms).all():
            raise ValueError(f"{len(frames)} frames need as many finite (2, 3) transforms, not {transforms.shape}")
        stretches = np.linalg.svd(transforms[:, :, :2].astype(np.float64), compute_uv=False)
        if stretches.max() > _LARGEST_STRETCH or stretches.min() < 1.0 / _LARGEST_STRETCH:
            raise ValueError(f"a transform stretches the face by {stretches.min():.2f} to {stretches.max():.2f}")
        self.size = size_of(frames[0])
        self._renderer = renderer
        self._frames = frames
        self._shifts = [AffineShift(matrix.astype(np.float64)) for matrix in transforms]

    def __len__(self) -> int:
        return len(self._frames)

    def draw(self, index: int, mouth: Mouth) -> Plane:
        """Frame `index` of the video with a mouth, (height * 3 / 2, width) I420, a new array.

        Raises:
            IndexError: no such frame.
        """
        frame = _VideoFrame(self._frames[index])
        if mouth == REST:
            return frame.finish()
        shift = self._shifts[index]
        shape, maps = self._renderer.speak(mouth, shift)
        if maps is not None:
            frame.warp(shift.onto_frame(maps))
        self._renderer.inner.paint(frame, shape, mouth)
        picture = frame.finish()
        self._renderer.folds.shade(picture[: self.size.height], shape, 0.0, mouth)
        return picture


class _VideoFrame:
    """One frame being made."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self._still = planes_of(picture)
        self._picture = np.array(picture)
        self._planes = planes_of(self._picture)
        self.size = size_of(self._picture)
        self._painted: list[tuple[Box, Picture]] = []

    def warp(self, maps: WarpMaps) -> None:
        """Fill a rectangle from elsewhere in the frame."""
        box = maps.box
        x, y = maps.x[::2, ::2] * np.float32(0.5), maps.y[::2, ::2] * np.float32(0.5)
        self._planes.y[box.pixels] = cv2.remap(
            self._still.y, maps.x, maps.y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        for source, target in ((self._still.u, self._planes.u), (self._still.v, self._planes.v)):
            target[box.chroma] = cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def bgr(self, box: Box) -> Picture:
        """The pixels of a rectangle inside the picture, (h, w, 3) BGR; what is painted on them will be seen."""
        around = box.even_around()
        rows, cols = around.bottom - around.top, around.right - around.left
        block = np.empty((rows * 3 // 2, cols), np.uint8)
        y, u, v = planes_of(block)
        y[:], u[:], v[:] = (
            self._planes.y[around.pixels],
            self._planes.u[around.chroma],
            self._planes.v[around.chroma],
        )
        pixels = to_bgr(block)
        self._painted.append((around, pixels))
        inner: Picture = pixels[box.within(around).pixels]
        return inner

    def finish(self) -> Plane:
        """The picture, with all that was painted; to be called once, at the end."""
        for box, pixels in self._painted:
            self._planes.y[box.pixels], self._planes.u[box.chroma], self._planes.v[box.chroma] = planes_of(
                from_bgr(pixels)
            )
        return self._picture
