"""Figures as a table for the terminal and as JSON, each beside what is asked of it."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final, NamedTuple

from musetalk_service.face_bench.measure import Measures

_LABEL: Final = 44
_COLUMN: Final = 16


class Row(NamedTuple):
    """One line of the table."""

    label: str
    goal: str
    text: Callable[[Measures], str]
    good: Callable[[Measures], bool]


def _old_mouth(measures: Measures) -> str:
    if measures.old_mouth_r is None:
        return "still" if measures.is_video else "-"
    return f"{measures.old_mouth_r:.3f}"


ROWS: Final = (
    Row("face found again, frames", "all", lambda m: f"{m.found} of {m.frames}", lambda m: m.found == m.frames),
    Row("aperture, told against found, r", ">= .95 (video .85)", lambda m: f"{m.aperture_r:.3f}",
        lambda m: m.aperture_r >= (0.85 if m.is_video else 0.95)),
    Row("aperture, found over told", "", lambda m: f"{m.aperture_slope:.2f}", lambda m: True),
    Row("width, told against found, r", ">= .90", lambda m: f"{m.width_r:.3f}", lambda m: m.width_r >= 0.90),
    Row("largest gap at p, b, m, mouth widths", "< .02", lambda m: f"{m.closed_gap:.3f}",
        lambda m: m.closed_gap < 0.02),
    Row("partial r with the old mouth", "< .1 (video)", _old_mouth,
        lambda m: m.old_mouth_r is None or abs(m.old_mouth_r) < 0.1),
    Row("difference above the nose, head at rest", "0", lambda m: f"{m.above_nose}", lambda m: m.above_nose == 0),
    Row("jitter with constant parameters", "0", lambda m: f"{m.jitter}", lambda m: m.jitter == 0),
)  # fmt: skip


def to_table(results: Sequence[Measures]) -> str:
    """Lines for the terminal; figures that miss their goal end in "!"."""
    head = f"{'':{_LABEL}}{'goal':{_COLUMN + 3}}" + "".join(f"{m.name[: _COLUMN - 2]:>{_COLUMN}}" for m in results)
    lines = [head]
    for row in ROWS:
        cells = (row.text(m) + (" " if row.good(m) else "!") for m in results)
        lines.append(f"{row.label:{_LABEL}}{row.goal:{_COLUMN + 3}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells))
    lines.append(_line("preparation, s", [f"{m.prepare_s:.2f}" for m in results]))
    for stage in results[0].stages:
        lines.append(_line(f"CPU ms a frame: {stage}", [f"{m.stages[stage]:.2f}" for m in results]))
    return "\n".join(lines)


def to_json(results: Sequence[Measures]) -> str:
    """A list of objects; NaN becomes null."""
    plain = [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(m).items()}
        for m in results
    ]
    return json.dumps(plain, indent=2, allow_nan=False)


def _line(label: str, values: Sequence[str]) -> str:
    return f"{label:{_LABEL}}{'':{_COLUMN + 3}}" + "".join(f"{value + ' ':>{_COLUMN}}" for value in values)
