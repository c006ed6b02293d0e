"""Tokens of an issuer outside: whose they are here, and what they say.

What is asked of them, besides what `compact` asks: a header of `OUTSIDE_HEADER` alone, so none that names a key or
where to get one (`jwk`, `jku`, `x5c`, `x5u`) and none that must be understood (`crit`); an algorithm that the operator
allows, the key is of, and no HS*; `aud` the audience, or a list that holds it; `exp`, `iat` integers, `exp` within
``outside_token_ms_max`` of `iat`; `sub` a text of 1 to 255 printable characters.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

from syncbridge.auth.access import Claims, require_signature
from syncbridge.auth.compact import CLOCKS_APART_MS, Compact, moment, text
from syncbridge.auth.keysets import KeySet
from syncbridge.auth.revocations import Revocations
from syncbridge.auth.rules import AuthRules, IssuerRules
from syncbridge.core.ids import AccountId
from syncbridge.errors import TokenInvalid, TokenRevoked, Unavailable
from syncbridge.records import Records

OUTSIDE_HEADER: Final = frozenset({"alg", "kid", "typ", "cty", "x5t", "x5t#S256"})
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
KNOWN_MAX: Final = 10_000
SUBJECT_CHARS_MAX: Final = 255
AUDIENCES_MAX: Final = 16


class OutsideTokens:
    """Takes the tokens of one outside issuer. A `reading.Issuer`.

    Accounts   the first good token of a person makes their account; the address or the name in the token is never
               looked at: an issuer must not be able to take over an account by writing somebody's e-mail address.
    """

    def __init__(
        self, rules: IssuerRules, auth: AuthRules, keys: KeySet, records: Records, revocations: Revocations
    ) -> None:
        self.keys = keys
        self._rules = rules
        self._lasts_ms_max = auth.outside_token_ms_max
        self._records = records
        self._revocations = revocations
        self._known: OrderedDict[str, AccountId] = OrderedDict()

    def read(self, token: Compact, now_ms: int) -> Claims | None:
        """What the token says; None when its key or its person is not known here yet."""
        if self.keys.find(token.kid) is None:
            self._require_form(token)
            return None
        subject = self._subject(token, now_ms)
        account = self._known.get(subject)
        if account is not None and self._revocations.is_gone(account):
            del self._known[subject]  # erased; whoever comes again is somebody new
            return None
        return None if account is None else self._claims(token, account)

    def holds(self, claims: Claims) -> bool:
        """Whether the key behind what was read is in the issuer's set still."""
        return self.keys.find(claims.kid) is not None

    async def look_up(self, token: Compact, now_ms: int) -> bool:
        """The key was fetched, and the person's account found or made. Raises TokenRevoked too."""
        self._require_form(token)
        if not await self.keys.ask(token.kid):
            if self.keys.is_failing:
                raise Unavailable("The issuer's keys cannot be fetched now; try again.")
            raise TokenInvalid
        subject = self._subject(token, now_ms)
        if subject not in self._known:
            if self._revocations.covers_person(token.issuer, subject, moment(token.payload, "iat")):
                raise TokenRevoked
            account = await self._records.identities.ensure(token.issuer, subject, now_ms)
            self._known[subject] = account
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return True

    def _require_form(self, token: Compact) -> None:
        kind = token.header.get("typ", "JWT")
        if not token.header.keys() <= OUTSIDE_HEADER or not isinstance(kind, str) or kind.lower() not in TYPES:
            raise TokenInvalid
        if token.alg not in self._rules.algorithms:
            raise TokenInvalid

    def _subject(self, token: Compact, now_ms: int) -> str:
        """Who the token is of, when it is good in all but its end."""
        self._require_form(token)
        held = self.keys.find(token.kid)
        if held is None or token.alg not in held.algorithms:
            raise TokenInvalid
        require_signature(token, held.key)
        payload = token.payload
        if self._rules.audience not in _audiences(payload):
            raise TokenInvalid
        issued_at, expires_at = moment(payload, "iat"), moment(payload, "exp")
        not_before = moment(payload, "nbf") if "nbf" in payload else issued_at
        if max(issued_at, not_before) > now_ms + CLOCKS_APART_MS or expires_at > issued_at + self._lasts_ms_max:
            raise TokenInvalid
        subject = text(payload, "sub")
        if not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
            raise TokenInvalid
        return subject

    def _claims(self, token: Compact, account: AccountId) -> Claims:
        payload = token.payload
        named = text(payload, "jti") if "jti" in payload else token.text
        # Names of two issuers may be the same, and are of any length.
        token_id = hashlib.sha256(f"{token.issuer}\0{named}".encode("utf-8", "surrogatepass")).hexdigest()[:40]
        issued_at = moment(payload, "iat")
        # Nobody logs in after their token was made. One in milliseconds would be a fresh proof for ever.
        logged_in_at = min(moment(payload, "auth_time"), issued_at) if "auth_time" in payload else issued_at
        return Claims(
            account,
            f"x_{token_id}",
            "",
            moment(payload, "exp"),
            logged_in_at,
            issued_at=issued_at,
            kid=token.kid,
        )


def _audiences(payload: dict[str, Any]) -> list[str]:
    value = payload.get("aud")
    audiences = [value] if isinstance(value, str) else value
    if not isinstance(audiences, list) or len(audiences) > AUDIENCES_MAX:
        raise TokenInvalid
    if not all(isinstance(one, str) for one in audiences):
        raise TokenInvalid
    return audiences
