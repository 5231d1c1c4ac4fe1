"""Mouth tracks as files: JSON, CSV and NumPy archives."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin.arkit import ARKIT_NAMES, to_arkit
from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.mouth_track import MouthTrack
from musetalk_service.models.face import Mouth
from musetalk_service.models.media import FPS

_DIGITS = 5

Columns = dict[str, NDArray[np.float64]]


def write_track(path: Path, track: MouthTrack, *, arkit: bool = False) -> None:
    """Write a track in the format that the name's ending says; with `arkit`, blend shapes too.

    Raises KeyError for an ending that is not in `FORMATS`, OSError where the file cannot be written.
    """
    _WRITERS[path.suffix.lower()](path, track, arkit)


def _measures(track: MouthTrack) -> Columns:
    return {"t": track.t, "aperture": track.aperture, "width": track.width}


def _mouth(track: MouthTrack) -> Columns:
    return dict(zip(Mouth._fields, track.channels.T, strict=True))


def _blend_shapes(track: MouthTrack, arkit: bool) -> Columns:
    return dict(zip(ARKIT_NAMES, to_arkit(track.channels).T, strict=True)) if arkit else {}


def _classes(track: MouthTrack) -> Columns:
    return dict(zip(CLASSES, track.classes.T, strict=True))


def _write_npz(path: Path, track: MouthTrack, arkit: bool) -> None:
    arrays: dict[str, NDArray[Any]] = {
        **_measures(track),
        "classes": track.classes,
        "class_names": np.array(CLASSES),
        **_mouth(track),
        **_blend_shapes(track, arkit),
    }
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _write_csv(path: Path, track: MouthTrack, arkit: bool) -> None:
    classes = {f"class_{name}": column for name, column in _classes(track).items()}
    columns = {**_measures(track), **_mouth(track), **_blend_shapes(track, arkit), **classes}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(np.round(np.stack(list(columns.values()), axis=1), _DIGITS).tolist())


def _write_json(path: Path, track: MouthTrack, arkit: bool) -> None:
    def lists(columns: Columns) -> dict[str, list[float]]:
        return {name: np.round(column, _DIGITS).tolist() for name, column in columns.items()}

    content: dict[str, Any] = {
        "fps": FPS,
        "units": {"t": "seconds", "aperture": "inter-ocular distances", "width": "inter-ocular distances"},
        **lists(_measures(track)),
        "mouth": lists(_mouth(track)),
        "classes": lists(_classes(track)),
    }
    if arkit:
        content["arkit"] = lists(_blend_shapes(track, arkit))
    path.write_text(json.dumps(content), encoding="utf-8")


_WRITERS: dict[str, Callable[[Path, MouthTrack, bool], None]] = {
    ".json": _write_json,
    ".csv": _write_csv,
    ".npz": _write_npz,
}
FORMATS: tuple[str, ...] = tuple(_WRITERS)
"""The endings that `write_track` knows."""
