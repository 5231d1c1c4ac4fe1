"""`musetalk-service mouth`: files, picture, and what it says when it cannot."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_service.cli import main
from musetalk_service.engines.builtin.arkit import ARKIT_NAMES, to_arkit
from musetalk_service.engines.builtin.mouth_table import CLASSES
from musetalk_service.engines.builtin.mouth_track import MouthTrack, track_mouth
from musetalk_service.models.face import Mouth
from musetalk_service.mouth.plot import draw
from musetalk_service.utils.audio_file import read_audio_file

SPEECH = Path(__file__).parents[3] / "fixtures" / "speech_like_2s.wav"


@pytest.fixture(scope="module")
def track() -> MouthTrack:
    return track_mouth(read_audio_file(SPEECH))


def test_npz_holds_every_array_without_pickle(tmp_path: Path, track: MouthTrack) -> None:
    assert main(["mouth", str(SPEECH), "--out", str(tmp_path / "a.npz"), "--arkit"]) == 0
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"t", "aperture", "width", "classes", "class_names", *Mouth._fields, *ARKIT_NAMES}
        assert tuple(arrays["class_names"].tolist()) == CLASSES
        np.testing.assert_array_equal(arrays["aperture"], track.aperture)
        np.testing.assert_array_equal(arrays["classes"], track.classes)
        np.testing.assert_array_equal(np.stack([arrays[name] for name in Mouth._fields], 1), track.channels)
        np.testing.assert_array_equal(np.stack([arrays[name] for name in ARKIT_NAMES], 1), to_arkit(track.channels))


def test_csv_has_a_row_for_each_frame(tmp_path: Path, track: MouthTrack) -> None:
    assert main(["mouth", str(SPEECH), "--out", str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["t", "aperture", "width"] and f"class_{CLASSES[0]}" in rows[0]
    assert not set(ARKIT_NAMES) & set(rows[0])
    np.testing.assert_allclose([float(row["t"]) for row in rows], np.arange(50) / 25)
    np.testing.assert_allclose([float(row["width"]) for row in rows], track.width, atol=1e-5)


def test_json_names_units_and_groups(tmp_path: Path, track: MouthTrack) -> None:
    assert main(["mouth", str(SPEECH), "--out", str(tmp_path / "a.JSON"), "--arkit"]) == 0
    content = json.loads((tmp_path / "a.JSON").read_text())
    assert content["fps"] == 25 and set(content["units"]) == {"t", "aperture", "width"}
    assert tuple(content["classes"]) == CLASSES and tuple(content["mouth"]) == Mouth._fields
    assert tuple(content["arkit"]) == ARKIT_NAMES
    np.testing.assert_allclose(content["mouth"]["jaw"], track.channels[:, 0], atol=1e-5)


def test_the_summary_goes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mouth", str(SPEECH)]) == 0
    assert "50 frames at 25 fps, 2.00 s" in capsys.readouterr().out


def test_the_picture_is_written_and_shows_the_curves(tmp_path: Path, track: MouthTrack) -> None:
    assert main(["mouth", str(SPEECH), "--plot", str(tmp_path / "a.png")]) == 0
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    silent = draw(np.zeros(32_000, np.int16), track_mouth(np.zeros(32_000, np.int16)), "silence")
    assert picture.shape == silent.shape
    # The filled curve of the opening is red.
    red = [(image[:, :, 2].astype(int) - image[:, :, 0] > 60).sum() for image in (picture, silent)]
    assert red[0] > 2 * red[1]


@pytest.mark.parametrize("seconds", [0.01, 0.5, 60.0])
def test_any_length_can_be_drawn(seconds: float) -> None:
    pcm = np.zeros(round(16_000 * seconds), np.int16)
    channels = np.zeros((max(1, round(25 * seconds)), len(Mouth._fields)))
    t = np.arange(len(channels)) / 25
    picture = draw(pcm, MouthTrack(t, np.full((len(channels), len(CLASSES)), 1 / len(CLASSES)), channels), "a\u00e4")
    assert picture.shape[1] < 3500


def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.txt").write_text("no media")
    for arguments, message in (
        (["nothing.wav"], "there is no such file"),
        ([str(tmp_path / "words.txt"), "--out", str(tmp_path / "a.npz")], "cannot be decoded"),
        ([str(SPEECH), "--out", str(tmp_path / "a.xml")], "must end in .json, .csv, .npz"),
        ([str(SPEECH), "--plot", str(tmp_path / "a.jpg")], "must end in .png"),
        ([str(SPEECH), "--out", str(tmp_path / "missing" / "a.csv")], "No such file or directory"),
    ):
        assert main(["mouth", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]
