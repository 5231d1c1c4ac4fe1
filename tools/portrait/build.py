"""Draw the default avatar and its landmarks: ``python tools/portrait/build.py``.

The result is the same on every run: each part draws from its own seeded generator.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from backdrop import draw_backdrop
from clothes import draw_clothes
from eyes import draw_eyes
from face import build_face
from hair import draw_back_hair, draw_shoulder_shadow, draw_top_hair, hair_edge
from landmarks import build_landmarks, write_landmarks
from paths import SIZE, Array, Field, Grid
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


def paint(scale: int, landmarks: Array) -> Field:
    """Return the finished picture (512, 512, 3), sRGB 0..1, drawn at ``scale`` samples per pixel."""
    grid, face = Grid(scale), build_face()
    picture = draw_backdrop(grid)
    picture = draw_back_hair(grid, _generator(1)).over(picture)
    picture = draw_skin(grid, face, landmarks, hair_edge(), _generator(2), picture)
    picture = draw_seam(grid, face).over(picture)
    picture = draw_jewels(grid).over(picture)
    picture = draw_eyes(grid, face, _generator(3)).over(picture)
    picture = draw_top_hair(grid, False, _generator(4)).over(picture)
    picture = draw_clothes(grid, _generator(5), picture)
    picture = draw_shoulder_shadow(grid).over(picture)
    picture = draw_top_hair(grid, True, _generator(6)).over(picture)
    picture = _grade(picture)
    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    grain = _generator(7).normal(0, _GRAIN, (SIZE, SIZE, 1)).astype(np.float32)
    return np.asarray(np.clip(small + grain, 0, 1), np.float32)


def main() -> None:
    """Parse the arguments, draw, and write portrait.png and landmarks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=_ASSETS, help="folder for portrait.png and landmarks.json")
    parser.add_argument("--scale", type=int, default=4, help="samples per finished pixel and axis")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    landmarks = build_landmarks(build_face(), _HERE / "template.json")
    picture = np.round(paint(arguments.scale, landmarks)[..., ::-1] * 255).astype(np.uint8)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(arguments.out / "portrait.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"cannot write {arguments.out / 'portrait.png'}")
    write_landmarks(landmarks, arguments.out / "landmarks.json")


if __name__ == "__main__":
    main()
