"""What a frame costs: milliseconds per stage, median of the thread's CPU time.

    python bench/renderer.py [--portrait picture.png --landmarks points.json] [--frames 300]

Without arguments the default avatar is measured. OpenCV and BLAS use one thread, as in service. The last lines encode
the pictures of "all, speaking" with x264 as the service does, and convert them from BGR, which the service need not do.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

import musetalk_service
from musetalk_service.config import default_settings
from musetalk_service.engines.face.motion import make_clip
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import NEUTRAL, REST, Mouth, Pose
from musetalk_service.models.media import BASE_SIZE, GOP_FRAMES, make_renditions
from musetalk_service.utils.i420 import from_bgr, size_of, to_bgr
from musetalk_service.utils.video_codec import H264Encoder

DEFAULT = Path(musetalk_service.__file__).parent / "assets" / "default_avatar"
VOWELS = (
    Mouth(jaw=0.95, teeth_upper=0.6, tongue=0.1, upper_raise=0.2),
    Mouth(jaw=0.5, wide=0.5, upper_raise=0.3, teeth_upper=0.8, tongue=0.3, teeth_lower=0.4),
    Mouth(jaw=0.25, wide=0.9, upper_raise=0.35, lower_drop=0.3, teeth_upper=0.9, teeth_lower=0.7),
    Mouth(jaw=0.6, round=0.75, teeth_upper=0.3),
    Mouth(jaw=0.28, round=1.0, teeth_upper=0.1),
    Mouth(press=1.0),
)


def measure(frames: int, work: Callable[[int], object]) -> tuple[float, float]:
    """Median and 95th percentile in ms of the thread's CPU time over calls `work(0..frames-1)`."""
    spent = []
    for index in range(frames):
        start = time.thread_time()
        work(index)
        spent.append(1000.0 * (time.thread_time() - start))
    return statistics.median(spent), statistics.quantiles(spent, n=20)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--portrait", type=Path, default=DEFAULT / "portrait.png")
    parser.add_argument("--landmarks", type=Path, default=DEFAULT / "landmarks.json")
    parser.add_argument("--frames", type=int, default=300)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    portrait = cv2.imread(str(arguments.portrait))
    if portrait is None:
        parser.error(f"cannot read {arguments.portrait}")
    picture = np.asarray(portrait, dtype=np.uint8)
    points = np.array(json.loads(arguments.landmarks.read_text())["points"], dtype=np.float32)

    start = time.thread_time()
    face = FaceRenderer(picture, points)
    print(f"{'preparation':<24}{1000.0 * (time.thread_time() - start):8.1f} ms")

    poses = [Pose(*row) for row in make_clip("speaking_0").tolist()]
    lids = Pose(blink=0.7)
    gaze = Pose(gaze_x=0.2, gaze_y=-0.1)
    head = Pose(yaw=2.0, pitch=1.0, roll=0.5, breath=0.7)
    stages: dict[str, Callable[[int], Any]] = {
        "neutral (copy)": lambda i: face.render(NEUTRAL, REST),
        "mouth": lambda i: face.render(NEUTRAL, VOWELS[i % len(VOWELS)]),
        "  closed, smiling": lambda i: face.render(Pose(smile=0.1), REST),
        "blink": lambda i: face.render(lids, REST),
        "gaze": lambda i: face.render(gaze, REST),
        "head": lambda i: face.render(head, REST),
        "all, speaking": lambda i: face.render(poses[i % len(poses)], VOWELS[i // 4 % len(VOWELS)]),
    }
    print(f"{'stage':<24}{'median':>8}{'p95':>8} ms")
    speaking = [stages["all, speaking"](i) for i in range(100)]
    settings = default_settings()
    encoder = H264Encoder("bench", make_renditions(settings.video_crf, settings.video_max_kbps)[0])
    if size_of(speaking[0]) == BASE_SIZE:
        stages["x264"] = lambda i: encoder.encode(speaking[i % 100], force_idr=i % GOP_FRAMES == 0)
    shown = [to_bgr(frame) for frame in speaking[:10]]
    stages["(BGR to I420)"] = lambda i: from_bgr(shown[i % 10])
    for name, work in stages.items():
        work(0)
        middle, high = measure(arguments.frames, work)
        print(f"{name:<24}{middle:8.2f}{high:8.2f}")


if __name__ == "__main__":
    main()
