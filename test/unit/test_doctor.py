"""The doctor: a sound machine is sound, and each thing broken is found."""

import importlib.metadata
import json
import os
import socket
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from musetalk_service.cli import main
from musetalk_service.config import Settings, load_settings
from musetalk_service.doctor import diagnose, machine, service
from musetalk_service.utils import certificates

NAMES = ["localhost", "127.0.0.1"]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("WORKERS", "1")
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))


def write_pair(folder: Path, days: int = 365) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate_pem, key_pem = certificates.make_self_signed(NAMES, days)
    certificate.write_bytes(certificate_pem)
    key.write_bytes(key_pem)
    return certificate, key


def test_service_can_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["can_run"] is True
    levels = {finding["name"]: finding["level"] for finding in report["findings"]}
    wanted = {"settings", "Python", "packages", "H.264", "engine", "port", "CACHE_DIR", "TLS", "browsers", "tokens"}
    assert wanted <= {name for name, level in levels.items() if level != "problem"}
    assert all(finding["advice"] for finding in report["findings"] if finding["level"] == "problem")


def test_text_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "make run-tls" in out
    assert "The service can run here." in out


def test_wrong_setting_is_a_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AUTH_SECRET", "short")
    monkeypatch.setenv("PORT", "99999")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "PORT" in out
    assert "AUTH_SECRET" in out
    assert "cannot run here" in out


def test_broken_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("weights are gone")

    monkeypatch.setattr("musetalk_service.engines.registry.load_engines", broken)
    findings = {finding.name: finding for finding in diagnose()}
    assert findings["engine"].level == "problem"
    assert "weights are gone" in findings["engine"].found


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["no-such-thing>=1.0", "numpy>=999", "pytest>=1; extra == 'test'", "PyJWT[crypto]>=2"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    finding = machine.check_packages(load_settings())
    assert finding.level == "problem"
    assert "no-such-thing cannot be imported" in finding.found
    assert "older than 999" in finding.found
    assert "PyJWT" not in finding.found
    assert "pytest" not in finding.found


def test_port_taken_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        finding = machine.check_port(load_settings(port=other.getsockname()[1]))
    assert finding.level == "problem"
    assert "PORT" in finding.advice


def test_port_taken_by_the_service_itself() -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"version": "9.9", "hosts_ready": 1}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            finding = machine.check_port(load_settings(port=server.server_port))
        finally:
            server.shutdown()
            thread.join()
    assert finding.level == "warning"
    assert "9.9" in finding.found


def test_address_of_another_machine_cannot_be_listened_on() -> None:
    assert machine.check_port(load_settings(host="192.0.2.77")).level == "problem"
    assert machine.check_port(load_settings(host="no-such-host.invalid")).level == "problem"


def test_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    assert machine.check_cache(load_settings(cache_dir=tmp_path / "a" / "b")).level == "ok"
    assert machine.check_cache(load_settings(cache_dir=tmp_path / "there")).level == "ok"
    assert machine.check_cache(load_settings(cache_dir=tmp_path / "file")).level == "warning"
    assert machine.check_cache(load_settings(cache_dir=tmp_path / "file" / "under")).level == "warning"
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_cache_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert machine.check_cache(load_settings(cache_dir=folder)).level == "warning"
    assert machine.check_cache(load_settings(cache_dir=folder / "cache")).level == "warning"


def test_no_avatar_for_anybody(tmp_path: Path) -> None:
    settings = load_settings(avatars_dir=tmp_path / "none", default_avatar_enabled=False)
    assert machine.check_avatars(settings).level == "warning"
    assert machine.check_avatars(load_settings(avatars_dir=tmp_path / "none")).level == "ok"


def test_gpu_program_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert machine.check_gpu(load_settings()).level == "warning"
    program.write_text("#!/bin/sh\necho 'Some GPU, 80000 MiB'\n")
    assert machine.check_gpu(load_settings()).found == "Some GPU, 80000 MiB"


def test_tls_files(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    finding = service.check_tls(load_settings(tls_certfile=certificate, tls_keyfile=key))
    assert finding.level == "ok"
    assert "localhost, 127.0.0.1" in finding.found
    assert (
        service.check_browsers(load_settings(host="0.0.0.0", tls_certfile=certificate, tls_keyfile=key)).level == "ok"
    )

    _, other_key = write_pair(tmp_path)[1], tmp_path / "other.pem"
    other_key.write_bytes(certificates.make_self_signed(NAMES)[1])
    for wrong in (other_key, tmp_path / "none.pem", certificate):
        assert service.check_tls(load_settings(tls_certfile=certificate, tls_keyfile=wrong)).level == "problem"


@pytest.mark.parametrize(("days", "says"), [(0, "not valid today"), (5, "expires")])
def test_old_certificate(tmp_path: Path, days: int, says: str) -> None:
    certificate, key = write_pair(tmp_path, days)
    finding = service.check_tls(load_settings(tls_certfile=certificate, tls_keyfile=key))
    assert finding.level == "warning"
    assert says in finding.found


def test_tokens(tmp_path: Path) -> None:
    assert service.check_tokens(load_settings()).level == "ok"
    assert service.check_tokens(load_settings(host="0.0.0.0")).level == "warning"
    assert service.check_tokens(load_settings(host="0.0.0.0", auth_secret="x" * 32)).level == "ok"
    assert service.check_tokens(load_settings(auth_jwks=str(tmp_path / "none.json"))).level == "problem"


def test_key_set_that_cannot_be_fetched() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, but not listened on: connections are refused
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/jwks.json"
        finding = service.check_tokens(load_settings(auth_jwks=address))
    assert finding.level == "warning"
    assert "gives no keys" in finding.found


def test_own_certificate_holds_what_verifiers_ask_for() -> None:
    names = certificates.machine_names()
    assert {"localhost", "127.0.0.1", socket.gethostname()} <= set(names)
    assert len(names) == len(set(names))


def test_certificate_is_read_back(tmp_path: Path) -> None:
    certificate, _ = write_pair(tmp_path)
    read = certificates.read_certificate(certificate)
    assert read.names == tuple(NAMES)
    assert read.self_signed
    assert read.begins < datetime.now(timezone.utc) < read.expires - timedelta(days=364)


def test_without_mediapipe_avatars_are_missing_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    finding = machine.check_landmarker(load_settings())
    assert (finding.level, finding.advice) == ("warning", "make avatars")


def test_a_landmarker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    settings = load_settings().model_copy(update={"face_landmarker_path": tmp_path / "none"})
    assert "there is no file" in machine.check_landmarker(settings).found


def test_what_layers_need_is_told(tmp_path: Path) -> None:
    places = {"model_path": tmp_path / "models", "cache_dir": tmp_path / "cache", "person_segmenter_path": None}
    settings = load_settings().model_copy(update=places)
    assert machine.check_segmenter(settings).found == "selfie_segmentation.tflite comes with the first avatar"
    kept = tmp_path / "cache" / "selfie_segmentation.tflite"
    kept.parent.mkdir()
    kept.touch()
    assert machine.check_segmenter(settings).found == str(kept)
    wrong = settings.model_copy(update={"person_segmenter_path": tmp_path / "none"})
    assert machine.check_segmenter(wrong).level == "warning"
    assert "is off" in machine.check_segmenter(wrong.model_copy(update={"avatar_layers": False})).found


def test_models_that_the_engine_lacks_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENGINE", "musetalk")
    monkeypatch.setenv("MODEL_PATH", str(tmp_path / "models"))
    finding = machine.check_models(load_settings())
    assert finding.level == "warning"
    assert finding.advice == "musetalk-service models download musetalk-1.5 sd-vae whisper"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "musetalk-service.lock.json").write_text("{")
    assert "is damaged" in machine.check_models(load_settings()).found
