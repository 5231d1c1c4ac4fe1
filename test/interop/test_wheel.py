"""The wheel has all that the service needs: it serves the page from an empty directory."""

import os
import re
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the working tree, without the network."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w", folder]
    built = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_carries_code_assets_and_page(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "musetalk_service"
    wanted = {
        f"musetalk_service/{path.relative_to(package)}"
        for pattern in ("**/*.py", "web/*", "assets/**/*.npz", "assets/**/*.json", "assets/**/*.png", "py.typed")
        for path in package.glob(pattern)
        if path.is_file()
    }
    assert wanted <= names, sorted(wanted - names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("test/", "tools/", "training/"))]


def test_installed_wheel_serves_the_page_from_an_empty_directory(wheel: Path, cache_dir: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q", "--target", site, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    empty = tmp_path / "empty"
    empty.mkdir()
    # In front of the path, the wheel hides the working tree, which is installed here for development.
    env = {**os.environ, "PYTHONPATH": str(site), "CACHE_DIR": str(cache_dir), "WORKERS": "1"}
    where = [sys.executable, "-c", "import musetalk_service; print(musetalk_service.__file__)"]
    assert str(site) in subprocess.run(where, env=env, cwd=empty, capture_output=True, text=True, check=True).stdout
    out = tmp_path / "out.txt"
    with out.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "musetalk_service", "serve", "--host", "127.0.0.1", "--port", "0"],
            env=env,
            cwd=empty,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 90
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", out.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, out.read_text()
            time.sleep(0.1)
        page = urllib.request.urlopen(found.group()).read().decode()
        assert "<title>" in page
        for path in re.findall(r'(?:src|href)="(/?static/[^"]+)"', page):
            with urllib.request.urlopen(f"{found.group()}/{path.lstrip('/')}") as response:
                assert response.status == 200
    finally:
        server.terminate()
        server.wait(20)
    assert not list(empty.iterdir())
