"""Tokens of an issuer outside: taken when they are exactly what they must be, and nobody can make us ask elsewhere."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from syncbridge.auth import AccountGatekeeper, Authority, AuthRules, keysets, open_authority
from syncbridge.auth.keysets import FETCH_AGAIN_MS, read_key_set
from syncbridge.auth.rules import IssuerRules
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import SyncBridgeError, TokenExpired, TokenInvalid, TokenRevoked, Unavailable
from syncbridge.limits import Limits
from syncbridge.ports import Admission, Refusal
from syncbridge.records import Records
from tests.integration.auth.conftest import RULES, MovedClock
from tests.integration.auth.issuer import RSA_KEY, OutsideIssuer, Server, Way, public_jwk


@pytest.mark.parametrize("kid", ["rs", "es", "ed"])
async def test_good_token_of_each_kind_of_key_is_its_person_s(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock, kid: str
) -> None:
    claims = await authority.identify(issuer.token(clock.at_ms, kid))
    assert (claims.device, claims.session, claims.family) == (None, None, "")
    again = await authority.identify(issuer.token(clock.at_ms, kid, jti="two", aud=["other", "syncbridge"]))
    assert (again.account, again.token_id == claims.token_id) == (claims.account, False)
    other = await authority.identify(issuer.token(clock.at_ms, kid, sub="bob", jti=...))
    assert other.account != claims.account


async def test_token_of_a_known_key_and_person_is_told_at_once(
    authority: Authority, issuer: OutsideIssuer, server: Server, clock: MovedClock
) -> None:
    assert authority.at_once(issuer.token(clock.at_ms)) is None
    await authority.identify(issuer.token(clock.at_ms))
    assert authority.at_once(issuer.token(clock.at_ms, jti="two")) is not None
    assert server.asked == ["/keys"]
    clock.at_ms += 600_000
    with pytest.raises(TokenExpired):
        authority.at_once(issuer.token(clock.at_ms - 600_000))


async def test_two_first_tokens_at_once_make_one_account(
    authority: Authority, records: Records, issuer: OutsideIssuer, issuers: tuple[IssuerRules, ...], clock: MovedClock
) -> None:
    elsewhere = await open_authority(records, RULES, Limits(), clock, issuers=issuers)
    tokens = [issuer.token(clock.at_ms, jti=f"t{number}") for number in range(8)]
    found = await asyncio.gather(*((authority, elsewhere)[n % 2].identify(token) for n, token in enumerate(tokens)))
    elsewhere.close()
    assert len({claims.account for claims in found}) == 1
    assert await records.identities.of_account(found[0].account) == [(issuer.name, "ada")]


@pytest.mark.parametrize(("auth_time_s", "login_at_s"), [(-3_600, -3_600), (3_600, 0), (10**9, 0)])
async def test_login_is_no_younger_than_its_token_whatever_the_issuer_says(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock, auth_time_s: int, login_at_s: int
) -> None:
    # One in milliseconds, a mistake that is made, would be a fresh proof for ever, and bring removed devices back.
    now_s = clock.at_ms // 1_000
    claims = await authority.identify(issuer.token(clock.at_ms, auth_time=now_s + auth_time_s))
    assert claims.login_at == (now_s + login_at_s) * 1_000


async def test_nobody_logs_in_by_password_to_an_account_from_outside(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock
) -> None:
    claims = await authority.identify(issuer.token(clock.at_ms, email="ann@example.com"))
    for password in ("", "no account has this password"):
        with pytest.raises(SyncBridgeError, match="password is wrong"):
            await authority.log_in(f"{claims.account}@outside.invalid", password)
    with pytest.raises(SyncBridgeError, match="can be reached"):
        await authority.create_account("x@outside.invalid", "correct horse")


def confused(issuer: OutsideIssuer, now_ms: int) -> str:
    """HS256, the public key as its secret: what a verifier takes that goes by the header alone."""
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = json.dumps({"alg": "HS256", "kid": "rs", "typ": "JWT"}).encode()
    body = base64.urlsafe_b64decode(issuer.token(now_ms).split(".")[1] + "==")
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, body))
    signature = hmac.new(pem, text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


BAD: dict[str, dict[str, Any]] = {
    "exp a string": {"exp": "1790000600"},
    "exp missing": {"exp": ...},
    "exp true": {"exp": True},
    "exp a float": {"exp": 1790000600.5},
    "lasting a year": {"exp": 1_790_000_000 + 365 * 86_400},
    "iat a string": {"iat": "1790000000"},
    "iat missing": {"iat": ...},
    "iat ahead": {"iat": 1_790_000_000 + 3_600, "exp": 1_790_000_000 + 4_000},
    "nbf ahead": {"nbf": 1_790_000_000 + 300},
    "nbf a string": {"nbf": "0"},
    "sub missing": {"sub": ...},
    "sub a number": {"sub": 7},
    "sub empty": {"sub": ""},
    "sub too long": {"sub": "x" * 256},
    "sub with NUL": {"sub": "a\x00b"},
    "sub a lone surrogate": {"sub": "\ud800"},
    "aud another": {"aud": "other"},
    "aud missing": {"aud": ...},
    "aud a number": {"aud": 7},
    "aud a list with a number": {"aud": ["syncbridge", 7]},
    "iss another": {"iss": "https://other.example"},
    "iss ours": {"iss": "syncbridge"},
    "jti a number": {"jti": 7},
    "auth_time a string": {"auth_time": "0"},
    "header jku": {"header": {"jku": "CANARY/keys"}},
    "header x5u": {"header": {"x5u": "CANARY/cert"}},
    "header jwk": {"header": {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}},
    "header x5c": {"header": {"x5c": ["MIIB"]}},
    "header typ": {"header": {"typ": "logout+jwt"}},
    "kid unknown": {"header": {"kid": "CANARY/keys"}},
    "kid like a path": {"header": {"kid": "../../../etc/passwd"}},
    "kid a number": {"header": {"kid": 7}},
    "another key's name": {"header": {"kid": "es"}},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_token_that_is_not_exactly_right_is_refused_and_asks_nobody_else(
    authority: Authority, issuer: OutsideIssuer, canary: Server, clock: MovedClock, bad: dict[str, Any]
) -> None:
    said = json.loads(json.dumps(bad, default=str).replace("CANARY", canary.url).replace('"Ellipsis"', "null"))
    claims: dict[str, Any] = {
        name: ... if bad[name] is ... else value for name, value in said.items() if name != "header"
    }
    try:
        token = issuer.token(clock.at_ms, header=said.get("header"), **claims)
    except jwt.PyJWTError:
        token = with_header(issuer.token(clock.at_ms), said["header"])
    await authority.identify(issuer.token(clock.at_ms, jti="good"))
    with pytest.raises(TokenInvalid):
        await authority.identify(token)


def with_header(token: str, changes: dict[str, Any]) -> str:
    head, _, rest = token.partition(".")
    header = json.loads(base64.urlsafe_b64decode(head + "==")) | changes
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode() + "." + rest


@pytest.mark.parametrize("make", [confused, lambda issuer, now_ms: with_header(issuer.token(now_ms), {"alg": "none"})])
async def test_algorithm_is_the_operator_s_choice_never_the_token_s(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock, make: Any
) -> None:
    await authority.identify(issuer.token(clock.at_ms))
    with pytest.raises(TokenInvalid):
        await authority.identify(make(issuer, clock.at_ms))


async def test_storm_of_unknown_names_causes_one_fetch_in_thirty_seconds(
    authority: Authority, issuer: OutsideIssuer, server: Server, clock: MovedClock
) -> None:
    await authority.identify(issuer.token(clock.at_ms))
    clock.at_ms += FETCH_AGAIN_MS
    storm = [with_header(issuer.token(clock.at_ms), {"kid": f"k{number}"}) for number in range(200)]
    outcomes = await asyncio.gather(*map(authority.identify, storm), return_exceptions=True)
    assert {type(one) for one in outcomes} == {TokenInvalid}
    assert len(server.asked) == 2
    # Not only those that come at once.
    for token in storm[:5]:
        with pytest.raises(TokenInvalid):
            await authority.identify(token)
    assert len(server.asked) == 2
    clock.at_ms += FETCH_AGAIN_MS - 1
    with pytest.raises(TokenInvalid):
        await authority.identify(storm[0])
    assert len(server.asked) == 2


async def test_without_the_pause_a_storm_is_seen_to_fetch(
    authority: Authority,
    issuer: OutsideIssuer,
    server: Server,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keysets, "FETCH_AGAIN_MS", 0)
    for number in range(4):
        with pytest.raises(TokenInvalid):
            await authority.identify(with_header(issuer.token(clock.at_ms), {"kid": f"k{number}"}))
    assert len(server.asked) == 4


async def test_key_that_the_issuer_replaced_is_learned_and_the_old_one_refused(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock
) -> None:
    old = issuer.token(clock.at_ms)
    await authority.identify(old)
    issuer.keys = {"rs-2": ("RS256", RSA_KEY)}
    issuer.publish()
    clock.at_ms += FETCH_AGAIN_MS
    await authority.identify(issuer.token(clock.at_ms, "rs-2"))
    with pytest.raises(TokenInvalid):
        await authority.identify(old)


@pytest.mark.parametrize(
    ("way", "outcome"),
    [
        ("redirect", "status"),
        ("error", "status"),
        ("slow", "timeout"),
        ("dribble", "timeout"),
        ("huge", "too_large"),
        ("nonsense", "malformed"),
        ("empty", "malformed"),
        ("compressed", "malformed"),
    ],
)
async def test_bad_answer_costs_a_bounded_time_and_what_is_held_is_used_on(
    authority: Authority,
    issuer: OutsideIssuer,
    server: Server,
    canary: Server,
    clock: MovedClock,
    way: Way,
    outcome: str,
) -> None:
    keys = authority.outside[issuer.name].keys
    await authority.identify(issuer.token(clock.at_ms))
    server.way, server.elsewhere = way, f"{canary.url}/keys"
    clock.at_ms += RULES.jwks_age_ms
    begin = time.monotonic()
    await keys.keep_fresh()
    assert time.monotonic() - begin < 30
    assert keys.outcomes == {"fetched": 1, outcome: 1}
    await authority.identify(issuer.token(clock.at_ms, jti="two"))
    with pytest.raises(Unavailable):
        await authority.identify(with_header(issuer.token(clock.at_ms), {"kid": "other"}))
    clock.at_ms += RULES.jwks_stale_ms
    with pytest.raises(Unavailable):
        await authority.identify(issuer.token(clock.at_ms, jti="three"))
    server.way = "keys"
    clock.at_ms += FETCH_AGAIN_MS
    await authority.identify(issuer.token(clock.at_ms, jti="four"))


async def test_loop_turns_while_an_issuer_does_not_answer(
    records: Records, issuer: OutsideIssuer, issuers: tuple[IssuerRules, ...], server: Server, clock: MovedClock
) -> None:
    server.way = "slow"
    patient = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, jwks_timeout_ms=60_000)
    authority = await open_authority(records, patient, Limits(), clock, issuers=issuers)
    asking = asyncio.create_task(authority.identify(issuer.token(clock.at_ms)))
    own = await authority.create_account("ann@example.com", "correct horse")
    assert (await authority.identify((await authority.begin(own.id)).access_token)).account == own.id
    assert not asking.done()
    server.is_over.set()
    assert (await asking).account != own.id
    authority.close()


@pytest.mark.parametrize("subject", ["token", "account"])
async def test_revocation_holds_for_tokens_from_outside(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock, subject: str
) -> None:
    hit, other = issuer.token(clock.at_ms, jti="hit"), issuer.token(clock.at_ms, jti="other")
    claims = await authority.identify(hit)
    kept = await authority.identify(other)
    if subject == "token":
        await authority.revoke(hit)
    else:
        await authority.revoke_account(claims.account, kept=kept)
    with pytest.raises(TokenRevoked):
        await authority.identify(hit)
    assert await authority.identify(other) == kept
    clock.at_ms += 1_000
    assert (await authority.identify(issuer.token(clock.at_ms, jti="later"))).account == claims.account


async def test_person_whose_account_was_erased_comes_back_as_somebody_new_and_not_by_an_old_token(
    authority: Authority, records: Records, issuer: OutsideIssuer, clock: MovedClock
) -> None:
    old = issuer.token(clock.at_ms)
    claims = await authority.identify(old)
    await authority.revoke_account(claims.account, for_ever=True)
    async with records.database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM accounts")
    for token in (old, issuer.token(clock.at_ms, jti="two")):
        with pytest.raises(TokenRevoked):
            await authority.identify(token)
    clock.at_ms += 1_000
    assert (await authority.identify(issuer.token(clock.at_ms, jti="new"))).account != claims.account


async def test_hello_by_a_token_from_outside_is_admitted_and_a_bad_one_refused(
    authority: Authority, issuer: OutsideIssuer, clock: MovedClock
) -> None:
    gatekeeper = AccountGatekeeper(authority)

    async def admit(token: str) -> Admission | Refusal:
        answer: asyncio.Future[Admission | Refusal] = asyncio.get_running_loop().create_future()
        gatekeeper.admit(token, DeviceInfo("tv"), answer.set_result)
        return await answer

    first, second = [await admit(issuer.token(clock.at_ms, jti=jti)) for jti in ("one", "two")]
    assert isinstance(first, Admission)
    assert isinstance(second, Admission)
    assert first.identity.account == second.identity.account
    refused = await admit(issuer.token(clock.at_ms, aud="other"))
    assert isinstance(refused, Refusal)
    assert refused.code == "token_invalid"
    await authority.revoke_account(first.identity.account)
    assert gatekeeper.refused(second.identity) == "token_revoked"


def test_key_set_gives_only_public_keys_for_signing_that_are_strong_enough() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    good = public_jwk(RSA_KEY)
    rows = [
        good | {"kid": "good"},
        good | {"kid": "for encryption", "use": "enc"},
        good | {"kid": "for signing", "key_ops": ["sign"]},
        good | {"kid": "of another algorithm", "alg": "HS256"},
        good,
        {"kid": "oct", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "broken", "kty": "RSA", "n": 5, "e": "AQAB"},
        public_jwk(weak) | {"kid": "weak"},
        {"kid": "curve", "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        "nonsense",
    ]
    found = read_key_set(json.dumps({"keys": rows}).encode(), ("RS256", "ES256"))
    assert {kid: key.algorithms for kid, key in found.items()} == {"good": {"RS256"}}
