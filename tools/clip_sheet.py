"""Draw a motion clip for the eye: a contact sheet of the default avatar, and below it every channel over time.

    python tools/clip_sheet.py idle_3 idle_3.png

Written for choosing and checking clips; nothing in the service uses it.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.motion import CLIP_FRAMES, FPS, make_clip
from musetalk_service.models.face import REST, Pose
from musetalk_service.models.media import BASE_SIZE
from musetalk_service.utils.i420 import to_bgr

Picture = NDArray[np.uint8]

_WIDTH: Final = 1680
_CELL: Final = 140
_CROP: Final = slice(56, 416), slice(76, 436)
"""Rows and columns of the portrait that hold the head."""
_PLOT_HEIGHT: Final = 84
_RANGES: Final = {
    "yaw": 6.0, "pitch": 6.0, "roll": 6.0, "shift_x": 6.0, "shift_y": 6.0, "scale": 0.03, "breath": 2.0,
    "brow": 1.0, "blink": 1.0, "gaze_x": 0.35, "gaze_y": 0.35, "smile": 1.0,
}  # fmt: skip
"""Value at the upper edge of each plot; the lower edge is its negative, or 0 for what has no negative."""
_ONE_SIDED: Final = frozenset({"brow", "blink", "smile"})


def contact_sheet(clip: NDArray[np.float32], rate: float) -> Picture:
    """Frames at ``rate`` per second, each with its time in seconds; (height, _WIDTH, 3) BGR."""
    renderer = load_default_avatar().renderer(BASE_SIZE)
    cells = []
    for index in np.arange(0, len(clip), FPS / rate).astype(int):
        frame = to_bgr(renderer.render(Pose(*clip[index].tolist()), REST))
        cell = cv2.resize(frame[_CROP], (_CELL, _CELL), interpolation=cv2.INTER_AREA)
        cv2.putText(cell, f"{index / FPS:.1f}", (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(cell)
    columns = _WIDTH // _CELL
    cells += [np.full((_CELL, _CELL, 3), 255, np.uint8)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[at : at + columns]) for at in range(0, len(cells), columns)]).astype(np.uint8)


def channel_plot(clip: NDArray[np.float32]) -> Picture:
    """One strip per channel with a line each second; (height, _WIDTH, 3) BGR."""
    strips = []
    for column, (name, limit) in enumerate(_RANGES.items()):
        strip = np.full((_PLOT_HEIGHT, _WIDTH, 3), 255, np.uint8)
        for second in range(0, len(clip) // FPS + 1):
            mark = round(second * FPS / len(clip) * (_WIDTH - 1))
            cv2.line(strip, (mark, 0), (mark, _PLOT_HEIGHT), (225, 225, 225), 1)
        low = 0.0 if name in _ONE_SIDED else -limit
        height = (clip[:, column] - low) / (limit - low)
        y = (1.0 - height) * (_PLOT_HEIGHT - 5) + 2
        zero = round((1.0 + low / (limit - low)) * (_PLOT_HEIGHT - 5) + 2)
        cv2.line(strip, (0, zero), (_WIDTH, zero), (200, 200, 200), 1)
        x = np.arange(len(clip)) / len(clip) * (_WIDTH - 1)
        line = np.round(16 * np.stack([x, y], axis=1)).astype(np.int32)
        cv2.polylines(strip, [line], False, (150, 60, 20), 1, cv2.LINE_AA, shift=4)
        cv2.putText(strip, f"{name} {limit:g}", (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.line(strip, (0, _PLOT_HEIGHT - 1), (_WIDTH, _PLOT_HEIGHT - 1), (120, 120, 120), 1)
        strips.append(strip)
    return np.vstack(strips)


def main() -> int:
    """Write the sheet; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", choices=list(CLIP_FRAMES))
    parser.add_argument("output", type=Path, help="a .png file")
    parser.add_argument("--rate", type=float, default=3.0, help="pictures per second of the clip (default 3)")
    options = parser.parse_args()
    if not 0.0 < options.rate <= FPS:
        parser.error(f"--rate must be above 0 and at most {FPS}")
    clip = make_clip(options.clip)
    sheet = np.vstack([contact_sheet(clip, options.rate), channel_plot(clip)])
    done, data = cv2.imencode(".png", sheet)
    if not done:
        print("the picture could not be encoded", file=sys.stderr)
        return 1
    options.output.write_bytes(data.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
