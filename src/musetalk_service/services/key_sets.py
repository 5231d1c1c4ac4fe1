"""The public keys that tokens are checked with: a JSON Web Key Set (RFC 7517) from a file or an address."""

import asyncio
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from musetalk_service.errors import ConfigurationError

log = logging.getLogger(__name__)

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey
Keys: TypeAlias = dict[tuple[str, str | None], PublicKey]
"""By algorithm and key id: a key serves one algorithm, whatever a token's header says."""

REFETCH_S = 60.0
"""A key set is asked for at most this often, so that made-up key ids cause no flood of requests."""
_FETCH_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20
_MIN_RSA_BITS = 2048
FAILURES = (OSError, ValueError, RecursionError, HTTPException)
"""What reading a key set may raise."""


class KeySource:
    """Keys in memory, and how to bring them up to date."""

    def find(self, algorithm: str, key_id: str | None) -> PublicKey | None:
        """A key from memory. Without a key id: the only key of that algorithm, if there is just one."""
        raise NotImplementedError

    async def refresh(self, algorithm: str, key_id: str | None) -> None:
        """Read the source again where that is due. Failures are logged; the keys in memory stay."""
        raise NotImplementedError


class FileKeys(KeySource):
    """Read at once, and again whenever the file changes. Raises :class:`ConfigurationError` at the start only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._seen = self._stamp()
            self._keys = parse_key_set(path.read_bytes())
        except FAILURES as error:
            raise ConfigurationError(f"AUTH_JWKS: {path} is not a readable key set: {error}") from None

    def find(self, algorithm: str, key_id: str | None) -> PublicKey | None:
        return _find(self._keys, algorithm, key_id)

    async def refresh(self, algorithm: str, key_id: str | None) -> None:
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp  # also when reading fails: one warning for each change
            self._keys = await asyncio.to_thread(lambda: parse_key_set(self._path.read_bytes()))
            log.info("key set read again", extra={"path": str(self._path), "keys": len(self._keys)})
        except FAILURES as error:
            log.warning("key set cannot be read, keeping the keys", extra={"path": str(self._path), "cause": error})

    def _stamp(self) -> tuple[int, int, int]:
        status = os.stat(self._path)
        return status.st_mtime_ns, status.st_size, status.st_ino


class UrlKeys(KeySource):
    """Fetched on first use, when older than ``max_age_s``, and for an unknown key id.

    Keys that cannot be fetched again stay good up to twice that age: a short outage of the key server
    locks nobody out, and a withdrawn key does not live for ever.
    """

    def __init__(self, url: str, max_age_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._max_age_s = max_age_s
        self._clock = clock
        self._keys: Keys = {}
        self._fetched = self._attempted = float("-inf")
        self._fetching = asyncio.Lock()

    def find(self, algorithm: str, key_id: str | None) -> PublicKey | None:
        if self._clock() - self._fetched > 2 * self._max_age_s:
            return None
        return _find(self._keys, algorithm, key_id)

    async def refresh(self, algorithm: str, key_id: str | None) -> None:
        if not self._is_due(algorithm, key_id):
            return
        async with self._fetching:
            if not self._is_due(algorithm, key_id):  # who waited for the lock finds the work done
                return
            self._attempted = self._clock()
            try:
                self._keys = await asyncio.to_thread(fetch_key_set, self._url)
                self._fetched = self._clock()
                log.info("key set fetched", extra={"keys": len(self._keys)})
            except FAILURES as error:
                log.warning("key set cannot be fetched", extra={"url": self._url, "cause": str(error)})

    def _is_due(self, algorithm: str, key_id: str | None) -> bool:
        now = self._clock()
        stale = now - self._fetched > self._max_age_s
        return (stale or _find(self._keys, algorithm, key_id) is None) and now - self._attempted >= REFETCH_S


def is_fetchable(address: str) -> bool:
    """Whether an address may give keys: https, or http from this very machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


def make_key_source(source: str, max_age_s: float) -> KeySource:
    """For an address or a path. Raises :class:`ConfigurationError`."""
    if "://" not in source:
        return FileKeys(Path(source).expanduser())
    if not is_fetchable(source):
        raise ConfigurationError("AUTH_JWKS: an https:// address or the path of a file")
    return UrlKeys(source, max_age_s)


def parse_key_set(document: bytes) -> Keys:
    """RSA keys of 2048 bits or more for RS256 and P-256 keys for ES256; other members are left out.

    Symmetric keys are left out too: a key set is public. Raises ``ValueError`` when nothing is left.
    """
    parsed = json.loads(document)
    members = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(members, list):
        raise ValueError('no list of "keys" in it')
    keys: Keys = {}
    for member in members:
        entry = _parse_key(member) if isinstance(member, dict) else None
        if entry is None:
            log.warning("a key of the key set cannot be used for RS256 or ES256 and is left out")
        else:
            keys[entry[0], member.get("kid")] = entry[1]
    if not keys:
        raise ValueError("no key for RS256 (2048 bits or more) or ES256 in it")
    return keys


def _parse_key(member: dict[str, Any]) -> tuple[str, PublicKey] | None:
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(member.get("kty")))
    key_id = member.get("kid")
    if (
        algorithm is None
        or member.get("use", "sig") != "sig"
        or member.get("alg", algorithm) != algorithm
        or not (key_id is None or isinstance(key_id, str))
    ):
        return None
    try:
        # Private members that somebody has published by mistake are not even looked at.
        public: dict[str, Any] = {name: member[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in member}
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return algorithm, key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return algorithm, key
    return None


def _find(keys: Keys, algorithm: str, key_id: str | None) -> PublicKey | None:
    if key_id is not None:
        return keys.get((algorithm, key_id))
    candidates = [key for (served, _), key in keys.items() if served == algorithm]
    return candidates[0] if len(candidates) == 1 else None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Keys never come over a connection that somebody else can write on."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_fetchable(newurl):
            raise urllib.error.HTTPError(req.full_url, code, "redirect away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_key_set(url: str) -> Keys:
    """Ask for a key set, and wait. Raises one of :data:`FAILURES`."""
    request = urllib.request.Request(url, headers={"Accept": "application/jwk-set+json, application/json"})
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=_FETCH_TIMEOUT_S) as response:
        body: bytes = response.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise ValueError("too big for a key set")
    return parse_key_set(body)
