"""ENGINE=auto: MuseTalk only where everything that it needs is there."""

from pathlib import Path

import pytest

from musetalk_service import engine_choice
from musetalk_service.config import Settings, load_settings
from musetalk_service.engine_choice import choose_engine
from musetalk_service.models.checkpoint_catalogue import models_for


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A machine with a GPU, the libraries and all files."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    for model in models_for("musetalk", "1.5"):
        for file in model.files:
            path = tmp_path / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as empty:
                empty.truncate(file.size)
    return load_settings(model_path=tmp_path)


def test_musetalk_where_all_is_there(settings: Settings) -> None:
    assert settings.engine == "auto"
    assert choose_engine(settings).engine == "musetalk"


def test_a_named_engine_is_left_alone(settings: Settings) -> None:
    for name in ("musetalk", "builtin", "static"):
        named = settings.model_copy(update={"engine": name, "device": "cpu"})
        assert choose_engine(named) is named


def test_the_cpu_is_for_the_built_in_engine(settings: Settings) -> None:
    assert choose_engine(settings.model_copy(update={"device": "cpu"})).engine == "builtin"


def test_what_is_missing_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=engine_choice.log.name)
    next(settings.model_path.rglob("unet.pth")).unlink()
    assert choose_engine(settings).engine == "builtin"
    assert "MODEL_PATH lacks musetalk-1.5" in caplog.text
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "diffusers" else object())
    assert choose_engine(settings).engine == "builtin"
    assert "needs diffusers; pip install" in caplog.text
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert choose_engine(settings).engine == "builtin"
    assert "no NVIDIA driver" in caplog.text
    # The same machine without "nvidia-smi" may be a Mac.
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    other = settings.model_copy(update={"device": "mps", "musetalk_version": "1.5"})
    assert "lacks" in str(engine_choice.why_not_musetalk(other))
