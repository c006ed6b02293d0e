"""The relay: what waits in the outboxes is told to the broker, at least once, in order a subject, and then settled.

Theory. A fact leaves its outbox only after the broker confirmed it, so whatever dies between the two is told again,
under the same id. Of one subject at most one fact is under way, so one that has to be told again is never behind a
later one; different subjects go side by side. Changes of a session are told at most once in `update_interval_ms`, as
one range; what comes meanwhile joins it in the outbox.

A pass begins nothing after `pass_ms`: what a slow broker confirmed must be settled while the lease of it lasts, or the
next relay tells all of it again, loses its lease in the same way, and no end comes of it. Without a lease order is kept
all the same: whoever tells a subject begins with the oldest fact that nobody settled.

A session's frames go by the same loop and the same journal, so what waits is told at a pace (`pacing`), and no step of
it holds the loop for long (a turn 0.9 ms at the 99th percentile, on a busy machine): what is begun, taken, sorted and
settled is so in small parts.

A broker that is away costs nobody but its consumers: nothing is taken while it is, and the outbox holds what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from syncbridge.adapters.cluster.events.pacing import Pace
from syncbridge.core.facts import Change, Fact
from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Backlog, Clock, EventBroker, NotTold, Outbox, Telemetry, Waiting

_log = structlog.get_logger(__name__)

SETTLED_AT_ONCE: Final = 8
"""Parts of one take: a slot has some thirty facts, and each is named."""

OF_ONE_FACT: Final = frozenset({"nacked", "returned"})
"""Reasons that say nothing of the next fact."""


@dataclass(frozen=True, slots=True)
class RelayRules:
    """How fast, and how patient."""

    poll_ms: int = 200  # a person waits for a device to be woken
    take_max: int = 256  # facts in memory at a time; sorting them into lanes holds the loop for half a millisecond
    in_flight_max: int = 128  # 6,000 a second where a confirm takes 20 ms
    per_s_min: int = 1_500  # a tenth of the loop; beside 500 new ones a second it drains 30,000 in half a minute
    per_s_max: int = 6_000  # more than a broker's core takes
    drain_s: int = 30  # what waits is spread over it, where that is faster than the least
    pass_ms: int = 3_000  # with the 10 s of a last confirm well within the 15 s of a lease
    update_interval_ms: int = 1_000  # changes of one session
    retry_ms: int = 250  # after a failure, doubled each time, with jitter: nodes must not come back in step
    retry_ms_max: int = 10_000
    look_interval_ms: int = 5_000  # figures, and what is past a bound
    last_ms: int = 2_000  # a node that ends tells what it can


_Lane = deque[tuple[int, int | Change, Fact]]
"""What waits of one subject, in order: (the part, the index among its facts or the change, the fact)."""


@dataclass(slots=True)
class _Pass:
    """What became of one take."""

    lanes: deque[_Lane]
    told: list[list[int]]
    changes: list[list[Change]]
    until_ms: int
    failure: NotTold | None = None
    is_over: bool = False
    """Nothing more is begun: the broker is gone, or the time of the pass."""


class Relay:
    """See the module's text.

    Cost      nothing on the way of a frame; a take every `poll_ms` while nothing waits.
    Restart   `follow` may be cancelled anywhere and begun again, here or on another node.
    """

    def __init__(
        self,
        outboxes: Sequence[Outbox],
        broker: EventBroker,
        clock: Clock,
        telemetry: Telemetry,
        *,
        rules: RelayRules | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outboxes = list(outboxes)
        self._broker = broker
        self._clock = clock
        self._telemetry = telemetry
        self._rules = rules or RelayRules()
        self._chance = chance
        self._pace = Pace(self._rules.per_s_min, self._rules.per_s_max, self._rules.drain_s)
        self._told = 0
        """Since the last look."""
        self._updated_at: dict[SessionId, int] = {}
        self._failures = 0
        self._looked_at = 0
        self._is_away = False
        self._silent: set[str] = set()

    def is_healthy(self) -> bool:
        """Whether the broker took what it was told last; nobody's session needs it."""
        return not self._is_away

    async def follow(self) -> None:
        """Everything that waits, and will, is told; until cancelled."""
        while True:
            await self._look()
            try:
                has_more = await self.run_once()
            except NotTold as failure:
                self._note_failure(failure)
                await asyncio.sleep(self.retry_delay_ms() / 1000)
                continue
            except Exception:  # noqa: BLE001 - our own fault with one take must not end the telling for good
                _log.exception("events relay failed", action="it goes on by itself; report this with the lines before")
                self._failures += 1
                await asyncio.sleep(self.retry_delay_ms() / 1000)
                continue
            self._note_success()
            await asyncio.sleep(0 if has_more else self._rules.poll_ms / 1000)

    async def run_once(self) -> bool:
        """What waits now and is due is told and settled; whether more waits. Raises NotTold, what was told settled."""
        if not self._broker.is_connected():
            await self._broker.connect()
        has_more = False
        failure: NotTold | None = None
        for outbox in self._outboxes:
            try:
                parts = await outbox.take(self._rules.take_max)
                one = await self._tell(outbox, parts)
            except Unavailable as error:
                self._note_silence(outbox, error)
                continue
            self._silent.discard(outbox.name)
            failure = one.failure or failure
            has_more = has_more or one.is_over or any(part.has_more for part in parts)
            if failure is not None and failure.reason not in OF_ONE_FACT:
                break
        if failure is not None:
            raise failure
        return has_more

    async def close(self) -> None:
        """What still waits is told, if that takes a moment only; others may take the rest at once, the broker is left.

        `follow` must have been ended before.
        """
        if self._broker.is_connected():
            with contextlib.suppress(NotTold, TimeoutError):
                async with asyncio.timeout(self._rules.last_ms / 1000):
                    while await self.run_once():
                        pass
        for outbox in self._outboxes:
            try:
                await outbox.release()
            except Unavailable as error:
                self._note_silence(outbox, error)
        await self._broker.close()

    def retry_delay_ms(self) -> float:
        """How long to wait after so many failures in a row: at least half of its step, at most all of it."""
        step = min(self._rules.retry_ms << min(self._failures - 1, 16), self._rules.retry_ms_max)
        return step * (0.5 + 0.5 * self._chance())

    # -- one take -----------------------------------------------------------------------------------------------

    async def _tell(self, outbox: Outbox, parts: list[Waiting]) -> _Pass:
        """All of the parts that the broker confirms is settled. Raises Unavailable, what could be settled is."""
        one = self._planned(parts)
        workers = 0
        async with asyncio.TaskGroup() as group:
            while one.lanes and not one.is_over and workers < self._rules.in_flight_max:
                lane = one.lanes.popleft()
                await self._pace.turn()
                group.create_task(self._work(one, lane))
                workers += 1
        done = (
            (part, told, changes)
            for part, told, changes in zip(parts, one.told, one.changes, strict=True)
            if told or changes
        )
        faults: list[BaseException] = []
        while some := list(islice(done, SETTLED_AT_ONCE)):
            settling = (self._settle(outbox, part, sorted(told), changes) for part, told, changes in some)
            faults += filter(None, await asyncio.gather(*settling, return_exceptions=True))
        if faults:
            raise faults[0]
        return one

    async def _settle(self, outbox: Outbox, part: Waiting, told: list[int], changes: list[Change]) -> None:
        if not await outbox.settle(part, told, changes):
            self._telemetry.measured("event_failed", 1, "fenced")
            _log.warning("event lease lost", outbox=outbox.name, action="another relay tells these again")

    def _planned(self, parts: list[Waiting]) -> _Pass:
        now_ms = self._clock.now_ms()
        self._forget_updates(now_ms)
        lanes: defaultdict[str, _Lane] = defaultdict(deque)
        for number, part in enumerate(parts):
            for index, fact in enumerate(part.facts):
                lanes[fact.subject].append((number, index, fact))
            for change in part.changes:
                if change.session not in self._updated_at:
                    lanes[change.session].append((number, change, change.as_fact()))
        until_ms = now_ms + self._rules.pass_ms
        return _Pass(deque(lanes.values()), [[] for _ in parts], [[] for _ in parts], until_ms)

    async def _work(self, one: _Pass, lane: _Lane) -> None:
        """Lanes are told one after the other, until none is left, or the time of the pass, or the broker is gone.

        The turn of the first fact was waited for.
        """
        while not one.is_over:
            number, place, fact = lane.popleft()
            if not await self._is_told(one, fact):
                lane = deque()  # whatever follows of this subject waits for it
            elif isinstance(place, Change):
                one.changes[number].append(place)
                self._updated_at[place.session] = self._clock.now_ms()
            else:
                one.told[number].append(place)
            if not lane:
                if not one.lanes:
                    return
                lane = one.lanes.popleft()
            await self._pace.turn()
            if self._clock.now_ms() >= one.until_ms:
                one.is_over = True

    async def _is_told(self, one: _Pass, fact: Fact) -> bool:
        """Whether it needs not be told any more."""
        try:
            await self._broker.tell(fact)
        except NotTold as failure:
            self._telemetry.measured("event_failed", 1, failure.reason)
            if failure.reason == "unfit":
                self._note_unfit(failure)
                return True
            one.failure = failure
            if failure.reason not in OF_ONE_FACT:
                one.is_over = True
            return False
        self._told += 1
        self._telemetry.measured("event_published", 1, fact.type)
        return True

    def _forget_updates(self, now_ms: int) -> None:
        """Only sessions told within the last interval are remembered; in order of time, unless the clock went back."""
        due = now_ms - self._rules.update_interval_ms
        while self._updated_at:
            session = next(iter(self._updated_at))
            if due < self._updated_at[session] <= now_ms:
                return
            del self._updated_at[session]

    # -- figures ------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """The figures are told, and what is past a bound is gone, from time to time."""
        now_ms = self._clock.now_ms()
        if 0 <= now_ms - self._looked_at < self._rules.look_interval_ms:
            return
        elapsed_ms, self._looked_at = now_ms - self._looked_at, now_ms
        waiting, oldest_at, is_whole = 0, 0, True
        for outbox in self._outboxes:
            try:
                backlog = await outbox.look()
            except Unavailable as error:
                self._note_silence(outbox, error)
                is_whole = False
                continue
            waiting += backlog.count
            if backlog.oldest_at:
                oldest_at = min(oldest_at or backlog.oldest_at, backlog.oldest_at)
            self._note_dropped(outbox, backlog)
        if is_whole:
            self._pace.follow(waiting, self._told, elapsed_ms / 1000)
            self._told = 0
        self._telemetry.measured("events_waiting", waiting)
        self._telemetry.measured("events_oldest_s", max(0, now_ms - oldest_at) / 1000 if oldest_at else 0)

    def _note_dropped(self, outbox: Outbox, backlog: Backlog) -> None:
        if backlog.dropped:
            self._telemetry.measured("event_dropped", backlog.dropped)
            _log.error(
                "events dropped",
                outbox=outbox.name,
                count=backlog.dropped,
                action="they waited past the outbox's bound and are never told; bring the broker back, and let"
                " consumers read anew what they follow",
            )

    def _note_unfit(self, failure: NotTold) -> None:
        self._telemetry.measured("event_dropped", 1)
        _log.error("event not fit to be told", reason=failure.detail, action="report this; the others are told")

    def _note_failure(self, failure: NotTold) -> None:
        # One fact that no queue takes must not slow the others down.
        self._failures = 1 if failure.reason in OF_ONE_FACT else self._failures + 1
        if not self._is_away:
            _log.warning(
                "events wait",
                reason=str(failure),
                action="nobody's session needs the broker; what happens meanwhile is told when it is back",
            )
        self._is_away = True

    def _note_success(self) -> None:
        self._failures = 0
        if self._is_away:
            _log.info("events are told again")
        self._is_away = False

    def _note_silence(self, outbox: Outbox, error: Unavailable) -> None:
        if outbox.name not in self._silent:
            _log.warning("events cannot be read", outbox=outbox.name, reason=error.message)
        self._silent.add(outbox.name)
