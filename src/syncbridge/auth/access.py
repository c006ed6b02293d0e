"""Access tokens: JWT, HS256 with `kid`, read more strictly than the library reads them.

A token is refused unless every one of these holds: canonical base64url in three parts; a header of `alg`, `kid` and
`typ` alone (so no `jku` or `x5u` is ever looked at) that names HS256 and a key of ours; no claim twice; `exp`, `iat`
integers; `sub`, `jti`, `aud`, `iss` strings, `aud` and `iss` ours. PyJWT alone takes a string `exp`, doubled claims
and padded parts.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import jwt
from msgspec import Struct

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import TokenExpired, TokenInvalid
from syncbridge.records.keys import SigningKey

ALGORITHM = "HS256"
TOKEN_CHARS_MAX = 8192
SEEN_MAX = 4096
CLOCKS_APART_MS = 60_000  # clocks of two nodes may differ by this much
_STRINGS = ("sub", "jti", "aud", "iss", "family")
_INTEGERS = ("exp", "iat", "login_at")
_REQUIRED = [*_STRINGS, *_INTEGERS]


class Claims(Struct, frozen=True):
    """What a checked access token says. Times in ms; ``login_at`` is when the person showed who they are.

    ``family`` is the log-in that it came of. ``kid`` is the key that it was signed with.
    """

    account: AccountId
    token_id: str
    family: str
    expires_at: int
    login_at: int
    device: DeviceId | None = None
    session: SessionId | None = None
    issued_at: int = 0
    kid: str = ""


class AccessTokens:
    """Signs with the newest key, takes tokens of every key in force."""

    def __init__(self, keys: Sequence[SigningKey], *, issuer: str, audience: str) -> None:
        self._keys = {key.kid: key.secret for key in keys}
        self._newest = keys[-1]
        self._issuer = issuer
        self._audience = audience
        self._seen: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, claims: Claims, now_ms: int) -> str:
        """The token, valid until ``claims.expires_at`` (to the second below)."""
        payload: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": claims.account,
            "jti": claims.token_id,
            "iat": now_ms // 1000,
            "exp": claims.expires_at // 1000,
            "family": claims.family,
            "login_at": claims.login_at,
        }
        if claims.device is not None:
            payload["device"] = claims.device
        if claims.session is not None:
            payload["session"] = claims.session
        return jwt.encode(payload, self._newest.secret, ALGORITHM, {"kid": self._newest.kid})

    def read(self, token: str, now_ms: int) -> Claims:
        """What the token says. Raises TokenInvalid or TokenExpired; says nothing of why it is invalid.

        Whether a token is ours never changes, so it is reckoned once for the tokens seen last;
        its times are judged anew each time.
        """
        claims = self._seen.get(token)
        if claims is None:
            claims = self._seen[token] = self._claims(token, now_ms)
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
        if claims.expires_at <= now_ms:
            raise TokenExpired
        return claims

    def _claims(self, token: str, now_ms: int) -> Claims:
        kid, payload = self._payload(token)
        if any(type(payload.get(name)) is not str for name in _STRINGS):
            raise TokenInvalid
        if any(type(payload.get(name)) is not int for name in _INTEGERS):
            raise TokenInvalid
        device, session = payload.get("device"), payload.get("session")
        if not isinstance(device, str | None) or not isinstance(session, str | None):
            raise TokenInvalid
        if payload["iat"] * 1000 > now_ms + CLOCKS_APART_MS:
            raise TokenInvalid
        return Claims(
            AccountId(payload["sub"]),
            payload["jti"],
            payload["family"],
            payload["exp"] * 1000,
            payload["login_at"],
            None if device is None else DeviceId(device),
            None if session is None else SessionId(session),
            payload["iat"] * 1000,
            kid,
        )

    def _payload(self, token: str) -> tuple[str, dict[str, Any]]:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise TokenInvalid
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenInvalid
        header = _object(parts[0])
        secret = self._keys.get(header["kid"]) if type(header.get("kid")) is str else None
        if secret is None or header.get("alg") != ALGORITHM or not header.keys() <= {"alg", "kid", "typ"}:
            raise TokenInvalid
        try:
            jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                # The times are judged by our own clock, above; here the library would take them as strings too.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise TokenInvalid from error
        _bytes(parts[2])
        return header["kid"], _object(parts[1])


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
        value = json.loads(_bytes(part), object_pairs_hook=_once)
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
