"""Access tokens are read more strictly than the library reads them."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from msgspec.structs import replace

from syncbridge.auth.access import AccessTokens, Claims
from syncbridge.auth.compact import parse
from syncbridge.auth.keyring import KeyRing
from syncbridge.auth.reading import TokenReader
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import TokenExpired, TokenInvalid
from syncbridge.ports import SigningKey
from tests.unit.auth.conftest import MovedClock, Source

NOW_MS = 1_790_000_000_000
SECRET = b"k" * 32
KEY = SigningKey("key-1", SECRET, NOW_MS)
CLOCK = MovedClock()
assert CLOCK.at_ms == NOW_MS


def ring_of(*keys: SigningKey) -> KeyRing:
    ring = KeyRing(Source(*keys), CLOCK)
    ring.hold(keys)
    return ring


TOKENS = AccessTokens(ring_of(KEY), issuer="iss", audience="aud")
READER = TokenReader({"iss": TOKENS}, CLOCK)
CLAIMS = Claims(
    AccountId("acc"), "jti", "fam", NOW_MS + 900_000, NOW_MS, DeviceId("tv"), SessionId("ses"), NOW_MS, "key-1"
)


def payload(**changes: Any) -> dict[str, Any]:
    said = {
        "iss": "iss",
        "aud": "aud",
        "sub": "acc",
        "jti": "jti",
        "family": "fam",
        "login_at": NOW_MS,
        "iat": NOW_MS // 1000,
        "exp": NOW_MS // 1000 + 900,
    } | changes
    return {name: value for name, value in said.items() if value is not ...}


def signed(body: bytes, header: dict[str, Any] | None = None, secret: bytes = SECRET) -> str:
    """A token of exactly these bytes, well signed."""
    head = json.dumps(header or {"alg": "HS256", "kid": "key-1", "typ": "JWT"}).encode()
    return spelt(head, body, secret)


def signed_with_header(head: bytes) -> str:
    return spelt(head, json.dumps(payload()).encode(), SECRET)


def spelt(head: bytes, body: bytes, secret: bytes) -> str:
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, body))
    signature = jwt.get_algorithm_by_name("HS256").sign(text, secret)
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def with_claims(**changes: Any) -> str:
    return signed(json.dumps(payload(**changes)).encode())


def with_header(**changes: Any) -> str:
    header = {"alg": "HS256", "kid": "key-1", "typ": "JWT"} | changes
    return signed(json.dumps(payload()).encode(), {name: value for name, value in header.items() if value is not ...})


def with_spare_bits(token: str) -> str:
    """The same signature, spelt with other spare bits in its last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


REFUSED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "one part": lambda: "abc",
    "200 KB": lambda: "a" * 200_000,
    "not ASCII": lambda: TOKENS.issue(CLAIMS, NOW_MS) + "\u00e9",
    "alg none": lambda: with_header(alg="none"),
    "alg HS512": lambda: with_header(alg="HS512"),
    "no kid": lambda: with_header(kid=...),
    "unknown kid": lambda: with_header(kid="key-2"),
    "kid like a path": lambda: with_header(kid="../../key-1"),
    "kid of 4,000 characters": lambda: with_header(kid="k" * 4_000),
    "kid with a line feed": lambda: with_header(kid="key-1\n"),
    "kid empty": lambda: with_header(kid=""),
    "kid a list": lambda: with_header(kid=["key-1"]),
    "jku": lambda: with_header(jku="https://example.com/keys"),
    "jwk": lambda: with_header(jwk={"kty": "oct", "k": "a"}),
    "alg missing": lambda: with_header(alg=...),
    "alg a list": lambda: with_header(alg=["HS256"]),
    "x5u": lambda: with_header(x5u="https://example.com/cert"),
    "crit": lambda: with_header(crit=["exp"]),
    "another's signature": lambda: signed(json.dumps(payload()).encode(), secret=b"x" * 32),
    "exp a string": lambda: with_claims(exp=str(NOW_MS // 1000 + 900)),
    "exp a float": lambda: with_claims(exp=NOW_MS / 1000 + 900.5),
    "exp true": lambda: with_claims(exp=True),
    "exp beyond all time": lambda: with_claims(exp=10**30),
    "exp below zero": lambda: with_claims(exp=-1),
    "exp NaN": lambda: signed(json.dumps(payload(exp=float("nan"))).encode()),
    "login_at a string": lambda: with_claims(login_at="1"),
    "login_at missing": lambda: with_claims(login_at=...),
    "family missing": lambda: with_claims(family=...),
    "exp missing": lambda: with_claims(exp=...),
    "iat a string": lambda: with_claims(iat=str(NOW_MS // 1000)),
    "iat missing": lambda: with_claims(iat=...),
    "iat ahead": lambda: with_claims(iat=NOW_MS // 1000 + 3600),
    "sub a number": lambda: with_claims(sub=7),
    "sub missing": lambda: with_claims(sub=...),
    "jti a number": lambda: with_claims(jti=7),
    "jti missing": lambda: with_claims(jti=...),
    "aud another": lambda: with_claims(aud="other"),
    "aud a list": lambda: with_claims(aud=["aud"]),
    "iss missing": lambda: with_claims(iss=...),
    "iss a list": lambda: with_claims(iss=["iss"]),
    "a header twice": lambda: signed_with_header(b'{"alg":"HS256","kid":"key-2","kid":"key-1"}'),
    "iss another": lambda: with_claims(iss="other"),
    "device a number": lambda: with_claims(device=7),
    "session a list": lambda: with_claims(session=["ses"]),
    "a claim twice": lambda: signed(json.dumps(payload()).encode()[:-1] + b', "sub": "other"}'),
    "not an object": lambda: signed(b"[]"),
    "not JSON": lambda: signed(b"nonsense"),
    "100,000 brackets": lambda: signed(b"[" * 5_000),
    "padded": lambda: TOKENS.issue(CLAIMS, NOW_MS) + "=",
    "spare bits": lambda: with_spare_bits(TOKENS.issue(CLAIMS, NOW_MS)),
}


def test_token_says_what_was_put_in() -> None:
    assert READER.read(TOKENS.issue(CLAIMS, NOW_MS)) == CLAIMS


def test_control_token_of_this_file_is_taken() -> None:
    claims = READER.read(with_claims())
    assert claims is not None
    assert claims.account == "acc"


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED.keys())
async def test_token_that_is_not_exactly_ours_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(TokenInvalid):
        await READER.look_up(make())


def test_token_ends_when_it_says(clock: MovedClock) -> None:
    reader = TokenReader({"iss": TOKENS}, clock)
    token = TOKENS.issue(CLAIMS, NOW_MS)
    clock.at_ms = CLAIMS.expires_at - 1
    assert reader.read(token) == CLAIMS
    clock.at_ms += 1
    with pytest.raises(TokenExpired):
        reader.read(token)


def test_current_key_signs_and_every_key_in_force_is_taken() -> None:
    newer = SigningKey("key-2", b"n" * 32, NOW_MS, NOW_MS)
    both = AccessTokens(ring_of(KEY, newer), issuer="iss", audience="aud")
    assert jwt.get_unverified_header(both.issue(CLAIMS, NOW_MS))["kid"] == "key-2"
    assert both.read(parse(TOKENS.issue(CLAIMS, NOW_MS)), NOW_MS) == CLAIMS


def test_token_seen_before_is_refused_when_its_key_is_retired(clock: MovedClock) -> None:
    ring = KeyRing(Source(), clock)
    ring.hold([KEY])
    tokens = AccessTokens(ring, issuer="iss", audience="aud")
    reader = TokenReader({"iss": tokens}, clock)
    token = tokens.issue(CLAIMS, NOW_MS)
    assert reader.read(token) == CLAIMS
    ring.hold([replace(KEY, retired_at=NOW_MS + 10)])
    assert reader.read(token) == CLAIMS
    clock.at_ms += 10
    with pytest.raises(TokenInvalid):
        reader.read(token)
