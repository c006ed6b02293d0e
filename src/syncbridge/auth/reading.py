"""From the text of a token to what it says: whoever issued it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol

from syncbridge.auth.access import Claims
from syncbridge.auth.compact import Compact, parse
from syncbridge.errors import TokenExpired, TokenInvalid
from syncbridge.ports import Clock

SEEN_MAX: Final = 4096


class Issuer(Protocol):
    """Who can say what a token of theirs means."""

    def read(self, token: Compact, now_ms: int) -> Claims | None:
        """What the token says, whenever it ends; None when that needs a look outside. Raises TokenInvalid.

        Blocking   asks nobody.
        """
        ...

    def holds(self, claims: Claims) -> bool:
        """Whether what was read once would be read so again: the key is in force still. Asks nobody."""
        ...

    async def look_up(self, token: Compact, now_ms: int) -> bool:
        """Whether `read` may know more now. Bounded in time and in how often; raises TokenInvalid, Unavailable."""
        ...


class TokenReader:
    """Reads the tokens of every issuer.

    Cost   a token seen before costs two look-ups: neither is it taken apart again, nor its signature reckoned.
           Its times are judged anew each time, and so is whether its key is in force.
    """

    def __init__(self, issuers: Mapping[str, Issuer], clock: Clock) -> None:
        self._issuers = issuers
        self._clock = clock
        self._seen: OrderedDict[str, tuple[Claims, Issuer]] = OrderedDict()

    def read(self, token: str) -> Claims | None:
        """What the token says; None when that needs `look_up`. Raises TokenInvalid, TokenExpired."""
        now_ms = self._clock.now_ms()
        claims: Claims | None
        claims, issuer = self._seen.get(token, (None, None))
        if claims is None or issuer is None or not issuer.holds(claims):
            compact = parse(token)
            issuer = self._issuer(compact)
            claims = issuer.read(compact, now_ms)
            if claims is None:
                return None
            self._seen[token] = claims, issuer
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
        if claims.expires_at <= now_ms:
            raise TokenExpired
        return claims

    async def look_up(self, token: str) -> Claims:
        """What the token says, asking whoever may know. Raises TokenInvalid, TokenExpired, Unavailable."""
        claims = self.read(token)
        if claims is None:
            compact = parse(token)
            await self._issuer(compact).look_up(compact, self._clock.now_ms())
            claims = self.read(token)
        if claims is None:
            raise TokenInvalid
        return claims

    def _issuer(self, token: Compact) -> Issuer:
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            raise TokenInvalid
        return issuer
