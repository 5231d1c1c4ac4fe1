"""Avatars of the published scripts in the library: each frame with its own latents, its mask and its place."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar import Avatar, load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.engines.builtin.engine import BuiltinEngine
from musetalk_service.engines.face.box import Box
from musetalk_service.engines.musetalk.face_crop import face_box, to_68
from musetalk_service.engines.static import StaticEngine
from musetalk_service.errors import EngineError, ModelNotFoundError
from musetalk_service.models.avatar_manifest import LATENTS_FILE, MASKS_FILE, PLACES_FILE, Manifest
from musetalk_service.models.face import NEUTRAL, REST, Mouth
from musetalk_service.models.media import BASE_SIZE, ClipPosition, FrameSize
from musetalk_service.models.preparation import PreparationLimits
from musetalk_service.preparation.errors import LandmarkerError, NotOfficialError
from musetalk_service.preparation.landmarker import FaceLandmarker
from musetalk_service.preparation.official_video import frame_boxes, take_official
from musetalk_service.utils.i420 import to_bgr
from support.avatars import manifest_for
from support.official_avatars import write_official

LIMITS = PreparationLimits(max_pixels=1_000_000, max_seconds=10, clip_seconds=2, max_memory_mb=1024, max_cpu_s=20)
NONE = LandmarkerError("MediaPipe cannot be loaded")
Picture = NDArray[np.uint8]


def face_at(index: int) -> tuple[int, int, int, int]:
    """Where the drawn face is in a picture of :func:`moved_portrait`."""
    avatar = load_default_avatar()
    box = face_box(to_68(avatar.landmarks), BASE_SIZE)
    return (box.left + 100 + 3 * index, box.top + 150, box.right + 100 + 3 * index, box.bottom + 150)


def moved_portrait(index: int) -> Picture:
    """704x800: the default portrait, moved to the right from frame to frame."""
    shift = np.array([[1, 0, 100 + 3 * index], [0, 1, 150]], np.float64)
    portrait = load_default_avatar().portrait
    return np.asarray(cv2.warpAffine(portrait, shift, (704, 800), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def take(tmp_path: Path, folder: Path, landmarker: FaceLandmarker | LandmarkerError = NONE) -> tuple[Manifest, Avatar]:
    library = AvatarLibrary(tmp_path / "avatars")
    staged = library.stage()
    source, extra = take_official(folder, staged, "1234", LIMITS, landmarker, lambda stage, percent: None)
    facts = manifest_for("alice").model_dump() | extra | {"source": source}
    manifest = Manifest.model_validate(facts)
    return manifest, library.load(library.publish(staged, manifest))


def test_without_a_landmarker_the_video_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = write_official(tmp_path / "a", 5, picture=moved_portrait, face=face_at)
    manifest, avatar = take(tmp_path, folder)
    assert manifest.engines == ("musetalk",) and manifest.landmarks is None
    assert manifest.official is not None and manifest.official.no_face_code == "unavailable"
    assert manifest.official.no_face == "MediaPipe cannot be loaded"
    assert manifest.official.no_face_advice.startswith("The operator")
    assert not avatar.has_face and avatar.clips == ("idle_0", "speaking_0")
    assert avatar.clip_frames("idle_0") == 50
    assert avatar.base_video is not None and avatar.base_video.painted is not None
    painted = avatar.base_video.painted
    for frame, i in ((0, 0), (4, 4), (5, 4), (9, 0), (24, 4)):
        assert (painted.latents[frame] == i).all()
        assert painted.latents.dtype == np.float16
        assert painted.masks[frame].max() == 60 + i
    # The patch fills the face's box in each frame: all frames have the same scale and hold still around the face.
    first, last = painted.corners(0), painted.corners(4)
    scale = (first[1, 0] - first[0, 0]) / 255 * 256 / (face_at(0)[2] - face_at(0)[0])
    np.testing.assert_allclose(last - first, np.tile([12 * scale, 0], (4, 1)), atol=1e-6)


def test_what_is_painted_lies_on_the_face_of_the_frame(tmp_path: Path) -> None:
    """A patch that shows the face itself leaves the frame as it is, wherever the frame was cut."""
    folder = write_official(tmp_path / "a", 3, picture=moved_portrait, face=face_at)
    _, avatar = take(tmp_path, folder)
    assert avatar.base_video is not None and avatar.base_video.painted is not None
    for frame in range(3):
        left, top, right, bottom = face_at(frame)
        face = moved_portrait(frame)[top:bottom, left:right]
        patch = np.asarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_LINEAR), np.uint8)
        shown = to_bgr(avatar.draw(BASE_SIZE, ClipPosition("idle_0", frame), NEUTRAL, REST))
        a, b = avatar.base_video.painted.places[frame].astype(np.float32)
        y, x = np.mgrid[0:512, 0:512].astype(np.float32)
        u, v = a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2]
        painted = cv2.remap(patch, u, v, cv2.INTER_LINEAR)
        inside = (u > 4) & (u < 251) & (v > 4) & (v < 251)
        assert inside.sum() > 20_000
        assert np.abs(shown.astype(int) - painted)[inside].mean() < 3


def test_masks_end_with_the_face(tmp_path: Path) -> None:
    folder = write_official(tmp_path / "a", 2, picture=moved_portrait, face=face_at)
    _, avatar = take(tmp_path, folder)
    assert avatar.base_video is not None and avatar.base_video.painted is not None
    painted = avatar.base_video.painted
    for frame in range(2):
        rows, columns = np.nonzero(painted.masks[frame])
        corners = painted.corners(frame)
        assert corners[0, 0] - 1.5 <= columns.min() + painted.left <= corners[0, 0] + 1.5
        assert corners[3, 0] - 1.5 <= columns.max() + painted.left <= corners[3, 0] + 1.5
        assert corners[3, 1] - 1.5 <= rows.max() + painted.top <= corners[3, 1] + 1.5


def test_other_shapes_are_cut_out_of_the_video(tmp_path: Path) -> None:
    _, avatar = take(tmp_path, write_official(tmp_path / "a", 1, picture=moved_portrait, face=face_at))
    place = ClipPosition("idle_0", 0)
    for wanted, drawn in (((256, 256), (512, 512)), ((360, 640), (288, 512)), ((1280, 720), (512, 288))):
        size = FrameSize(*wanted)
        assert avatar.drawn_size(size) == drawn
        assert avatar.canvas_size(size) == BASE_SIZE
        assert avatar.draw(size, place, NEUTRAL, REST).shape == (drawn[1] * 3 // 2, drawn[0])


def test_only_musetalk_makes_it_speak(tmp_path: Path) -> None:
    _, avatar = take(tmp_path, write_official(tmp_path / "a"))
    with pytest.raises(EngineError, match="has no landmarks"):
        BuiltinEngine().open(avatar, BASE_SIZE)
    StaticEngine().open(avatar, BASE_SIZE)
    with pytest.raises(EngineError, match="has no landmarks"):
        avatar.renderer(BASE_SIZE)


@pytest.mark.parametrize("name", [LATENTS_FILE, MASKS_FILE, PLACES_FILE])
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    manifest, avatar = take(tmp_path, write_official(tmp_path / "a"))
    assert avatar.folder is not None
    np.save(avatar.folder / name, np.load(avatar.folder / name)[:-1])
    with pytest.raises(ModelNotFoundError, match="damaged"):
        AvatarLibrary(tmp_path / "avatars").load(f"alice@{manifest.version}")


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = write_official(tmp_path / "a")
    (folder / "full_imgs" / "00000001.png").write_bytes(b"no picture")
    with pytest.raises(NotOfficialError, match=r"00000001\.png is no picture"):
        take(tmp_path, folder)


def test_frame_holds_all_faces() -> None:
    for boxes in ([Box(500, 200, 650, 380)], [Box(100, 100, 250, 300), Box(700, 180, 850, 380)], [Box(0, 0, 90, 100)]):
        framing = frame_boxes(boxes, FrameSize(1280, 720))
        for box in boxes:
            corners = box.corners() @ framing.matrix[:, :2].T + framing.matrix[:, 2]
            assert corners.min() > 0 and corners.max() < 511


def test_with_a_landmarker_every_engine_can_use_it(tmp_path: Path, landmarker: FaceLandmarker) -> None:
    folder = write_official(tmp_path / "a", 5, picture=moved_portrait, face=face_at)
    manifest, avatar = take(tmp_path, folder, landmarker)
    assert manifest.engines == ("builtin", "musetalk") and avatar.has_face
    assert manifest.official is not None and manifest.official.no_face_code is None
    assert "action_1" in avatar.clips and avatar.base_video is not None and avatar.base_video.painted is not None
    place = ClipPosition("speaking_0", 3)
    shut = avatar.draw(BASE_SIZE, place, NEUTRAL, REST)
    assert (shut != avatar.draw(BASE_SIZE, place, NEUTRAL, Mouth(jaw=1))).any()
    # MediaPipe's frame and the official boxes tell of the same face.
    corners = avatar.base_video.painted.corners(0)
    box = face_box(to_68(avatar.landmarks), BASE_SIZE)
    np.testing.assert_allclose(corners[[0, 3]].ravel(), box, atol=12)


def test_a_face_that_is_not_found_is_no_obstacle(tmp_path: Path, landmarker: FaceLandmarker) -> None:
    manifest, avatar = take(tmp_path, write_official(tmp_path / "a"), landmarker)
    assert not avatar.has_face and manifest.official is not None and manifest.official.no_face_code == "no_face"
