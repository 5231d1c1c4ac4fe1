"""Heights of face, neck and ears, in picture pixels toward the viewer: what the light falls on."""

from __future__ import annotations

import cv2
import numpy as np
from face import CENTRE_X, NOSE_BASE_Y, NOSE_HALF_WIDTH, NOSE_TIP_Y, Face, half
from landmarks import INNER_LOWER
from paths import SIZE, Array, Field, Grid, mirror, smoothstep
from plate import ThinPlate

_STEP = 4
EAR = (
    (92, 231), (96, 222), (103.5, 219.5), (109.5, 225), (111, 238), (109, 254), (105.5, 268), (103, 281), (98, 288),
    (93.5, 284),
)  # fmt: skip
NECK = ((47, 330), (48.5, 380), (50, 408), (54, 428), (66, 444), (96, 458), (150, 474), (190, 520))


def _landmark_surface(grid: Grid, landmarks: Array) -> Field:
    """Smooth surface through the landmark depths, on a coarse grid, then enlarged."""
    ids = [k for k in range(468) if k not in INNER_LOWER[1:-1]]
    fit = ThinPlate(landmarks[ids, :2], -landmarks[ids, 2:], smoothing=2e-4)
    line = np.arange(0, SIZE + _STEP, _STEP, dtype=np.float64)
    gx, gy = np.meshgrid(line, line)
    coarse = fit(np.stack([gx.ravel(), gy.ravel()], axis=1)).reshape(gx.shape).astype(np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), 1.6)
    scale = grid.scale * _STEP
    shift = (scale - 1) / 2 + 0.5 * (grid.scale - 1) - (scale - 1) / 2
    to_fine = np.array([[scale, 0, shift], [0, scale, shift]], np.float32)
    fine = cv2.warpAffine(coarse, to_fine, (grid.side,) * 2, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return grid.blur(np.asarray(fine, np.float32), 2.0)


def _nose(grid: Grid) -> Field:
    """Bridge, ball of the tip, wings and nostrils, added to the smooth surface."""
    x, y = grid.axes()
    along = np.clip((y - 228) / (NOSE_TIP_Y - 228), 0, 1)
    width = 5.6 + 4.6 * along**1.6
    fade = smoothstep(222, 246, y) * (1 - smoothstep(NOSE_TIP_Y - 6, NOSE_TIP_Y + 10, y))
    bridge = (2.6 + 3.2 * along) * np.exp(-0.5 * ((x - CENTRE_X) / width) ** 2) * fade
    out = bridge + 5.4 * grid.blob(CENTRE_X, NOSE_TIP_Y, 8.2, 6.6)
    for side in (-1, 1):
        out += 5.4 * grid.blob(CENTRE_X + side * 13.4, 292.6, 4.6, 5.0, side * 12)
        out -= 2.6 * grid.blob(CENTRE_X + side * (NOSE_HALF_WIDTH + 1.2), 291.0, 2.2, 6.0, side * -18)
        out -= 5.0 * grid.blob(CENTRE_X + side * 8.2, 299.6, 3.6, 1.7, side * 14)
    out += 2.2 * grid.blob(CENTRE_X, 300, 3.2, 4)
    return np.asarray(out, np.float32)


def _lips(grid: Grid, face: Face) -> Field:
    upper = grid.soft(np.vstack([face.upper_lip, face.seam[::-1]]), 1.9)
    lower = grid.soft(np.vstack([face.seam, face.lower_lip[::-1]]), 2.6)
    out = 5.0 * upper + 7.4 * lower
    out += 1.1 * grid.blob(CENTRE_X, 328.5, 4.0, 3.0)
    for side in (-1, 1):
        out += 1.5 * grid.blob(CENTRE_X + side * 10, 339, 7.5, 3.6)
        out -= 2.2 * grid.blob(CENTRE_X + side * 41.0, 329.0, 3.6, 3.4)
        out += 1.0 * grid.line([(CENTRE_X + side * 4.4, 305), (CENTRE_X + side * 6.4, 321)], 3.0, 1.3)
    out -= 3.1 * grid.line(face.seam, 2.0, 1.1)
    out -= 1.4 * grid.line([(CENTRE_X, 304), (CENTRE_X, 322)], 4.5, 1.8)
    out -= 4.6 * grid.blob(CENTRE_X, 352.5, 22, 5.0)
    out += 4.0 * grid.blob(CENTRE_X, 373, 20, 11)
    return np.asarray(out, np.float32)


def _eyes(grid: Grid, face: Face) -> Field:
    """Sockets, eyeballs under the lids and the fold above them."""
    out = np.zeros((grid.side, grid.side), np.float32)
    for eye in face.eyes:
        side = 1 if eye.right else -1
        cx, cy = eye.iris
        out -= 3.0 * grid.blob(CENTRE_X + side * 22, 229, 8, 9)
        out += 7.0 * grid.soft(np.vstack([eye.crease + (0, 1.5), eye.lower[::-1] + (0, 4.5)]), 3.6)
        out -= 2.4 * grid.line(eye.crease, 2.2, 1.2)
        out += 2.2 * grid.line((eye.brow_top + eye.brow_low) / 2 + (0, 2), 9, 4.5)
        out -= 1.3 * grid.line([(cx - 17, cy + 15), (cx, cy + 18.5), (cx + 15, cy + 16)], 3.0, 2.4)
        out += 2.6 * grid.blob(CENTRE_X + side * 60, 268, 16, 12, side * -30)
    return out


def face_relief(grid: Grid, face: Face, landmarks: Array) -> Field:
    """Return the height of the face; it rolls away toward the jaw line."""
    inside = grid.mask(face.oval)
    base = _landmark_surface(grid, landmarks)
    edge = grid.blur(inside, 9.0)
    _, y = grid.axes()
    low = smoothstep(250, 330, y)
    roll = -22.0 * np.clip(1 - (edge - 0.5) * 2, 0, 1) ** 2 * (0.35 + 0.65 * low)
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
        out += 3.4 * grid.line(
            [(CENTRE_X + side * 47, 372), (CENTRE_X + side * 34, 415), (CENTRE_X + side * 10, 462)], 9, 4.5
        )
        out += 3.0 * grid.line([(CENTRE_X + side * 12, 466), (CENTRE_X + side * 50, 460), (CENTRE_X + side * 110, 458)], 7, 3.0)
    out -= 5.0 * grid.blob(CENTRE_X, 468, 7, 9)
    out += 2.0 * grid.blob(CENTRE_X, 424, 9, 20)
    return grid.blur(np.asarray(out, np.float32), 1.5)


def ear_outline(right: bool) -> Array:
    """Return the closed outline of one ear."""
    return half(EAR, right)


def ear_relief(grid: Grid, right: bool) -> Field:
    """Return the height of one ear: outer rim, inner fold, bowl and lobe."""
    side = 1 if right else -1
    at = lambda *pts: [(CENTRE_X + side * dx, y) for dx, y in pts]  # noqa: E731
    out = 9.0 * grid.soft(ear_outline(right), 3.0)
    out += 5.5 * grid.line(at((95, 229), (103, 222.5), (108.3, 232), (107, 250), (103.5, 266)), 4.2, 1.2)
    out -= 6.0 * grid.line(at((100, 232), (104.0, 240), (102, 256), (98.5, 264)), 5.0, 1.8)
    out += 3.0 * grid.line(at((99.5, 236), (101.2, 248), (99, 260)), 3.0, 1.2)
    out -= 4.0 * grid.blob(CENTRE_X + side * 96.5, 254, 2.6, 6.5)
    out += 3.0 * grid.blob(CENTRE_X + side * 99, 279, 4.0, 5.0)
    return np.asarray(out, np.float32)
