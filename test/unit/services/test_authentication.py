"""Tokens: good ones pass, and nothing else does."""

import base64
import hashlib
import hmac
import json
import logging
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from musetalk_service.errors import AuthenticationError, ForbiddenScopeError
from musetalk_service.services.authentication import (
    Authenticator,
    Principal,
    read_credentials,
    require,
)

SECRET = "0123456789abcdef0123456789abcdef"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; a change to None takes one away."""
    good = {"sub": "alice", "aud": "musetalk-service", "exp": int(time.time()) + 24 * 3600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers)


def raw_token(header: object, payload: object, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def key_set(*members: dict[str, Any]) -> str:
    return json.dumps({"keys": members})


def public_rsa(**fields: Any) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa-1", **fields}


def public_ec(**fields: Any) -> dict[str, Any]:
    return {**jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec-1", **fields}


@pytest.fixture
def jwks(tmp_path: Any) -> str:
    path = tmp_path / "keys.json"
    path.write_text(key_set(public_rsa(), public_ec()))
    return str(path)


def refused(authenticator: Authenticator, token: str | None) -> str:
    """The reason of a refusal; fails when the token is accepted."""
    with pytest.raises(AuthenticationError) as caught:
        authenticator.authenticate(token)
    if token and len(token) > 20:  # a shorter one may be in any sentence
        assert token not in str(caught.value)
        assert token not in str(caught.value.details)
    return str(caught.value.details["reason"])


def test_error_says_what_each_transport_answers() -> None:
    with pytest.raises(AuthenticationError) as caught:
        Authenticator(secret=SECRET).authenticate(None)
    error = caught.value
    assert (error.wire_code, error.close_code, error.http_status) == ("INVALID_SESSION", 4401, 401)


def test_accepts_a_token_of_the_secret() -> None:
    assert Authenticator(secret=SECRET).authenticate(sign()) == Principal("alice", frozenset({"drive", "view"}))


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "rsa-1"), (EC_KEY, "ES256", "ec-1")])
@pytest.mark.parametrize("named", [True, False])
def test_accepts_tokens_of_the_key_set(jwks: str, key: Any, algorithm: str, kid: str, named: bool) -> None:
    token = sign(key, algorithm, {"kid": kid} if named else None)
    assert Authenticator(jwks=jwks).authenticate(token).user_id == "alice"


def test_both_kinds_side_by_side(jwks: str) -> None:
    both = Authenticator(secret=SECRET, jwks=jwks)
    assert both.authenticate(sign()).user_id == "alice"
    assert both.authenticate(sign(EC_KEY, "ES256", {"kid": "ec-1"})).user_id == "alice"


def test_not_enabled_without_keys_and_then_refuses_all() -> None:
    assert not Authenticator().enabled
    assert not Authenticator(secret="").enabled
    assert refused(Authenticator(), sign()) == "unknown_key"
    assert Authenticator(secret=SECRET).enabled


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1_000_000}, "expired"),
        ({"exp": None}, "malformed"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"nbf": 4_000_000_000}, "not_yet_valid"),
        ({"iat": 4_000_000_000}, "not_yet_valid"),
        ({"aud": "another-service"}, "wrong_audience"),
        ({"aud": ["a", "b"]}, "wrong_audience"),
        ({"aud": None}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"scope": 7}, "malformed"),
        ({"scope": ["drive", 7]}, "malformed"),
    ],
)
def test_refuses_claims(changes: dict[str, Any], reason: str) -> None:
    assert refused(Authenticator(secret=SECRET), sign(**changes)) == reason


def test_subject_must_be_text() -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims(sub=["alice"])).encode()).rstrip(b"=")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signature = hmac.digest(SECRET.encode(), header + b"." + payload, hashlib.sha256)
    token = b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    assert refused(Authenticator(secret=SECRET), token) == "malformed"


@pytest.mark.parametrize("token", [None, "", "x", "a.b", "a.b.c", "..", "é.é.é", "\ud800.a.b", "a" * 9000 + ".b.c"])
def test_refuses_what_is_no_token(token: str | None) -> None:
    assert refused(Authenticator(secret=SECRET), token) == ("malformed" if token else "missing")


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        {"alg": 1},
        {"alg": None},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "crit": ["x"], "x": 1},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
    ],
)
def test_refuses_odd_headers(header: object) -> None:
    assert refused(Authenticator(secret=SECRET), raw_token(header, claims(), b"x" * 32)) == "malformed"


def test_deep_json_is_no_crash() -> None:
    def encoded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    assert refused(Authenticator(secret=SECRET), f"{encoded('[' * 5000)}.e30.AAAA") == "malformed"


def test_leeway_bridges_clocks_that_differ() -> None:
    token = sign(exp=int(time.time()) - 5)
    assert Authenticator(secret=SECRET, leeway_s=60).authenticate(token).user_id == "alice"
    assert refused(Authenticator(secret=SECRET, leeway_s=0), token) == "expired"


# --- confusion of algorithms and keys ---


def test_no_algorithm_is_no_signature(jwks: str) -> None:
    both = Authenticator(secret=SECRET, jwks=jwks)
    for name in ("none", "None", "NONE", ""):
        assert refused(both, raw_token({"alg": name}, claims(), b"xxx")) == "unknown_key"
    assert refused(both, sign(key=None, algorithm="none")) == "malformed"  # nothing after the second dot


@pytest.mark.parametrize("secret", [None, SECRET])
def test_public_key_is_no_secret(jwks: str, secret: str | None) -> None:
    """The classic: HS256 with the public key, which everybody has, as its key."""
    authenticator = Authenticator(secret=secret, jwks=jwks)
    encodings = [
        RSA_KEY.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    for public in [*encodings, encodings[0].strip(), json.dumps(public_rsa()).encode()]:
        for kid in ({}, {"kid": "rsa-1"}):
            unsigned = raw_token({"alg": "HS256", "typ": "JWT", **kid}, claims()).rstrip(".")
            signature = hmac.digest(public, unsigned.encode(), hashlib.sha256)
            forged = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
            assert refused(authenticator, forged) == ("bad_signature" if secret else "unknown_key")


def test_secret_serves_hs256_only() -> None:
    authenticator = Authenticator(secret=SECRET)
    assert refused(authenticator, sign(RSA_KEY, "RS256")) == "unknown_key"
    assert refused(authenticator, sign(SECRET * 2, "HS512")) == "unknown_key"


def test_key_serves_its_own_algorithm_only(jwks: str) -> None:
    authenticator = Authenticator(jwks=jwks)
    assert refused(authenticator, sign(RSA_KEY, "RS256", {"kid": "ec-1"})) == "unknown_key"
    assert refused(authenticator, sign(RSA_KEY, "PS256", {"kid": "rsa-1"})) == "unknown_key"
    assert refused(authenticator, sign(RSA_KEY, "RS512", {"kid": "rsa-1"})) == "unknown_key"


def test_key_in_the_header_is_not_believed(jwks: str) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own = jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
    token = sign(stranger, "RS256", {"kid": "rsa-1", "jwk": own, "jku": "https://evil.example/keys"})
    assert refused(Authenticator(jwks=jwks), token) == "bad_signature"


def test_unknown_key_id(jwks: str) -> None:
    assert refused(Authenticator(jwks=jwks), sign(RSA_KEY, "RS256", {"kid": "rsa-2"})) == "unknown_key"


# --- mutations ---

HS_TOKEN = sign()
ES_TOKEN = sign(EC_KEY, "ES256", {"kid": "ec-1"})


@given(st.sampled_from([HS_TOKEN, ES_TOKEN]), st.data())
def test_changed_tokens_never_authenticate(tmp_path_factory: Any, token: str, data: st.DataObject) -> None:
    authenticator = shared_authenticator(tmp_path_factory)
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "truncate", "append", "swap"]))
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.one_of(st.sampled_from(BASE64URL + ".=!+/ \n"), st.characters()))
    match kind:
        case "replace":
            changed = token[:place] + character + token[place + 1 :]
        case "insert":
            changed = token[:place] + character + token[place:]
        case "delete":
            changed = token[:place] + token[place + 1 :]
        case "truncate":
            changed = token[:place]
        case "append":
            changed = token + character
        case _:
            other = data.draw(st.integers(0, len(token) - 1))
            characters = list(token)
            characters[place], characters[other] = characters[other], characters[place]
            changed = "".join(characters)
    if changed != token:
        refused(authenticator, changed)


@pytest.mark.parametrize("token", [HS_TOKEN, ES_TOKEN])
def test_every_spelling_of_the_last_character_but_one_is_refused(tmp_path_factory: Any, token: str) -> None:
    """Its unused bits make other characters decode to the same signature."""
    authenticator = shared_authenticator(tmp_path_factory)
    assert authenticator.authenticate(token).user_id == "alice"
    for character in BASE64URL.replace(token[-1], ""):
        refused(authenticator, token[:-1] + character)


@given(st.text(max_size=300))
def test_any_text_is_refused_and_no_crash(text: str) -> None:
    refused(Authenticator(secret=SECRET), text)


_shared: list[Authenticator] = []


def shared_authenticator(tmp_path_factory: Any) -> Authenticator:
    if not _shared:
        path = tmp_path_factory.mktemp("keys") / "keys.json"
        path.write_text(key_set(public_rsa(), public_ec()))
        _shared.append(Authenticator(secret=SECRET, jwks=str(path)))
    return _shared[0]


# --- scopes ---


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        (None, {"drive", "view"}),
        ("view", {"view"}),
        ("view drive", {"view", "drive"}),
        (["admin"], {"admin"}),
        ("", set()),
        ([], set()),
        ("openid profile", set()),
        ("administrator", set()),
    ],
)
def test_scopes(claim: object, scopes: set[str]) -> None:
    assert Authenticator(secret=SECRET).authenticate(sign(scope=claim)).scopes == scopes


def test_require() -> None:
    viewer = Principal("alice", frozenset({"view"}))
    require(viewer, "alice", "view")
    require(viewer, None, "view")
    with pytest.raises(AuthenticationError) as another:
        require(viewer, "bob", "view")
    assert another.value.details["reason"] == "wrong_subject"
    with pytest.raises(ForbiddenScopeError) as lacking:
        require(viewer, "alice", "drive")
    assert (lacking.value.http_status, lacking.value.details["scope"]) == (403, "drive")
    require(Principal("root", frozenset({"admin"})), "bob", "drive")


# --- where the token comes from ---


@pytest.mark.parametrize(
    ("authorization", "offered", "token", "answer"),
    [
        (None, [], None, None),
        ("Bearer abc", [], "abc", None),
        ("bearer  abc ", ["musetalk.v1"], "abc", "musetalk.v1"),
        ("Basic abc", [], None, None),
        ("Basic abc", ["musetalk.v1", "bearer.xyz"], "xyz", "musetalk.v1"),
        ("Bearer abc", ["musetalk.v1", "bearer.xyz"], "abc", "musetalk.v1"),
        (None, ["bearer.xyz", "musetalk.v1"], "xyz", "musetalk.v1"),
        (None, ["bearer.xyz"], "xyz", None),
        ("Bearer", [], "", None),
    ],
)
def test_credentials(authorization: str | None, offered: list[str], token: str | None, answer: str | None) -> None:
    credentials = read_credentials(authorization, offered)
    assert (credentials.token, credentials.subprotocol) == (token, answer)


def test_credentials_do_not_print_the_token() -> None:
    assert "abc" not in repr(read_credentials("Bearer abc", []))


async def test_nothing_of_a_token_is_logged(jwks: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authenticator = Authenticator(secret=SECRET, jwks=jwks)
    for token in (HS_TOKEN, ES_TOKEN, HS_TOKEN[:-4] + "AAAA", sign(RSA_KEY, "RS256", {"kid": "no-such"})):
        try:
            await authenticator.check(token)
        except AuthenticationError as error:
            assert error.__cause__ is None
        for part in token.split("."):
            assert part not in caplog.text
