"""Folders of the published scripts: both dialects, and everything that may be wrong with one."""

import pickle

import cv2
import numpy as np
import pytest

from musetalk_service.engines.face.box import Box
from musetalk_service.preparation.errors import NotOfficialError
from musetalk_service.preparation.official_avatar import load_official_avatar
from support.official_avatars import NOWHERE, write_official, write_tensors


def load(folder, max_frames=250, max_pixels=1_000_000):
    return load_official_avatar(folder, max_pixels=max_pixels, max_frames=max_frames)


def shown(avatar):
    """Which of the written frames each frame is, by its picture."""
    return [int(picture[0, 0, 0]) // 40 for picture in avatar]


@pytest.mark.parametrize(("doubled", "version"), [(True, "v15"), (True, "v1"), (False, None)])
def test_both_dialects_are_read(tmp_path, doubled, version):
    avatar = load(write_official(tmp_path / "a", doubled=doubled, version=version))
    assert avatar.version == {"v15": "1.5", "v1": "1.0", None: None}[version]
    assert (avatar.size, avatar.expected) == ((96, 128), 25)
    assert shown(avatar) == [[0, 1, 2, 2, 1, 0][i % 6] for i in range(25)]  # to and fro for a whole second
    for index in range(3):
        frame = avatar.frames[index]
        assert frame.face == Box(20 + index, 30, 60 + index, 84)
        assert avatar.mask(index).ndim == 2 and avatar.mask(index)[0, 0] == 60 + index
        assert (avatar.latents.read([frame.latents]) == index).all()


@pytest.mark.parametrize("masks_for_all", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_frames_without_a_face_shift_nothing(tmp_path, doubled, masks_for_all):
    folder = write_official(tmp_path / "a", 4, doubled=doubled, faceless=(1,), masks_for_all=masks_for_all)
    avatar = load(folder)
    assert shown(avatar)[:6] == [0, 2, 3, 3, 2, 0]
    for index, i in enumerate((0, 2, 3)):
        frame = avatar.frames[index]
        assert frame.face.left == 20 + i
        assert avatar.mask(index)[0, 0] == 60 + i
        assert (avatar.latents.read([frame.latents]) == i).all()


@pytest.mark.parametrize("doubled", [False, True])
def test_one_frame_is_enough(tmp_path, doubled):
    assert shown(load(write_official(tmp_path / "a", 1, doubled=doubled))) == [0] * 25


def test_long_videos_are_cut_to_whole_seconds(tmp_path):
    folder = write_official(tmp_path / "a", 80, picture=lambda i: np.full((128, 96, 3), i, np.uint8))
    assert load(folder).expected == 75
    assert [int(p[0, 0, 0]) for p in load(folder, max_frames=60)] == list(range(50))


def _unlink(name):
    return lambda folder: (folder / name).unlink()


def _link(name):
    def replace(folder):
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return replace


LATENTS = np.zeros((1, 8, 32, 32), np.float16)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_unlink("coords.pkl"), "coords.pkl cannot be read"),
        (_unlink("latents.pt"), "latents.pt cannot be read"),
        (_unlink("full_imgs/00000002.png"), "coords.pkl has 6 entries for 5 pictures"),
        (_unlink("mask/00000002.png"), "mask_coords.pkl has 6 entries for 5 pictures"),
        (_link("coords.pkl"), "coords.pkl is a link"),
        (_link("latents.pt"), "latents.pt is a link"),
        (_link("full_imgs"), "full_imgs is a link"),
        (_link("full_imgs/00000000.png"), "00000000.png is a link"),
        (lambda f: write_tensors(f / "latents.pt", [LATENTS]), "1 entries for 6 frames with a face"),
        (lambda f: write_tensors(f / "latents.pt", [LATENTS[:, :4]] * 6), "no list of tensors"),
        (lambda f: (f / "coords.pkl").write_bytes(pickle.dumps([NOWHERE] * 6)), "no frame with a face"),
        (lambda f: (f / "coords.pkl").write_bytes(pickle.dumps([[500, 5, 600, 90]] * 6)), "does not lie in"),
        (lambda f: (f / "coords.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR."), "os.system is not allowed"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, break_it, message):
    folder = write_official(tmp_path / "a")
    break_it(folder)
    with pytest.raises(NotOfficialError, match=message):
        load(folder)


def test_damaged_pictures_are_named(tmp_path):
    avatar = load(write_official(tmp_path / "a"))
    avatar.frames[1].picture.write_bytes(b"no picture")
    with pytest.raises(NotOfficialError, match=r"00000001\.png is no picture"):
        list(avatar)
    cv2.imwrite(str(avatar.frames[1].picture), np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(NotOfficialError, match="not the size of the first"):
        list(avatar)
    cv2.imwrite(str(avatar.frames[0].mask), np.zeros((3, 3), np.uint8))
    with pytest.raises(NotOfficialError, match="mask_coords"):
        avatar.mask(0)


def test_pictures_are_limited(tmp_path):
    with pytest.raises(NotOfficialError, match="96x128 pixels, at most 10000"):
        load(write_official(tmp_path / "a"), max_pixels=10_000)


def test_odd_files_beside_it_do_not_matter(tmp_path):
    folder = write_official(tmp_path / "a")
    (folder / "avator_info.json").write_text("{")
    (folder / "full_imgs" / "notes.txt").write_text("x")
    (folder / "vid_output").mkdir()
    assert load(folder).version is None


@pytest.mark.parametrize("seed", range(30))
def test_mutated_files_are_refused_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    folder = write_official(tmp_path / "a", 2)
    names = ("coords.pkl", "mask_coords.pkl", "latents.pt", "full_imgs/00000001.png", "mask/00000001.png")
    path = folder / names[seed % len(names)]
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[rng.integers(0, min(len(content), 2000), 8)] = rng.integers(0, 256, 8)
    path.write_bytes(content.tobytes()[: len(content) - int(rng.integers(0, 3)) * 50])
    try:
        avatar = load(folder)
        avatar.latents.read([frame.latents for frame in avatar.frames])
        assert len(list(avatar)) == len([avatar.mask(index) for index in range(avatar.expected)]) == 25
    except NotOfficialError as error:
        assert error.message
