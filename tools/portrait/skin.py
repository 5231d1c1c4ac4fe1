"""Skin colour and shadow, and the lit face, neck and ears."""

from __future__ import annotations

import cv2
import numpy as np
from face import Face
from ink import Ink, radial
from light import hex_rgb, shade, to_linear
from paths import CENTRE_X, Array, Field, Grid, at_x, beside, smoothstep, spline
from relief import ear_outline, ear_relief, face_relief, neck_outline, neck_relief

_SKIN = "#eab99b"
_LIP_UPPER, _LIP_LOWER, _SEAM = "#b0605a", "#c26e66", "#5e2523"


def _mottle(grid: Grid, rng: np.random.Generator) -> Field:
    """Fine and coarse unevenness of the skin around 0, made on the finished raster so that scale is free."""
    total = np.zeros(grid.shape, np.float32)
    for cells, amount in ((512, 0.009), (170, 0.010), (48, 0.012), (14, 0.010)):
        noise = rng.normal(0, 1, (cells, cells)).astype(np.float32)
        total += amount * grid.spread(noise)
    return total


def _tint(base: Field, mask: Field, colour: str, amount: float) -> Field:
    """Blend linear colour toward '#rrggbb' where ``mask`` is 1."""
    share = np.clip(mask * amount, 0, 1)[..., None]
    return np.asarray(base * (1 - share) + to_linear(hex_rgb(colour)) * share, np.float32)


def _plain(grid: Grid, rng: np.random.Generator) -> Field:
    mottle = _mottle(grid, rng)
    flat = np.broadcast_to(to_linear(hex_rgb(_SKIN)), (*grid.shape, 3))
    return np.asarray(flat * (1 + mottle[..., None] * np.array((0.8, 1.2, 1.2), np.float32)), np.float32)


def _lip_colour(grid: Grid, face: Face, base: Field) -> Field:
    upper = np.vstack([face.upper_lip, face.seam[::-1]])
    lower = np.vstack([face.seam, face.lower_lip[::-1]])
    base = _tint(base, grid.soft(face.lips, 2.2), "#cc8274", 0.42)
    base = _tint(base, grid.soft(lower, 0.75), _LIP_LOWER, 0.92)
    base = _tint(base, grid.soft(upper, 0.75), _LIP_UPPER, 0.95)
    x, _ = grid.axes()
    ends = smoothstep(26, 38, np.abs(x - CENTRE_X))
    return _tint(base, grid.soft(face.lips, 1.2) * ends, "#a8604f", 0.45)


def _freckle(grid: Grid, base: Field, rng: np.random.Generator) -> Field:
    """A few very faint freckles over nose and cheeks."""
    spots = Ink(grid)
    for _ in range(130):
        x, y = CENTRE_X + rng.normal(0, 36), 273 + rng.normal(0, 10)
        size, strength = rng.uniform(0.35, 0.8), rng.uniform(0.05, 0.17)
        spots.disc((float(x), float(y)), float(size), None, "#000000", float(strength), 0.3)
    return _tint(base, spots.pixels()[..., 3], "#9c5c44", 1.0)


def face_albedo(grid: Grid, face: Face, rng: np.random.Generator) -> Field:
    """Return the linear colour of the face without light: blush, warm nose, lips."""
    base = _plain(grid, rng)
    for side in (-1, 1):
        base = _tint(base, grid.blob(CENTRE_X + side * 55, 279, 23, 16, side * -22), "#dd846f", 0.36)
        base = _tint(base, grid.blob(CENTRE_X + side * 38, 253, 13, 5, side * 8), "#c0806e", 0.14)
        base = _tint(base, grid.blob(CENTRE_X + side * 14, 294, 6, 5), "#d27c66", 0.28)
        base = _tint(base, grid.blob(CENTRE_X + side * 7.9, 300.6, 3.0, 1.35, side * 14), "#4a1f16", 0.86)
    base = _tint(base, grid.blob(CENTRE_X, 287, 10, 9), "#d98874", 0.30)
    base = _tint(base, grid.blob(CENTRE_X, 375, 24, 13), "#dc9580", 0.22)
    base = _tint(base, grid.blob(CENTRE_X, 165, 50, 26), "#edc3a6", 0.35)
    for eye in face.eyes:
        base = _tint(base, grid.soft(eye.outline, 2.4), "#b0685a", 0.16)
        base = _tint(base, grid.soft(np.vstack([eye.crease + (0, -2), eye.upper[::-1]]), 2.6), "#cf927b", 0.22)
        hollow = np.vstack([eye.brow_low + (0, 5), eye.crease[::-1] + (0, -1)])
        base = _tint(base, grid.soft(hollow, 4.0), "#f7d2b8", 0.50 if eye.right else 0.32)
    return _lip_colour(grid, face, _freckle(grid, base, rng))


def _occlusion(grid: Grid, height: Field, face: Face) -> Field:
    """Hollows get less light: how far a point lies below its blurred surroundings."""
    near = np.clip((grid.blur(height, 3.0) - height) / 4.0, -0.3, 1)
    wide = np.clip((grid.blur(height, 11.0) - height) / 16.0, -0.2, 1)
    dark = np.clip(1 - 0.55 * near - 0.45 * wide, 0.25, 1.15)
    for side in (-1, 1):
        dark *= 1 - 0.55 * grid.blob(CENTRE_X + side * 7.9, 300.8, 3.4, 1.7, side * 14)
    dark *= 1 - 0.30 * grid.line(face.seam, 2.6, 0.9)
    return np.asarray(dark, np.float32)


def _cast(grid: Grid, face: Face, hair_edge: Array) -> Field:
    """Shadows of the key light: hair on the brow, nose on the cheek and lip, lip on the chin."""
    lit = grid.ones()
    lit *= 1 - 0.50 * grid.soft(hair_edge, 6.0)
    nose = [(258, 286), (268, 289), (275, 294), (278, 302), (270, 308), (258, 307), (249, 303)]
    lit *= 1 - 0.34 * grid.soft(nose, 3.2)
    edge = at_x(face.lower_lip, np.linspace(232, 284, 20)) + (0.8, 0)
    under = np.vstack([edge, [(276, 352), (258, 355), (240, 351)]])
    lit *= 1 - 0.34 * grid.soft(under, 2.8)
    upper = np.vstack([face.upper_lip + (0, 3), face.seam[::-1] + (0, 1.5)])
    lit *= 1 - 0.30 * grid.soft(upper, 1.6)
    for eye in face.eyes:
        lit *= 1 - 0.06 * grid.soft(np.vstack([eye.brow_low + (0, 2), eye.crease[::-1]]), 3.0)
    return lit


def _neck_layer(grid: Grid, face: Face, rng: np.random.Generator) -> tuple[Field, Field]:
    chin = face.oval + (6, 28)
    lit = 1 - 0.94 * grid.soft(chin, 6.0)
    ambient = 1 - 0.72 * grid.soft(face.oval + (1, 14), 8.0)
    height = neck_relief(grid)
    albedo = _tint(_plain(grid, rng), grid.blob(CENTRE_X, 465, 60, 30), "#dba088", 0.25)
    gloss = np.full_like(height, 0.35)
    colour = shade(grid, height, albedo, np.asarray(ambient, np.float32), gloss, np.asarray(lit, np.float32))
    return colour, grid.mask(neck_outline())


def draw_skin(
    grid: Grid, face: Face, landmarks: Array, hair_edge: Array, rng: np.random.Generator, below: Field
) -> Field:
    """Paint neck, ears and face over ``below`` (n, n, 3) sRGB."""
    colour, mask = _neck_layer(grid, face, rng)
    out = below * (1 - mask[..., None]) + colour * mask[..., None]
    ear_albedo = _tint(_plain(grid, rng), grid.ones(), "#d98a72", 0.30)
    for right in (False, True):
        height = ear_relief(grid, right)
        dark = np.clip(1 - 0.30 * (grid.blur(height, 2.5) - height), 0.35, 1.1) * 0.86
        colour = shade(grid, height, ear_albedo, dark, np.full_like(height, 0.5), dark)
        mask = grid.mask(ear_outline(right))[..., None]
        out = out * (1 - mask) + colour * mask
    height = face_relief(grid, face, landmarks)
    pores = rng.normal(0, 1, (1024, 1024)).astype(np.float32)
    height = height + 0.030 * grid.spread(pores)
    furrows = cv2.GaussianBlur(rng.normal(0, 1, (96, 512)).astype(np.float32), (0, 0), 0.8)
    furrows = grid.spread(np.asarray(furrows, np.float32))
    height = height + 0.22 * furrows * grid.soft(face.lips, 1.5)
    gloss = 0.75 + 1.5 * grid.soft(face.lips, 0.8) + 0.8 * grid.blob(CENTRE_X, 285, 10, 14)
    colour = shade(
        grid, height, face_albedo(grid, face, rng), _occlusion(grid, height, face), gloss, _cast(grid, face, hair_edge)
    )
    mask = grid.blur(grid.mask(face.skin), 0.5)[..., None]
    return np.asarray(out * (1 - mask) + colour * mask, np.float32)


def draw_jewels(grid: Grid) -> Ink:
    """Return the layer with two ear studs and a fine chain."""
    ink = Ink(grid)
    for side in (-1, 1):
        x, y = CENTRE_X + side * 94.2, 284.0
        ink.disc((x + 0.4, y + 0.9), 2.5, None, "#5a2a1c", 0.45, 1.0)
        ink.disc((x, y), 2.15, None, shader=radial((x - 0.7, y - 0.8), 2.9, [
            (0.0, "#fffdf8"), (0.35, "#efe3d2"), (0.8, "#b99f86"), (1.0, "#8a6d58")]))  # fmt: skip
    chain = beside(1, (-47, 434), (-36, 449), (-20, 463), (0, 469.5), (20, 463), (36, 449), (47, 434))
    ink.stroke(chain + (0.3, 0.9), (0.6, 0.9, 0.9, 0.9, 0.6), "#6a3522", 0.40, 0.5, 80)
    ink.stroke(chain, (0.4, 0.62, 0.66, 0.62, 0.4), "#c99a55", 0.95, 0.0, 80)
    curve = spline(chain, 90)
    for k in range(1, 89):
        glint = 0.5 + 0.5 * np.sin(k * 2.1)
        ink.disc((float(curve[k, 0]), float(curve[k, 1])), 0.36, None, "#fff0c8", 0.75 * float(glint))
    ink.disc((CENTRE_X + 0.3, 472.2), 2.1, 2.3, "#6a3522", 0.40, 0.8)
    ink.disc((CENTRE_X, 471.6), 1.75, 1.9, shader=radial((CENTRE_X - 0.6, 470.8), 2.5, [
        (0.0, "#fff3cf"), (0.4, "#e0b56a"), (1.0, "#8f6129")]))  # fmt: skip
    return ink


def draw_seam(grid: Grid, face: Face) -> Ink:
    """Return the layer with the dark line between the lips and the small shadows at its ends."""
    ink = Ink(grid)
    ink.stroke(face.seam, (0.5, 1.7, 2.1, 2.3, 2.1, 1.7, 0.5), _SEAM, 0.45, 0.7, 90)
    ink.stroke(face.seam[1:-1], (0.4, 0.9, 1.05, 1.15, 1.05, 0.9, 0.4), "#431716", 0.88, 0.22, 90)
    for end in (face.seam[0], face.seam[-1]):
        ink.disc((float(end[0]), float(end[1])), 1.7, 1.4, "#6e342a", 0.55, 0.9)
    return ink
