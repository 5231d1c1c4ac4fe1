"""The script that brings packages to a machine with a GPU and no network."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("tomllib", reason="the script needs Python 3.11")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "gather_wheels.py"
    spec = importlib.util.spec_from_file_location("gather_wheels", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_but_torch_is_gathered(script: ModuleType) -> None:
    wanted = script.wanted()
    names = {script._name(line) for line in wanted}
    assert {"numpy", "av", "diffusers", "huggingface-hub", "safetensors", "pytest"} <= names
    assert not names & {"torch", "playwright", "mypy"}
    assert script._name("PyJWT[crypto]>=2.10") == "PyJWT" and script._name("types-PyYAML") == "types-PyYAML"


def test_wheels_are_those_of_the_other_python(script: ModuleType, tmp_path: Path) -> None:
    download, build = script.commands(tmp_path, "3.12")
    assert download[download.index("--python-version") + 1] == "3.12"
    assert download[download.index("--only-binary") + 1] == ":all:"
    assert build[-1].startswith("openai-whisper==") and "--no-deps" in build
    assert str(tmp_path) in download and str(tmp_path) in build


def test_listing_fetches_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gather_wheels.py", str(tmp_path / "wheels"), "--list"])
    assert script.main() == 0
    assert "diffusers" in capsys.readouterr().out
    assert not (tmp_path / "wheels").exists()
