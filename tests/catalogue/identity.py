"""Bad tokens, names, passwords and log-ins."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import jwt

from tests.catalogue.rows import Row
from tests.catalogue.service import PASSWORD
from tests.catalogue.stage import Send, Stage, bearer, hello, log_in, many, rest, told

FAMILY = "Identity"
CLOSED, REFUSED = "error token_invalid; close 4401", "401 token_invalid"
NASTY = "a\r\n2026-01-01T00:00:00Z [info] forged\u2028line \x1b[31mred\x1b[0m \u0007 \"quoted\" 'too' \\ {x}"
_names = itertools.count(1)
ATTACKER = "http://127.0.0.1:9"
ALIKE = (0.6, 1.6)
"""Known to unknown: an answer without its hashing would be a tenth."""
ROUNDS_MIN, ROUNDS_MAX = 5, 40


def parts(stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of Mallory's good token."""
    header, claims, _ = (jwt.utils.base64url_decode(part) for part in stage.mallory.token.split("."))
    found: tuple[dict[str, Any], dict[str, Any]] = json.loads(header), json.loads(claims)
    return found


def encoded(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def token(
    header: dict[str, Any] | None = None, *, drop: str = "", raw: str = "", **claims: Any
) -> Callable[[Stage], str]:
    """Mallory's token with this changed. Its signature is by a key that is not the service's."""

    def make(stage: Stage) -> str:
        good_header, good_claims = parts(stage)
        merged = {key: value for key, value in {**good_claims, **claims}.items() if key != drop}
        body = json.dumps(merged)
        if raw:
            body = body[:-1] + raw + "}"
        head = {**good_header, **(header or {})}
        signed = f"{encoded(head)}.{encoded(body)}"
        signature = "" if head.get("alg") == "none" else encoded("x" * 32)
        return f"{signed}.{signature}"

    return make


def tampered(stage: Stage) -> str:
    """The good token with one claim changed, under its old signature."""
    header, claims, signature = stage.mallory.token.split(".")
    changed = json.loads(jwt.utils.base64url_decode(claims)) | {"sub": stage.olga.id}
    return f"{header}.{encoded(changed)}.{signature}"


def padded(stage: Stage) -> str:
    return stage.mallory.token + "="


def respelt(stage: Stage) -> str:
    """The good token with other spare bits in its last character: the same bytes to a careless decoder."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = stage.mallory.token[-1]
    return stage.mallory.token[:-1] + alphabet[alphabet.index(last) ^ 1]


def both(clause: str, sent: str, make: Callable[[Stage], str], gets: str = CLOSED, status: str = REFUSED) -> list[Row]:
    """The token in a hello and in a request."""
    return [Row(FAMILY, clause, sent, gets, hello(make)), Row(FAMILY, clause, f"REST: {sent}", status, bearer(make))]


async def removed_device(stage: Stage) -> str:
    """A token that is bound to a device, which is removed then."""
    other = await stage.account("watch")
    body = {"grant_type": "password", "email": other.mallory.email, "password": PASSWORD, "device": "watch"}
    grant = json.loads((await stage.rest("POST", "/v1/auth/token", body, token="")).body)
    assert (await other.rest("DELETE", "/v1/devices/watch")).status == 204
    over_socket = await hello(lambda _: str(grant["access_token"]), "watch")(stage)
    over_rest = await bearer(lambda _: str(grant["access_token"]))(stage)
    return f"{over_socket}; {over_rest}"


async def refresh_reused(stage: Stage) -> str:
    """A refresh token that is used twice: the whole log-in ends."""
    grant = json.loads((await log_in(stage, stage.mallory.email)).body)
    body = {"grant_type": "refresh_token", "refresh_token": grant["refresh_token"]}
    following = json.loads((await stage.rest("POST", "/v1/auth/token", body, token="")).body)
    again = await stage.rest("POST", "/v1/auth/token", body, token="")
    after = await stage.rest("GET", "/v1/me", token=following["access_token"])
    return f"{told(again)}; the whole log-in: {told(after)}"


async def nasty_names(stage: Stage) -> str:
    """Names that would forge a line of the log, move a Redis slot or colour a terminal: kept as data."""
    session = await stage.session()
    async with await stage.device(session) as device:
        device.say(type="hello", token=stage.mallory.token, device={"id": "tablet", "name": NASTY})
        refused = await device.outcome("error")
    renamed = await stage.rest("PATCH", "/v1/devices/tablet", {"name": NASTY})
    shown = json.loads((await stage.rest("GET", "/v1/devices/tablet")).body)
    titled = await stage.rest("PATCH", f"/v1/sessions/{session}", {"title": NASTY})
    assert json.loads(titled.body)["title"] == NASTY
    assert shown["name"] == NASTY
    assert (await stage.rest("PATCH", "/v1/devices/tablet", {"name": "tablet"})).status == 200
    return f"{refused}; {renamed.status} as data, escaped in the log"


def device_id(identifier: str) -> Send:
    """A hello of a device with this id."""
    return hello(lambda stage: stage.mallory.token, identifier)


async def two_hundred_log_ins(stage: Stage) -> str:
    """200 log-ins at once, each from an address of its own."""
    answers = await many(200, lambda number: log_in(stage, f"nobody-{number}@example.com"))
    told_apart = {told(answer) for answer in answers}
    assert told_apart <= {"401 bad_credentials", "429 rate_limited"}, told_apart
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 429)
    judged = sum(answer.status == 401 for answer in answers)
    assert judged <= 200
    return "each 401 bad_credentials or 429 rate_limited"


async def guesses(stage: Stage) -> str:
    """Wrong passwords of one account, each from an address of its own."""
    email = f"guessed-{next(_names)}@example.com"
    answers = [await log_in(stage, email, f"wrong {number}") for number in range(12)]
    return ", then ".join(dict.fromkeys(told(answer) for answer in answers))


async def alike_in_time(stage: Stage) -> str:
    """Wrong passwords of known and unknown accounts, in turn: the answers and their times do not tell them apart."""
    took: dict[bool, list[float]] = {True: [], False: []}
    outcomes = set()
    sizes = set()
    known_email = (await stage.account()).mallory.email
    for number in range(ROUNDS_MAX):
        for is_known in (True, False):
            begin = time.perf_counter()
            answer = await log_in(stage, known_email if is_known else f"spent-x{number}@example.com", "wrong it is")
            took[is_known].append(time.perf_counter() - begin)
            outcomes.add(told(answer))
            sizes.add(len(answer.body))
            await asyncio.sleep(0)
        # The quickest of each is the work itself, whatever else the machine does; more rounds where it does much.
        known, unknown = (min(took[is_known]) for is_known in (True, False))
        if number >= ROUNDS_MIN and ALIKE[0] < known / unknown < ALIKE[1]:
            break
    else:
        raise AssertionError((known, unknown))
    assert len(sizes) == 1, sizes
    return " ".join(outcomes) + " for both, after the same work"


_ONES: list[tuple[str, str, str, Send]] = [
    ("token of a removed device or account", "a token bound to a removed device",
     "error token_revoked; close 4403; 401 token_revoked", removed_device),
    ("token of a removed device or account", "a refresh token used twice",
     "401 token_revoked; the whole log-in: 401 token_revoked", refresh_reused),
    ("ids with {}", "a device id with {}", "error bad_message at $.device.id; close 4400", device_id("{tablet}")),
    ("ids with {}", "a device id with a line feed at its end", "error bad_message at $.device.id; close 4400",
     device_id("tablet\n")),
    ("ids with {}", "a device id of 65 characters", "error bad_message at $.device.id; close 4400",
     device_id("x" * 65)),
    ("ids with {}", "REST: a device id with {}", "422 validation_failed at $.id",
     rest("POST", "/v1/devices", {"id": "{tablet}"})),
    ("ids with {}", "REST: a device id with a line feed at its end", "422 validation_failed at $.id",
     rest("POST", "/v1/devices", {"id": "tablet\n"})),
    ("ids with {}", "REST: a session id with {} in the path", "404 not_found", rest("GET", "/v1/sessions/%7Bses%7D")),
    ("ids with {}", "REST: a path out of the resource", "404 not_found", rest("GET", "/v1/sessions/..%2f..%2fetc")),
    ("quotes, NUL, CR LF and ANSI in names", "CR LF, ANSI, quotes and U+2028 in names",
     "error already_hello; stays; 200 as data, escaped in the log", nasty_names),
    ("quotes, NUL, CR LF and ANSI in names", "REST: NUL in a name", "400 bad_message at $.name",
     rest("PATCH", "/v1/devices/tablet", {"name": "a\0b"})),
    ("quotes, NUL, CR LF and ANSI in names", "REST: CR LF in an e-mail address", "422 validation_failed",
     rest("POST", "/v1/accounts", {"email": "a\r\nb@example.com", "password": "long enough"}, token="")),
    ("quotes, NUL, CR LF and ANSI in names", "REST: ANSI in X-Request-Id", "400 bad_handshake",
     rest("GET", "/v1/me", headers=(("X-Request-Id", "a\x1b[31m b"),))),
    ("10 MB password", "REST: a password of 10 MB", "413 message_too_large",
     rest("POST", "/v1/auth/token",
          {"grant_type": "password", "email": "a@example.com", "password": "x" * 10_000_000}, token="")),
    ("10 MB password", "REST: a password of 2,000 characters", "422 validation_failed",
     rest("POST", "/v1/accounts", {"email": "long@example.com", "password": "x" * 2_000}, token="")),
    ("200 log-ins at once", "REST: 200 log-ins at once", "each 401 bad_credentials or 429 rate_limited",
     two_hundred_log_ins),
    ("200 log-ins at once", "REST: 12 wrong passwords of one account", "401 bad_credentials, then 429 rate_limited",
     guesses),
    ("known and unknown accounts answer alike in time", "REST: wrong passwords of known and unknown accounts",
     "401 bad_credentials for both, after the same work", alike_in_time),
]  # fmt: skip

ROWS = [
    *both("alg none or another", "alg none", token({"alg": "none"})),
    *both("alg none or another", "alg HS512", token({"alg": "HS512"})),
    *both("alg none or another", "alg RS256", token({"alg": "RS256"})),
    *both("alg none or another", "another account under the old signature", tampered),
    *both("string exp", "exp as a text", token(exp="9999999999")),
    *both("duplicate claims", "sub twice", token(raw=', "sub": "acc_other"')),
    *both("missing exp", "no exp", token(drop="exp")),
    *both("unknown or path-like kid", "an unknown kid", token({"kid": "nobody"})),
    *both("unknown or path-like kid", "a kid that is a path", token({"kid": "../../../../dev/null"})),
    *both("unknown or path-like kid", "a kid that is a number", token({"kid": 7})),
    *both("jku, x5u", "jku", token({"jku": ATTACKER})),
    *both("jku, x5u", "x5u", token({"x5u": ATTACKER})),
    *both("wrong aud or iss", "another aud", token(aud="another")),
    *both("wrong aud or iss", "another iss", token(iss="another")),
    *both("another spelling of a good token", "padding at its end", padded),
    *both("another spelling of a good token", "other spare bits at its end", respelt),
    *both("200 KB token", "a token of 8 kB", lambda _: "x" * 8_000),
    Row(FAMILY, "200 KB token", "a token of 200 kB", "close 1009", hello(lambda _: "x" * 200_000)),
    Row(FAMILY, "200 KB token", "a token of 9 kB", "error bad_message at $.token; close 4400",
        hello(lambda _: "x" * 9_000)),
    Row(FAMILY, "200 KB token", "REST: a token of 200 kB", "400 bad_handshake", bearer(lambda _: "x" * 200_000)),
    *[Row(FAMILY, *row) for row in _ONES],
]  # fmt: skip
