"""A new signing key in place of the old one: by time, by hand, or at once in an emergency."""

from __future__ import annotations

from msgspec import Struct

from syncbridge.auth.compact import CLOCKS_APART_MS
from syncbridge.auth.keyring import states
from syncbridge.auth.rules import AuthRules
from syncbridge.ports import Clock, KeyStore, SigningKey


class Rotated(Struct, frozen=True):
    """What a rotation did: the key that signs from ``key.signs_from`` on, and when those before it are refused.

    ``is_new`` is False where somebody else's rotation was under way, and this one left it at that.
    """

    key: SigningKey
    retired_at: int
    is_new: bool


class Rotation:
    """Rotates the keys of one store. Of two who do it at once, one does."""

    def __init__(self, store: KeyStore, rules: AuthRules, clock: Clock) -> None:
        self._store = store
        self._rules = rules
        self._clock = clock

    async def rotate(self) -> Rotated:
        """A new key is written, and signs when every process has read it; nobody's token is refused for it."""
        return await self._rotate(is_emergency=False)

    async def rotate_now(self) -> Rotated:
        """A new key signs from now on, and every token of the keys before it is refused: one of them is in wrong hands.

        Refresh tokens are none of the keys' business: every device gets a new access token by its own.
        """
        return await self._rotate(is_emergency=True)

    async def rotate_when_due(self) -> Rotated | None:
        """`rotate`, when the key that signs is older than the rules allow; None when it is not."""
        if not self._rules.key_rotate_ms:
            return None
        now_ms = self._clock.now_ms()
        found = states(await self._store.read(), now_ms)
        born = [key.born_at for key, state in found if state in ("next", "current")]
        if not born or now_ms - max(born) < self._rules.key_rotate_ms:
            return None
        return await self.rotate()

    async def _rotate(self, *, is_emergency: bool) -> Rotated:
        rules = self._rules
        while True:
            now_ms = self._clock.now_ms()
            found = states(await self._store.read(), now_ms)
            waiting = next((key for key, state in found if state == "next"), None)
            if waiting is not None and not is_emergency:
                return Rotated(waiting, self._last_use(waiting.signs_from), is_new=False)
            signs_from = now_ms if is_emergency else now_ms + rules.key_lead_ms
            retired_at = now_ms if is_emergency else self._last_use(signs_from)
            made = await self._store.rotate(
                after=max((key.ordinal for key, _ in found), default=0),
                signs_from=signs_from,
                retired_at=retired_at,
                now_ms=now_ms,
            )
            if made is not None:
                return Rotated(made, retired_at, is_new=True)

    def _last_use(self, signs_from: int) -> int:
        return signs_from + self._rules.access_token_ms + CLOCKS_APART_MS
