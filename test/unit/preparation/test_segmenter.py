"""The real model, run by OpenCV: it finds the person, and what it is not sure of is seen from further away."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.face.renderer import FaceRenderer
from musetalk_service.models.face import REST, Pose
from musetalk_service.models.preparation import PreparationModels
from musetalk_service.preparation.errors import SegmenterError
from musetalk_service.preparation.matte_files import write_matte
from musetalk_service.preparation.portrait_files import write_portrait
from musetalk_service.preparation.segmenter import PersonSegmenter, load_segmenter

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def segmenter(segmenter_model: Path) -> PersonSegmenter:
    return PersonSegmenter(segmenter_model)


def test_it_sees_the_person(segmenter: PersonSegmenter, portrait: Picture) -> None:
    drawn = load_default_avatar().matte
    assert drawn is not None
    belief = segmenter.believe(portrait)
    assert belief.shape == (512, 512) and belief.dtype == np.float32
    assert belief.min() >= 0.0 and belief.max() <= 1.0
    found, true = belief > 0.5, drawn > 127
    assert (found & true).sum() / (found | true).sum() > 0.95


def test_mirrored_it_sees_the_same(segmenter: PersonSegmenter, portrait: Picture) -> None:
    mirrored = segmenter.believe(np.ascontiguousarray(portrait[:, ::-1]))[:, ::-1]
    assert np.abs(mirrored - segmenter.believe(portrait)).mean() < 0.005


def test_an_avatar_gets_its_matte_and_lines_behind_it_stay_straight(
    segmenter: PersonSegmenter, portrait: Picture, landmarks: NDArray[np.float32], tmp_path: Path
) -> None:
    drawn = load_default_avatar().matte
    assert drawn is not None
    wall = np.full_like(portrait, 210)
    wall[:, ::24] = wall[::24] = (90, 120, 160)
    cover = drawn[..., None] / 255.0
    photo = np.asarray(np.round(portrait * cover + wall * (1.0 - cover)), np.uint8)
    write_portrait(tmp_path, photo, landmarks)
    assert write_matte(tmp_path, segmenter) == {"matte": "matte.png"}
    matte = np.asarray(cv2.imread(str(tmp_path / "matte.png"), cv2.IMREAD_GRAYSCALE), np.uint8)
    pose = Pose(yaw=4.0, roll=3.0, shift_x=4.0)
    away = cv2.dilate(drawn, np.ones((61, 61), np.uint8)) == 0
    before = FaceRenderer(photo, landmarks).render(Pose(), REST)[:512].astype(int)
    with_layers = np.abs(FaceRenderer(photo, landmarks, matte).render(pose, REST)[:512] - before)[away]
    without = np.abs(FaceRenderer(photo, landmarks).render(pose, REST)[:512] - before)[away]
    assert (without > 16).sum() > 500
    assert (with_layers > 16).sum() < 0.02 * (without > 16).sum()


def test_without_landmarks_there_is_nothing_to_part(
    segmenter: PersonSegmenter, portrait: Picture, tmp_path: Path
) -> None:
    write_portrait(tmp_path, portrait, None)
    assert write_matte(tmp_path, segmenter) == {}


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(json.dumps("nothing").encode())
    with pytest.raises(SegmenterError, match="does not take the person segmenter's model"):
        PersonSegmenter(tmp_path / "model")


def test_a_setting_that_names_nothing_is_told(tmp_path: Path) -> None:
    models = PreparationModels(segmenter=tmp_path / "none", folder=tmp_path, cache_dir=tmp_path)
    with pytest.raises(SegmenterError, match=r"PERSON_SEGMENTER_PATH: there is no file .*none"):
        load_segmenter(models)
