"""Blazer and blouse, lit like the skin."""

from __future__ import annotations

import cv2
import numpy as np
from ink import Ink
from light import hex_rgb, shade, to_linear
from paths import CENTRE_X, Array, Field, Grid, beside, mirror, spline

_BLAZER, _BLOUSE = "#2f4a5c", "#efe7dc"
BODY = ((50, 444), (66, 445), (92, 456), (130, 467), (168, 478), (198, 494), (212, 520), (212, 560), (0, 560))
BLOUSE = ((0, 482), (22, 478), (42, 467), (54, 452), (60, 445), (72, 470), (60, 530), (0, 560))
OPENING = ((57, 440), (57, 466), (50, 500), (34, 560))
LAPEL = (
    (58, 441), (68, 443), (80, 452), (93, 468), (97, 484), (84, 489), (88, 498), (70, 530), (52, 560), (36, 560),
    (52, 500), (57, 466),
)  # fmt: skip


def _place(points: tuple[tuple[float, float], ...], right: bool, count: int = 140) -> Array:
    curve = spline(np.asarray(points, np.float64) + (CENTRE_X, 0), count)
    return curve if right else mirror(curve)


def _both(points: tuple[tuple[float, float], ...]) -> Array:
    right = _place(points, True)
    return np.vstack([right, mirror(right)[::-1]])


def body_outline() -> Array:
    """Return the closed outline of the blazer."""
    return _both(BODY)


def _weave(grid: Grid, rng: np.random.Generator, amount: float) -> Field:
    noise = cv2.GaussianBlur(rng.normal(0, amount, (768, 768)).astype(np.float32), (0, 0), 0.7)
    return np.asarray(cv2.resize(noise, (grid.side,) * 2, interpolation=cv2.INTER_CUBIC), np.float32)


def _paint(
    grid: Grid, below: Field, mask: Field, height: Field, colour: str, dark: Field, rng: np.random.Generator
) -> Field:
    albedo = np.asarray(to_linear(hex_rgb(colour)) * (1 + _weave(grid, rng, 0.05))[..., None], np.float32)
    gloss = np.full_like(height, 0.10)
    lit = shade(grid, height + _weave(grid, rng, 0.02), albedo, dark, gloss, dark)
    return np.asarray(below * (1 - mask[..., None]) + lit * mask[..., None], np.float32)


def _stitch(grid: Grid, lapels: list[Array]) -> Ink:
    """The fine seam along each lapel's edge and the light that catches the fold."""
    ink = Ink(grid)
    for lapel in lapels:
        inward = lapel + 0.045 * (lapel.mean(axis=0) - lapel)
        ink.stroke(inward[8:70], (0.2, 0.5, 0.5, 0.2), "#1b303d", 0.45, 0.2, 80)
        ink.stroke(lapel[8:70], (0.2, 0.6, 0.6, 0.2), "#86a4b4", 0.40, 0.3, 80)
        ink.stroke(lapel[118:], (0.2, 0.8, 0.8, 0.2), "#7f9dae", 0.35, 0.5, 60)
    return ink


def draw_clothes(grid: Grid, rng: np.random.Generator, below: Field) -> Field:
    """Paint blouse, then blazer and lapels, over ``below`` (n, n, 3) sRGB."""
    x, y = grid.axes()
    ones = np.ones((grid.side, grid.side), np.float32)
    chest = (34 * np.sqrt(np.maximum(1 - ((x - CENTRE_X) / 235) ** 2, 0)) + 0 * y).astype(np.float32)
    blouse = _both(BLOUSE)
    mask = grid.mask(blouse)
    height = chest + 2.4 * grid.soft(blouse, 1.6)
    # A narrow rolled edge along the neckline.
    neckline = _place(BLOUSE[:5], True)
    whole_line = np.vstack([mirror(neckline)[:0:-1], neckline]) + (0, 2.2)
    height += 1.3 * grid.line(whole_line[::12], 3.0, 0.8)
    for dx in (-34, -14, 12, 36):
        fold = [(CENTRE_X + dx * 0.7, 484), (CENTRE_X + dx * 0.9, 500), (CENTRE_X + dx, 530)]
        height += 1.5 * grid.line(fold, 6, 3.0)
    lapels = [_place(LAPEL, right) for right in (False, True)]
    shadow = ones.copy()
    for lapel in lapels:
        shadow *= 1 - 0.55 * grid.soft(lapel + (2.5, 3), 4.0)
    below = below * (1 - 0.40 * (grid.soft(blouse + (1, -1), 3.0) * (1 - mask)))[..., None]
    out = _paint(grid, np.asarray(below, np.float32), mask, np.asarray(height, np.float32), _BLOUSE, shadow, rng)

    body = body_outline()
    opening = _both(OPENING)
    mask = np.clip(grid.mask(body) - grid.mask(opening), 0, 1)
    height = chest + 16 * grid.soft(body, 7.0)
    for side in (-1, 1):
        height -= 3.0 * grid.line(beside(side, (150, 473), (158, 490), (160, 516), (158, 540)), 3.5, 2.4)
        height += 3.0 * grid.line(beside(side, (120, 470), (128, 492), (124, 530)), 10, 6.0)
        height -= 2.0 * grid.line(beside(side, (178, 486), (172, 505), (176, 530)), 6, 4.0)
    shadow = ones.copy()
    for lapel in lapels:
        shadow *= 1 - 0.50 * grid.soft(lapel + (1.5, 3), 3.0)
    out = _paint(grid, out, mask, np.asarray(height, np.float32), _BLAZER, shadow, rng)
    for lapel in lapels:
        mask = grid.mask(lapel)
        height = chest + 3.0 * grid.soft(lapel, 1.2) + 4.0 * grid.soft(lapel, 6.0)
        out = _paint(grid, out, mask, np.asarray(height, np.float32), "#385669", ones, rng)
    return _stitch(grid, lapels).over(out)
