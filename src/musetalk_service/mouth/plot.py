"""A recording and its mouth as one picture: waveform, sounds heard, opening and width over a common time axis."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.mouth_track import MouthTrack
from musetalk_service.models.face import Mouth
from musetalk_service.models.media import FPS

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SCALE = 2  # drawn larger and reduced, for smooth lines and small letters
_PIXELS_PER_SECOND, _NARROWEST, _WIDEST = 140, 700, 3200
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 96, 24, 56, 44, 30
_WAVE, _ROW, _CURVE = 84, 15, 110

# BGR
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (60, 50, 45)
_FAINT: Colour = (140, 132, 126)
_GRID: Colour = (236, 232, 229)
_FRAME: Colour = (205, 199, 194)
_SOUND: Colour = (168, 140, 116)
_OPENING: Colour = (60, 92, 208)
_WIDTH: Colour = (148, 128, 34)
_CLOSED: Colour = (150, 60, 120)
# Probability 0 to 1: paper, light blue, blue, dark blue.
_MAP_AT = (0.0, 0.15, 0.5, 1.0)
_MAP_TO = np.array([(255, 255, 255), (245, 225, 205), (205, 140, 75), (95, 45, 20)], np.float64)

_VOWELS = range(CLASSES.index("aa"), CLASSES.index("oe") + 1)
_PRESS = Mouth._fields.index("press")
_SHUT = 0.8


class _Sheet:
    """A white sheet with a time axis; coordinates are pixels of the final picture."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 1.0 / FPS)
        self.inside = int(np.clip(self.seconds * _PIXELS_PER_SECOND, _NARROWEST, _WIDEST))
        self.width = _LEFT + self.inside + _RIGHT
        self.height = _TOP + _WAVE + len(CLASSES) * _ROW + 2 * _CURVE + 3 * _GAP + _BOTTOM
        self.pixels: Picture = np.full((self.height * _SCALE, self.width * _SCALE, 3), 255, np.uint8)

    def x(self, t: float) -> float:
        return _LEFT + t / self.seconds * self.inside

    def line(self, points: NDArray[np.float64], colour: Colour, thickness: float = 1.0) -> None:
        """A polyline through points (n, 2)."""
        path = np.round(points * _SCALE * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(self.pixels, [path], False, colour, round(thickness * _SCALE), cv2.LINE_AA, 4)

    def fill(self, points: NDArray[np.float64], colour: Colour) -> None:
        """A filled polygon through points (n, 2)."""
        path = np.round(points * _SCALE * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.fillPoly(self.pixels, [path], colour, cv2.LINE_AA, 4)

    def straight(self, a: tuple[float, float], b: tuple[float, float], colour: Colour, thickness: float = 1.0) -> None:
        self.line(np.array([a, b], np.float64), colour, thickness)

    def text(
        self, words: str, x: float, middle: float, size: float = 11, colour: Colour = _INK, align: float = 0.0
    ) -> None:
        """Words whose left end (align 0), middle (0.5) or right end (1) is at x; `size` is a capital's height / 0.7."""
        font = cv2.FONT_HERSHEY_SIMPLEX
        scale = size * _SCALE / 30.0
        (length, height), _ = cv2.getTextSize(words, font, scale, 1)
        place = (round(x * _SCALE - align * length), round(middle * _SCALE + height / 2))
        cv2.putText(self.pixels, words, place, font, scale, colour, max(1, round(size * _SCALE / 18)), cv2.LINE_AA)

    def box(self, top: float, height: float) -> None:
        corners = [(_LEFT, top), (_LEFT + self.inside, top), (_LEFT + self.inside, top + height), (_LEFT, top + height)]
        self.line(np.array([*corners, corners[0]], np.float64), _FRAME)

    def finished(self) -> Picture:
        return np.asarray(cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA), np.uint8)


def draw(pcm: NDArray[np.int16], track: MouthTrack, title: str) -> Picture:
    """The picture, (height, width, 3) BGR; 140 pixels a second, less where that would be more than 3200.

    `pcm` is the recording (n,) at 16 kHz that `track` was made of.
    """
    sheet = _Sheet(len(track.t) / FPS)
    sheet.text(_printable(title), _LEFT, 22, 16)
    sheet.text(f"{sheet.seconds:.2f} s, {len(track.t)} frames at {FPS} fps", sheet.width - _RIGHT, 22, 11, _FAINT, 1.0)
    top = float(_TOP)
    _wave(sheet, top, pcm)
    top += _WAVE + _GAP
    _sounds(sheet, top, track)
    top += len(CLASSES) * _ROW + _GAP
    shut = track.t[track.channels[:, _PRESS] > _SHUT]
    most = max(0.2, float(np.ceil(track.aperture.max() * 20) / 20))
    _curve(sheet, top, track.t, track.aperture, (0.0, most), 0.05, "aperture", _OPENING, shut)
    top += _CURVE + _GAP
    _curve(sheet, top, track.t, track.width, (0.4, 0.7), 0.1, "width", _WIDTH)
    _time_axis(sheet, top + _CURVE)
    return sheet.finished()


def write_png(path: Path, picture: Picture) -> None:
    """Write a BGR picture; OSError where that is not possible."""
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _printable(words: str) -> str:
    # The fonts have ASCII only.
    return "".join(letter if " " <= letter <= "~" else "?" for letter in words)


def _time_step(sheet: _Sheet) -> float:
    """Seconds between labels: the smallest of 0.5, 1, 2, 5, 10, ... with 60 pixels to a label."""
    steps = [base * 10.0**power for power in range(-1, 5) for base in (1, 2, 5)]
    return next((step for step in steps if step * sheet.inside / sheet.seconds >= 60), steps[-1])


def _grid(sheet: _Sheet, top: float, height: float) -> None:
    step = _time_step(sheet)
    for t in np.arange(step, sheet.seconds, step):
        sheet.straight((sheet.x(t), top), (sheet.x(t), top + height), _GRID)


def _time_axis(sheet: _Sheet, top: float) -> None:
    step = _time_step(sheet)
    for t in np.arange(0.0, sheet.seconds + 1e-9, step):
        sheet.straight((sheet.x(t), top), (sheet.x(t), top + 5), _FRAME)
        label = f"{t:.1f}" if step < 1 else f"{t:.0f}"
        sheet.text(label, sheet.x(t), top + 15, 10, _FAINT, 0.5)
    sheet.text("time, s", _LEFT - 24, top + 15, 10, _FAINT, 1.0)


def _wave(sheet: _Sheet, top: float, pcm: NDArray[np.int16]) -> None:
    _grid(sheet, top, _WAVE)
    columns = sheet.inside * _SCALE
    ends = np.linspace(0, pcm.size, columns + 1).astype(int)[:-1]
    loudest = max(1.0, float(np.abs(pcm.astype(np.int32)).max()))
    half, middle = _WAVE / 2, top + _WAVE / 2
    upper = middle - np.maximum.reduceat(pcm, ends) / loudest * (half - 4)
    lower = middle - np.minimum.reduceat(pcm, ends) / loudest * (half - 4)
    x = _LEFT + np.arange(columns) / _SCALE
    outline = np.concatenate((np.stack((x, upper - 0.3), 1), np.stack((x, lower + 0.3), 1)[::-1]))
    sheet.fill(outline, _SOUND)
    sheet.box(top, _WAVE)
    sheet.text("sound", _LEFT - 10, middle - 7, 12, _INK, 1.0)
    sheet.text(f"peak {20 * np.log10(loudest / 32768):.0f} dBFS", _LEFT - 10, middle + 9, 8.5, _FAINT, 1.0)


def _sounds(sheet: _Sheet, top: float, track: MouthTrack) -> None:
    height = len(CLASSES) * _ROW
    columns = sheet.inside * _SCALE
    shrinks = len(track.t) > columns
    method = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    rows = cv2.resize(track.classes.T, (columns, len(CLASSES)), interpolation=method)
    colours = np.stack([np.interp(rows, _MAP_AT, _MAP_TO[:, channel]) for channel in range(3)], axis=2)
    image = np.repeat(np.round(colours).astype(np.uint8), _ROW * _SCALE, axis=0)
    y, x = round(top * _SCALE), _LEFT * _SCALE
    sheet.pixels[y : y + height * _SCALE, x : x + columns] = image
    sheet.text("sounds heard", _LEFT + 8, top - 9, 11)
    sheet.text("probability of each mouth class", _LEFT + 96, top - 9, 9, _FAINT)
    for row, name in enumerate(CLASSES):
        sheet.text(name, _LEFT - 10, top + (row + 0.5) * _ROW, 9.5, _INK, 1.0)
        group = row in (_VOWELS.start, _VOWELS.stop)
        sheet.straight((_LEFT, top + row * _ROW), (_LEFT + sheet.inside, top + row * _ROW), _FRAME if group else _GRID)
    sheet.box(top, height)


def _curve(
    sheet: _Sheet,
    top: float,
    t: NDArray[np.float64],
    values: NDArray[np.float64],
    limits: tuple[float, float],
    step: float,
    name: str,
    colour: Colour,
    marks: NDArray[np.float64] | None = None,
) -> None:
    _grid(sheet, top, _CURVE)
    low, high = limits

    def y(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(top + _CURVE * (1.0 - (np.clip(value, low, high) - low) / (high - low)))

    for value in np.arange(low, high + 1e-9, step):
        sheet.straight((_LEFT, float(y(value))), (_LEFT + sheet.inside, float(y(value))), _GRID)
        sheet.text(f"{value:.2f}", _LEFT - 10, float(y(value)), 9, _FAINT, 1.0)
    x = np.asarray(_LEFT + (t + 0.5 / FPS) / sheet.seconds * sheet.inside)
    points = np.stack((x, y(values)), axis=1)
    if low == 0.0:
        pale: Colour = tuple(round(255 - 0.16 * (255 - part)) for part in colour)  # type: ignore[assignment]
        ends = np.array([(points[-1, 0], top + _CURVE), (points[0, 0], top + _CURVE)])
        sheet.fill(np.concatenate((points, ends)), pale)
    sheet.line(points, colour, 1.5)
    sheet.box(top, _CURVE)
    sheet.text(name, _LEFT + 8, top - 9, 11, colour)
    sheet.text("inter-ocular distances", _LEFT + 8 + 8.0 * len(name), top - 9, 9, _FAINT)
    if marks is not None:
        for mark in marks:
            begin, end = sheet.x(mark), sheet.x(mark + 1.0 / FPS)
            sheet.straight((begin, top + _CURVE + 5), (end, top + _CURVE + 5), _CLOSED, 2.0)
        if marks.size:
            sheet.text("lips closed (p, b, m)", sheet.width - _RIGHT, top + _CURVE + 15, 9, _CLOSED, 1.0)
