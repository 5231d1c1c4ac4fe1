"""The studio behind the presenter, far out of focus."""

from __future__ import annotations

import numpy as np
from light import hex_rgb
from paths import SIZE, Field, Grid, smoothstep

_GLOWS = (  # x, y, radius across, radius down, colour, strength
    (60, 110, 120, 150, "#f3ead9", 0.80),
    (470, 90, 110, 130, "#d9e4ea", 0.55),
    (440, 330, 130, 120, "#5f7d90", 0.55),
    (40, 400, 140, 120, "#8aa0a8", 0.45),
    (256, 250, 190, 210, "#b9c8cd", 0.35),
)


def draw_backdrop(grid: Grid) -> Field:
    """Return the background (n, n, 3) in sRGB 0..1: broad soft light, no lines that a moving head could bend."""
    x, y = grid.axes()
    fall = smoothstep(grid.top, grid.top + grid.height, y + 0 * x)[..., None]
    out = hex_rgb("#c9d3d6") * (1 - fall) + hex_rgb("#8ea3ae") * fall
    for cx, cy, rx, ry, colour, strength in _GLOWS:
        share = (grid.blob(cx, cy, rx, ry) * strength)[..., None]
        out = out * (1 - share) + hex_rgb(colour) * share
    middle = grid.left + 0.5 * grid.width, grid.top + 0.46875 * grid.height
    reach = 380 * grid.width / SIZE, 400 * grid.height / SIZE
    corner = np.clip(np.hypot((x - middle[0]) / reach[0], (y - middle[1]) / reach[1]), 0, 1.4)
    return np.asarray(out * (1 - 0.20 * corner**2.6)[..., None], np.float32)
