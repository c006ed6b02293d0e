"""Which key signs, and which keys' tokens are taken.

Theory. A key has no flag that somebody would have to set in time on every node: what it is follows from two moments
and the clock.

========== ============================================ =========================================================
state      when                                         what it does
========== ============================================ =========================================================
next       ``signs_from`` lies ahead                    verifies: a node whose clock is ahead may sign with it
current    the newest whose ``signs_from`` has come     signs and verifies
previous   an older one, ``retired_at`` lies ahead      verifies: tokens that it signed are still about
retired    ``retired_at`` has come                      nothing
========== ============================================ =========================================================

So a rotation refuses nobody: the new key is written ahead of its time, every process has read it before anyone signs
with it, and the old one is retired when the last token that it signed has ended.

A token that names an unknown key makes the ring ask its source, for a process elsewhere may have rotated in a hurry;
but not more than once in ``ASK_AGAIN_MS``, or whoever makes up names would make us ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from syncbridge.errors import Unavailable
from syncbridge.ports import Clock, KeySource, SigningKey

ASK_AGAIN_MS: Final = 30_000

KeyState = Literal["next", "current", "previous", "retired"]


class KeyRing:
    """The signing keys as this process knows them; where they come from it does not know.

    Blocking   only `refresh` and `ask` wait for the source; the rest asks nobody.
    Failures   a source that does not answer changes nothing: what was known goes on, and is retired by the clock.
    """

    def __init__(self, source: KeySource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._keys: dict[str, SigningKey] = {}
        self._asked_at = -ASK_AGAIN_MS

    async def refresh(self) -> bool:
        """The ring holds what the source holds; whether anything changed. Raises what the source raises."""
        return self.hold(await self._source.read())

    def hold(self, keys: Sequence[SigningKey]) -> bool:
        """The ring holds these keys and no others; whether anything changed."""
        held, self._keys = self._keys, {key.kid: key for key in keys}
        return held != self._keys

    async def ask(self, kid: str) -> bool:
        """Whether the key is known after asking the source; asks at most once in `ASK_AGAIN_MS`."""
        now_ms = self._clock.now_ms()
        if kid not in self._keys and now_ms - self._asked_at >= ASK_AGAIN_MS:
            self._asked_at = now_ms
            await self.refresh()
        return kid in self._keys

    def knows(self, kid: str) -> bool:
        """Whether there is or was such a key, as far as is known here."""
        return kid in self._keys

    def find(self, kid: str) -> SigningKey | None:
        """The key, when its tokens are taken now."""
        key = self._keys.get(kid)
        if key is None or not key.secret or (key.retired_at is not None and key.retired_at <= self._clock.now_ms()):
            return None
        return key

    def current(self) -> SigningKey:
        """The key that signs now. Raises Unavailable when there is none."""
        now_ms = self._clock.now_ms()
        usable = [key for key in self._keys.values() if self.find(key.kid) is not None]
        if not usable:
            raise Unavailable(
                "There is no signing key in force; `syncbridge keys rotate --now` makes one, or says who does."
            )
        signing = [key for key in usable if key.signs_from <= now_ms]
        # Only keys whose time is ahead: our clock is behind the one that made them, and the first of them is meant.
        return max(signing, key=_age_order) if signing else min(usable, key=_age_order)

    def age_ms(self) -> int:
        """How long the current key has been signing."""
        return max(0, self._clock.now_ms() - self.current().born_at)

    def states(self) -> list[tuple[SigningKey, KeyState]]:
        """Every key and what it is now, the newest first."""
        return states(list(self._keys.values()), self._clock.now_ms())


def states(keys: Sequence[SigningKey], now_ms: int) -> list[tuple[SigningKey, KeyState]]:
    """Every key and what it is at this moment, the newest first."""
    usable = [key for key in keys if key.retired_at is None or key.retired_at > now_ms]
    current = max((key for key in usable if key.signs_from <= now_ms), key=_age_order, default=None)

    def state(key: SigningKey) -> KeyState:
        if key not in usable:
            return "retired"
        if key.signs_from > now_ms:
            return "next"
        return "current" if key == current else "previous"

    return [(key, state(key)) for key in sorted(keys, key=lambda key: key.ordinal, reverse=True)]


def _age_order(key: SigningKey) -> tuple[int, int, str]:
    return key.signs_from, key.created_at, key.kid
