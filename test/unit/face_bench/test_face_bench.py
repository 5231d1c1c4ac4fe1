"""`musetalk-service bench face` on the default face: the figures of the project's goals, a sheet and a film."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from musetalk_service.cli import main
from musetalk_service.engines.builtin.mouth_table import CLASSES, TABLE
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.face_bench.measure import correlation, partial, run
from musetalk_service.face_bench.subject import PortraitSubject, Subject, load_subject
from musetalk_service.face_bench.track import make_track
from musetalk_service.models.face import REST, Mouth, Pose
from musetalk_service.preparation.landmarker import FaceLandmarker


def test_the_track_holds_every_class_and_then_speaks() -> None:
    track = make_track()
    assert [*track.classes] == [name for name in CLASSES if name != "sil"]
    for name, frame in track.classes.items():
        np.testing.assert_allclose(track.channels[frame], TABLE[CLASSES.index(name)], atol=1e-6)
    assert track.sentence.stop == len(track) == len(track.channels)
    assert len(track.pcm) == 640 * len(track)
    assert track.channels[track.sentence.start :, 0].max() > 0.3
    assert all(pose.smile == 0 for pose in track.poses)


def test_partial_correlation_takes_the_command_out() -> None:
    rng = np.random.default_rng(3)
    command, noise, leak = rng.normal(size=(3, 5000))
    old = 0.7 * command + noise
    assert correlation(command, old) > 0.5
    assert abs(partial(command + 0.1 * leak, old, command)) < 0.05
    assert partial(command + 0.3 * old, old, command) > 0.95


@pytest.mark.slow
@pytest.mark.usefixtures("landmarker_model")
def test_the_default_face_reaches_the_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "face", "default", "--json", "--out", str(tmp_path)]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["found"] == result["frames"] == len(make_track())
    assert result["aperture_r"] >= 0.95 and result["width_r"] >= 0.90
    assert result["closed_gap"] < 0.02
    assert result["above_nose"] == 0 and result["jitter"] == 0
    assert result["old_mouth_r"] is None
    sheet = cv2.imread(str(tmp_path / "default.png"))
    assert sheet is not None and sheet.shape[1] > 2000
    with av.open(str(tmp_path / "default.mp4")) as film:
        assert film.streams.video[0].frames == result["frames"]
        assert film.streams.audio[0].sample_rate == 16000


@pytest.mark.usefixtures("landmarker_model")
def test_files_that_are_no_faces_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((300, 300, 3), 90, np.uint8))
    assert main(["bench", "face", str(blank), str(tmp_path / "missing.png")]) == 1
    said = capsys.readouterr().err
    assert "blank.png: no face is found" in said and "missing.png" in said


class _Deaf:
    """A face whose mouth does not do as it is told."""

    name, prepare_s, old_mouth = "deaf", 0.0, None

    def __init__(self, subject: Subject) -> None:
        assert isinstance(subject, PortraitSubject)
        self._renderer: FaceRenderer = subject.renderer
        self.nose_level = subject.nose_level
        self._calls = 0

    def base(self, frame: int) -> np.ndarray:
        return self._renderer.render(Pose(brow=0.5), REST)

    def draw(self, frame: int, pose: Pose, mouth: Mouth) -> np.ndarray:
        self._calls += 1
        return self._renderer.render(pose, Mouth(jaw=(self._calls % 7) / 7))


@pytest.mark.slow
def test_a_mouth_that_does_not_obey_is_found_out(landmarker: FaceLandmarker) -> None:
    measures = run(_Deaf(load_subject("default", landmarker)), make_track(), landmarker, lambda share: None).measures
    assert abs(measures.aperture_r) < 0.5 and abs(measures.width_r) < 0.5
    assert measures.closed_gap > 0.05
    assert measures.above_nose > 0 and measures.jitter > 0
