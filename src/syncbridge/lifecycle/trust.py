"""Whether the clock may be believed where it says that people's data has had its time.

Theory. A clock that is months ahead (no battery, a wrong image, a slip of the hand) makes everything look old, and what
is removed for it does not come back when the clock does. A machine that was off for months looks the same. So a clock
that is far ahead of the last run, as this process has counted the time since, is not believed at once: it must have
stood for a while, in which somebody can mend it, or say that it is right by running the job by hand.

Where a server keeps the records for many nodes, its clock is asked too: one that is far ahead of it is one node's
mistake, however long it has stood, and must not cost the sessions of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from syncbridge.limits import Retention
from syncbridge.ports import Clock, Telemetry
from syncbridge.records.moments import Moments

RAN = "retention"

_log = structlog.get_logger("syncbridge.lifecycle")


class ClockTrust:
    """Judges the clock before each run that nobody asked for."""

    def __init__(
        self,
        moments: Moments,
        rules: Retention,
        *,
        clock: Clock,
        telemetry: Telemetry,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._moments = moments
        self._rules = rules
        self._clock = clock
        self._telemetry = telemetry
        self._monotonic_s = monotonic_s
        self._counted_from_s = monotonic_s()
        self._doubted_since_s: float | None = None

    async def is_believed(self) -> bool:
        """Whether what the clock calls old may be removed. Raises Unavailable."""
        last = await self._moments.get(RAN)
        now_ms, now_s = self._clock.now_ms(), self._monotonic_s()
        counted_ms = (now_s - self._counted_from_s) * 1000
        ahead_ms = 0 if last is None else now_ms - last - counted_ms
        if ahead_ms <= self._rules.leap_ms:
            self._doubted_since_s = None
        elif self._doubted_since_s is None:
            self._doubted_since_s = now_s
            _log.warning(
                "the clock is far ahead of the last retention: nothing is removed until it has stood so for a while; "
                "if it is right, `syncbridge retention run` goes at once",
                days=round(ahead_ms / 86_400_000, 1),
                wait_s=self._rules.leap_wait_ms // 1000,
            )
        since_s = self._doubted_since_s
        is_believed = since_s is None or (now_s - since_s) * 1000 >= self._rules.leap_wait_ms
        if is_believed and await self._is_alone():
            is_believed = False
        self._telemetry.measured("retention_held", 0 if is_believed else 1)
        return is_believed

    async def _is_alone(self) -> bool:
        """Whether the clock is far ahead of that of the server which keeps the records. Raises Unavailable."""
        witness_ms = await self._moments.witness_ms()
        ahead_ms = 0 if witness_ms is None else self._clock.now_ms() - witness_ms
        if ahead_ms <= self._rules.leap_ms:
            return False
        _log.error(
            "this node's clock is far ahead of the database server's: nothing is removed; set it right",
            days=round(ahead_ms / 86_400_000, 1),
        )
        return True

    async def ran(self) -> None:
        """A run is finished: the clock of this moment is the one to compare with. Raises Unavailable."""
        await self._moments.put(RAN, self._clock.now_ms())
        self._counted_from_s = self._monotonic_s()
        self._doubted_since_s = None
        self._telemetry.measured("retention_held", 0)
