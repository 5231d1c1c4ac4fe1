"""A film of somebody who speaks becomes a face that says something else."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.face_bench.measure import run
from musetalk_service.face_bench.subject import VideoSubject, load_subject
from musetalk_service.face_bench.track import make_track
from musetalk_service.models.face import REST, Mouth, Pose
from musetalk_service.models.media import BASE_SIZE
from musetalk_service.preparation.base_video import best_frame
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.utils.i420 import to_bgr
from support.films import write_film

FRAMES = 90


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default face, its head and mouth in motion, as a film."""
    renderer, at = load_default_avatar().renderer(BASE_SIZE), np.arange(FRAMES) / 25
    jaw = np.clip(0.45 + 0.5 * np.sin(2 * np.pi * 1.9 * at), 0, 1)
    wide = np.clip(np.sin(2 * np.pi * 0.7 * at), 0, 1)

    def picture(i: int) -> NDArray[np.uint8]:
        pose = Pose(yaw=2.5 * np.sin(at[i] * 2), pitch=1.5 * np.sin(at[i] * 3), roll=1.5 * np.sin(at[i]))
        return to_bgr(renderer.render(pose, Mouth(jaw=float(jaw[i]), wide=float(wide[i]), teeth_upper=0.7)))

    return write_film(tmp_path_factory.mktemp("film") / "talking.mp4", (picture(i) for i in range(FRAMES)))


@pytest.mark.slow
def test_the_old_words_are_gone_and_the_new_ones_are_there(talking: Path, landmarker: FaceLandmarker) -> None:
    subject = load_subject(str(talking), landmarker)
    assert isinstance(subject, VideoSubject)
    assert np.ptp(subject.old_mouth) > 0.08  # the film's mouth does move
    measures = run(subject, make_track(), landmarker, lambda share: None).measures
    assert measures.found == measures.frames
    assert measures.aperture_r >= 0.85 and measures.width_r >= 0.9
    assert measures.closed_gap < 0.02
    assert measures.old_mouth_r is not None and abs(measures.old_mouth_r) < 0.1
    assert measures.above_nose == 0 and measures.jitter == 0
    gaps = []
    for frame in range(0, FRAMES, 6):
        (face,) = landmarker.find(to_bgr(subject.draw(frame, Pose(), REST)))
        gaps.append(np.hypot(*(face.landmarks[13] - face.landmarks[14])[:2]) / face.eye_distance)
    assert max(gaps) < 0.02


def test_the_best_frame_has_a_shut_mouth_and_open_eyes() -> None:
    points = np.repeat(load_default_avatar().landmarks[None], 4, axis=0)
    points[0, 14, 1] += 12  # speaks
    points[1, 159] = points[1, 145]  # blinks
    points[1, 386] = points[1, 374]
    points[2, :, 0] += 25  # leans aside
    aperture = np.hypot(*(points[:, 13, :2] - points[:, 14, :2]).T) / 100
    assert best_frame(points, aperture) == 3
