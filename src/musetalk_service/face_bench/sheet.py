"""A contact sheet for the eye: every mouth class from near, and frames of the sentence whole."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.face_bench.measure import Run, to_bgr
from musetalk_service.face_bench.subject import Picture
from musetalk_service.face_bench.track import Track

_CELL: Final = 288
_COLUMNS: Final = 9
_LABEL: Final = 22
_VIEW: Final = 1.15
"""Side of what is shown around a mouth, in inter-ocular distances (outer corners)."""
_WHOLE: Final = 2 * _COLUMNS


def contact_sheet(run: Run, track: Track) -> Picture:
    """Rest and the classes with their names, then evenly spaced frames of the sentence."""
    shown = {"rest": 0, **track.classes}
    centre, side = _mouth_place(run)
    cells = [_cell(_near(run.pictures[frame], centre, side), name) for name, frame in shown.items()]
    step = max(1, len(track.sentence) // _WHOLE)
    whole = [track.sentence[i * step] for i in range(min(_WHOLE, len(track.sentence)))]
    cells += [_blank()] * (-len(cells) % _COLUMNS)
    cells += [_cell(_fitted(to_bgr(run.pictures[frame])), f"{frame / 25:.2f} s") for frame in whole]
    cells += [_blank()] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[i : i + _COLUMNS]) for i in range(0, len(cells), _COLUMNS)]
    return np.asarray(np.vstack(rows), np.uint8)


def _mouth_place(run: Run) -> tuple[NDArray[np.float64], float]:
    found = next((find for find in run.landmarks if find is not None), None)
    height, width = to_bgr(run.pictures[0]).shape[:2]
    if found is None:
        return np.array([width / 2, height / 2]), width / 2
    points = found[:, :2].astype(np.float64)
    return (points[61] + points[291]) / 2, _VIEW * float(np.hypot(*(points[33] - points[263])))


def _near(picture: Picture, centre: NDArray[np.float64], side: float) -> Picture:
    scale = _CELL / side
    matrix = np.array([[scale, 0, _CELL / 2 - scale * centre[0]], [0, scale, _CELL / 2 - scale * centre[1]]])
    return np.asarray(cv2.warpAffine(to_bgr(picture), matrix, (_CELL, _CELL), flags=cv2.INTER_CUBIC), np.uint8)


def _fitted(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = _CELL / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small
    return cell


def _cell(picture: Picture, label: str) -> Picture:
    cell = np.full((_CELL + _LABEL, _CELL, 3), 255, np.uint8)
    cell[_LABEL:] = picture
    cv2.putText(cell, label, (4, _LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return cell


def _blank() -> Picture:
    return np.full((_CELL + _LABEL, _CELL, 3), 255, np.uint8)
