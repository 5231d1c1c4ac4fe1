"""A photo becomes an avatar with layers, in the real preparation process; without the model it becomes one, too."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from musetalk_service.avatar_tool.archive import export_avatar, import_avatar
from musetalk_service.avatar_tool.create import create_avatar
from musetalk_service.engines.avatar import load_default_avatar
from musetalk_service.engines.avatar_library import AvatarLibrary
from musetalk_service.models.avatar_manifest import Manifest
from musetalk_service.models.face import REST, Pose
from musetalk_service.models.media import BASE_SIZE
from musetalk_service.models.preparation import PreparationLimits, PreparationModels

LIMITS = PreparationLimits(max_pixels=50_000_000, max_seconds=10, max_memory_mb=2048, max_cpu_s=60)


@pytest.fixture
def library(tmp_path: Path) -> AvatarLibrary:
    return AvatarLibrary(tmp_path / "avatars")


def make(library: AvatarLibrary, models: PreparationModels) -> tuple[Manifest, list[str]]:
    """An avatar "anna" of the default face as a photo; and the stages it went through."""
    photo = library.root.parent / "photo.png"
    cv2.imwrite(str(photo), load_default_avatar().portrait)
    stages: list[str] = []
    manifest = create_avatar(
        library,
        photo,
        "anna",
        consent=None,
        limits=LIMITS,
        timeout_s=60.0,
        models=models,
        report=lambda stage, percent: stages.append(stage),
    )
    return manifest, stages


def test_a_photo_gets_layers_that_travel_with_it(
    library: AvatarLibrary, landmarker_model: Path, segmenter_model: Path, tmp_path: Path
) -> None:
    models = PreparationModels(
        landmarker=landmarker_model, segmenter=segmenter_model, folder=tmp_path, cache_dir=tmp_path
    )
    manifest, stages = make(library, models)
    assert manifest.matte == "matte.png" and stages[-1] == "layers"
    avatar = library.load(f"anna@{manifest.version}")
    assert avatar.matte is not None and avatar.matte.shape == (512, 512)
    export_avatar(library, "anna", tmp_path / "anna.zip")
    elsewhere = AvatarLibrary(tmp_path / "elsewhere")
    brought = import_avatar(elsewhere, tmp_path / "anna.zip", "berta", 1 << 24)
    again = elsewhere.load(f"berta@{brought.version}")
    assert again.matte is not None and np.array_equal(again.matte, avatar.matte)
    renderer, pose = avatar.renderer(BASE_SIZE), Pose(yaw=5.0, shift_x=4.0)
    corner = np.s_[:200, :60]  # beside the head
    assert np.array_equal(renderer.render(pose, REST)[corner], renderer.render(Pose(), REST)[corner])


@pytest.mark.parametrize("layers", [True, False])
def test_without_the_model_or_the_wish_it_is_made_without(
    library: AvatarLibrary, landmarker_model: Path, tmp_path: Path, layers: bool
) -> None:
    models = PreparationModels(
        landmarker=landmarker_model,
        segmenter=tmp_path / "none.tflite",
        layers=layers,
        folder=tmp_path,
        cache_dir=tmp_path,
    )
    manifest, _ = make(library, models)
    assert manifest.matte is None
    assert library.load(f"anna@{manifest.version}").matte is None
