"""Hair: two sheets combed from a side part, behind the ears, down to behind the shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from clothes import body_outline
from ink import Ink, linear
from locks import lit, strand, tone
from paths import CENTRE_X, Array, Grid, mirror, spline

PART_FRONT, PART_BACK = (225.0, 149.0), (240.0, 70.0)
# Along the hairline, over the top of the ear and down behind it; and along the outline of the head.
FRONT_LEFT = (
    PART_FRONT, (213, 152.5), (200.5, 159), (188, 170.5), (178, 187), (172, 206), (167.5, 222), (160, 236),
    (150.5, 250), (147, 270), (149, 300), (154, 340), (157, 380), (157, 420), (158, 460), (164, 530),
)  # fmt: skip
BACK_LEFT = (
    PART_BACK, (229, 68), (208, 71.5), (179, 85.5), (155, 110), (140, 142), (133, 180), (131, 215), (132.5, 255),
    (134, 300), (129, 345), (121, 390), (120, 435), (128, 490), (142, 530),
)  # fmt: skip
FRONT_RIGHT = (
    PART_FRONT, (246, 146.5), (273, 150.5), (298, 161), (318, 177), (331.5, 195), (340, 211), (346, 225), (353, 238),
    (361.5, 251), (365, 270), (363, 300), (358, 340), (355, 380), (353, 420), (346, 460), (340, 530),
)  # fmt: skip
BACK_RIGHT = (
    PART_BACK, (250, 66), (281, 63), (317, 72), (348, 95), (370, 127), (380, 163), (382.5, 200), (380.5, 250),
    (378, 300), (383, 345), (391, 390), (394, 435), (390, 480), (379, 530),
)  # fmt: skip
# Where the picture goes on below, the lock before the shoulder ends in a tip.
_FRONT_TIP, _BACK_TIP = ((345, 468), (345, 512), (353, 556)), ((390, 476), (380, 520), (362, 560))
_NAPE_OUTER = ((112, 225), (114, 300), (111, 360), (110, 420), (106, 470), (104, 520))
_NAPE_INNER = ((70, 225), (52, 300), (40, 360), (42, 410), (50, 460), (56, 520))
_N = 96
_T = np.linspace(0, 1, _N)
_EAR = 0.36  # where a strand passes the ear
_WAVE_PERIOD = 92.0


@dataclass(frozen=True)
class Sweep:
    """A sheet of hair between two guide curves (96, 2), both from root to tip."""

    front: Array
    back: Array
    pull: float  # how quickly hair rooted on the hairline is combed away from it

    def flow(self, share: float, start: float, spread: Array | float = 0.0) -> Array:
        """Return the strand that is rooted at ``share`` (0 hairline, 1 crown) and ``start`` (0 part, 1 tip).

        Shares grow like 1 - exp(-t), so that strands rooted at different places never cross.
        """
        t = start + (1 - start) * _T
        own = 1 - (1 - share) * np.exp(-self.pull * np.minimum(t - start, _EAR * 1.3)) + spread
        front, back = (np.stack([np.interp(t, _T, c[:, k]) for k in range(2)], axis=1) for c in (self.front, self.back))
        mixed = np.clip(own, -0.004, 1.012)[:, None]
        return np.asarray(front * (1 - mixed) + back * mixed)


def sweeps(with_tip: bool = False) -> tuple[Sweep, Sweep]:
    """Return the two halves of the top hair, viewer's left and right."""
    front, back = FRONT_RIGHT, BACK_RIGHT
    if with_tip:
        front, back = front[:-2] + _FRONT_TIP, back[:-2] + _BACK_TIP
    return (
        Sweep(spline(FRONT_LEFT, _N), spline(BACK_LEFT, _N), 1.3),
        Sweep(spline(front, _N), spline(back, _N), 0.35),
    )


def hair_edge() -> Array:
    """Return the outline of the shadow that the front hair throws on forehead and ears."""
    left, right = sweeps()
    edge = np.vstack([left.front[:38][::-1], right.front[1:38]])
    return np.vstack([edge + (1.5, 4.0), [(380, 60), (130, 60)]])


def _wave(points: Array, amount: float, phase: float) -> Array:
    """Wave a strand sideways, more and more below the ear."""
    grown = np.clip((points[:, 1] - 255) / 90, 0, 1)
    shift = amount * grown * np.sin(2 * np.pi * points[:, 1] / _WAVE_PERIOD + phase)
    return np.asarray(points + np.column_stack([shift, 0 * shift]))


def _lock(
    ink: Ink, sweep: Sweep, share: float, start: float, phase: float, hairs: int, rng: np.random.Generator
) -> None:
    """One lock: a dark bed, then single hairs, lightest along its crest."""
    colour, tilt = tone(rng), rng.normal(0, 0.055)
    width, bulge = rng.uniform(0.022, 0.05), rng.normal(0, 0.016)
    amount = rng.uniform(3.0, 5.6)
    swell = bulge * np.sin(np.pi * np.clip(_T / _EAR, 0, 1)) + rng.normal(0, 0.035) * _T
    bed = _wave(sweep.flow(min(max(share + 0.4 * width, 0), 1), start, swell), amount, phase)
    ink.stroke(bed[: _N - 8], (0.5, 3.2, 4.0, 4.0, 3.0, 2.0, 0.4), "#170d08", 0.24, 1.6, 48)
    for _ in range(hairs):
        place = float(np.clip(rng.normal(0, 0.5), -1.1, 1.1))
        fan = place * width * (1 - 0.45 * np.sin(np.pi * _T) + 0.25 * _T)
        if start == 0:
            points = sweep.flow(min(max(share, 0.0), 1.0), 0.0, fan + swell)
        else:
            points = sweep.flow(0.0, min(max(start + 0.5 * place * width, 0.004), 0.36), (fan + swell) * _T)
        points = _wave(points, amount, phase + 0.25 * place) + rng.normal(0, 0.25, 2)
        first = 0 if rng.uniform() < 0.7 else int(rng.integers(0, 22))
        piece = points[first : _N - int(rng.integers(0, 12) if rng.uniform() < 0.8 else rng.integers(12, 40))]
        # Hair is darkest where it leaves the skin and in the valleys between locks.
        along = np.linspace(0, 1, len(piece))
        crest = 0.62 + 0.40 * np.exp(-((place - 0.15) ** 2) / 0.30)
        dim = crest * (1 - (0.50 * np.exp(-along / 0.05) if first == 0 else 0.0))
        colours = lit(piece, colour * rng.uniform(0.82, 1.15), tilt + rng.normal(0, 0.03), dim, crest)
        strand(ink, piece, rng.uniform(0.35, 0.9), colours, 0.72, 0.5 if start == 0 else 0.1)


def _fill(ink: Ink, sweep: Sweep, rng: np.random.Generator, hairs: int) -> None:
    """An even bed of fine hair, so that the locks above read as a few among many."""
    for _ in range(hairs):
        if rng.uniform() < 0.7:
            points = sweep.flow(float(rng.uniform(0, 1)), 0.0, rng.normal(0, 0.03) * _T)
        else:
            points = sweep.flow(0.0, float(rng.uniform(0.01, 0.34)), rng.normal(0, 0.02) * _T)
        points = _wave(points, rng.uniform(1.5, 4), rng.uniform(0, 6.28)) + rng.normal(0, 0.3, 2)
        first = int(rng.integers(0, 30))
        piece = points[first : _N - int(rng.integers(0, 30))]
        colours = lit(piece, tone(rng), rng.normal(0, 0.08), rng.uniform(0.62, 0.95), 0.8)
        strand(ink, piece, rng.uniform(0.5, 1.1), colours, 0.7)


def _comb(ink: Ink, sweep: Sweep, rng: np.random.Generator, locks: int, rooted: int) -> None:
    """Fill a sheet with locks, those at the crown first, those at the hairline last."""
    at_part = [(float(s), 0.0) for s in (np.arange(locks) + rng.uniform(0, 1, locks)) / locks]
    at_edge = [(0.0, float(s)) for s in 0.34 * rng.uniform(0.01, 1.0, rooted) ** 0.8]
    for share, start in sorted(at_part + at_edge, key=lambda root: -root[0] + 3 * root[1] + rng.normal(0, 0.06)):
        phase = 2.4 * share + 4.0 * start + rng.normal(0, 0.35)
        _lock(ink, sweep, share, start, phase, 32, rng)


def _base(ink: Ink, sweep: Sweep) -> None:
    x0, x1 = float(sweep.back[:, 0].min()), float(sweep.back[:, 0].max())
    shader = linear((x0, 80.0), (x1, 260.0), ["#4a2e20", "#38221a", "#20130e"])
    inner = sweep.front + (sweep.back - sweep.front) * 0.08
    outer = sweep.front + (sweep.back - sweep.front) * 0.985
    ink.fill(np.vstack([inner, outer[::-1]]), shader=shader, blur=1.2)


def _hairline(ink: Ink, sweep: Sweep, rng: np.random.Generator, count: int) -> None:
    """Fine short hairs that leave the skin before they join the sheet, so that no hard edge shows."""
    for _ in range(count):
        k = int(rng.integers(0, 31))
        along = sweep.front[k + 3] - sweep.front[k]
        along /= np.linalg.norm(along)
        inward = sweep.back[k] - sweep.front[k]
        inward /= np.linalg.norm(inward) + 1e-9
        root = sweep.front[k] + rng.normal(0, 0.5, 2) + inward * max(1.2 - rng.exponential(1.3), -2.6)
        length = rng.uniform(6, 18)
        tip = root + (along * rng.uniform(0.7, 1.0) + inward * rng.uniform(0.15, 0.5)) * length
        bend = (root + tip) / 2 - inward * length * 0.05
        colour = ("#3e281c", "#553724", "#6d4930")[int(rng.integers(3))]
        ink.stroke([root, bend, tip], (0.05, 0.30, 0.25), colour, rng.uniform(0.15, 0.5), 0.0, 10)


def _part(ink: Ink, rng: np.random.Generator) -> None:
    """The parting: a thin soft gap, half covered."""
    line = np.array([PART_FRONT, (229.4, 125), (233, 103), (237.5, 82)])
    ink.stroke(line, (2.2, 1.7, 1.0, 0.2), "#b98266", 0.55, 0.7, 40)
    ink.stroke(line + (2.0, 0), (1.6, 2.6, 2.4, 0.5), "#1c100b", 0.35, 1.2, 40)
    ink.stroke(line - (2.0, 0), (1.6, 2.6, 2.4, 0.5), "#1c100b", 0.30, 1.2, 40)
    curve = spline(line, 60)
    for _ in range(190):
        k = int(rng.integers(0, 59))
        side = 1 if rng.uniform() < 0.6 else -1
        root = curve[k] + (rng.normal(0, 0.5), 0)
        tip = root + (side * rng.uniform(5, 13), rng.uniform(-3.5, 1.5))
        bend = (root + tip) / 2 + (0, -rng.uniform(0.5, 2.0))
        ink.stroke([root, bend, tip], (0.2, 0.5, 0.1), ("#3a241a", "#5a3a27", "#7d563a")[k % 3], 0.5, 0.0, 10)


def _loose(ink: Ink, sweep: Sweep, out: int, rng: np.random.Generator) -> None:
    """Stray hairs that lift off the outline."""
    for _ in range(110):
        k, n = int(rng.integers(0, 60)), int(rng.integers(12, 34))
        points = sweep.back[k : k + n]
        lift = np.sin(np.linspace(0, np.pi, len(points))) * rng.exponential(1.5)
        points = points + np.column_stack([out * lift, -lift * 0.6]) + rng.normal(0, 0.4, 2)
        ink.stroke(points, (0.05, 0.36, 0.3, 0.05), "#6a4630" if out < 0 else "#9a7150", 0.42, 0.0, 24)


def draw_top_hair(grid: Grid, right: bool, rng: np.random.Generator) -> Ink:
    """Return one half of the hair that is combed over the head and down its side."""
    ink = Ink(grid)
    sweep = sweeps(grid.is_long)[right]
    _base(ink, sweep)
    _hairline(ink, sweep, rng, 160 if right else 420)
    _fill(ink, sweep, rng, 1500)
    _comb(ink, sweep, rng, *((40, 10) if right else (32, 32)))
    _loose(ink, sweep, 1 if right else -1, rng)
    if right:
        _part(ink, rng)
    return ink


def draw_shoulder_shadow(grid: Grid) -> Ink:
    """Return the shadow that the hair before the viewer's right shoulder throws on the blazer."""
    ink = Ink(grid)
    sweep = sweeps(grid.is_long)[True]
    low = slice(70, _N)
    with ink.inside(body_outline(grid)):
        ink.fill(np.vstack([sweep.front[low] + (-2, 3), (sweep.back[low] + (6, 4))[::-1]]), "#0a141b", 0.55, 4.0)
    return ink


def draw_back_hair(grid: Grid, rng: np.random.Generator) -> Ink:
    """Return the layer behind neck and ears: the shaded inside of the lengths."""
    ink = Ink(grid)
    for right in (False, True):
        pair = [spline(np.asarray(points) + (CENTRE_X, 0), _N) for points in (_NAPE_INNER, _NAPE_OUTER)]
        inner, outer = pair if right else [mirror(curve) for curve in pair]
        body = np.vstack([inner, outer[::-1]])
        ink.fill(body, shader=linear((0, 220), (0, 500), ["#150c08", "#1c110c", "#251610"]), blur=1.2)
        for share in np.sort(rng.uniform(0.0, 1.0, 700)):
            own = np.clip(share + rng.normal(0, 0.02) * _T, -0.01, 1.03)[:, None]
            points = _wave(inner * (1 - own) + outer * own, 2.2, 3.0 * float(share))
            piece = points[int(rng.integers(0, 20)) : int(rng.integers(76, _N))]
            depth = 0.30 + 0.42 * float(share)
            strand(ink, piece, rng.uniform(0.5, 1.3), lit(piece, tone(rng), 0.0, depth), 0.55)
    return ink
