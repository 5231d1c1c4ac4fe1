"""Key sets: what is taken from them, and when they are read again."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from musetalk_service.errors import AuthenticationError, ConfigurationError
from musetalk_service.services.authentication import Authenticator
from musetalk_service.services.key_sets import REFETCH_S, FileKeys, UrlKeys, make_key_source, parse_key_set

FIRST = ec.generate_private_key(ec.SECP256R1())
SECOND = ec.generate_private_key(ec.SECP256R1())
MAX_AGE_S = 600.0


def member(key: Any, kid: str | None = None, **fields: Any) -> dict[str, Any]:
    algorithms = {ec.EllipticCurvePublicKey: jwt.algorithms.ECAlgorithm, rsa.RSAPublicKey: jwt.algorithms.RSAAlgorithm}
    public = key.public_key()
    maker = next(maker for kind, maker in algorithms.items() if isinstance(public, kind))
    return {**maker.to_jwk(public, as_dict=True), **({"kid": kid} if kid else {}), **fields}


def document(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


@pytest.mark.parametrize(
    "useless",
    [
        member(ec.generate_private_key(ec.SECP384R1()), "a"),
        member(rsa.generate_private_key(public_exponent=65537, key_size=1024), "a"),
        member(FIRST, "a", use="enc"),
        member(FIRST, "a", alg="ES384"),
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"},
        {"kty": "oct", "kid": "a", "alg": "ES256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"},
        {"kty": "EC", "kid": "a", "crv": "P-256"},
        {"kty": ["EC"], "kid": "a"},
        {**member(FIRST), "kid": 7},
        "key",
    ],
)
def test_leaves_out_what_cannot_serve(useless: object) -> None:
    assert set(parse_key_set(document(useless, member(SECOND, "b")))) == {("ES256", "b")}
    with pytest.raises(ValueError, match="no key"):
        parse_key_set(document(useless))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b'{"keys": []}'])
def test_no_key_set(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match="AUTH_JWKS"):
        FileKeys(path)


def test_missing_file_and_open_address_are_configuration_errors(tmp_path: Path) -> None:
    for source in (str(tmp_path / "none.json"), "http://keys.example/jwks", "file:///etc/passwd", "ftp://a/b"):
        with pytest.raises(ConfigurationError, match="AUTH_JWKS"):
            make_key_source(source, MAX_AGE_S)


def test_without_key_id_only_an_only_key_serves(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(document(member(FIRST)))
    assert FileKeys(path).find("ES256", None) is not None
    path.write_bytes(document(member(FIRST, "a"), member(SECOND, "b")))
    assert FileKeys(path).find("ES256", None) is None


async def test_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(document(member(FIRST, "a")))
    keys = FileKeys(path)
    path.write_bytes(document(member(SECOND, "b")))
    os.utime(path, ns=(1, 1))
    await keys.refresh("ES256", "b")
    assert keys.find("ES256", "b") is not None
    assert keys.find("ES256", "a") is None
    path.write_bytes(b"half a fi")
    os.utime(path, ns=(2, 2))
    await keys.refresh("ES256", "b")
    assert keys.find("ES256", "b") is not None
    path.unlink()
    await keys.refresh("ES256", "b")
    assert keys.find("ES256", "b") is not None


class KeyServer:
    """An HTTP server that hands out a key set and counts how often."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Location", outer.location)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.body = document(member(FIRST, "a"))
        self.status = 200
        self.location = ""
        self.requests = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_fetches_once_and_again_for_an_unknown_key_once_a_minute(key_server: KeyServer) -> None:
    time = Time()
    keys = UrlKeys(key_server.url, MAX_AGE_S, time)
    assert keys.find("ES256", "a") is None
    await asyncio.gather(*(keys.refresh("ES256", "a") for _ in range(5)))
    assert keys.find("ES256", "a") is not None
    assert key_server.requests == 1

    key_server.body = document(member(FIRST, "a"), member(SECOND, "b"))
    await keys.refresh("ES256", "b")
    assert key_server.requests == 1
    time.now += REFETCH_S
    await asyncio.gather(*(keys.refresh("ES256", f"made-up-{i}") for i in range(5)))
    assert key_server.requests == 2
    assert keys.find("ES256", "b") is not None


async def test_fetches_again_when_old_and_outlives_a_short_outage(key_server: KeyServer) -> None:
    time = Time()
    keys = UrlKeys(key_server.url, MAX_AGE_S, time)
    await keys.refresh("ES256", "a")
    time.now += MAX_AGE_S + 1
    key_server.status = 500
    await keys.refresh("ES256", "a")
    assert key_server.requests == 2
    assert keys.find("ES256", "a") is not None
    time.now += MAX_AGE_S
    assert keys.find("ES256", "a") is None
    key_server.status = 200
    await keys.refresh("ES256", "a")
    assert keys.find("ES256", "a") is not None


async def test_redirect_away_from_https_is_not_followed(key_server: KeyServer) -> None:
    keys = UrlKeys(key_server.url, MAX_AGE_S, Time())
    key_server.status, key_server.location = 302, "http://keys.example/jwks.json"
    await keys.refresh("ES256", "a")
    assert keys.find("ES256", "a") is None


async def test_body_without_end_is_cut(key_server: KeyServer) -> None:
    keys = UrlKeys(key_server.url, MAX_AGE_S, Time())
    key_server.body = document(member(FIRST, "a")) + b" " * (2 << 20)
    await keys.refresh("ES256", "a")
    assert keys.find("ES256", "a") is None


async def test_authenticator_fetches_what_a_token_needs(key_server: KeyServer) -> None:
    authenticator = Authenticator(jwks=key_server.url)
    claims = {"sub": "alice", "aud": "musetalk-service", "exp": 4_000_000_000}
    token = jwt.encode(claims, FIRST, "ES256", {"kid": "a"})
    with pytest.raises(AuthenticationError) as caught:
        authenticator.authenticate(token)
    assert caught.value.details["reason"] == "unknown_key"
    assert (await authenticator.check(token)).user_id == "alice"
    assert authenticator.authenticate(token).user_id == "alice"
    with pytest.raises(AuthenticationError) as missing:
        await authenticator.check(None)
    assert missing.value.details["reason"] == "missing"
