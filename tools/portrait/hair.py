"""Hair: locks of single strands combed from a side part, lit with the Kajiya-Kay model (SIGGRAPH 1989)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ink import Ink, linear, ribbon
from light import KEY
from paths import CENTRE_X, Array, Grid, mirror, spline

_DARK, _MID, _LIGHT = (np.array(c, float) for c in ((30, 18, 13), (74, 45, 30), (122, 80, 52)))
_SHINE = np.array((205, 160, 118), float)
PART_FRONT, PART_BACK = (236.0, 137.0), (243.0, 72.0)
# Along the hairline, then over the ear; and along the outline of the head.
FRONT_LEFT = (PART_FRONT, (219, 141), (199, 150), (181.5, 166), (170, 188), (164, 212), (159, 234), (151, 250), (146, 262))
BACK_LEFT = (PART_BACK, (214, 74), (182, 88), (158, 112), (145, 145), (140, 182), (140, 215), (141, 242), (143, 262))
FRONT_RIGHT = (PART_FRONT, (262, 133), (290, 138), (314, 150), (331, 169), (342, 192), (348, 214), (353, 235), (361, 250), (366, 262))
BACK_RIGHT = (PART_BACK, (276, 70), (312, 78), (342, 98), (362, 128), (371, 164), (373, 200), (372, 236), (369, 262))
BEHIND = ((96, 190), (116, 230), (119, 290), (116, 350), (119, 400), (117, 440), (104, 462), (74, 470), (40, 452), (30, 330))


@dataclass(frozen=True)
class Sweep:
    """A sheet of hair between two guide curves (40, 2), both from root to tip."""

    front: Array
    back: Array

    def at(self, share: float) -> Array:
        """Return the guide between front (0) and back (1)."""
        return self.front * (1 - share) + self.back * share

    @property
    def outline(self) -> Array:
        return np.vstack([self.front, self.back[::-1]])


def sweeps() -> tuple[Sweep, Sweep]:
    """Return the two halves of the top hair, viewer's left and right."""
    return (
        Sweep(spline(FRONT_LEFT, 40), spline(BACK_LEFT, 40)),
        Sweep(spline(FRONT_RIGHT, 40), spline(BACK_RIGHT, 40)),
    )


def hair_edge() -> Array:
    """Return the outline of the shadow that the front hair throws on the forehead."""
    left, right = sweeps()
    edge = np.vstack([left.front[::-1], right.front[1:]])
    return np.vstack([edge + (1.5, 5.0), [(380, 60), (130, 60)]])


def _depth(points: Array) -> Array:
    """Height of the head under the hair, an ellipsoid, toward the viewer."""
    u, v = (points[:, 0] - CENTRE_X) / 124, (points[:, 1] - 196) / 130
    return np.asarray(105 * np.sqrt(np.maximum(1 - u * u - np.minimum(v, 0.35) ** 2, 0.02)))


def _lit(points: Array, tone: npt.NDArray[np.float64], tilt: float, dim: float) -> list[str]:
    """Colours along a strand (5 stops) from its direction in space, the light and the eye."""
    solid = np.column_stack([points, -_depth(points)])
    along = np.gradient(solid, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    key = np.array((KEY[0], KEY[1], -KEY[2])) / np.linalg.norm(KEY)
    middle = key + (0, 0, -1)
    middle /= np.linalg.norm(middle)
    u, v = (points[:, 0] - CENTRE_X) / 124, (points[:, 1] - 196) / 130
    facing = -0.50 * u - 0.62 * v + 0.62 * np.sqrt(np.maximum(1 - u * u - np.minimum(v, 0.35) ** 2, 0.0))
    body = 0.34 + 0.62 * np.clip(facing, 0, 1)
    cosine = np.clip(along @ middle + tilt, -1, 1)
    shine = np.sqrt(1 - cosine**2) ** 42 * np.clip(facing + 0.15, 0, 1)
    rim = np.clip(u - 0.70, 0, 1) * 1.5 * np.clip(0.7 - v, 0, 1)
    colours = tone * body[:, None] * dim + _SHINE * ((0.50 * shine + 0.30 * rim) * dim)[:, None]
    stops = np.clip(colours[np.linspace(0, len(points) - 1, 6).astype(int)], 0, 255).astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in stops]


def _strand(ink: Ink, points: Array, width: float, colours: list[str], opacity: float) -> None:
    start, end = tuple(points[0]), tuple(points[-1])
    ink.fill(
        ribbon(points, (0.25 * width, width, width, 0.8 * width, 0.12 * width), 18),
        opacity=opacity,
        shader=linear(start, end, colours),
    )


def _tone(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    pick = rng.uniform()
    if pick < 0.3:
        return _DARK * (1 - pick) + _MID * pick + 10
    return np.asarray(_MID + (_LIGHT - _MID) * rng.uniform(-0.2, 0.9))


def _comb(ink: Ink, sweep: Sweep, rng: np.random.Generator, locks: int, per_lock: int) -> None:
    """Fill a sheet from back to front with locks whose strands run together toward the tip."""
    t = np.linspace(0, 1, 40)
    for share in np.sort(rng.uniform(0.0, 1.0, locks))[::-1]:
        lock_tone, lock_tilt = _tone(rng), rng.normal(0, 0.05)
        phase, swing = rng.uniform(0, 6.28), rng.uniform(0.4, 1.6)
        spread = rng.uniform(0.035, 0.07)
        for _ in range(per_lock):
            offset = rng.normal(0, spread)
            own = np.clip(share + offset * (1 - 0.55 * t), -0.004, 1.01)
            points = sweep.front * (1 - own[:, None]) + sweep.back * own[:, None]
            sway = swing * np.sin(2.6 * np.pi * t + phase) * np.sin(np.pi * t)
            normal = np.gradient(points, axis=0)[:, ::-1] * (1, -1)
            normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
            edge = min(share * 8, 1.0) if share < 0.12 else min((1 - share) * 8, 1.0)
            points = points + normal * (sway * edge)[:, None] + rng.normal(0, 0.25, 2)
            first, last = int(rng.integers(0, 9)), int(rng.integers(28, 40))
            if rng.uniform() < 0.5:
                first = 0
            piece = points[first:last]
            tone = lock_tone * rng.uniform(0.72, 1.25)
            dim = 0.80 + 0.20 * float(np.cos(offset / spread))
            _strand(ink, piece, rng.uniform(0.45, 1.25), _lit(piece, tone, lock_tilt + rng.normal(0, 0.03), dim), 0.72)


def _base(ink: Ink, sweep: Sweep) -> None:
    x0, x1 = sweep.outline[:, 0].min(), sweep.outline[:, 0].max()
    shader = linear((float(x0), 80.0), (float(x1), 250.0), ["#4a2e20", "#38221a", "#20130e"])
    ink.fill(sweep.outline, shader=shader, blur=0.5)


def _hairline(ink: Ink, sweep: Sweep, rng: np.random.Generator) -> None:
    """Fine short hairs that leave the skin before they join the sheet, so that no hard edge shows."""
    for _ in range(420):
        k = int(rng.integers(1, 33))
        root = sweep.front[k] + rng.normal(0, 0.5, 2)
        along = sweep.front[min(k + 5, 39)] - sweep.front[k]
        along /= np.linalg.norm(along)
        inward = sweep.back[k] - sweep.front[k]
        inward /= np.linalg.norm(inward) + 1e-9
        root = root - inward * rng.exponential(1.5)
        length = rng.uniform(5, 16)
        tip = root + (along * 0.86 + inward * rng.uniform(0.15, 0.5)) * length
        bend = (root + tip) / 2 - inward * length * 0.06
        tone = ("#3a241a", "#52351f", "#6d4930")[int(rng.integers(3))]
        ink.stroke([root, bend, tip], (0.08, 0.36, 0.3), tone, rng.uniform(0.25, 0.6), 0.0, 10)


def _part(ink: Ink, rng: np.random.Generator) -> None:
    """The parting: a thin soft gap, half covered."""
    line = np.array([PART_FRONT, (236.5, 118), (238.5, 97), (242, 78)])
    ink.stroke(line, (1.8, 1.5, 1.0, 0.3), "#b98266", 0.55, 0.6, 40)
    ink.stroke(line + (1.6, 0), (1.6, 2.2, 2.2, 1.0), "#1c100b", 0.35, 0.9, 40)
    curve = spline(line, 60)
    for _ in range(150):
        k = int(rng.integers(0, 59))
        side = 1 if rng.uniform() < 0.6 else -1
        root = curve[k] + (rng.normal(0, 0.5), 0)
        tip = root + (side * rng.uniform(5, 13), rng.uniform(-2.5, 3.0))
        bend = (root + tip) / 2 + (0, -rng.uniform(0.5, 2.0))
        ink.stroke([root, bend, tip], (0.2, 0.5, 0.1), ("#3a241a", "#5a3a27", "#7d563a")[k % 3], 0.55, 0.0, 10)


def draw_back_hair(grid: Grid, rng: np.random.Generator) -> Ink:
    """Return the layer behind neck and ears: the lengths that fall on the shoulders."""
    ink = Ink(grid)
    for right in (False, True):
        place = (lambda p: np.asarray(p) + (CENTRE_X, 0)) if right else (lambda p: mirror(np.asarray(p) + (CENTRE_X, 0)))  # noqa: E731
        outline = spline(place(BEHIND), 120, closed=True)
        ink.fill(outline, shader=linear((CENTRE_X, 220), (CENTRE_X, 470), ["#20130e", "#2a1811", "#33201a"]), blur=0.8)
        outer = spline(place([(108, 200), (117, 250), (117, 310), (114, 360), (118, 405), (114, 445), (98, 466)]), 40)
        inner = spline(place([(70, 200), (62, 270), (52, 330), (48, 380), (54, 420), (60, 448), (58, 464)]), 40)
        t = np.linspace(0, 1, 40)
        for _ in range(900):
            share = rng.uniform(0, 1)
            own = np.clip(share + rng.normal(0, 0.02) * t, -0.01, 1.03)[:, None]
            wave = rng.normal(0, 0.5) + 1.6 * np.sin(2 * np.pi * (1.15 * t + 0.9 * round(share * 9) / 9))
            points = inner * (1 - own) + outer * own + np.column_stack([wave * t, 0 * t])
            piece = points[int(rng.integers(0, 16)) : int(rng.integers(28, 40))]
            shadow = 0.34 + 0.56 * share**1.4
            side = 1.12 if not right else 0.92
            sheen = np.exp(-(((piece[:, 1] - 352 - 18 * np.sin(share * 9)) / 34) ** 2)) * share
            tone = _tone(rng) * rng.uniform(0.6, 1.0) * shadow * side
            colours = tone + _SHINE * (0.20 * sheen * side)[:, None]
            if right:
                colours = colours + _SHINE * 0.30 * max(share - 0.86, 0) / 0.14
            stops = np.clip(colours[np.linspace(0, len(piece) - 1, 6).astype(int)], 0, 255).astype(int)
            _strand(ink, piece, rng.uniform(0.5, 1.5), [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in stops], 0.75)
    return ink


def draw_top_hair(grid: Grid, rng: np.random.Generator) -> Ink:
    """Return the layer of combed hair over the head, with a few loose strands."""
    ink = Ink(grid)
    left, right = sweeps()
    for sweep, locks in ((right, 84), (left, 66)):
        _base(ink, sweep)
        _comb(ink, sweep, rng, locks, 30)
        _hairline(ink, sweep, rng)
    _part(ink, rng)
    for sweep in (left, right):
        out = -1 if sweep is left else 1
        for _ in range(46):
            k = int(rng.integers(0, 24))
            n = int(rng.integers(8, 15))
            points = sweep.back[k : k + n]
            lift = np.sin(np.linspace(0, np.pi, len(points))) * rng.uniform(0.3, 2.6)
            points = points + np.column_stack([out * lift * 0.7, -lift]) + rng.normal(0, 0.4, 2)
            ink.stroke(points, (0.05, 0.4, 0.3, 0.05), "#6a4630" if out < 0 else "#8a6346", 0.5, 0.0, 16)
    return ink


