"""Heights of face, neck and ears, in picture pixels toward the viewer: what the light falls on."""

from __future__ import annotations

import cv2
import numpy as np
from face import NOSE_HALF_WIDTH, NOSE_TIP_Y, Face, half
from landmarks import INNER_LOWER
from paths import CENTRE_X, SIZE, Array, Field, Grid, beside, mirror, smoothstep
from plate import ThinPlate

_STEP = 4
EAR = (
    (86, 231), (92, 222), (99.5, 219.5), (105.5, 225), (107, 238), (105.4, 254), (102.6, 268), (101, 278), (98.4, 286),
    (93.4, 289.6), (86, 287),
)  # fmt: skip
NECK = ((45, 330), (46.5, 380), (48, 408), (52, 430), (62, 450), (78, 470), (90, 500), (90, 530))


def _landmark_surface(grid: Grid, landmarks: Array) -> Field:
    """Smooth surface through the landmark depths, the nose left out; on a coarse grid, then enlarged."""
    off = np.abs(landmarks[:, 0] - CENTRE_X)
    nose = (landmarks[:, 1] > 240) & (landmarks[:, 1] < 308) & (off < 24 - 0.12 * (300 - landmarks[:, 1]))
    ids = [k for k in range(468) if k not in INNER_LOWER[1:-1] and not nose[k]]
    fit = ThinPlate(landmarks[ids, :2], -landmarks[ids, 2:], smoothing=1.5e-3)
    line = np.arange(0, SIZE + _STEP, _STEP, dtype=np.float64)
    gx, gy = np.meshgrid(line, line)
    values = fit(np.stack([gx.ravel(), gy.ravel()], axis=1)).reshape(gx.shape)
    coarse = cv2.GaussianBlur(values.astype(np.float32), (0, 0), 1.6)
    # Picture coordinate c lies at raster coordinate scale * (c + 0.5) - 0.5.
    scale, shift = grid.scale * _STEP, 0.5 * (grid.scale - 1)
    right, down = shift - grid.left * grid.scale, shift - grid.top * grid.scale
    to_fine = np.array([[scale, 0, right], [0, scale, down]], np.float32)
    fine = cv2.warpAffine(coarse, to_fine, grid.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return grid.blur(np.asarray(fine, np.float32), 3.2)


def _nose(grid: Grid) -> Field:
    """Bridge, ball of the tip, wings and nostrils."""
    x, y = grid.axes()
    off = np.abs(x - CENTRE_X)
    along = np.clip((y - 226) / (NOSE_TIP_Y + 3 - 226), 0, 1)
    end = np.clip((y - NOSE_TIP_Y - 1 + 0.016 * off**2) / 16.5, 0, 1)
    rise = (1.5 + 15.5 * along**1.35) * smoothstep(218, 240, y) * np.sqrt(np.maximum(1 - end**2, 0))
    width = 6.2 + 3.6 * along**1.8
    out = rise * (0.72 * np.exp(-0.5 * (off / width) ** 2.4) + 0.28 * np.exp(-0.5 * (off / (2.0 * width)) ** 2))
    out = grid.blur(np.asarray(out, np.float32), 1.3)
    out += 3.6 * grid.blob(CENTRE_X, NOSE_TIP_Y + 3.5, 7.0, 5.8)
    for side in (-1, 1):
        out += 5.6 * grid.blob(CENTRE_X + side * 11.4, 295.2, 4.3, 4.8, side * 10)
        out -= 1.1 * grid.blob(CENTRE_X + side * 8.2, 290.5, 2.2, 4.2, side * 24)
        out -= 2.4 * grid.blob(CENTRE_X + side * (NOSE_HALF_WIDTH + 0.4), 293.0, 2.0, 5.2, side * -16)
        out -= 4.2 * grid.blob(CENTRE_X + side * 7.9, 300.6, 3.2, 1.5, side * 14)
    return np.asarray(out, np.float32)


def _lips(grid: Grid, face: Face) -> Field:
    upper = grid.soft(np.vstack([face.upper_lip, face.seam[::-1]]), 1.9)
    lower = grid.soft(np.vstack([face.seam, face.lower_lip[::-1]]), 2.6)
    out = 5.0 * upper + 7.4 * lower
    out += 1.1 * grid.blob(CENTRE_X, 328.5, 4.0, 3.0)
    for side in (-1, 1):
        out += 1.5 * grid.blob(CENTRE_X + side * 10, 339, 7.5, 3.6)
        out -= 1.5 * grid.blob(CENTRE_X + side * 40.0, 326.2, 3.6, 4.0)
        fold = beside(side, (20, 298), (29, 309), (38, 320), (43, 331))
        out -= 0.9 * grid.line(fold, 4.0, 2.6)
        out += 1.0 * grid.line(beside(side, (4.4, 305), (6.4, 321)), 3.0, 1.3)
    out -= 3.1 * grid.line(face.seam, 2.0, 1.1)
    out -= 1.4 * grid.line([(CENTRE_X, 304), (CENTRE_X, 322)], 4.5, 1.8)
    out -= 4.2 * grid.blob(CENTRE_X, 354, 20, 5.0)
    out += 3.4 * grid.blob(CENTRE_X, 374, 15, 10)
    return np.asarray(out, np.float32)


def _eyes(grid: Grid, face: Face) -> Field:
    """Sockets, eyeballs under the lids and the fold above them."""
    out = np.zeros(grid.shape, np.float32)
    for eye in face.eyes:
        side = 1 if eye.right else -1
        cx, cy = eye.iris
        out += 1.6 * grid.blob(CENTRE_X + side * 27, 222, 11, 7)
        out += 7.0 * grid.soft(np.vstack([eye.crease + (0, 1.5), eye.lower[::-1] + (0, 4.5)]), 3.6)
        out -= 2.4 * grid.line(eye.crease, 2.2, 1.2)
        out += 2.2 * grid.line((eye.brow_top + eye.brow_low) / 2 + (0, 2), 9, 4.5)
        out -= 0.7 * grid.line([(cx - 17, cy + 15), (cx, cy + 18.5), (cx + 15, cy + 16)], 3.0, 2.6)
        out += 3.4 * grid.blob(CENTRE_X + side * 52, 272, 17, 12, side * -24)
    return out


def face_relief(grid: Grid, face: Face, landmarks: Array) -> Field:
    """Return the height of the face; it rolls away toward the jaw line."""
    inside = grid.mask(face.skin)
    base = _landmark_surface(grid, landmarks)
    edge = grid.blur(inside, 9.0)
    _, y = grid.axes()
    low = smoothstep(250, 330, y)
    roll = -16.0 * np.clip(1 - (edge - 0.5) * 2, 0, 1) ** 2 * (0.35 + 0.65 * low)
    return np.asarray(base + roll + _nose(grid) + _lips(grid, face) + _eyes(grid, face), np.float32)


def neck_outline() -> Array:
    """Return the closed outline of neck and upper chest."""
    right = half(NECK, True)
    return np.vstack([right, mirror(right)[::-1]])


def neck_relief(grid: Grid) -> Field:
    """Return the height of the neck: a column, the two tendons, the hollow and the collar bones."""
    x, y = grid.axes()
    width = 52 + 60 * smoothstep(420, 500, y) ** 1.4
    across = np.clip(np.abs(x - CENTRE_X) / width, 0, 1)
    out = 46 * np.sqrt(np.maximum(1 - across**2.2, 0.0)) + 0.10 * (y - 400)
    for side in (-1, 1):
        out += 3.4 * grid.line(beside(side, (47, 372), (34, 415), (10, 462)), 9, 4.5)
        out += 3.0 * grid.line(beside(side, (12, 466), (50, 460), (110, 458)), 7, 3.0)
    out -= 5.0 * grid.blob(CENTRE_X, 468, 7, 9)
    out += 2.0 * grid.blob(CENTRE_X, 424, 9, 20)
    return grid.blur(np.asarray(out, np.float32), 1.5)


def ear_outline(right: bool) -> Array:
    """Return the closed outline of one ear."""
    return half(EAR, right)


def ear_relief(grid: Grid, right: bool) -> Field:
    """Return the height of one ear: outer rim, inner fold, bowl and lobe."""
    side = 1 if right else -1
    out = 9.0 * grid.soft(ear_outline(right), 3.0)
    out += 5.5 * grid.line(beside(side, (91, 229), (99, 222.5), (104.3, 232), (103, 250), (99.5, 266)), 4.2, 1.2)
    out -= 6.0 * grid.line(beside(side, (96, 232), (100.0, 240), (98, 256), (94.5, 264)), 5.0, 1.8)
    out += 3.0 * grid.line(beside(side, (95.5, 236), (97.2, 248), (95, 260)), 3.0, 1.2)
    out -= 4.0 * grid.blob(CENTRE_X + side * 92.5, 254, 2.6, 6.5)
    out += 3.0 * grid.blob(CENTRE_X + side * 95, 279, 4.0, 5.0)
    return np.asarray(out, np.float32)
