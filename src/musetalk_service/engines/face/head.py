"""Head, brows and shoulders: one smooth displacement of the whole picture.

The head turns by parallax: what is nearer moves further. Depth comes from the landmarks inside the
face and from an ellipsoid around it; the movement fades out over hair and neck.

The still picture is read from its double; only what a frame changed is read from the frame itself,
cubically, which is as sharp but dearer.
"""

from collections.abc import Sequence
from typing import Final, cast

import cv2
import numpy as np

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.interpolation import Lattice, smoothstep
from musetalk_service.engines.face.landmarks import BROWS, CHIN_TIP, FOREHEAD, SIZE, Face, FloatArray, Picture
from musetalk_service.models.face import Pose

_STEP: Final = 8
_HEAD_FIELDS: Final = Pose._fields.index("brow") + 1
"""The pose begins with the head's fields: yaw, pitch, roll, shifts, scale, breath and brow."""
_LIMITS: Final = np.array([*np.deg2rad([8.0, 8.0, 8.0]), 12.0, 12.0, 0.05, 4.0, 1.0])
"""Largest angles in radians, shifts in pixels, scale, breath in pixels and brow."""
_NOWHERE: Final = Box(0, 0, 0, 0)


class Head:
    """Moves the head of one portrait."""

    def __init__(self, double: Picture, face: Face) -> None:
        self._double = double
        self._lattice = lattice = Lattice(0, 0, SIZE, SIZE, _STEP)
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
            (weight, none),
            (none, weight),
            (weight * from_x, weight * from_y),
            (none, shoulders),
            (none, -0.10 * face.eye_distance * brows),
        )
        self._terms = np.stack([np.stack(term) for term in terms], axis=-1).reshape(-1, len(terms))
        self._terms = self._terms.astype(np.float32)
        self._still = np.stack([x, y]).astype(np.float32)

    @staticmethod
    def moves(pose: Pose) -> bool:
        """Whether anything but eyes and mouth differs from neutral."""
        return any(pose[:_HEAD_FIELDS])

    def move(self, picture: Picture, pose: Pose, changed: Sequence[Box]) -> Picture:
        """A new picture in which head, brows and shoulders take the pose.

        Args:
            picture: (512, 512, 3) BGR.
            pose: angles, shifts and scale are limited to what the picture bears.
            changed: where `picture` differs from the picture that was prepared.

        Returns:
            (512, 512, 3) BGR.
        """
        amounts = np.clip((*np.deg2rad(pose[:3]), *pose[3:_HEAD_FIELDS]), -_LIMITS, _LIMITS)
        lattice = self._lattice
        # The displacement is small and smooth: its inverse is close enough to its negative.
        shift = (self._terms @ amounts.astype(np.float32)).reshape(2, lattice.rows, lattice.cols)
        x, y = lattice.enlarge(2.0 * (self._still - shift))
        reach = int(np.abs(shift).max()) + 3
        areas = [box.grown(reach) for box in changed]
        moved = np.empty((SIZE, SIZE, 3), np.uint8)
        largest = max(areas, key=lambda box: box.area, default=_NOWHERE)
        for area in largest.surroundings():
            part = area.pixels
            if area.area:
                moved[part] = cv2.remap(
                    self._double, x[part], y[part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
        for area in areas:
            part = area.pixels
            moved[part] = cv2.remap(
                picture, 0.5 * x[part], 0.5 * y[part], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
        return moved


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
