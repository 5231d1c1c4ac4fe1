"""Avatars on disk: whole or not at all, and never outside of their folder."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.errors import ModelNotFoundError
from musetalk_service.models.avatar_manifest import ClipRange
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.models.media import BASE_SIZE, ClipPosition, FrameSize
from support.avatars import manifest_for, publish


@pytest.fixture
def library(tmp_path: Path) -> AvatarLibrary:
    return AvatarLibrary(tmp_path / "avatars")


def test_what_is_published_is_found_and_loads(library: AvatarLibrary) -> None:
    assert library.ids() == [] and library.find("alice") is None
    ref = publish(library.root, "alice")
    assert library.ids() == ["alice"]
    assert library.find("alice") == ref
    avatar = library.load(ref)
    assert avatar.name == ref
    assert np.array_equal(avatar.portrait, load_default_avatar().portrait)
    assert library.manifest(ref).source.kind == "photo"


def test_a_new_version_takes_over_and_the_old_one_stays_till_pruned(library: AvatarLibrary) -> None:
    first = publish(library.root, "alice")
    second = publish(library.root, "alice")
    assert library.find("alice") == second != first
    library.prune({first})
    assert library.folder(first).is_dir()
    library.prune(set())
    with pytest.raises(ModelNotFoundError):
        library.folder(first)
    assert library.load(second)


def test_staged_files_are_nobodys_avatar_until_published(library: AvatarLibrary) -> None:
    staged = library.stage()
    (staged / "portrait.png").write_bytes(b"half")
    assert library.ids() == []
    library.clear_leftovers()
    assert staged.exists()  # another server may be at it
    library.clear_leftovers(older_than_s=0)
    assert not staged.exists()


def test_avatar_of_a_session_is_found_by_its_reference_alone(library: AvatarLibrary) -> None:
    ref = publish(library.root, "~0123")
    assert library.ids() == [] and library.find("~0123") is None
    assert library.load(ref).name == ref
    library.clear_leftovers(older_than_s=0)
    with pytest.raises(ModelNotFoundError):
        library.load(ref)


def test_crash_between_the_two_renames_leaves_the_version_before(
    library: AvatarLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(library.root, "alice")

    def fail(self: Path, target: Path) -> Path:
        if target.name == "current":
            raise OSError("power cut")
        return Path.rename(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="power cut"):
        publish(library.root, "alice")
    assert library.find("alice") == first


def test_removed_is_gone_at_once(library: AvatarLibrary) -> None:
    ref = publish(library.root, "alice")
    publish(library.root, "bob")
    assert library.remove("alice") and not library.remove("alice")
    assert library.ids() == ["bob"]
    with pytest.raises(ModelNotFoundError):
        library.load(ref)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../bob", "bob/..", "/etc", "a" * 65, "böb", "bob\n", "bob@", ".staging", "default", "a\0b"]
)
def test_names_that_are_none_are_nobodys(library: AvatarLibrary, name: str) -> None:
    publish(library.root, "bob")
    assert library.find(name) is None
    assert not library.remove(name)
    for ref in (name, f"{name}@0123456789abcdef", f"bob@{name}"):
        with pytest.raises(ModelNotFoundError):
            library.folder(ref)


def test_links_are_not_followed(library: AvatarLibrary, tmp_path: Path) -> None:
    outside = AvatarLibrary(tmp_path / "outside")
    ref = publish(outside.root, "eve")
    library.root.mkdir()
    (library.root / "eve").symlink_to(outside.root / "eve")
    assert library.find("eve") is None and not library.remove("eve")
    with pytest.raises(ModelNotFoundError):
        library.load(ref)
    version = publish(library.root, "mallory")
    portrait = library.folder(version) / "portrait.png"
    portrait.unlink()
    portrait.symlink_to(outside.folder(ref) / "portrait.png")
    with pytest.raises(ModelNotFoundError, match="no file of its folder"):
        library.load(version)


@pytest.mark.parametrize("portrait", ["../../x.png", "/etc/passwd", "..", "sub/portrait.png"])
def test_manifests_name_only_files_of_their_folder(library: AvatarLibrary, portrait: str) -> None:
    ref = publish(library.root, "alice")
    path = library.folder(ref) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"portrait": portrait}))
    with pytest.raises(ModelNotFoundError, match="damaged"):
        library.load(ref)


def test_what_does_not_load_is_not_published(library: AvatarLibrary) -> None:
    first = publish(library.root, "alice")
    staged = library.stage()
    (staged / "portrait.png").write_bytes(b"no picture")
    with pytest.raises(ModelNotFoundError, match="damaged"):
        library.publish(staged, manifest_for("alice"))
    assert library.find("alice") == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "portrait.png").write_bytes(b"no picture"),
        lambda folder: (folder / "portrait.png").unlink(),
        lambda folder: (folder / "landmarks.json").write_text('{"points": [[1, 2, 3]]}'),
        lambda folder: (folder / "landmarks.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").write_text('{"format": 2}'),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_bytes(b" " * (1 << 21)),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
)
def test_damaged_files_are_told_apart_from_crashes(library: AvatarLibrary, damage: object) -> None:
    ref = publish(library.root, "alice")
    damage(library.folder(ref))  # type: ignore[operator]
    with pytest.raises(ModelNotFoundError, match="alice"):
        library.load(ref)


def test_manifest_keeps_fields_that_newer_services_add(library: AvatarLibrary) -> None:
    ref = publish(library.root, "alice")
    path = library.folder(ref) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"newer": 1}))
    assert library.manifest(ref).avatar_id == "alice"


def test_a_matte_is_part_of_the_avatar_and_of_what_is_cached_of_it(library: AvatarLibrary) -> None:
    staged, manifest = _staged_copy(library), manifest_for("alice").model_copy(update={"matte": "matte.png"})
    matte = load_default_avatar().matte
    assert matte is not None
    cv2.imwrite(str(staged / "matte.png"), matte)
    avatar = library.load(library.publish(staged, manifest))
    assert avatar.matte is not None and np.array_equal(avatar.matte, matte)
    assert avatar.digest != library.load(publish(library.root, "berta")).digest


@pytest.mark.parametrize("content", [b"", b"no picture", np.zeros((256, 512), np.uint8)], ids=["none", "text", "size"])
def test_a_matte_that_is_none_is_refused(library: AvatarLibrary, content: object) -> None:
    staged, manifest = _staged_copy(library), manifest_for("alice").model_copy(update={"matte": "matte.png"})
    if isinstance(content, bytes):
        (staged / "matte.png").write_bytes(content)
    else:
        cv2.imwrite(str(staged / "matte.png"), np.asarray(content))
    with pytest.raises(ModelNotFoundError, match="the matte of avatar"):
        library.publish(staged, manifest)


def test_a_larger_picture_is_a_view(library: AvatarLibrary) -> None:
    staged, manifest = _staged_copy(library), manifest_for("alice").model_copy(update={"large": "large.png"})
    large = np.asarray(cv2.resize(load_default_avatar().portrait, (1024, 1024)), np.uint8)
    cv2.imwrite(str(staged / "large.png"), large)
    avatar = library.load(library.publish(staged, manifest))
    assert avatar.drawn_size(FrameSize(1024, 1024)) == (1024, 1024)
    assert avatar.digest != library.load(publish(library.root, "bob")).digest


def test_a_larger_picture_that_is_none_is_refused(library: AvatarLibrary) -> None:
    staged, manifest = _staged_copy(library), manifest_for("alice").model_copy(update={"large": "large.png"})
    cv2.imwrite(str(staged / "large.png"), np.zeros((600, 1024, 3), np.uint8))
    with pytest.raises(ModelNotFoundError, match="not a square PNG picture"):
        library.publish(staged, manifest)


def _staged_copy(library: AvatarLibrary) -> Path:
    whole = library.folder(publish(library.root, "model"))
    staged = library.stage()
    for name in ("portrait.png", "landmarks.json"):
        (staged / name).write_bytes((whole / name).read_bytes())
    return staged


# --- base videos ---


def _with_video(library: AvatarLibrary, clip: ClipRange, frames: np.ndarray, transforms: np.ndarray) -> str:
    ref = publish(library.root, "vera")
    folder = library.folder(ref)
    np.save(folder / "frames.npy", frames, allow_pickle=frames.dtype == object)
    np.save(folder / "transforms.npy", transforms)
    manifest = library.manifest(ref).model_copy(update={"base_video": {"idle_0": clip}})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return ref


@pytest.mark.parametrize("size", [(30_000, 30_000), (1024, 1000), (512, 512), (1023, 1023), (0, 0)])
def test_pictures_of_a_wrong_size_are_refused_by_their_heads(library: AvatarLibrary, size: tuple[int, int]) -> None:
    ref = publish(library.root, "alice")
    folder = library.folder(ref)
    manifest = library.manifest(ref).model_copy(update={"large": "large.png"})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    picture = (folder / "portrait.png").read_bytes()
    (folder / "large.png").write_bytes(picture[:16] + struct.pack(">II", *size) + picture[24:])
    with pytest.raises(ModelNotFoundError, match=r"damaged: large\.png is not a square PNG"):
        library.load(ref)
    (folder / "portrait.png").write_bytes((folder / "large.png").read_bytes())
    if size != (512, 512):
        with pytest.raises(ModelNotFoundError, match="is not a 512x512 PNG"):
            library.load(ref)


def test_base_video_is_mapped_and_plays(library: AvatarLibrary) -> None:
    frames = np.zeros((50, 768, 512), np.uint8)
    frames[7] = 90
    still = np.tile(np.eye(2, 3, dtype=np.float32), (50, 1, 1))
    avatar = library.load(_with_video(library, ClipRange(first=0, frames=50), frames, still))
    assert avatar.clip_frames("idle_0") == 50 and "idle_1" not in avatar.clips
    picture = avatar.draw(BASE_SIZE, ClipPosition("idle_0", 57), NEUTRAL, REST)
    assert picture.shape == (768, 512) and (picture == 90).all()
    assert isinstance(avatar.base_video.frames, np.memmap)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("clip", "frames", "transforms"),
    [
        (ClipRange(first=10, frames=50), np.zeros((50, 768, 512), np.uint8), np.zeros((50, 2, 3))),
        (ClipRange(first=0, frames=40), np.zeros((50, 768, 512), np.uint8), np.zeros((50, 2, 3))),
        (ClipRange(first=0, frames=50), np.zeros((50, 512, 512, 3), np.uint8), np.zeros((50, 2, 3))),
        (ClipRange(first=0, frames=50), np.zeros((50, 768, 512), np.float32), np.zeros((50, 2, 3))),
        (ClipRange(first=0, frames=50), np.zeros((50, 768, 512), np.uint8), np.zeros((49, 2, 3))),
        (ClipRange(first=0, frames=50), np.zeros((50, 768, 512), np.uint8), np.full((50, 2, 3), np.nan)),
        (ClipRange(first=0, frames=25), np.array([{}] * 25, object), np.zeros((25, 2, 3))),
    ],
    ids=["beyond", "no whole second", "shape", "type", "too few", "not a number", "pickle"],
)
def test_base_videos_that_do_not_fit_are_refused(
    library: AvatarLibrary, clip: ClipRange, frames: np.ndarray, transforms: np.ndarray
) -> None:
    ref = _with_video(library, clip, frames, transforms)
    with pytest.raises(ModelNotFoundError, match="damaged"):
        library.load(ref)
