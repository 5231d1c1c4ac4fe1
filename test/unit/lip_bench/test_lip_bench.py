"""`musetalk-service bench lips` on clips whose lips are known."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from musetalk_service.cli import main
from musetalk_service.engines.builtin.mouth_track import track_mouth
from musetalk_service.utils.audio_file import read_audio_file

SPEECH = Path(__file__).parents[3] / "fixtures" / "speech_6s.wav"


@pytest.fixture
def without_recogniser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lips that are the built-in engine's own: in time in the studio, 80 ms early in the web clip."""
    track = track_mouth(read_audio_file(SPEECH))
    early = {"t": track.t[:-2], "aperture": track.aperture[2:], "width": track.width[2:]}
    for name, arrays in (
        ("grid_a", {"t": track.t, "aperture": track.aperture, "width": track.width}),
        ("web_b", early),
    ):
        shutil.copy(SPEECH, tmp_path / f"{name}.wav")
        np.savez(tmp_path / f"{name}.npz", **arrays)
    shutil.copy(SPEECH, tmp_path / "without_lips.wav")
    return tmp_path


@pytest.mark.usefixtures("without_recogniser")
def test_json_finds_the_engine_in_its_own_lips(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "lips", str(folder), "--json"]) == 0
    output = capsys.readouterr()
    assert "pocketsphinx is not installed" in output.err
    report = json.loads(output.out)
    assert report["methods"] == ["builtin", "builtin-40", "builtin-0", "loudness"]
    assert [(clip["name"], clip["group"]) for clip in report["clips"]] == [("grid_a", "studio"), ("web_b", "web")]
    studio, web = (clip["methods"]["builtin"] for clip in report["clips"])
    for measure in ("aperture", "width"):
        assert studio[measure]["r"] == pytest.approx(1, abs=1e-3)
        assert studio[measure]["best_within_120_ms"] == {"r": pytest.approx(1, abs=1e-3), "lag_ms": 0}
        assert web[measure]["best_within_200_ms"] == {"r": pytest.approx(1, abs=1e-3), "lag_ms": 80}
        assert web[measure]["r"] < 0.8
    assert studio["closures"]["precision"] == studio["closures"]["recall"] == 1
    shifted = web["closures_at_best_within_120_ms"]
    assert shifted["precision"] == shifted["recall"] == 1 > web["closures"]["recall"]
    assert report["clips"][0]["methods"]["loudness"]["width"] is None
    assert [group["name"] for group in report["groups"]] == ["studio", "web"]
    assert report["groups"][0]["methods"] == report["clips"][0]["methods"]


@pytest.mark.usefixtures("without_recogniser")
def test_the_table_has_a_row_for_each_method(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "lips", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(" builtin " in line for line in lines) == sum(" loudness " in line for line in lines) == 4
    assert not any(line.strip().startswith("pocketsphinx") for line in lines)
    table = [line for line in lines if "|" in line]
    assert len({len(line) for line in table[1:]}) == 1
    assert {line.count("|") for line in table} == {5}
    assert any(line.startswith("studio, 1 clip ") for line in lines)


def test_the_recogniser_is_compared_where_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pocketsphinx")
    (folder / "web_b.npz").unlink()
    assert main(["bench", "lips", str(folder), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    methods = json.loads(output.out)["clips"][0]["methods"]
    assert methods["pocketsphinx"]["aperture"]["best_within_120_ms"]["r"] > 0.3


def test_what_cannot_be_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> str:
        assert main(["bench", "lips", str(tmp_path / "clips")]) == 1
        return capsys.readouterr().err

    assert "there is no such folder" in said()
    (tmp_path / "clips").mkdir()
    assert "holds no NAME.wav" in said()
    shutil.copy(SPEECH, tmp_path / "clips" / "a.wav")
    lips = tmp_path / "clips" / "a.npz"
    lips.write_bytes(b"not an archive")
    assert "a.npz: cannot be read" in said()
    np.savez(lips, t=np.arange(50) / 25, aperture=np.zeros(50))
    assert "needs the arrays t, aperture, width" in said()
    np.savez(lips, t=np.arange(50) / 25, aperture=np.zeros(50), width=np.zeros(49))
    assert "of one length" in said()
    np.savez(lips, t=np.arange(50) + 5.9, aperture=np.zeros(50), width=np.zeros(50))
    assert "at least 10" in said()
    lips.write_bytes(b"")
    assert "a.npz: cannot be read" in said()
