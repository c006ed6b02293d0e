"""A signed token as it is spelt (RFC 7515 section 7.1), taken apart more strictly than the library does.

One token has one spelling: three parts of canonical base64url, two JSON objects that hold no name twice. PyJWT alone
takes padded parts and doubled claims.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final, NoReturn

from msgspec import Struct

from syncbridge.errors import TokenInvalid

TOKEN_CHARS_MAX: Final = 8192
KID_CHARS_MAX: Final = 128
CLOCKS_APART_MS: Final = 60_000
"""Clocks of two nodes may differ by this much."""
TIME_S_MAX: Final = 2**43
"""A moment in seconds whose milliseconds are still exact everywhere."""


class Compact(Struct, frozen=True):
    """A token taken apart; nothing of it is believed yet. ``kid`` is short and printable, whatever else it is."""

    text: str
    header: dict[str, Any]
    payload: dict[str, Any]
    alg: str
    kid: str
    issuer: str


def parse(token: str) -> Compact:
    """The token's parts. Raises TokenInvalid; says nothing of why."""
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise TokenInvalid
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenInvalid
    header, payload = _object(parts[0]), _object(parts[1])
    _bytes(parts[2])
    alg, kid, issuer = header.get("alg"), header.get("kid"), payload.get("iss")
    if type(alg) is not str or type(kid) is not str or type(issuer) is not str:
        raise TokenInvalid
    if not 0 < len(kid) <= KID_CHARS_MAX or not kid.isprintable():
        raise TokenInvalid
    return Compact(token, header, payload, alg, kid, issuer)


def moment(payload: dict[str, Any], name: str) -> int:
    """The claim as a moment in ms. Raises TokenInvalid where it is none: a number as text, true, 1.5, none at all."""
    value = payload.get(name)
    if type(value) is not int or not 0 <= value <= TIME_S_MAX:
        raise TokenInvalid
    return value * 1000


def text(payload: dict[str, Any], name: str) -> str:
    """The claim as text. Raises TokenInvalid where it is none."""
    value = payload.get(name)
    if type(value) is not str:
        raise TokenInvalid
    return value


def _bytes(part: str) -> bytes:
    try:
        value = base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenInvalid from error
    # One token, one spelling: else a revoked one could come back with other spare bits in its last character.
    if base64.urlsafe_b64encode(value).rstrip(b"=") != part.encode():
        raise TokenInvalid
    return value


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(part), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise TokenInvalid from error
    if not isinstance(value, dict):
        raise TokenInvalid
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise TokenInvalid
    return value


def _refuse(_constant: str) -> NoReturn:
    raise TokenInvalid
