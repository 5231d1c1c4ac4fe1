"""Blazer and blouse, lit like the skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from ink import Ink, radial
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
# The same clothes where the picture goes on below: half a blazer with its sleeve, and the opening down to the button.
LONG_BODY = (
    (50, 444), (66, 445), (92, 456), (130, 467), (168, 478), (196, 493), (213, 518), (225, 566), (235, 640), (243, 725),
    (248, 810), (250, 900), (250, 1000), (250, 1100), (0, 1100),
)  # fmt: skip
LONG_BLOUSE = ((0, 482), (22, 478), (42, 467), (54, 452), (60, 445), (72, 470), (66, 600), (44, 700), (0, 770))
LONG_OPENING = ((57, 440), (57, 466), (52, 520), (42, 590), (26, 660), (7, 728), (0, 745))
LONG_LAPEL = (
    (58, 441), (68, 443), (80, 452), (93, 468), (97, 484), (84, 489), (90, 499), (108, 520), (100, 575), (78, 645),
    (46, 705), (16, 744), (2, 758), (7, 728), (26, 660), (42, 590), (52, 520), (57, 466),
)  # fmt: skip
_BUTTONS = (800.0, 905.0)


@dataclass(frozen=True)
class _Cut:
    """The outlines of one length of the clothes, and the half width over which the chest is round."""

    body: tuple[tuple[float, float], ...]
    blouse: tuple[tuple[float, float], ...]
    opening: tuple[tuple[float, float], ...]
    lapel: tuple[tuple[float, float], ...]
    round: float


_SHORT_CUT = _Cut(BODY, BLOUSE, OPENING, LAPEL, 235)
_LONG_CUT = _Cut(LONG_BODY, LONG_BLOUSE, LONG_OPENING, LONG_LAPEL, 262)


def _cut(grid: Grid) -> _Cut:
    return _LONG_CUT if grid.is_long else _SHORT_CUT


def _place(points: tuple[tuple[float, float], ...], right: bool, count: int = 140) -> Array:
    curve = spline(np.asarray(points, np.float64) + (CENTRE_X, 0), count)
    return curve if right else mirror(curve)


def _both(points: tuple[tuple[float, float], ...]) -> Array:
    right = _place(points, True)
    return np.vstack([right, mirror(right)[::-1]])


def body_outline(grid: Grid) -> Array:
    """Return the closed outline of the blazer."""
    return _both(_cut(grid).body)


def _weave(grid: Grid, rng: np.random.Generator, amount: float) -> Field:
    noise = cv2.GaussianBlur(rng.normal(0, amount, (768, 768)).astype(np.float32), (0, 0), 0.7)
    return grid.spread(np.asarray(noise, np.float32))


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
    if grid.is_long:
        for lapel in lapels:
            ink.stroke(lapel[8:78], (0.2, 0.6, 0.6, 0.2), "#86a4b4", 0.40, 0.3, 120)
            ink.stroke(lapel[86:], (0.2, 0.8, 0.8, 0.2), "#7f9dae", 0.35, 0.5, 120)
        return ink
    for lapel in lapels:
        inward = lapel + 0.045 * (lapel.mean(axis=0) - lapel)
        ink.stroke(inward[8:70], (0.2, 0.5, 0.5, 0.2), "#1b303d", 0.45, 0.2, 80)
        ink.stroke(lapel[8:70], (0.2, 0.6, 0.6, 0.2), "#86a4b4", 0.40, 0.3, 80)
        ink.stroke(lapel[118:], (0.2, 0.8, 0.8, 0.2), "#7f9dae", 0.35, 0.5, 60)
    return ink


def _drape(grid: Grid) -> tuple[Field, Field]:
    """Below the square picture: what sleeves, waist and buttoned front add to the height, and how lit they are."""
    height, lit = np.zeros(grid.shape, np.float32), grid.ones()
    for side in (-1, 1):
        sleeve = beside(side, (159, 560), (157, 640), (160, 730), (165, 840), (166, 1000))
        height -= 9.0 * grid.line(sleeve, 9, 4.0)
        lit *= 1 - 0.55 * grid.line(sleeve - (side * 3.0, 0), 10, 5.0)
        height += 12.0 * grid.line(beside(side, (200, 520), (206, 640), (212, 780), (214, 1000)), 52, 16.0)
        for start, end in (((170, 760), (222, 735)), ((176, 790), (232, 788)), ((172, 822), (226, 846))):
            height -= 2.2 * grid.line(beside(side, start, ((start[0] + end[0]) / 2, start[1] + 3), end), 8, 4.0)
        height += 9.0 * grid.blob(CENTRE_X + side * 72, 668, 44, 62)
        for start, end in (((150, 640), (96, 690)), ((148, 720), (60, 770)), ((146, 800), (40, 806))):
            height -= 1.7 * grid.line(beside(side, start, ((start[0] + end[0]) / 2, start[1] + 16), end), 9, 5.0)
    edge = beside(1, (-2, 752), (8, 800), (12, 880), (13, 1000))
    height += 2.4 * grid.line(edge - (5, 0), 10, 2.0)
    height -= 2.4 * grid.line(edge + (3, 0), 4, 1.4)
    lit *= 1 - 0.50 * grid.line(edge + (3.5, 2), 5, 2.0)
    return height, lit


def _buttons(grid: Grid) -> Ink:
    """The buttons that hold the front."""
    ink = Ink(grid)
    for y in _BUTTONS:
        x = CENTRE_X - 1.0 + 0.03 * (y - _BUTTONS[0])
        ink.disc((x + 1.4, y + 2.2), 8.2, None, "#0d1a23", 0.55, 2.0)
        ink.disc((x, y), 7.6, None, shader=radial((x - 2.4, y - 3.0), 11.5, [
            (0.0, "#5d7c8e"), (0.5, "#2c4556"), (1.0, "#16262f")]))  # fmt: skip
        ink.disc((x, y), 5.2, None, shader=radial((x + 1.6, y + 2.0), 7.0, [(0.0, "#48677a"), (1.0, "#223947")]))
        for dx, dy in ((-1.6, -1.6), (1.6, -1.6), (-1.6, 1.6), (1.6, 1.6)):
            ink.disc((x + dx, y + dy), 0.75, None, "#0c161c", 0.9)
    return ink


def draw_clothes(grid: Grid, rng: np.random.Generator, below: Field) -> Field:
    """Paint blouse, then blazer and lapels, over ``below`` (n, n, 3) sRGB."""
    x, y = grid.axes()
    cut = _cut(grid)
    ones = grid.ones()
    chest = (34 * np.sqrt(np.maximum(1 - ((x - CENTRE_X) / cut.round) ** 2, 0)) + 0 * y).astype(np.float32)
    blouse = _both(cut.blouse)
    mask = grid.mask(blouse)
    height = chest + 2.4 * grid.soft(blouse, 1.6)
    # A narrow rolled edge along the neckline.
    neckline = _place(BLOUSE[:5], True)
    whole_line = np.vstack([mirror(neckline)[:0:-1], neckline]) + (0, 2.2)
    height += 1.3 * grid.line(whole_line[::12], 3.0, 0.8)
    for dx in (-34, -14, 12, 36):
        fold = [(CENTRE_X + dx * 0.7, 484), (CENTRE_X + dx * 0.9, 500), (CENTRE_X + dx, 530)]
        height += 1.5 * grid.line(fold, 6, 3.0)
    lapels = [_place(cut.lapel, right) for right in (False, True)]
    shadow = ones.copy()
    for lapel in lapels:
        shadow *= 1 - 0.55 * grid.soft(lapel + (2.5, 3), 4.0)
    below = below * (1 - 0.40 * (grid.soft(blouse + (1, -1), 3.0) * (1 - mask)))[..., None]
    out = _paint(grid, np.asarray(below, np.float32), mask, np.asarray(height, np.float32), _BLOUSE, shadow, rng)

    body = body_outline(grid)
    opening = _both(cut.opening)
    mask = np.clip(grid.mask(body) - grid.mask(opening), 0, 1)
    height = chest + 16 * grid.soft(body, 7.0)
    for side in (-1, 1):
        height -= 3.0 * grid.line(beside(side, (150, 473), (158, 490), (160, 516), (158, 540)), 3.5, 2.4)
        height += 3.0 * grid.line(beside(side, (120, 470), (128, 492), (124, 530)), 10, 6.0)
        height -= 2.0 * grid.line(beside(side, (178, 486), (172, 505), (176, 530)), 6, 4.0)
    shadow = ones.copy()
    if grid.is_long:
        drape, shadow = _drape(grid)
        height += drape
    for lapel in lapels:
        shadow *= 1 - 0.50 * grid.soft(lapel + (1.5, 3), 3.0)
    out = _paint(grid, out, mask, np.asarray(height, np.float32), _BLAZER, shadow, rng)
    for lapel in lapels:
        mask = grid.mask(lapel)
        height = chest + 3.0 * grid.soft(lapel, 1.2) + 4.0 * grid.soft(lapel, 6.0)
        out = _paint(grid, out, mask, np.asarray(height, np.float32), "#385669", ones, rng)
    out = _stitch(grid, lapels).over(out)
    return _buttons(grid).over(out) if grid.is_long else out
