"""What was measured as one picture: frames a second by batch size beside the plain loop, lateness by sessions."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from musetalk_service.musetalk_bench.measure import Result

Colour = tuple[int, int, int]

_SCALE: Final = 2  # drawn larger and reduced, for smooth lines and small letters
_WIDTH, _HEIGHT = 900, 380
_TOP, _BOTTOM, _LEFT, _PANEL, _GAP = 60, 46, 70, 360, 80
_ROOM: Final = 1.15
"""Above the highest bar."""
# BGR
_INK: Colour = (60, 50, 45)
_FAINT: Colour = (140, 132, 126)
_GRID: Colour = (225, 220, 216)
_BAR: Colour = (168, 140, 116)
_PLAIN: Colour = (60, 92, 208)
_LATE: Colour = (60, 60, 200)


class _Panel:
    """One diagram with its own vertical axis from 0, or from a negative value where there is one."""

    def __init__(self, pixels: NDArray[np.uint8], left: int, title: str, least: float, most: float) -> None:
        self._pixels = pixels
        self._left = left
        self._least, self._most = least, max(most, least + 1e-9)
        self.text(title, left, _TOP - 18, _INK)
        for value in sorted({least, 0.0, most}):
            y = self.y(value)
            self.line((left, y), (left + _PANEL, y), _INK if value == 0.0 else _GRID)
            self.text(f"{value:.4g}", left - 6, y + 4, _FAINT, right=True)

    def y(self, value: float) -> float:
        inside = _HEIGHT - _TOP - _BOTTOM
        return _HEIGHT - _BOTTOM - inside * (value - self._least) / (self._most - self._least)

    def bar(self, index: int, count: int, value: float, label: str, colour: Colour) -> None:
        step = _PANEL / count
        left, right = self._left + (index + 0.2) * step, self._left + (index + 0.8) * step
        top, bottom = sorted((self.y(value), self.y(0.0)))
        corners = ((int(left * _SCALE), int(top * _SCALE)), (int(right * _SCALE), int(bottom * _SCALE)))
        cv2.rectangle(self._pixels, *corners, colour, cv2.FILLED)
        middle = (left + right) / 2
        self.text(f"{value:.3g}", middle, top - 5, _INK, centred=True)
        self.text(label, middle, _HEIGHT - _BOTTOM + 18, _FAINT, centred=True)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        ends = [(int(x * _SCALE), int(y * _SCALE)) for x, y in (start, end)]
        cv2.line(self._pixels, ends[0], ends[1], colour, _SCALE, cv2.LINE_AA)

    def text(
        self, text: str, x: float, y: float, colour: Colour, *, right: bool = False, centred: bool = False
    ) -> None:
        font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * _SCALE
        width = cv2.getTextSize(text, font, size, _SCALE)[0][0] / _SCALE
        x -= width if right else width / 2 if centred else 0.0
        cv2.putText(
            self._pixels, text, (int(x * _SCALE), int(y * _SCALE)), font, size, colour, _SCALE // 2 + 1, cv2.LINE_AA
        )


def draw(result: "Result") -> NDArray[np.uint8]:
    """(height, width, 3) BGR."""
    pixels = np.full((_HEIGHT * _SCALE, _WIDTH * _SCALE, 3), 255, np.uint8)
    rates = [(f"{row.batch}", row.frames_per_s, _BAR) for row in result.batches]
    rates.append(("plain 20", result.plain_frames_per_s, _PLAIN))
    most = max(rate for _, rate, _ in rates)
    title = f"frames/s by batch: {result.device}, {result.precision}, {result.decoder} decoder"
    panel = _Panel(pixels, _LEFT, title, 0.0, most * _ROOM)
    for index, (label, rate, colour) in enumerate(rates):
        panel.bar(index, len(rates), rate, label, colour)
    late = [row.p99_late_ms for row in result.sessions]
    room = _ROOM * max(max(late), -min(late), 1.0)
    panel = _Panel(pixels, _LEFT + _PANEL + _GAP, "p99 lateness, ms, by sessions", min(0.0, *late) * _ROOM, room)
    for index, row in enumerate(result.sessions):
        colour = _BAR if row.kept_up else _LATE
        panel.bar(index, len(result.sessions), row.p99_late_ms, f"{row.sessions}", colour)
    return np.asarray(cv2.resize(pixels, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def write(result: "Result", path: Path) -> None:
    """Write a PNG. Raises ``OSError`` where that cannot be."""
    path.write_bytes(cv2.imencode(".png", draw(result))[1].tobytes())
