"""Single strands and locks of hair, lit with the Kajiya-Kay model (SIGGRAPH 1989)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ink import Ink, linear, ribbon
from light import KEY
from paths import CENTRE_X, Array

DARK, MID, LIGHT = (np.array(c, float) for c in ((44, 26, 18), (94, 58, 37), (150, 98, 62)))
_SHINE = np.array((220, 180, 142), float)
_STOPS = 12


def skull(points: Array) -> Array:
    """Height of the head under the hair, an ellipsoid, toward the viewer."""
    u, v = _from_middle(points)
    return np.asarray(112 * np.sqrt(np.maximum(1 - u * u - np.minimum(v, 0.30) ** 2, 0.02)))


def _from_middle(points: Array) -> tuple[Array, Array]:
    return (points[:, 0] - CENTRE_X) / 130, (points[:, 1] - 200) / 140


def tone(rng: np.random.Generator) -> Array:
    """Pick the colour of one lock."""
    pick = rng.uniform()
    if pick < 0.28:
        return np.asarray(DARK + (MID - DARK) * pick * 2)
    return np.asarray(MID + (LIGHT - MID) * rng.uniform(-0.15, 0.8))


def lit(points: Array, colour: Array, tilt: float, dim: float | Array, gleam: float = 1.0) -> list[str]:
    """Return colours along a strand (12 stops) from its direction in space, the light and the eye."""
    solid = np.column_stack([points, -skull(points)])
    along = np.gradient(solid, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    key = np.array((KEY[0], KEY[1], -KEY[2])) / np.linalg.norm(KEY)
    middle = key + (0, 0, -1)
    middle /= np.linalg.norm(middle)
    u, v = _from_middle(points)
    low = np.minimum(v, 0.30)
    facing = -0.46 * u - 0.62 * low + 0.60 * np.sqrt(np.maximum(1 - u * u - low**2, 0.0))
    # Below the ears the waves turn the hair toward the key light (left) and away again.
    turn = 1 - 2.6 * along[:, 0] * np.clip((points[:, 1] - 250) / 60, 0, 1)
    turn = np.clip(turn, 0.45, 1.7)
    body = (0.34 + 0.72 * np.clip(facing, 0.26, 1.1)) * turn
    sine = np.sqrt(np.maximum(1 - np.clip(along @ middle + tilt, -1, 1) ** 2, 0))
    crown = np.clip(1.2 - 1.6 * np.maximum(v, 0), 0, 1)
    shine = (0.36 * sine**70 + 0.19 * sine**10) * np.clip(facing + 0.20, 0, 1) * gleam * crown
    shine = shine + 0.24 * np.clip(turn - 1.1, 0, 1) * np.clip(facing + 0.35, 0, 1)
    rim = np.clip(u - 0.78, 0, 1) * 1.9 * np.clip(1.2 - low, 0, 1)
    # The lengths are a little lighter and warmer than the roots.
    colour = colour * (1 + np.clip((points[:, 1] - 270) / 190, 0, 1)[:, None] * (0.34, 0.31, 0.26))
    shade = np.broadcast_to(np.asarray(dim, np.float64), (len(points),))
    colours = (colour * body[:, None] + _SHINE * (shine + 0.34 * rim)[:, None]) * shade[:, None]
    picked = np.clip(colours[_stops(len(points))], 0, 255).astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in picked]


def _stops(count: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, count - 1, _STOPS).astype(np.int64)


def strand(ink: Ink, points: Array, width: float, colours: list[str], opacity: float, root: float = 0.25) -> None:
    """Draw one strand; ``root`` is the share of its width where it starts."""
    start, end = points[0], points[-1]
    chord = (end - start) / np.linalg.norm(end - start)
    reach = np.maximum.accumulate((points - start) @ chord)[_stops(len(points))]
    places = np.clip(reach / max(float(reach[-1]), 1e-6), 0, 1)
    shader = linear((float(start[0]), float(start[1])), (float(end[0]), float(end[1])), colours, places.tolist())
    outline = ribbon(points, (root * width, width, width, 0.9 * width, 0.12 * width), 44)
    ink.fill(outline, opacity=opacity, shader=shader)
