"""Light on skin: a soft key from the upper left, a cool fill, a rim, and scattering under the surface.

The wrap of the diffuse term is wider in red than in blue, and the light is blurred more in red, which is the
usual cheap stand-in for subsurface scattering (d'Eon and Luebke, "Advanced Techniques for Realistic Real-Time
Skin Rendering", GPU Gems 3, 2007).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from paths import Field, Grid

KEY = (-0.46, -0.52, 0.72)
FILL = (0.80, -0.10, 0.58)
RIM = (0.93, -0.28, -0.12)
_WRAP = np.array((0.52, 0.30, 0.22), np.float32)
_SCATTER = (2.6, 1.1, 0.7)  # blur of red, green and blue light, in picture pixels
_KEY_COLOUR = np.array((1.00, 0.955, 0.90), np.float32) * 1.06
_FILL_COLOUR = np.array((0.95, 0.94, 0.98), np.float32) * 0.16
_SKY_COLOUR = np.array((0.94, 0.98, 1.04), np.float32) * 0.24
_GROUND_COLOUR = np.array((1.05, 0.80, 0.68), np.float32) * 0.20
_RIM_COLOUR = np.array((1.0, 0.97, 0.94), np.float32) * 0.55


def to_linear(srgb: npt.ArrayLike) -> Field:
    """Decode sRGB values in 0..1 to linear light."""
    v = np.asarray(srgb, np.float32)
    return np.asarray(np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4), np.float32)


def to_srgb(linear: Field) -> Field:
    """Encode linear light as sRGB values in 0..1."""
    v = np.clip(linear, 0, 1)
    return np.asarray(np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055), np.float32)


def hex_rgb(colour: str) -> Field:
    """Return '#rrggbb' as sRGB values (3,) in 0..1."""
    return np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)], np.float32)


def normals(height: Field, scale: int) -> tuple[Field, Field, Field]:
    """Unit normals of a height field whose heights and coordinates are both in picture pixels."""
    dy, dx = np.gradient(height * scale)
    length = np.sqrt(dx * dx + dy * dy + 1)
    return -dx / length, -dy / length, 1 / length


def _dot(normal: tuple[Field, Field, Field], direction: tuple[float, float, float]) -> Field:
    unit = np.asarray(direction, np.float32) / np.float32(np.linalg.norm(direction))
    return np.asarray(normal[0] * unit[0] + normal[1] * unit[1] + normal[2] * unit[2], np.float32)


def shade(
    grid: Grid, height: Field, albedo: Field, occlusion: Field, gloss: Field, key_shadow: Field | None = None
) -> Field:
    """Light a surface.

    Args:
        height: (n, n) height in picture pixels, positive toward the viewer.
        albedo: (n, n, 3) linear reflectance.
        occlusion: (n, n) share of ambient light that arrives, 0..1.
        gloss: (n, n) strength of the highlights.
        key_shadow: (n, n) share of key light that arrives, 0..1.

    Returns:
        (n, n, 3) sRGB values in 0..1.
    """
    normal = normals(height, grid.scale)
    facing = _dot(normal, KEY)
    lit = np.ones_like(height) if key_shadow is None else key_shadow
    fill, up = np.clip(_dot(normal, FILL), 0, 1), 0.5 - 0.5 * normal[1]
    rim = np.clip(_dot(normal, RIM), 0, 1) ** 2.2
    out = np.empty((*height.shape, 3), np.float32)
    for k in range(3):
        soft_facing = np.clip((facing + _WRAP[k]) / (1 + _WRAP[k]), 0, 1) ** 1.5
        ambient = _SKY_COLOUR[k] * up + _GROUND_COLOUR[k] * (1 - up) + _FILL_COLOUR[k] * fill
        light = _KEY_COLOUR[k] * soft_facing * lit ** (0.75 if k == 0 else 1.0)
        light += ambient * occlusion ** (0.55 if k == 0 else 1.0)
        out[..., k] = albedo[..., k] * grid.blur(np.asarray(light, np.float32), _SCATTER[k])
    middle = np.asarray(KEY, np.float32) / np.linalg.norm(KEY) + np.array((0, 0, 1), np.float32)
    shine = np.clip(_dot(normal, tuple(middle.tolist())), 0, 1)
    spark = (0.060 * shine**12 + 0.085 * shine**44) * gloss * lit * occlusion
    out += spark[..., None] * _KEY_COLOUR + (rim * occlusion)[..., None] * _RIM_COLOUR * albedo
    return to_srgb(out)
