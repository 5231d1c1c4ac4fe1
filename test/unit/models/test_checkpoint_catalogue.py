"""The catalogue is complete, and names no place outside of MODEL_PATH."""

import re
from pathlib import Path, PurePosixPath

import pytest

from musetalk_service.models.checkpoint_catalogue import MODELS, SETS, Model, UnknownModelError, find_models, models_for

HUB = "https://hub.example/"
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_says_what_it_is(model: Model) -> None:
    assert model.purpose and model.licence.name and model.files
    assert model.page.startswith("https://") and model.licence.url.startswith("https://")
    for file in model.files:
        assert not PurePosixPath(file.path).is_absolute() and ".." not in PurePosixPath(file.path).parts
        assert file.size > 0
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        address = file.address(HUB)
        assert address is None or address.startswith("https://")
        if file.repository is not None:
            assert re.fullmatch("[0-9a-f]{40}", file.revision)
            assert address == f"https://hub.example/{file.repository}/resolve/{file.revision}/{file.name}"


def test_no_place_is_taken_twice() -> None:
    paths = [file.path for model in MODELS for file in model.files]
    assert len(paths) == len(set(paths))
    names = [model.name for model in MODELS]
    assert len(names) == len(set(names)) and not set(names) & set(SETS)


def test_sets_and_names_are_found_once() -> None:
    assert [model.name for model in find_models(["sd-vae", "musetalk", "sd-vae"])] == [
        "sd-vae",
        "musetalk-1.5",
        "whisper",
    ]


def test_an_unknown_name_is_answered_with_what_there_is() -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'gpt'; there are musetalk, musetalk-1\.5, .*wav2lip"):
        find_models(["gpt"])


def test_engines_know_what_they_need() -> None:
    assert [model.name for model in models_for("musetalk", "1.0")] == ["musetalk-1.0", "sd-vae", "whisper"]
    assert [model.name for model in models_for("musetalk", "1.5")] == ["musetalk-1.5", "sd-vae", "whisper"]
    assert [model.name for model in models_for("musetalk", "1.5", "taesd")][3:] == ["taesd"]
    assert [model.name for model in models_for("musetalk", "1.5", "taesd", "parsing")][3:] == ["taesd", "face-parsing"]
    assert models_for("builtin", "1.5") == models_for("builtin", "1.5", "taesd") == ()


def test_what_has_no_link_cannot_be_downloaded() -> None:
    assert [model.name for model in MODELS if not model.is_downloadable] == ["wav2lip"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_documentation_has_every_model(model: Model) -> None:
    rows = [line for line in DOCUMENTATION.read_text("utf-8").splitlines() if line.startswith(f"| `{model.name}` |")]
    assert len(rows) == 1
    assert f"`{model.files[0].path}`" in rows[0]


def test_the_engine_looks_where_the_catalogue_puts_it() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    from musetalk_service.engines.musetalk import weights

    parts = {"musetalk-1.5": weights.UNETS["1.5"], "musetalk-1.0": weights.UNETS["1.0"]}
    parts |= {"sd-vae": weights.VAE, "whisper": weights.WHISPER}
    for name, part in parts.items():
        (model,) = find_models([name])
        weights_file = model.files[0]
        taken = {weights_file.path, *weights_file.instead}
        assert taken == {f"{part.folder}/{file}" for file in part.weights}
        if part.config is not None:
            assert f"{part.folder}/{part.config}" in [file.path for file in model.files]
