"""An outbox in memory, a broker that fails as it is told, and a consumer that checks what a consumer counts on."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence

from syncbridge.core.facts import Change, Fact
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Backlog, NotTold, Waiting
from syncbridge.ports.outbox import NotToldReason


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


class Timers:
    """A clock that goes to whatever is due next."""

    def __init__(self) -> None:
        self.s = 100.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> float:
        return self.s

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.s + delay_s, next(self._numbers), call))

    async def go(self) -> bool:
        """What is due next has happened, with all that follows of it; False: nothing is."""
        for _ in range(4):
            await asyncio.sleep(0)
        if not self._due:
            return False
        self.s, _, call = heapq.heappop(self._due)
        call()
        for _ in range(4):
            await asyncio.sleep(0)
        return True


class Figures:
    """What was measured, summed by figure and label."""

    def __init__(self) -> None:
        self.sums: Counter[tuple[str, str]] = Counter()

    def measured(self, name: str, value: float, label: str = "") -> None:
        self.sums[name, label] += int(value)


def fact(subject: str, number: int) -> Fact:
    return Fact(f"{subject}:{number}", "session.paused", subject, "acc", number, {"version": number})


def change(session: str, first: int, last: int, epoch: str = "e") -> Change:
    return Change(SessionId(session), AccountId("acc"), epoch, first, last, first, last)


class MemoryOutbox:
    """`Outbox` over lists; whoever claims last has the lease."""

    name = "memory"

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.changes: dict[SessionId, Change] = {}
        self.fence = 0
        self.backlog = Backlog(0, 0)
        self.is_released = False

    async def take(self, count_max: int) -> list[Waiting]:
        await asyncio.sleep(0)
        facts = self.facts[:count_max]
        changes = list(self.changes.values()) if len(facts) == len(self.facts) else []
        more = len(facts) < len(self.facts)
        return [Waiting("", self.fence, facts, changes, [one.id for one in facts], more)] if facts or changes else []

    async def settle(self, waiting: Waiting, told: Sequence[int], changes: Sequence[Change]) -> bool:
        await asyncio.sleep(0)
        if waiting.fence != self.fence:
            return False
        gone = {waiting.places[index] for index in told}
        self.facts = [one for one in self.facts if one.id not in gone]
        for one in changes:
            if self.changes.get(one.session) == one:
                del self.changes[one.session]
        return True

    async def look(self) -> Backlog:
        return self.backlog

    async def release(self) -> None:
        self.is_released = True


class MuteOutbox(MemoryOutbox):
    """`Outbox` whose storage does not answer."""

    name = "mute"

    async def take(self, count_max: int) -> list[Waiting]:
        raise Unavailable("away")

    async def look(self) -> Backlog:
        raise Unavailable("away")


class Consumer:
    """What one hears; told twice, it counts once, as its events' ids say."""

    def __init__(self) -> None:
        self.heard: list[Fact] = []
        self.has_heard = asyncio.Event()

    def hear(self, fact: Fact) -> None:
        self.heard.append(fact)
        self.has_heard.set()

    def complaints(self, expected: Sequence[Fact]) -> list[str]:
        """What was lost, and where the order of a subject is not the order in which it happened."""
        seen: set[str] = set()
        once = [one for one in self.heard if not (one.id in seen or seen.add(one.id))]  # type: ignore[func-returns-value]
        lost = [f"lost {one.id}" for one in expected if one.id not in seen]
        newest: Counter[str] = Counter()
        disorder = []
        for one in once:
            if one.data["version"] < newest[one.subject]:
                disorder.append(f"{one.id} came after {newest[one.subject]}")
            newest[one.subject] = max(newest[one.subject], one.data["version"])
        return lost + disorder


class FlakyBroker:
    """Fails by chance, before or after it has the fact; what it has, the consumer hears."""

    def __init__(self, consumer: Consumer, seed: int, *, failures: float = 0.2) -> None:
        self._consumer = consumer
        self._chance = random.Random(seed)
        self._failures = failures
        self._is_connected = False
        self.in_flight = self.in_flight_most = 0
        self.refuses: dict[str, NotToldReason] = {}
        """Facts that are always answered so."""

    async def connect(self) -> None:
        await asyncio.sleep(0)
        if self._chance.random() < self._failures:
            raise NotTold("away")
        self._is_connected = True

    def is_connected(self) -> bool:
        return self._is_connected

    async def tell(self, fact: Fact) -> None:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        try:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            if fact.id in self.refuses:
                raise NotTold(self.refuses[fact.id])
            fate = self._chance.random()
            if fate > self._failures / 4:
                self._consumer.hear(fact)
            if fate < self._failures / 2:
                reason: NotToldReason = self._chance.choice(("away", "timeout", "nacked", "returned"))
                self._is_connected = self._is_connected and reason in ("nacked", "returned")
                raise NotTold(reason)
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        self._is_connected = False
