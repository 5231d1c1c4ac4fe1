"""Eyeballs, lids, lashes and brows."""

from __future__ import annotations

import numpy as np
from face import Eye, Face
from ink import Ink, linear, radial
from paths import Array, Grid

_LASH, _LINE = "#20130e", "#2a1812"


def _toward(eye: Eye) -> int:
    """Direction of the outer corner along x."""
    return 1 if eye.right else -1


def _eyeball(ink: Ink, eye: Eye, rng: np.random.Generator) -> None:
    out = _toward(eye)
    (cx, cy), r = eye.iris, eye.radius
    top, bottom = float(eye.upper[:, 1].min()), float(eye.lower[:, 1].max())
    inner = eye.upper[0]
    ink.fill(eye.outline, shader=linear((cx, top), (cx, bottom), ["#ab9b97", "#dcd3d0", "#e9e2df", "#d6c8c3"]))
    with ink.inside(eye.outline):
        for end, reach, strength in ((eye.upper[0], 8.0, 0.55), (eye.upper[-1], 9.0, 0.60)):
            ink.disc((float(end[0]), float(end[1])), reach, 7, "#9c7468", strength, 3.2)
        ink.disc((cx, cy), r + 0.7, None, "#2c1a12", 0.85, 0.8)
        ink.disc((cx, cy), r - 0.1, None, shader=radial((cx - 0.4, cy + 1.6), r * 1.05, [
            (0.0, "#84562f"), (0.42, "#6f4524"), (0.74, "#4a2b18"), (1.0, "#1f100a")]))  # fmt: skip
        for _ in range(110):
            angle = rng.uniform(0, 2 * np.pi)
            start, stop = rng.uniform(2.9, 4.0), rng.uniform(5.0, 7.2)
            way = np.array((np.cos(angle), np.sin(angle)))
            light = np.sin(angle) > rng.uniform(-0.9, 0.6)
            spoke = np.array((cx, cy)) + np.outer((start, (start + stop) / 2, stop), way) + rng.normal(0, 0.12, (3, 2))
            ink.stroke(spoke, (0.1, 0.34, 0.05), "#c98d52" if light else "#2c170c", 0.42, count=8)
        ink.disc((cx + 0.8, cy + 3.6), 4.4, 2.3, "#d89a58", 0.34, 1.5)
        ink.disc((cx, cy), 3.15, None, "#0b0605", 1.0, 0.35)
        # The upper lid and its lashes shade the ball.
        shade = np.vstack([eye.upper + (0, -6), (eye.upper + (0, 3.0))[::-1]])
        ink.fill(shade, "#2a130c", 0.62, 1.9)
        ink.fill(np.vstack([eye.upper + (0, -5), (eye.upper + (0, 1.2))[::-1]]), "#170a06", 0.55, 0.9)
        ink.disc((float(inner[0]) + out * 1.6, float(inner[1]) + 0.1), 2.5, 1.7, "#c98576", 0.95, 0.8)
        ink.disc((float(inner[0]) + out * 1.5, float(inner[1]) - 0.2), 0.5, 0.4, "#ffe9e2", 0.75, 0.25)
        # Wet edge of the lower lid.
        ink.stroke(eye.lower[8:-6] + (0, -0.75), (0.3, 1.1, 1.2, 0.9, 0.3), "#e2ac9c", 0.85, 0.3, 60)
        ink.stroke(eye.lower[30:-24] + (0, -1.15), (0.1, 0.35, 0.1), "#fff6f1", 0.75, 0.15, 40)
    ink.disc((cx - 2.7, cy - 2.9), 1.75, 1.95, "#ffffff", 0.96, 0.28)
    ink.disc((cx + 2.9, cy + 2.9), 1.0, 0.9, "#f4e2cf", 0.45, 0.4)


def _lids(ink: Ink, eye: Eye) -> None:
    out = _toward(eye)
    # A little eye shadow between crease and lash line, and the crease itself.
    ink.fill(np.vstack([eye.crease + (0, -0.5), eye.upper[::-1]]), "#8a4f3c", 0.12, 1.6)
    ink.stroke(eye.crease, (0.2, 1.1, 1.3, 1.2, 0.2), "#7a3f2d", 0.62, 0.45, 60)
    ink.stroke(eye.crease + (0, -1.4), (0.2, 1.6, 1.8, 1.4, 0.2), "#8e5540", 0.25, 0.9, 60)
    ink.stroke(eye.lower[6:] + (0, 0.35), (0.2, 0.5, 0.8, 1.0, 0.9), "#6b3a2b", 0.55, 0.35, 60)
    end = eye.upper[-1]
    line = np.vstack([eye.upper[4:-1:6] + (0, -0.25), end + (out * 0.8, -0.6), end + (out * 3.4, -2.4)])
    ink.stroke(line, (0.5, 1.1, 1.6, 2.0, 2.1, 1.9, 0.2), _LINE, 0.97, 0.22, 80)


def _lashes(ink: Ink, eye: Eye, rng: np.random.Generator) -> None:
    out = _toward(eye)
    for share in np.sort(rng.uniform(0.10, 1.0, 110)):
        root = eye.upper[int(share * (len(eye.upper) - 1))] + (0, -0.2)
        lean = out * (-0.30 + 1.25 * share**1.3) + rng.normal(0, 0.10)
        length = (1.4 + 2.2 * share**0.9) * rng.uniform(0.75, 1.08)
        tip = root + np.array((lean, -(1.12 - 0.42 * share))) * length
        bend = (root + tip) / 2 + np.array((out * 0.30, 0.42)) * length * 0.30
        ink.stroke([root, bend, tip], (0.42, 0.30, 0.05), _LASH, 0.72, 0.0, 10)
    for share in np.sort(rng.uniform(0.34, 0.97, 34)):
        root = eye.lower[int(share * (len(eye.lower) - 1))] + (0, 0.2)
        length = rng.uniform(0.9, 1.7)
        tip = root + np.array((out * (-0.15 + 0.8 * share), 0.95)) * length
        ink.stroke([root, (root + tip) / 2 + (out * 0.1, 0.1), tip], (0.3, 0.2, 0.04), "#3a2118", 0.5, 0.0, 8)


def _brow(ink: Ink, eye: Eye, rng: np.random.Generator) -> None:
    """Soft powder below many single hairs, sparse and upright at the inner end."""
    out = _toward(eye)
    whole = np.vstack([eye.brow_top[7:] + (0, 0.6), eye.brow_low[7:][::-1] + (0, -0.6)])
    ink.fill(whole, "#54362a", 0.40, 2.0)
    ink.fill(np.vstack([eye.brow_top[8:] + (0, 1.2), eye.brow_low[8:][::-1] + (0, -0.6)]), "#4a2e22", 0.30, 1.3)
    ink.fill(np.vstack([eye.brow_top[28:] + (0, 0.8), eye.brow_low[28:][::-1] + (0, -0.8)]), "#3c2318", 0.42, 1.1)
    last = len(eye.brow_top) - 1
    for _ in range(380):
        share = 0.02 + 0.95 * rng.uniform() ** 0.86
        height = rng.uniform(0.0, 1.0)
        k = int(share * last)
        root = eye.brow_top[k] * (1 - height) + eye.brow_low[k] * height + rng.normal(0, 0.35, 2)
        rise = np.deg2rad(np.interp(share, (0, 0.12, 0.45, 0.75, 1), (72, 50, 26, 0, -28)))
        rise += (height - 0.55) * 0.9 * (1 if share < 0.7 else 0.5)
        length = np.interp(share, (0, 0.2, 0.7, 1), (3.2, 4.8, 5.2, 3.4)) * rng.uniform(0.7, 1.1)
        way = np.array((out * np.cos(rise), -np.sin(rise)))
        tip = root + way * length + (0, 0.10 * length)
        bend = root + way * length * 0.5 + np.array((way[1], -way[0])) * out * -0.22
        tone = ("#38231a", "#472d1f", "#5a3a27", "#6e4b33")[int(rng.integers(4))]
        ink.stroke([root, bend, tip], (0.22, 0.40, 0.05), tone, 0.16 + 0.50 * min(share * 3.5, 1), 0.0, 10)


def draw_eyes(grid: Grid, face: Face, rng: np.random.Generator) -> Ink:
    """Return the layer with both eyes and brows."""
    ink = Ink(grid)
    for eye in face.eyes:
        _eyeball(ink, eye, rng)
        _lids(ink, eye)
        _lashes(ink, eye, rng)
        _brow(ink, eye, rng)
    return ink


def lid_shadow(eye: Eye) -> Array:
    """Return the outline of the hollow between crease and brow."""
    return np.vstack([eye.brow_low + (0, 3), eye.crease[::-1]])
