"""Server time: the wall clock, made monotonic."""

from __future__ import annotations

import time
from collections.abc import Callable

_NS_PER_MS = 1_000_000


class ServerClock:
    """Milliseconds since the Unix epoch that never step back within this process.

    Between two calls of `follow_wall` time advances with the monotonic clock. `follow_wall` takes a wall clock that
    is ahead at once, and one that is behind slowly: by a tenth of the time that passed since the last call, so that
    a playhead slows down for a while and never jumps back.
    """

    __slots__ = ("_followed_at_ms", "_last_ms", "_monotonic_ns", "_offset_ms", "_wall_ns")

    def __init__(
        self, *, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._followed_at_ms = monotonic_ns() // _NS_PER_MS
        self._offset_ms = wall_ns() // _NS_PER_MS - self._followed_at_ms
        self._last_ms = 0

    def now_ms(self) -> int:
        now_ms = self._monotonic_ns() // _NS_PER_MS + self._offset_ms
        if now_ms <= self._last_ms:
            return self._last_ms
        self._last_ms = now_ms
        return now_ms

    def follow_wall(self) -> int:
        """Server time is nearer to the wall clock; answers by how many ms it was off (wall minus server)."""
        monotonic_ms = self._monotonic_ns() // _NS_PER_MS
        error_ms = self._wall_ns() // _NS_PER_MS - (monotonic_ms + self._offset_ms)
        slowest_ms = -((monotonic_ms - self._followed_at_ms) // 10)
        self._offset_ms += max(error_ms, slowest_ms)
        self._followed_at_ms = monotonic_ms
        return error_ms
