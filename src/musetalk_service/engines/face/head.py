"""Head, brows and shoulders: one smooth displacement of the whole picture.

The head turns by parallax: what is nearer moves further. Depth comes from the landmarks inside the
face and from an ellipsoid around it; the movement fades out over hair and neck.
"""

from dataclasses import dataclass
from typing import Final, cast

import cv2
import numpy as np

from musetalk_service.engines.face.box import Box, joined
from musetalk_service.engines.face.frame import WarpMaps
from musetalk_service.engines.face.interpolation import Flow, Lattice, sample, smoothstep
from musetalk_service.engines.face.landmarks import BROWS, CHIN_TIP, FOREHEAD, Face, FloatArray
from musetalk_service.models.face import Pose

_STEP: Final = 8
"""Pixels of a picture like the default avatar's between the nodes of the flow."""
_BANDS: Final = 6
_STILL: Final = 1.0 / 64.0
"""Pixels that count as no movement: `cv2.remap` rounds to 1/32."""
_HEAD_FIELDS: Final = Pose._fields.index("brow") + 1
"""The pose begins with the head's fields: yaw, pitch, roll, shifts, scale, breath and brow."""
_LIMITS: Final = np.array([8.0, 8.0, 8.0, 12.0, 12.0, 0.05, 4.0, 1.0], np.float32)
"""Largest angles, shifts, scale, breath and brow, in the pose's units."""


class Head:
    """Moves the head of one portrait."""

    def __init__(self, face: Face) -> None:
        self._box = Box(0, 0, *face.size)
        self.lattice = lattice = Lattice(0, 0, *face.size, max(2, round(_STEP * face.unit)))
        x, y = lattice.x, lattice.y
        chin = face.points[CHIN_TIP]
        centre = (face.points[FOREHEAD] + chin) / 2
        off_x = (x - centre[0]) / face.half_width
        off_y = (y - centre[1]) / face.half_height
        distance = np.hypot(off_x, np.where(off_y < 0, 0.80 * off_y, off_y))  # hair reaches up
        weight = 1.0 - smoothstep(1.25, 2.3, distance)
        depth = _depth(face, lattice, distance)
        brows = np.zeros_like(x)
        for brow_x, brow_y in face.points[list(BROWS)]:
            near_x = (x - brow_x) / (0.22 * face.eye_distance)
            near_y = (y - brow_y + 0.06 * face.eye_distance) / (0.20 * face.eye_distance)
            brows = np.maximum(brows, np.exp(-(near_x**2) - near_y**2))
        brows = cv2.GaussianBlur(brows, (0, 0), 0.7)
        shoulders = smoothstep(0.15, 0.9, (y - chin[1]) / face.half_height)
        # The neck's foot stays, the head turns about it.
        from_x, from_y = x - chin[0], y - (chin[1] + 0.15 * face.half_height)
        radius = 1.25 * face.half_width
        none = np.zeros_like(x)
        terms = (
            (weight * radius * (depth + 0.15), none),
            (none, weight * radius * (depth - 0.35)),
            (-weight * from_y, weight * from_x),
            (weight * face.unit, none),
            (none, weight * face.unit),
            (weight * from_x, weight * from_y),
            (none, shoulders * face.unit),
            (none, -0.10 * face.eye_distance * brows),
        )
        per_unit = np.stack([np.stack(term) for term in terms], axis=-1).reshape(-1, len(terms))
        per_unit[:, :3] *= np.deg2rad(1.0)
        self._terms = per_unit.astype(np.float32)
        self._still = np.stack([x, y]).astype(np.float32)
        extents = np.abs(self._terms) @ _LIMITS
        self.farthest: Flow = np.hypot(*extents.reshape(2, lattice.rows, lattice.cols))
        """(rows, cols) pixels that the nodes move at most, whatever the pose."""
        self.areas = _moving_areas(self.farthest, lattice, self._box)
        """Where any pose moves pixels, without overlap."""

    def shift(self, pose: Pose) -> "HeadShift | None":
        """Where a pose moves the picture; None when it does not.

        Args:
            pose: angles, shifts and scale are limited to what the picture bears.
        """
        if not any(pose[:_HEAD_FIELDS]):
            return None
        amounts = np.minimum(np.maximum(np.array(pose[:_HEAD_FIELDS], np.float32), -_LIMITS), _LIMITS)
        nodes = (self._terms @ amounts).reshape(2, self.lattice.rows, self.lattice.cols)
        # The displacement is small and smooth: its inverse is close enough to its negative.
        return HeadShift(self.lattice, nodes, 2.0 * (self._still - nodes))


@dataclass(frozen=True)
class HeadShift:
    """How a pose moves the picture."""

    lattice: Lattice
    nodes: Flow
    """(2, rows, cols) displacement in pixels at the nodes of the lattice."""
    origins: Flow
    """(2, rows, cols) where the nodes come from, in pixels of the doubled picture."""

    def part(self, box: Box) -> WarpMaps:
        """Where each pixel of a rectangle inside the picture comes from."""
        x, y = self.lattice.enlarge_to(self.origins, *box)
        return WarpMaps(box, x, y)

    def at(self, positions: Flow) -> Flow:
        """Displacement that ends at positions, x and y of them: (2, h, w) pixels of (2, h, w)."""
        return sample(self.nodes, *self.lattice.index(positions))

    def move(self, points: FloatArray) -> FloatArray:
        """Where points of the still picture go, (n, 2) pixels."""
        still = points.T[..., None].astype(np.float32)
        away = self.at(still + self.at(still))  # the displacement is known where it ends
        moved: FloatArray = points + away[..., 0].T
        return moved


def _moving_areas(farthest: Flow, lattice: Lattice, picture: Box) -> tuple[Box, ...]:
    """Bands of the picture, each as wide as what the largest pose moves in it."""
    most = farthest > _STILL
    bands: list[Box] = []
    for band in np.array_split(np.arange(lattice.rows), _BANDS):
        rows = slice(max(int(band[0]) - 1, 0), int(band[-1]) + 2)
        columns = np.flatnonzero(most[rows].any(axis=0))
        if columns.size:
            left, right = lattice.left + (columns[0] - 2) * lattice.step, lattice.left + columns[-1] * lattice.step
            top, bottom = lattice.top + (band[0] - 1) * lattice.step, lattice.top + band[-1] * lattice.step
            box = Box(int(left), int(top), int(right), int(bottom)).overlap(picture)
            bands.append(box.even_around())
    return joined(bands)


def _depth(face: Face, lattice: Lattice, distance: FloatArray) -> FloatArray:
    """Nearness at the nodes: 1 at the nose tip, 0 at the ears and beyond the head."""
    points, near = face.points[:468], -face.depth[:468]
    near = (near - near.min()) / (np.ptp(near) + 1e-6)
    # Average of the landmarks around a node, the nearer the heavier.
    square = (lattice.x[..., None] - points[:, 0]) ** 2 + (lattice.y[..., None] - points[:, 1]) ** 2
    weight = np.exp(-0.5 * square / (0.10 * face.half_width) ** 2)
    total = weight.sum(axis=-1)
    inside = (weight @ near) / np.maximum(total, 1e-9)
    ellipsoid = 0.75 * np.sqrt(np.clip(1.0 - (distance / 1.45) ** 2, 0.0, 1.0))
    trust = np.clip(total / 0.5, 0.0, 1.0)
    mixed = (ellipsoid + (inside - ellipsoid) * trust).astype(np.float32)
    return cast(FloatArray, cv2.GaussianBlur(mixed, (0, 0), 2.0).astype(np.float64))
