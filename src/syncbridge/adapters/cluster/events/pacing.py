"""How fast a relay tells: evenly, as fast as the backlog asks for, and never much at once.

Whoever comes back to a broker after an hour could tell at thousands of events a second until nothing waits. But the
loop that tells is the loop that serves sessions: an event takes some 50 microseconds of it, and a burst of a hundred is
a burst in everybody's commits. So few are begun at a time, the loop is the sessions' between, and a backlog is spread
over the time that it may take.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 8
"""Events begun in one turn of the loop: less than half a millisecond of it."""
CREDIT_S: Final = 0.2
"""So much of the time that a slow broker or machine took is made up for: a take, its settling and the next one."""

Later = Callable[[float, Callable[[], None]], None]


def _call_later(delay_s: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, call)


class Pace:
    """Events a second, `AT_ONCE` together: on the average not more than `per_s`, and ``per_s_max`` at any time.

    Order     whoever waits first goes first.
    Measured  `follow` sets `per_s` by what waits and what came: a steady flow is told as fast as it comes, and what
              waits beside it within ``drain_s``. ``per_s_min`` is what a loop does not notice.
    """

    def __init__(
        self,
        per_s_min: int,
        per_s_max: int,
        drain_s: int,
        *,
        now: Callable[[], float] = time.monotonic,
        later: Later = _call_later,
    ) -> None:
        self._per_s_min = per_s_min
        self._per_s_max = per_s_max
        self._drain_s = drain_s
        self._now = now
        self._later = later
        self._left = AT_ONCE
        self._due = self._now()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_timed = False
        self._waited: int | None = None
        self.per_s: float = per_s_min

    async def turn(self) -> None:
        """One more event may be begun."""
        if self._left and not self._waiting:
            self._left -= 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._time()
        await mine

    def follow(self, waiting: int, told: int, elapsed_s: float) -> None:
        """The pace is right for so many that wait, where ``told`` were in the time since it was set last."""
        came = 0.0
        if self._waited is not None and elapsed_s > 0:
            came = max(0, waiting - self._waited + told) / elapsed_s
        self._waited = waiting
        self.per_s = min(max(came + waiting / self._drain_s, self._per_s_min), self._per_s_max)

    def _time(self) -> None:
        if self._is_timed:
            return
        self._is_timed = True
        now = self._now()
        self._due = max(self._due + AT_ONCE / self.per_s, now - CREDIT_S)
        self._later(max(self._due - now, AT_ONCE / self._per_s_max), self._refill)

    def _refill(self) -> None:
        self._is_timed = False
        self._left = AT_ONCE
        while self._left and self._waiting:
            one = self._waiting.popleft()
            if not one.done():  # whoever waited may be gone
                one.set_result(None)
                self._left -= 1
        if self._waiting:
            self._time()
