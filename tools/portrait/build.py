"""Draw the default avatar, in three pictures, and its landmarks: ``python tools/portrait/build.py``.

The result is the same on every run: each part draws from its own seeded generator.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from backdrop import draw_backdrop
from clothes import draw_clothes
from eyes import draw_eyes
from face import build_face
from hair import draw_back_hair, draw_shoulder_shadow, draw_top_hair, hair_edge
from landmarks import build_landmarks, write_landmarks
from paths import Array, Field, Grid
from skin import draw_jewels, draw_seam, draw_skin

_HERE = Path(__file__).resolve().parent
_ASSETS = _HERE.parents[1] / "src" / "musetalk_service" / "assets" / "default_avatar"
_SEED = 478
_GRAIN = 0.0045


def _generator(part: int) -> np.random.Generator:
    return np.random.default_rng((_SEED, part))


def _grade(picture: Field) -> Field:
    """A gentle S-curve for depth and a touch more colour."""
    curved = picture + 0.16 * (picture * picture * (3 - 2 * picture) - picture)
    grey = curved @ np.array((0.299, 0.587, 0.114), np.float32)
    return np.asarray(grey[..., None] + 1.05 * (curved - grey[..., None]), np.float32)


def _draw_person(grid: Grid, landmarks: Array, picture: Field) -> Field:
    """Return the presenter over a background (n, n, 3), not graded."""
    face = build_face()
    picture = draw_back_hair(grid, _generator(1)).over(picture)
    picture = draw_skin(grid, face, landmarks, hair_edge(), _generator(2), picture)
    picture = draw_seam(grid, face).over(picture)
    picture = draw_jewels(grid).over(picture)
    picture = draw_eyes(grid, face, _generator(3)).over(picture)
    picture = draw_top_hair(grid, False, _generator(4)).over(picture)
    picture = draw_clothes(grid, _generator(5), picture)
    picture = draw_shoulder_shadow(grid).over(picture)
    return draw_top_hair(grid, True, _generator(6)).over(picture)


def cut_out(grid: Grid, landmarks: Array, size: tuple[int, int]) -> Field:
    """Return how much of each pixel is the presenter, (height, width) 0..1: what hides a change of the background."""
    shape = draw_backdrop(grid).shape
    light, dark = (_draw_person(grid, landmarks, np.full(shape, grey, np.float32)) for grey in (0.9, 0.1))
    cover = np.clip(1 - (light - dark).mean(axis=2) / 0.8, 0, 1)
    return np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), np.float32)


def paint(grid: Grid, landmarks: Array, size: tuple[int, int]) -> Field:
    """Return what the grid covers as a picture of ``size`` (width, height): (height, width, 3), sRGB 0..1."""
    picture = _grade(_draw_person(grid, landmarks, draw_backdrop(grid)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    grain = _generator(7).normal(0, _GRAIN, (size[1], size[0], 1)).astype(np.float32)
    return np.asarray(np.clip(small + grain, 0, 1), np.float32)


@dataclass(frozen=True)
class View:
    """One picture of the drawing."""

    file: str
    matte: str
    """How much of each pixel is the presenter, as another file."""
    size: tuple[int, int]
    grid: Grid
    encoding: tuple[int, int]
    """OpenCV's parameter for the file format, and its value."""


_PNG, _WEBP = (cv2.IMWRITE_PNG_COMPRESSION, 9), (cv2.IMWRITE_WEBP_QUALITY, 96)
VIEWS = (
    View("portrait.png", "matte.png", (512, 512), Grid(4), _PNG),
    View("square.webp", "square-matte.png", (1024, 1024), Grid(6), _WEBP),
    View("tall.webp", "tall-matte.png", (720, 1280), Grid(4, left=-32, top=-60, width=576, height=1024), _WEBP),
)
"""The square that sessions see by default, a finer one, and one with chest and shoulders."""


def _draw(view: View, landmarks: Array, folder: Path) -> None:
    picture = np.round(paint(view.grid, landmarks, view.size)[..., ::-1] * 255).astype(np.uint8)
    if not cv2.imwrite(str(folder / view.file), picture, view.encoding):
        raise OSError(f"cannot write {folder / view.file}")
    matte = np.round(cut_out(view.grid, landmarks, view.size) * 255).astype(np.uint8)
    if not cv2.imwrite(str(folder / view.matte), matte, _PNG):
        raise OSError(f"cannot write {folder / view.matte}")


def _write_views(path: Path) -> None:
    """What the larger pictures show: left, top, width and height on the plane of the landmarks."""
    rows = []
    for view in VIEWS[1:]:
        shows = view.grid.left, view.grid.top, view.grid.width, view.grid.height
        rows.append({"file": view.file, "matte": view.matte, "size": view.size, "shows": shows})
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


def main() -> None:
    """Parse the arguments, draw, and write the pictures and their mattes, landmarks.json and views.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_ASSETS, help="folder for the files")
    parser.add_argument("--only", choices=[view.file for view in VIEWS], help="draw one of the pictures")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    landmarks = build_landmarks(build_face(), _HERE / "template.json")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        if arguments.only in (None, view.file):
            _draw(view, landmarks, arguments.out)
    write_landmarks(landmarks, arguments.out / "landmarks.json")
    _write_views(arguments.out / "views.json")


if __name__ == "__main__":
    main()
