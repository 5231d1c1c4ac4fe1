import json
import pickle

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

import torch

from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.face_crop import crop_box
from musetalk_service.engines.musetalk.published_avatar import load_published_avatar
from musetalk_service.errors import CheckpointError

RNG = np.random.default_rng(14)
NOWHERE = (0.0, 0.0, 0.0, 0.0)


def write_avatar(folder, count=3, *, doubled=True, faceless=(), masks_for_all=False, version="v15"):
    """As the published scripts write it (`doubled`) or LiveTalking does; colours and latents tell frames apart."""
    for name in ("full_imgs", "mask"):
        (folder / name).mkdir(parents=True)
    order = [*range(count), *reversed(range(count))] if doubled else [*range(count)]
    faces = [NOWHERE if i in faceless else [np.int64(20 + i), 30, np.int64(60 + i), 84] for i in order]
    crops, mask_index = [], 0
    for index, (i, face) in enumerate(zip(order, faces, strict=True)):
        cv2.imwrite(str(folder / "full_imgs" / f"{index:08d}.png"), np.full((128, 96, 3), 40 * i, np.uint8))
        if face is NOWHERE and not masks_for_all:
            continue
        crop = [0, 0, 40, 40] if face is NOWHERE else list(crop_box(Box(*map(int, face))))
        mask = np.full((crop[3] - crop[1], crop[2] - crop[0]), 60 + i, np.uint8)
        cv2.imwrite(str(folder / "mask" / f"{mask_index:08d}.png"), cv2.merge([mask] * 3))
        crops.append(crop)
        mask_index += 1
    (folder / "coords.pkl").write_bytes(pickle.dumps(faces))
    (folder / "mask_coords.pkl").write_bytes(pickle.dumps(crops))
    latents = [torch.full((1, 8, 32, 32), float(i), dtype=torch.float16) for i in order if i not in faceless]
    torch.save(latents, folder / "latents.pt")
    if version:
        info = {"avatar_id": "a", "video_path": "a.mp4", "bbox_shift": 0, "version": version}
        (folder / "avator_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(("doubled", "version"), [(True, "v15"), (True, "v1"), (False, None)])
def test_both_dialects_are_read(tmp_path, doubled, version):
    avatar = load_published_avatar(write_avatar(tmp_path / "a", doubled=doubled, version=version))
    assert (len(avatar), avatar.version) == (3, version)
    assert [avatar.place(i) for i in range(8)] == [0, 1, 2, 2, 1, 0, 0, 1]
    for i in range(3):
        assert avatar.picture(i)[0, 0, 0] == 40 * i
        assert float(avatar.latents[i, 0, 0, 0]) == i
        overlay = avatar.overlay(i)
        assert overlay.face == Box(20 + i, 30, 60 + i, 84)
        assert overlay.mask.ndim == 2 and overlay.mask[0, 0] == 60 + i


@pytest.mark.parametrize("masks_for_all", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_frames_without_a_face_shift_nothing(tmp_path, doubled, masks_for_all):
    folder = write_avatar(tmp_path / "a", 4, doubled=doubled, faceless=(1,), masks_for_all=masks_for_all)
    avatar = load_published_avatar(folder)
    assert len(avatar) == 3
    for place, i in enumerate((0, 2, 3)):
        assert avatar.picture(place)[0, 0, 0] == 40 * i
        assert float(avatar.latents[place, 0, 0, 0]) == i
        assert avatar.faces[place].left == 20 + i
        assert avatar.overlay(place).mask[0, 0] == 60 + i


def test_one_frame_is_enough(tmp_path):
    for doubled in (True, False):
        avatar = load_published_avatar(write_avatar(tmp_path / f"{doubled}", 1, doubled=doubled))
        assert [avatar.place(i) for i in range(3)] == [0, 0, 0]


def test_mouth_is_painted_where_the_mask_is(tmp_path):
    avatar = load_published_avatar(write_avatar(tmp_path / "a"))
    picture = avatar.picture(1)
    avatar.overlay(1).paint_bgr(picture, np.full((256, 256, 3), 250, np.uint8))
    inside = picture[30:84, 21:61]
    assert (inside == inside[0, 0]).all() and inside[0, 0, 0] > 80
    picture[30:84, 21:61] = 40
    assert (picture == 40).all()


def _unlink(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_unlink("coords.pkl"), "coords.pkl cannot be read"),
        (_unlink("latents.pt"), "latents.pt cannot be read"),
        (_unlink("full_imgs/00000002.png"), "coords.pkl has 6 entries for 5 pictures"),
        (_unlink("mask/00000002.png"), "mask_coords.pkl has 6 entries for 5 pictures"),
        (lambda f: torch.save([torch.zeros(1, 8, 32, 32)], f / "latents.pt"), "1 entries for 6 frames with a face"),
        (lambda f: torch.save([torch.zeros(1, 4, 32, 32)] * 6, f / "latents.pt"), "no list of latents"),
        (lambda f: torch.save([torch.full((1, 8, 32, 32), np.inf)] * 6, f / "latents.pt"), "not finite"),
        (lambda f: (f / "coords.pkl").write_bytes(pickle.dumps([NOWHERE] * 6)), "no frame with a face"),
        (lambda f: (f / "latents.pt").write_bytes(pickle.dumps(pickle.Unpickler)), "latents.pt"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, break_it, message):
    folder = write_avatar(tmp_path / "a")
    break_it(folder)
    with pytest.raises(CheckpointError, match=message):
        load_published_avatar(folder)


def test_damaged_pictures_are_named(tmp_path):
    avatar = load_published_avatar(write_avatar(tmp_path / "a"))
    avatar.frames[0].write_bytes(b"no picture")
    cv2.imwrite(str(avatar.masks[0]), np.zeros((3, 3), np.uint8))
    with pytest.raises(CheckpointError, match=r"00000000\.png is no picture"):
        avatar.picture(0)
    with pytest.raises(CheckpointError, match="mask_coords"):
        avatar.overlay(0)
