"""Token buckets: so many at once, and then one more each so many milliseconds. Pure: the time comes in.

A bucket is one number, the moment when it will be full again (the "virtual scheduling" form of ITU-T I.371's generic
cell rate algorithm): taking a token moves that moment on by one refill, and there is none left while it lies a whole
bucket ahead. So a bucket that nobody uses needs no timer, and one that was idle for long equals a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

KEYS_MAX: Final = 50_000
"""Buckets that one table keeps: about 10 MiB."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` tokens at once, then one each ``refill_ms``."""

    burst: int
    refill_ms: int

    @property
    def full_ms(self) -> int:
        """How long an empty bucket takes to fill up."""
        return self.burst * self.refill_ms


class Bucket:
    """One bucket; its rate may change between two calls."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at = 0

    def take(self, rate: Rate, now_ms: int) -> bool:
        """A token is taken; False, and nothing has changed, where there is none."""
        full_at = self._full_at
        if full_at < now_ms:
            full_at = now_ms
        full_at += rate.refill_ms
        if full_at - now_ms > rate.burst * rate.refill_ms:
            return False
        self._full_at = full_at
        return True

    def give_back(self, rate: Rate) -> None:
        """A token that was taken is in it again."""
        self._full_at -= rate.refill_ms

    def wait_ms(self, rate: Rate, now_ms: int) -> int:
        """How long until there is a token; 0 when there is one now."""
        return max(0, self._full_at + rate.refill_ms - rate.full_ms - now_ms)

    def fill_ms(self, now_ms: int) -> int:
        """How long until the bucket is full; 0 when it is."""
        return max(0, self._full_at - now_ms)

    def left(self, rate: Rate, now_ms: int) -> int:
        """How many tokens there are now."""
        return max(0, (rate.full_ms - self.fill_ms(now_ms)) // rate.refill_ms)


class Buckets:
    """One bucket a key, at most ``keys_max``: the one that was asked for longest ago is forgotten first.

    Whoever holds a forgotten bucket may go on with it; the next who asks for its key gets a full one.
    """

    __slots__ = ("_held", "_keys_max")

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._held: OrderedDict[object, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def of(self, key: object) -> Bucket:
        """The key's bucket, kept from now on."""
        bucket = self._held.get(key)
        if bucket is None:
            bucket = self._held[key] = Bucket()
            if len(self._held) > self._keys_max:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(key)
        return bucket
