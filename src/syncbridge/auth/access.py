"""Access tokens of our own: JWT, HS256 with `kid`, read more strictly than the library reads them.

A token is refused unless every one of these holds, besides what `compact` asks: a header of `alg`, `kid` and `typ`
alone (so no `jku` or `x5u` is ever looked at) that names HS256 and a key in force; `exp`, `iat`, `login_at` integers;
`sub`, `jti`, `aud`, `iss`, `family` strings, `aud` and `iss` ours. PyJWT alone takes a string `exp`.
"""

from __future__ import annotations

from typing import Any, Final

import jwt
from jwt.types import Options
from msgspec import Struct

from syncbridge.auth.compact import CLOCKS_APART_MS, Compact, moment, text
from syncbridge.auth.keyring import KeyRing
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import TokenInvalid

ALGORITHM: Final = "HS256"
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_SIGNATURE_ALONE: Final[Options] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""The claims are judged by us, with our own clock: the library would take times as text."""


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
    """Signs with the current key of the ring, takes tokens of every key in force. A `reading.Issuer`."""

    def __init__(self, ring: KeyRing, *, issuer: str, audience: str) -> None:
        self._ring = ring
        self._issuer = issuer
        self._audience = audience

    def issue(self, claims: Claims, now_ms: int) -> str:
        """The token, valid until ``claims.expires_at`` (to the second below)."""
        key = self._ring.current()
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
        return jwt.encode(payload, key.secret, ALGORITHM, {"kid": key.kid})

    def read(self, token: Compact, now_ms: int) -> Claims | None:
        """What the token says; None when its key is unknown here, so that `look_up` may know more."""
        key = self._ring.find(token.kid)
        if token.alg != ALGORITHM or not token.header.keys() <= _HEADER:
            raise TokenInvalid
        if key is None:
            if self._ring.knows(token.kid):
                raise TokenInvalid("The key of this token is retired; get a new token.")
            return None
        require_signature(token, key.secret)
        payload = token.payload
        login_at, device, session = payload.get("login_at"), payload.get("device"), payload.get("session")
        if type(login_at) is not int or not isinstance(device, str | None) or not isinstance(session, str | None):
            raise TokenInvalid
        if text(payload, "aud") != self._audience or token.issuer != self._issuer:
            raise TokenInvalid
        issued_at = moment(payload, "iat")
        if issued_at > now_ms + CLOCKS_APART_MS:
            raise TokenInvalid
        return Claims(
            AccountId(text(payload, "sub")),
            text(payload, "jti"),
            text(payload, "family"),
            moment(payload, "exp"),
            login_at,
            None if device is None else DeviceId(device),
            None if session is None else SessionId(session),
            issued_at,
            token.kid,
        )

    def holds(self, claims: Claims) -> bool:
        """Whether the key behind what was read is in force still."""
        return self._ring.find(claims.kid) is not None

    async def look_up(self, token: Compact, now_ms: int) -> bool:
        """Whether `read` may know more now: the key was unknown and is not any more."""
        return await self._ring.ask(token.kid)


def require_signature(token: Compact, key: Any) -> None:
    """The token was signed with this key by the algorithm that it names. Raises TokenInvalid.

    Whether the algorithm is one that the key is for is the caller's to know.
    """
    try:
        jwt.decode(token.text, key, algorithms=[token.alg], options=_SIGNATURE_ALONE)
    except jwt.PyJWTError as error:
        raise TokenInvalid from error
