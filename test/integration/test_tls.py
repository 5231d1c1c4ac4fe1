"""The service over TLS, from the certificate to the first frames."""

import os
import re
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from musetalk_service.client import MuseTalkClient
from musetalk_service.config import Settings

ROOT = Path(__file__).parents[2]
MAKE_CERTIFICATE = [sys.executable, str(ROOT / "tools" / "make_certificate.py")]
START_TIMEOUT_S = 90.0


@pytest.fixture(scope="module")
def tls_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "made"
    subprocess.run([*MAKE_CERTIFICATE, str(folder)], check=True)
    return folder


def environment(cache_dir: Path, **settings: object) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
    chosen = {"HOST": "127.0.0.1", "PORT": "0", "WORKERS": "1", "CACHE_DIR": str(cache_dir)}
    return bare | chosen | {name: str(value) for name, value in settings.items()}


@pytest.fixture(scope="module")
def tls_server(tls_folder: Path, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[str]:
    """The printed address of a server that speaks TLS."""
    folder = tmp_path_factory.mktemp("tls-server")
    env = environment(cache_dir, TLS_CERTFILE=tls_folder / "certificate.pem", TLS_KEYFILE=tls_folder / "key.pem")
    out = folder / "out.txt"
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "musetalk_service", "serve"], cwd=folder, env=env, stdout=file
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while (said := re.search(r"https://127\.0\.0\.1:\d+", out.read_text())) is None:
            assert process.poll() is None, "the server ended while starting"
            assert time.monotonic() < deadline, "the server is not ready in time"
            time.sleep(0.05)
        yield said.group()
    finally:
        process.terminate()
        process.wait(15)


def strict_context(folder: Path) -> ssl.SSLContext:
    """As strict as Python 3.13 is by default."""
    context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


async def test_session_over_wss(tls_server: str, tls_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_folder / "certificate.pem"))  # what OpenSSL trusts by default
    async with MuseTalkClient.connect(tls_server, "alice") as client:
        await client.send_audio(bytes(16_000))
        frames = 0
        async for _ in client.frames():
            frames += 1
            if frames == 10:
                break
    assert frames == 10


def test_page_over_https_by_every_name(tls_server: str, tls_folder: Path) -> None:
    port = tls_server.rpartition(":")[2]
    context = strict_context(tls_folder)
    for name in ("127.0.0.1", "localhost"):
        with urllib.request.urlopen(f"https://{name}:{port}/health", timeout=10, context=context) as response:
            assert response.status == 200


def test_plain_http_is_not_answered(tls_server: str) -> None:
    with pytest.raises(OSError):
        urllib.request.urlopen(tls_server.replace("https", "http") + "/health", timeout=10)


def test_key_is_private_and_a_good_pair_is_kept(tls_folder: Path) -> None:
    key = tls_folder / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = (key.read_bytes(), (tls_folder / "certificate.pem").read_bytes())
    subprocess.run([*MAKE_CERTIFICATE, str(tls_folder)], check=True)
    assert (key.read_bytes(), (tls_folder / "certificate.pem").read_bytes()) == before


def test_half_a_pair_is_made_again(tls_folder: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes((tls_folder / "certificate.pem").read_bytes())
    subprocess.run([*MAKE_CERTIFICATE, str(tmp_path)], check=True)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)


@pytest.mark.parametrize("broken", ["missing", "other", "garbage", "encrypted"])
def test_useless_files_end_the_start_with_their_name(
    broken: str, tls_folder: Path, tmp_path: Path, cache_dir: Path
) -> None:
    key = tmp_path / "key.pem"
    if broken == "other":
        subprocess.run([*MAKE_CERTIFICATE, str(tmp_path)], check=True)
    elif broken == "garbage":
        key.write_text("not a key")
    elif broken == "encrypted":
        from cryptography.hazmat.primitives import serialization

        plain = serialization.load_pem_private_key((tls_folder / "key.pem").read_bytes(), None)
        key.write_bytes(
            plain.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password"),
            )
        )
    ended = subprocess.run(
        [sys.executable, "-m", "musetalk_service", "serve"],
        cwd=tmp_path,
        env=environment(cache_dir, TLS_CERTFILE=tls_folder / "certificate.pem", TLS_KEYFILE=key),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "TLS_KEYFILE" in ended.stderr
    assert "Traceback" not in ended.stderr
