"""Photos and videos become folders that the library loads."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.models.avatar_manifest import Manifest
from musetalk_service.models.face import NEUTRAL, REST
from musetalk_service.models.media import BASE_SIZE, ClipPosition
from musetalk_service.models.preparation import PreparationLimits
from musetalk_service.preparation.avatar import prepare_avatar
from musetalk_service.preparation.errors import NoFaceError, NotMediaError, TooLongError
from musetalk_service.preparation.landmarker import FaceLandmarker
from support.avatars import manifest_for
from support.faces import place
from support.films import write_film

Picture = NDArray[np.uint8]
LIMITS = PreparationLimits(max_pixels=4_000_000, max_seconds=10, max_memory_mb=1024, max_cpu_s=60)


@pytest.mark.parametrize("kind", ["photo", "video"])
def test_an_upload_becomes_an_avatar(tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, kind: str) -> None:
    picture = place(portrait, 1200, 1200, 2.2)
    source = tmp_path / "upload"
    if kind == "photo":
        source.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    else:
        write_film(tmp_path / "film.mp4", [picture] * 55).rename(source)
    library = AvatarLibrary(tmp_path / "avatars")
    staged, heard = library.stage(), []
    made, extra = prepare_avatar(source, staged, LIMITS, landmarker, lambda stage, percent: heard.append(percent))
    assert (made.kind, made.width, made.height) == (kind, 1200, 1200)
    assert made.seconds == (0 if kind == "photo" else pytest.approx(2.2, abs=0.05))
    assert heard == sorted(heard) and heard[-1] <= 100
    files = {"portrait.png", "landmarks.json", "portrait_1024.png"}
    assert {path.name for path in staged.iterdir()} == (
        files if kind == "photo" else files | {"frames.npy", "transforms.npy"}
    )
    assert len(json.loads((staged / "landmarks.json").read_text())["points"]) == 478
    manifest = Manifest.model_validate(manifest_for("alice").model_dump() | extra)
    avatar = library.load(library.publish(staged, manifest))
    assert avatar.portrait.shape == (512, 512, 3) and len(avatar.more_views) == 1
    if kind == "video":
        assert avatar.clip_frames("idle_0") == avatar.clip_frames("speaking_0") == 50
        assert avatar.draw(BASE_SIZE, ClipPosition("idle_0", 60), NEUTRAL, REST).shape == (768, 512)


@pytest.mark.parametrize("kind", ["photo", "video"])
def test_actions_are_videos_where_such_are_given(
    tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture, kind: str
) -> None:
    film = write_film(tmp_path / "film.mp4", [portrait] * 55)
    action = write_film(tmp_path / "action.mp4", [portrait] * 60)
    source = film
    if kind == "photo":
        source = tmp_path / "photo.png"
        source.write_bytes(cv2.imencode(".png", portrait)[1].tobytes())
    library = AvatarLibrary(tmp_path / "avatars")
    staged, heard = library.stage(), []
    _, extra = prepare_avatar(
        source, staged, LIMITS, landmarker, lambda stage, percent: heard.append(percent), {"action_2": action}
    )
    assert heard == sorted(heard)
    avatar = library.load(library.publish(staged, Manifest.model_validate(manifest_for("alice").model_dump() | extra)))
    assert avatar.clip_frames("action_2") == 60  # no whole seconds
    assert avatar.clip_frames("action_1") == 75  # drawn
    assert avatar.base_video is not None
    frames = len(avatar.base_video.frames)
    assert frames == 60 if kind == "photo" else 110 <= frames <= 118
    assert ("idle_1" in avatar.clips) == (kind == "photo")
    shown = avatar.video_frame(BASE_SIZE, ClipPosition("action_2", 59))
    assert shown == frames - 1
    assert avatar.draw(BASE_SIZE, ClipPosition("action_2", 30), NEUTRAL, REST).shape == (768, 512)


def test_what_is_no_avatar_is_refused(tmp_path: Path, landmarker: FaceLandmarker, portrait: Picture) -> None:
    def prepare(source: Path) -> None:
        prepare_avatar(source, tmp_path, LIMITS, landmarker, lambda stage, percent: None)

    text = tmp_path / "text"
    text.write_text("a face, they say")
    with pytest.raises(NotMediaError):
        prepare(text)
    with pytest.raises(NoFaceError):
        prepare(write_film(tmp_path / "blank.mp4", [np.full((200, 300, 3), 80, np.uint8)] * 60))
    with pytest.raises(TooLongError):
        prepare(write_film(tmp_path / "long.mp4", [portrait] * 300))
