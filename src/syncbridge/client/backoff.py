"""How long to wait before the next attempt: exponential with full jitter.

"Exponential Backoff And Jitter" (AWS architecture blog, 2015) measures why: of all variants full jitter lets a
crowd through with the least work. What a server says in `goodbye` comes first, spread a little, for it knows best.
"""

from __future__ import annotations

from collections.abc import Callable

BASE_MS = 250
CAP_MS = 30_000
GOODBYE_JITTER = 0.25


class Backoff:
    """The waits of one connection; ``random`` answers a number from 0 to 1."""

    __slots__ = ("_attempts", "_base_ms", "_cap_ms", "_random")

    def __init__(self, random: Callable[[], float], *, base_ms: int = BASE_MS, cap_ms: int = CAP_MS) -> None:
        self._random = random
        self._base_ms = base_ms
        self._cap_ms = cap_ms
        self._attempts = 0

    def failed(self, *, least_ms: int = 0) -> int:
        """The wait after one more attempt that failed; ``least_ms`` is what the server asked for."""
        ceiling_ms = min(self._cap_ms, self._base_ms << min(self._attempts, 32))
        self._attempts += 1
        return least_ms + round(self._random() * ceiling_ms)

    def dismissed(self, reconnect_after_ms: int) -> int:
        """The wait after a `goodbye`: never less than it said, at most a quarter more."""
        return round(reconnect_after_ms * (1 + GOODBYE_JITTER * self._random()))

    def succeeded(self) -> None:
        """The next failure counts as the first."""
        self._attempts = 0
