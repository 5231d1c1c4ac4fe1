"""The warp of the lower face: two layers, one that belongs to the skull and one to the jaw.

Both layers are thin-plate warps driven by the same skin; the upper one carries the upper lip, the
lower one the lower lip. Where the lips part, the layers come apart, and the picture switches from
one to the other along the seam. Flows are blended there, never colours, so nothing shows twice.
"""

import math
from dataclasses import replace
from typing import Final, NamedTuple, Protocol, cast

import cv2
import numpy as np

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.face.closed_mouth import ClosedMouth
from musetalk_service.engines.face.frame import WarpMaps
from musetalk_service.engines.face.interpolation import Flow, Lattice, sample, thin_plate_basis
from musetalk_service.engines.face.landmarks import (
    CHEEKS,
    CHIN,
    CHIN_TIP,
    CORNERS,
    EYE_LEVEL,
    JAW_LINE,
    LOWER_INNER,
    LOWER_OUTER,
    NOSE,
    UPPER_FACE,
    UPPER_INNER,
    UPPER_OUTER,
    Face,
    FloatArray,
)
from musetalk_service.engines.face.mouth_shape import FIELDS, LIPS, LipShape, MouthShaper

_STEP: Final = 5
"""Pixels between the nodes of the flow: a sixth of the height of both lips. As all lengths here, in pixels of a picture
like the default avatar's."""
_INVERSIONS: Final = 4
_SEAM: Final = 0.35
"""Half width in pixels of the change from one layer to the other, between the corners."""
_SHUT_SEAM: Final = 1.2
"""Added to that half width while the lips are shut."""
_WIDENING: Final = 0.9
"""Growth of that half width per pixel beyond the corners."""
_MARGIN: Final = 16
_STILL: Final = 1.0 / 64.0
"""Flows up to this many pixels are none: `cv2.remap` rounds to 1/32."""


class Shift(Protocol):
    """How a head has moved, whether by a pose or in a video."""

    def at(self, positions: Flow) -> Flow:
        """Displacement that ends at positions, x and y of them: (2, h, w) pixels of (2, h, w)."""
        ...

    def move(self, points: FloatArray) -> FloatArray:
        """Where points of the still picture go, (n, 2) pixels."""
        ...


def carry(shape: LipShape, shift: Shift) -> LipShape:
    """The lips where the head takes them."""
    count = len(shape.upper)
    moved = shift.move(np.vstack([shape.upper, shape.lower, [shape.centre]]))
    upper, lower, centre = moved[:count], moved[count:-1], moved[-1]
    angle = _slant(upper) - _slant(shape.upper)
    return replace(shape, upper=upper, lower=lower, centre=(float(centre[0]), float(centre[1])), angle=angle)


def _slant(curve: FloatArray) -> float:
    return math.atan2(curve[-1, 1] - curve[0, 1], curve[-1, 0] - curve[0, 0])


class MouthWarp:
    """Maps from the pixels of the mouth region to where in the texture they come from."""

    def __init__(self, face: Face, closed: ClosedMouth, shaper: MouthShaper) -> None:
        points = face.points
        jaw = points[list(JAW_LINE)]
        margin = 0.12 * face.eye_distance
        left = max(0, int(jaw[:, 0].min() - margin))
        right = min(face.size.width, int(jaw[:, 0].max() + margin) + 1)
        top = max(0, int(points[EYE_LEVEL, 1]))
        bottom = min(face.size.height, int(points[CHIN_TIP, 1] + 0.75 * face.lower_height) + 1)
        self.box = Box(left, top, right, bottom)
        """The region; nothing outside moves."""
        self._size = face.size
        self._unit = face.unit
        step = max(2, round(_STEP * face.unit))
        # The head's rotation may carry the region's rim beyond the region.
        reach = round(_MARGIN * face.unit)
        self._lattice = lattice = Lattice(
            left - reach, top - reach, right - left + 2 * reach, bottom - top + 2 * reach, step
        )
        self._nodes = np.stack([lattice.x, lattice.y]).astype(np.float32)
        self._centre = shaper.centre
        self._prepare(closed.source, shaper)
        self._seam_y = np.interp(lattice.x[0], closed.source[list(UPPER_INNER), 0], closed.source[list(UPPER_INNER), 1])

    def _prepare(self, source: FloatArray, shaper: MouthShaper) -> None:
        """Flow of every node per lip point and per skin field."""
        lattice = self._lattice
        left, top, right, bottom = self.box
        neck, neck_weights = shaper.neck()
        ring = [
            spot
            for t in np.linspace(0.0, 1.0, 7)
            for spot in (
                (left + t * (right - left), top),
                (left + t * (right - left), bottom),
                (left, top + t * (bottom - top)),
                (right, top + t * (bottom - top)),
            )
        ]
        still = np.unique(np.array(ring, dtype=np.float64), axis=0)
        lips = {*UPPER_OUTER, *UPPER_INNER, *LOWER_OUTER, *LOWER_INNER}
        shared = sorted({*JAW_LINE, *CHEEKS, *NOSE, *UPPER_FACE} - lips)
        layers = (
            (shared, sorted({*UPPER_OUTER, *UPPER_INNER} - set(CORNERS))),
            (sorted({*shared, *CHIN} - lips), sorted({*LOWER_OUTER, *LOWER_INNER} - set(CORNERS))),
        )
        # Zero up to a node inside the rim of the region, in full from the third on.
        inside = np.minimum.reduce([lattice.x - left, right - 1 - lattice.x, lattice.y - top, bottom - 1 - lattice.y])
        fade = np.clip(inside / (2.0 * lattice.step) - 0.5, 0.0, 1.0)
        first_col, first_row, cols, rows = cv2.boundingRect((fade > 0.0).astype(np.uint8))
        # With a ring of nodes that stay: beyond, all is as there.
        self._core = core = (slice(first_row - 1, first_row + rows + 1), slice(first_col - 1, first_col + cols + 1))
        self._core_first = np.array([[[first_col - 1]], [[first_row - 1]]], np.float32)
        self._core_cols = cols + 2
        nodes = np.stack([lattice.x[core].ravel(), lattice.y[core].ravel()], axis=1)
        count = len(nodes)
        self._lips_of: list[tuple[list[int], Flow]] = []
        """Of each layer, the lip points that move it, and the flow of every node, (points, nodes), by each of these."""
        field_flow = np.zeros((2, 2, count, FIELDS))
        for layer, (skin, own) in enumerate(layers):
            moving = [*CORNERS, *own]
            points = np.vstack([source[moving], source[skin], neck, still])
            basis = thin_plate_basis(points, nodes, unit=100.0 * self._unit) * fade[core].reshape(-1, 1)
            lips_of = np.ascontiguousarray(basis[:, : len(moving)].T, np.float32)
            self._lips_of.append(([LIPS.index(i) for i in moving], lips_of))
            fields = shaper.fields(np.vstack([source[skin], neck]))
            fields[:, len(skin) :] = 0.0
            fields[0, len(skin) :, 1] = 0.9 * neck_weights
            part = basis[:, len(moving) : len(moving) + fields.shape[1]]
            field_flow[:, layer] = np.einsum("np,fpd->dnf", part, fields)
        self._field_flow = field_flow.reshape(4 * count, FIELDS).astype(np.float32)

    def flow(self, shape: LipShape) -> Flow:
        """Forward flow in x and y of both layers at the core's nodes: (2, 2, rows, cols) pixels, upper layer first."""
        flow = (self._field_flow @ shape.fields.astype(np.float32)).reshape(2, 2, -1)
        lips = shape.lips.T.astype(np.float32)
        for layer, (moving, basis) in enumerate(self._lips_of):
            flow[:, layer] += lips[:, moving] @ basis
        return cast(Flow, flow.reshape(2, 2, -1, self._core_cols))

    def maps(self, shape: LipShape, shift: Shift | None = None) -> WarpMaps | None:
        """Where each pixel that the mouth moves comes from; None when nothing moves.

        Args:
            shape: the lips, carried along by the head.
            shift: how the head moves.
        """
        lattice = self._lattice
        rows, cols = lattice.rows, lattice.cols
        backward = self._inverse(self.flow(shape))
        still = self._nodes  # positions on the still head
        left, top = lattice.left, lattice.top
        if shift is not None:
            # The nodes follow the head by whole pixels; then each finds its place on the still head.
            jump = round(shape.centre[0] - self._centre[0]), round(shape.centre[1] - self._centre[1])
            left, top = left + jump[0], top + jump[1]
            still = still + np.array(jump, np.float32)[:, None, None]
            still -= shift.at(still)
            places = lattice.index(still) - self._core_first
            origins = sample(backward.reshape(4, -1, self._core_cols), *places).reshape(2, 2, rows, cols)
        else:
            origins = np.zeros((2, 2, rows, cols), np.float32)
            origins[..., self._core[0], self._core[1]] = backward
        moving = np.abs(origins).max(axis=(0, 1)) > _STILL
        first_col, first_row, moving_cols, moving_rows = cv2.boundingRect(moving.view(np.uint8))
        if not moving_cols:
            return None
        # With the two nodes on either side that their pixels touch.
        part_rows = slice(max(first_row - 2, 0), min(first_row + moving_rows + 2, rows))
        part_cols = slice(max(first_col - 2, 0), min(first_col + moving_cols + 2, cols))
        np.subtract(still[:, None], origins, out=origins)
        origins *= 2.0
        planes = origins.reshape(4, rows, cols)
        node_x, node_y = lattice.x[0] + (left - lattice.left), lattice.y[:, 0] + (top - lattice.top)
        # Only at the lips is the change from layer to layer narrower than the mesh; elsewhere the nodes are mixed.
        seam = _Seam.of(shape, self._unit)
        mixed = seam.mix(planes, node_x, node_y)
        full = lattice.enlarge(mixed[:, part_rows, part_cols])
        part_left, part_top = left + part_cols.start * lattice.step, top + part_rows.start * lattice.step
        lip_rows, lip_cols = self._lips(seam.middle, left, top)
        fine = lattice.enlarge(planes[:, lip_rows, lip_cols])
        fine_x = left + lip_cols.start * lattice.step + np.arange(fine.shape[2])
        fine_y = top + lip_rows.start * lattice.step + np.arange(fine.shape[1])
        fine_box = Box(int(fine_x[0]), int(fine_y[0]), int(fine_x[-1]) + 1, int(fine_y[-1]) + 1)
        whole = Box(part_left, part_top, part_left + full.shape[2], part_top + full.shape[1])
        seen = fine_box.overlap(whole)
        if not seen.is_empty:
            lips = seam.mix(fine, fine_x, fine_y)
            rows_, cols_ = seen.within(whole).pixels
            rows__, cols__ = seen.within(fine_box).pixels
            full[:, rows_, cols_] = lips[:, rows__, cols__]
        box = whole.clipped(self._size).even_inside()
        rows_, cols_ = box.within(whole).pixels
        return WarpMaps(box, full[0, rows_, cols_], full[1, rows_, cols_])

    def _lips(self, middle: FloatArray, left: int, top: int) -> tuple[slice, slice]:
        """Rows and columns of the nodes around the line between the lips, (n, 2), of a lattice at a place."""
        step, reach = self._lattice.step, 12.0 * self._unit
        first_x, last_x = float(middle[0, 0]) - reach, float(middle[-1, 0]) + reach
        first_y, last_y = float(middle[:, 1].min()) - 3 * step, float(middle[:, 1].max()) + 3 * step
        columns = slice(max(int((first_x - left) / step), 0), min(int((last_x - left) / step) + 4, self._lattice.cols))
        rows = slice(max(int((first_y - top) / step), 0), min(int((last_y - top) / step) + 4, self._lattice.rows))
        return rows, columns

    def _inverse(self, forward: Flow) -> Flow:
        """Backward flow of both layers, as `flow` gives it: v(y) = u(y - v(y))."""
        step = -np.float32(self._lattice.step)
        forward = (forward / step).reshape(2, -1, self._core_cols)  # from nodes, both layers one above the other
        backward = forward
        for _ in range(_INVERSIONS):
            backward = sample(forward, backward[0], backward[1], relative=True)
        return cast(Flow, backward * step).reshape(2, 2, -1, self._core_cols)

    def smallest_stretch(self, shape: LipShape) -> float:
        """Least Jacobian determinant of the visible flow: 1 where nothing moves, negative at a fold."""
        flow = self.flow(shape).astype(np.float64)
        below, step = (self._lattice.y - self._seam_y)[self._core], self._lattice.step
        worst = 1.0
        for layer, visible in enumerate((below < step, below > -step)):
            dx_dy, dx_dx = np.gradient(flow[0, layer], step)
            dy_dy, dy_dx = np.gradient(flow[1, layer], step)
            determinant = (1.0 + dx_dx) * (1.0 + dy_dy) - dx_dy * dy_dx
            worst = min(worst, float(determinant[visible].min()))
        return worst


class _Seam(NamedTuple):
    """Where one layer changes into the other."""

    middle: FloatArray
    """(n, 2) the line between the lips."""
    width: float
    """Half of that of the change between the corners."""

    @classmethod
    def of(cls, shape: LipShape, unit: float) -> "_Seam":
        """The seam between lips; `unit` is what a pixel of a picture like the default avatar's is here."""
        # Between shut lips the layers agree, and a wide change spares the thin dark line.
        shut = max(0.0, 1.0 - shape.gap / unit)
        return cls(0.5 * (shape.upper + shape.lower), _SEAM + unit * _SHUT_SEAM * shut)

    def mix(self, planes: Flow, x: FloatArray, y: FloatArray) -> Flow:
        """One layer of two, (2, rows, cols) of (4, rows, cols), of columns x and rows y in pixels."""
        line_x, line_y = self.middle.T
        seam = np.interp(x, line_x, line_y)
        # How far outside the corners.
        outside = np.abs(x - 0.5 * (line_x[0] + line_x[-1])) - 0.5 * (line_x[-1] - line_x[0])
        slope = 0.5 / (self.width + _WIDENING * np.maximum(outside, 0.0))
        # 1 above the seam and 0 below is the upper layer's share.
        share = y.astype(np.float32)[:, None] * -slope.astype(np.float32)
        share += (0.5 + seam * slope).astype(np.float32)
        np.maximum(share, 0.0, out=share)
        np.minimum(share, 1.0, out=share)
        upper, lower = planes[0::2], planes[1::2]
        mixed: Flow = upper - lower
        mixed *= share
        mixed += lower
        return mixed
