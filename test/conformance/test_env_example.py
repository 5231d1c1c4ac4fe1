"""The settings: .env.example names them all, and they are read as documented."""

import re
import runpy
from pathlib import Path

import pytest

from musetalk_service.config import Settings, default_settings, load_settings
from musetalk_service.errors import ConfigurationError

SEEDS = {
    "host": "0.0.0.0",
    "port": 8000,
    "model_path": Path("../models"),
    "avatars_dir": Path("../results/v15/avatars"),
    "device": "cuda",
    "use_float16": True,
    "cors_origins": ["*"],
}
"""Documented since the first release: names, order and defaults."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, and none of the developer's own settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def example(root: Path) -> str:
    return (root / ".env.example").read_text("utf-8")


def test_it_is_what_the_tool_writes(root: Path, example: str) -> None:
    tool = runpy.run_path(str(root / "tools" / "env_example.py"))
    assert tool["render"]() == example, "run: python tools/env_example.py"


def test_it_names_every_setting_once_the_documented_ones_first(example: str) -> None:
    names = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)
    assert names == [name.upper() for name in Settings.model_fields]
    assert names[: len(SEEDS)] == [name.upper() for name in SEEDS]


def test_every_setting_is_described(example: str) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    text = " ".join(line.removeprefix("# ") for line in example.splitlines())
    for field in Settings.model_fields.values():
        assert field.description is not None and field.description in text


def test_as_a_dot_env_it_changes_nothing(example: str) -> None:
    without = load_settings()
    Path(".env").write_text(example, "utf-8")
    assert load_settings() == without


def test_the_documented_defaults() -> None:
    defaults = default_settings()
    assert {name: getattr(defaults, name) for name in SEEDS} == SEEDS


def test_relative_paths_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.model_path == tmp_path.parent.resolve() / "models"
    assert settings.avatars_dir == tmp_path.parent.resolve() / "results" / "v15" / "avatars"
    assert load_settings(cache_dir="cache").cache_dir == tmp_path.resolve() / "cache"


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load_settings().cache_dir == (tmp_path / "xdg" / "musetalk-service").resolve()


@pytest.mark.parametrize(
    "text", ['["http://localhost:3000", "https://app.example.com"]', "http://localhost:3000, https://app.example.com"]
)
def test_origins_are_a_json_list_or_comma_separated(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", text)
    assert load_settings().cors_origins == ["http://localhost:3000", "https://app.example.com"]


def test_the_documented_dot_env() -> None:
    Path(".env").write_text(
        "HOST=localhost\nPORT=8001\nMODEL_PATH=/path/to/musetalk/models\nAVATARS_DIR=/path/to/avatars\nDEVICE=cpu\n"
        'USE_FLOAT16=false\nCORS_ORIGINS=["http://localhost:3000", "https://app.example.com"]\n'
    )
    settings = load_settings()
    assert (settings.host, settings.port, settings.device, settings.use_float16) == ("localhost", 8001, "cpu", False)
    assert settings.model_path == Path("/path/to/musetalk/models")
    assert settings.cors_origins == ["http://localhost:3000", "https://app.example.com"]


def test_who_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=8001\nHOST=127.0.0.1\n")
    monkeypatch.setenv("PORT", "8002")
    assert (load_settings().port, load_settings().host) == (8002, "127.0.0.1")
    assert load_settings(port=8003).port == 8003


def test_empty_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "eighty", "PORT: .*integer"),
        ("PORT", "70000", "PORT: .*65535"),
        ("DEVICE", "tpu", "DEVICE: .*'cuda', 'cpu' or 'mps'"),
        ("ENGINE", "magic", "ENGINE: .*'builtin'"),
        ("CORS_ORIGINS", '["http://a', "cors_origins|CORS_ORIGINS"),
        ("AUDIO_CHUNK_MAX_MS", "10", "AUDIO_CHUNK_MAX_MS: .*40"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        load_settings()


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("WORKERS", "-1")
    with pytest.raises(ConfigurationError, match=r"PORT: .*; WORKERS: "):
        load_settings()
