"""What a drawn face shows of what it was told: landmarks found again in its pictures, beside the commands."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from musetalk_service.engines.builtin import mouth_measures
from musetalk_service.face_bench.subject import Picture, Subject
from musetalk_service.face_bench.track import Track
from musetalk_service.models.face import NEUTRAL, Mouth
from musetalk_service.models.media import make_renditions
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.utils.video_codec import H264Encoder

Array = NDArray[np.float64]
Progress = Callable[[float], None]

_INNER_PAIRS: Final = ((13, 14), (82, 87), (312, 317))
_SHUT: Final = 0.9
"""Press from which p, b, m have full contact."""
_REPEATS: Final = 5
_STILL_MOUTH: Final = 0.01
"""Standard deviation of the opening, in inter-ocular distances, of a mouth that does not speak."""


@dataclass(frozen=True)
class Measures:
    """The figures of one subject; lengths are in inter-ocular distances (outer corners) unless said otherwise."""

    name: str
    frames: int
    found: int
    """Frames in which the face was found again."""
    aperture_r: float
    """Pearson correlation of the commanded inner-lip opening with that found."""
    aperture_slope: float
    """Found over commanded opening, by least squares."""
    width_r: float
    """The same of the mouth's width."""
    closed_gap: float
    """Largest gap between the lips at p, b, m, in mouth widths at rest."""
    old_mouth_r: float | None
    """Partial correlation of what is found with the base video's own mouth, given the command; None for a portrait,
    and for a video whose mouth hardly moves: there it is that of the noise."""
    is_video: bool
    above_nose: int
    """Largest difference of a byte of luma above the nose's root that any mouth makes while the head is at rest."""
    jitter: int
    """Largest difference of a byte when the same is drawn again."""
    stages: dict[str, float]
    """Median CPU milliseconds per frame on one thread."""
    prepare_s: float


@dataclass(frozen=True)
class Run:
    """A subject that has performed a track."""

    measures: Measures
    pictures: list[Picture]
    """(h * 3 / 2, w) I420 each."""
    landmarks: list[NDArray[np.float32] | None]


def to_bgr(picture: Picture) -> Picture:
    """(h, w, 3) of an I420 picture."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420), np.uint8)


def _draw(subject: Subject, track: Track) -> tuple[list[Picture], list[float], list[float]]:
    """The pictures, and the seconds that each took: those without and those with a head that moves.

    All by themselves, and moved to memory of their own, so that each is drawn where the one before was, as in a host:
    finding faces in between would drive everything out of the cache, and fresh memory costs up to a third more.
    """
    first = subject.draw(0, track.poses[0], track.mouth(0))
    pictures = np.empty((len(track), *first.shape), np.uint8)
    still: list[float] = []
    moving: list[float] = []
    for frame, pose in enumerate(track.poses):
        started = time.thread_time()
        picture = subject.draw(frame, pose, track.mouth(frame))
        (moving if frame in track.sentence else still).append(time.thread_time() - started)
        pictures[frame] = picture
    return list(pictures), still, moving


def run(subject: Subject, track: Track, landmarker: FaceLandmarker, progress: Progress) -> Run:
    """Draw the track, find the face again in every picture, and measure."""
    pictures, still, moving = _draw(subject, track)
    finds: list[NDArray[np.float32] | None] = []
    for frame, picture in enumerate(pictures):
        faces = landmarker.find(to_bgr(picture))
        finds.append(faces[0].landmarks if faces else None)
        progress((frame + 1) / len(track))
    known = np.array([find is not None for find in finds])
    points = np.array([find for find in finds if find is not None], np.float64)
    aperture, width = _aperture(points), _width(points)
    told, told_width = mouth_measures.aperture(track.channels), mouth_measures.width(track.channels)
    contact = track.channels[known][:, Mouth._fields.index("press")] >= _SHUT
    rest_width = _rest_width(subject, landmarker)
    old = None
    if subject.old_mouth is not None:
        before = subject.old_mouth[np.arange(len(track)) % len(subject.old_mouth)][known]
        old = partial(aperture, before, told[known]) if before.std() > _STILL_MOUTH else None
    stages = {"draw": _ms(still), "draw, head moving": _ms(moving), "encode": _encode(pictures[track.sentence.start :])}
    measures = Measures(
        name=subject.name,
        frames=len(track),
        found=int(known.sum()),
        aperture_r=correlation(told[known], aperture),
        aperture_slope=float(np.polyfit(told[known], aperture, 1)[0]),
        width_r=correlation(told_width[known], width),
        closed_gap=float((aperture[contact] / rest_width).max()),
        old_mouth_r=old,
        is_video=subject.old_mouth is not None,
        above_nose=_above_nose(subject, track),
        jitter=_jitter(subject, track),
        stages=stages,
        prepare_s=subject.prepare_s,
    )
    return Run(measures, pictures, finds)


def correlation(a: Array, b: Array) -> float:
    """Pearson's r."""
    return float(np.corrcoef(a, b)[0, 1])


def partial(a: Array, b: Array, given: Array) -> float:
    """Correlation of what is left of `a` and `b` when their linear dependence on `given` is taken out."""
    ab, ac, bc = correlation(a, b), correlation(a, given), correlation(b, given)
    return (ab - ac * bc) / float(np.sqrt((1 - ac**2) * (1 - bc**2)))


def _span(points: Array, a: int, b: int) -> Array:
    return np.asarray(np.hypot(*(points[:, a, :2] - points[:, b, :2]).T), np.float64)


def _aperture(points: Array) -> Array:
    """Mean distance of three pairs of inner-lip points."""
    return np.asarray(np.mean([_span(points, a, b) for a, b in _INNER_PAIRS], axis=0) / _span(points, 33, 263))


def _width(points: Array) -> Array:
    return np.asarray(_span(points, 61, 291) / _span(points, 33, 263))


def _rest_width(subject: Subject, landmarker: FaceLandmarker) -> float:
    faces = landmarker.find(to_bgr(subject.base(0)))
    return float(_width(faces[0].landmarks[None].astype(np.float64))[0]) if faces else float("nan")


def _above_nose(subject: Subject, track: Track) -> int:
    worst = 0
    for frame in track.classes.values():
        difference = np.abs(subject.draw(frame, NEUTRAL, track.mouth(frame)).astype(int) - subject.base(frame))
        worst = max(worst, int(difference[: subject.nose_level].max()))
    return worst


def _jitter(subject: Subject, track: Track) -> int:
    worst = 0
    for frame in (0, *track.classes.values()):
        first, *others = (subject.draw(frame, track.poses[frame], track.mouth(frame)) for _ in range(_REPEATS))
        worst = max([worst, *(int(np.abs(first.astype(int) - other).max()) for other in others)])
    return worst


def _encode(pictures: list[Picture]) -> float:
    encoder = H264Encoder("bench", make_renditions(crf=23, max_kbps=1500)[0])
    times = []
    for picture in pictures:
        started = time.thread_time()
        encoder.encode(picture, force_idr=False)
        times.append(time.thread_time() - started)
    return _ms(times)


def _ms(seconds: list[float]) -> float:
    return 1000.0 * float(np.median(seconds))
