"""Who a client is and what it may do: JSON Web Tokens (RFC 7519), checked as RFC 8725 advises.

A token is signed either with the shared secret (HS256) or with a private key whose public half is in a
key set (RS256, ES256). Which key may serve which algorithm is fixed here; a token's header only says
which of these pairs to try, so a public key can never be passed off as a secret. Tokens are neither
logged nor repeated in errors.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jwt

from musetalk_service.errors import AuthenticationError, ForbiddenScopeError
from musetalk_service.services.key_sets import KeySource, PublicKey, make_key_source

Scope = Literal["drive", "view", "admin"]
Reason = Literal[
    "missing",
    "malformed",
    "expired",
    "bad_signature",
    "wrong_audience",
    "wrong_subject",
    "unknown_key",
    "not_yet_valid",
]

SUBPROTOCOL = "musetalk.v1"
"""What is answered to a client that offers WebSocket subprotocols."""
_SUBPROTOCOL_TOKEN = "bearer."
SCOPES: tuple[Scope, ...] = ("drive", "view", "admin")
_DEFAULT_SCOPES = frozenset[Scope](("drive", "view"))

_MAX_TOKEN_CHARS = 8192
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MESSAGES: dict[Reason, str] = {
    "missing": "this service wants a token",
    "malformed": "the token is not a JSON Web Token with the claims exp, aud and sub",
    "expired": "the token has expired",
    "bad_signature": "the token's signature is not valid",
    "wrong_audience": "the token is for another service",
    "wrong_subject": "the token is for another user",
    "unknown_key": "no key here is for this token",
    "not_yet_valid": "the token is not valid yet",
}
_REASONS: dict[type[jwt.PyJWTError], Reason] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidSignatureError: "bad_signature",
    jwt.InvalidAudienceError: "wrong_audience",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A client whose token was good."""

    user_id: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a handshake carries: the token, and the subprotocol to answer with."""

    token: str | None
    subprotocol: str | None

    def __repr__(self) -> str:
        return f"Credentials(token={'...' if self.token else None}, subprotocol={self.subprotocol!r})"


def read_credentials(authorization: str | None, subprotocols: Sequence[str]) -> Credentials:
    """From the header ``Authorization: Bearer``, or from the subprotocols ``musetalk.v1, bearer.<token>``.

    Browsers cannot set headers on a WebSocket, hence the second way. The header goes first; one of
    another scheme is the business of a proxy in front and is passed over.
    """
    token = None
    scheme, _, value = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer":
        token = value.strip()
    else:
        for offered in subprotocols:
            if offered.startswith(_SUBPROTOCOL_TOKEN):
                token = offered.removeprefix(_SUBPROTOCOL_TOKEN)
                break
    return Credentials(token, SUBPROTOCOL if SUBPROTOCOL in subprotocols else None)


class Authenticator:
    """Checks tokens. Without a secret and a key set it is not :attr:`enabled` and refuses every token.

    ``secret``: at least 32 bytes, for HS256. ``jwks``: path or https address of a key set.
    ``leeway_s``: how far the clocks of issuer and server may differ. Raises :class:`ConfigurationError`
    for a key set file that cannot be read.
    """

    def __init__(
        self,
        *,
        secret: str | None = None,
        jwks: str | None = None,
        audience: str = "musetalk-service",
        leeway_s: float = 10.0,
        jwks_max_age_s: float = 600.0,
    ) -> None:
        self._secret = secret or None
        self._keys: KeySource | None = make_key_source(jwks, jwks_max_age_s) if jwks else None
        self._audience = audience
        self._leeway_s = leeway_s

    @property
    def enabled(self) -> bool:
        """Whether clients must bring a token."""
        return self._secret is not None or self._keys is not None

    async def check(self, token: str | None) -> Principal:
        """:meth:`authenticate` with the newest keys; a fetch does not hold up the event loop."""
        if self._keys is not None and token is not None:
            header = _read_header(token)
            if header["alg"] != "HS256":
                await self._keys.refresh(header["alg"], header.get("kid"))
        return self.authenticate(token)

    def authenticate(self, token: str | None) -> Principal:
        """Who the token is for, by the keys in memory. Raises :class:`AuthenticationError`."""
        if not token:
            raise _refusal("missing")
        algorithm, key = self._choose_key(_read_header(token))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise _refusal(_REASONS.get(type(error), "malformed")) from None
        except (ValueError, OverflowError, TypeError, RecursionError):  # claims that no issuer writes
            raise _refusal("malformed") from None
        if not claims["sub"]:
            raise _refusal("malformed")
        return Principal(claims["sub"], _read_scopes(claims.get("scope")))

    def _choose_key(self, header: dict[str, Any]) -> tuple[str, str | PublicKey]:
        algorithm = header["alg"]
        if algorithm == "HS256" and self._secret is not None:
            return "HS256", self._secret
        if algorithm in ("RS256", "ES256") and self._keys is not None:
            key = self._keys.find(algorithm, header.get("kid"))
            if key is not None:
                return algorithm, key
        raise _refusal("unknown_key")


def require(principal: Principal, user_id: str | None, scope: Scope) -> None:
    """Refuse what the principal may not do; ``admin`` may do all, for every user.

    ``user_id`` None: nothing that belongs to one user. Raises :class:`AuthenticationError`
    (``wrong_subject``) or :class:`ForbiddenScopeError`.
    """
    if "admin" in principal.scopes:
        return
    if user_id is not None and principal.user_id != user_id:
        raise _refusal("wrong_subject")
    if scope not in principal.scopes:
        raise ForbiddenScopeError(f"the token lacks the scope {scope}", scope=scope)


def _refusal(reason: Reason) -> AuthenticationError:
    return AuthenticationError(_MESSAGES[reason], reason=reason)


def _read_header(token: str) -> dict[str, Any]:
    """The header, unverified; ``alg`` is a string. Only the one canonical spelling of a token is taken."""
    if not token:
        raise _refusal("missing")
    if len(token) > _MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
        raise _refusal("malformed")
    # Base64 leaves bits of the last character unused; header and payload are signed as text, this is not.
    signature = token.rpartition(".")[2]
    try:
        decoded = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != signature:
            raise _refusal("bad_signature")
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _refusal("malformed") from None
    if not isinstance(header.get("alg"), str):
        raise _refusal("malformed")
    return header


def _read_scopes(claim: Any) -> frozenset[Scope]:
    """Known scopes of a ``scope`` claim (RFC 8693 section 4.2, or a list); others are passed over."""
    if claim is None:
        return _DEFAULT_SCOPES
    named = claim.split() if isinstance(claim, str) else claim
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise _refusal("malformed")
    return frozenset(scope for scope in SCOPES if scope in named)
