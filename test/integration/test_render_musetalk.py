"""A film that MuseTalk paints on a CPU: every frame, however long it takes, or none."""

import os
import signal
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra musetalk is not installed")
pytest.importorskip("diffusers", reason="the extra musetalk is not installed")

from musetalk_service.bus import messages as bus
from musetalk_service.config import Settings, default_settings
from musetalk_service.render import main
from musetalk_service.render.studio import Studio
from support.musetalk_files import write_musetalk

pytestmark = pytest.mark.slow
FRAMES = 10


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("musetalk")
    changes = {"model_path": write_musetalk(folder / "models"), "cache_dir": folder / "cache", "device": "cpu"}
    changes |= {"avatars_dir": folder / "avatars", "musetalk_window_s": 1.0, "musetalk_timeout_ms": 40}
    return default_settings().model_copy(update=changes)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    pcm = (4000 * np.random.default_rng(41).standard_normal(FRAMES * 640)).astype(np.int16)
    with av.open(str(tmp_path / "noise.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", 16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return tmp_path / "noise.wav"


def test_every_frame_is_painted_by_it(settings: Settings, noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[bus.Frame] = []
    check = Studio._checked

    def note(self: Studio, frame: bus.Frame) -> bytes:
        frames.append(frame)
        return check(self, frame)

    monkeypatch.setattr(Studio, "_checked", note)
    out = noise.with_name("a.mp4")
    assert main(settings, noise, out=out, avatar_id=None, engine="musetalk", size="256x256") == 0
    assert [frame.frame for frame in frames] == list(range(FRAMES + 12))
    assert {(frame.engine, frame.held) for frame in frames} == {("musetalk", False)}
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == FRAMES + 12


def test_a_painter_that_ends_ends_the_film(
    settings: Settings, noise: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Studio._checked

    def end_painter(self: Studio, frame: bus.Frame) -> bytes:
        if frame.frame == 1:
            pid = self._painters[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        return check(self, frame)

    monkeypatch.setattr(Studio, "_checked", end_painter)
    out = noise.with_name("a.mp4")
    assert main(settings, noise, out=out, avatar_id=None, engine="musetalk", size="256x256") == 1
    said = capsys.readouterr()
    *_, line = said.err.splitlines()
    assert "musetalk has not made frame" in line and "MuseTalk's process has ended" in line
    assert [path.name for path in noise.parent.iterdir()] == ["noise.wav"]


def test_missing_files_are_named(settings: Settings, noise: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = settings.model_copy(update={"model_path": noise.parent / "models"})
    assert main(bare, noise, out=noise.with_name("a.mp4"), avatar_id=None, engine="musetalk", size=None) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "MuseTalk cannot be had: " in line and "unet.pth is missing" in line
    assert [path.name for path in noise.parent.iterdir()] == ["noise.wav"]
