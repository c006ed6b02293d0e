"""Token buckets: so many requests at once, and then one each so many milliseconds."""

from __future__ import annotations

from collections import OrderedDict

from syncbridge.errors import RateLimited
from syncbridge.http.problems import Refused
from syncbridge.ports import Clock

KEYS_MAX = 50_000


class Buckets:
    """One bucket a key. A bucket that has filled up again is forgotten first, so the memory is bounded."""

    def __init__(self, clock: Clock, *, burst: int, refill_ms: int) -> None:
        self._clock = clock
        self._refill_ms = refill_ms
        self._full_ms = burst * refill_ms
        self._empty_until: OrderedDict[str, float] = OrderedDict()  # the moment when the bucket is full again

    def take(self, key: str) -> None:
        """One token of the key's bucket is taken. Raises Refused with RateLimited and Retry-After."""
        wait_ms = self.wait_ms(key)
        if wait_ms > 0:
            raise refused(wait_ms)
        now_ms = self._clock.now_ms()
        self._empty_until[key] = max(now_ms, self._empty_until.get(key, 0)) + self._refill_ms
        self._empty_until.move_to_end(key)
        if len(self._empty_until) > KEYS_MAX:
            self._empty_until.popitem(last=False)

    def require(self, key: str) -> None:
        """There is a token, which stays. Raises as `take` does."""
        wait_ms = self.wait_ms(key)
        if wait_ms > 0:
            raise refused(wait_ms)

    def wait_ms(self, key: str) -> float:
        """How long until there is a token; 0 when there is one now."""
        full_at = self._empty_until.get(key, 0)
        return max(0.0, full_at + self._refill_ms - self._full_ms - self._clock.now_ms())


def refused(wait_ms: float) -> Refused:
    """Too many, with how long to wait."""
    seconds = max(1, -int(-wait_ms // 1000))
    return Refused(
        RateLimited(f"Too many requests; try again in {seconds} s."),
        headers={"Retry-After": str(seconds)},
        members={"retry_after_ms": int(wait_ms)},
    )
