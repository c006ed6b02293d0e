"""A storm: commits go on while the broker stops, is killed, and relays are killed; then what came is counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.rabbitmq import Rabbit
from syncbridge.adapters.cluster.events.broker import RabbitBroker
from syncbridge.adapters.cluster.events.relay import Relay, RelayRules
from syncbridge.adapters.embedded import SqliteStore
from syncbridge.core.facts import Fact
from syncbridge.core.ids import SessionId
from syncbridge.ports import NotTold
from syncbridge.runtime.clock import ServerClock
from syncbridge.runtime.ending import end_all
from tests.conformance.logs import EPOCH
from tests.integration.events import stage
from tests.integration.events.consumer import Listener
from tests.unit.events.stage import Figures

_STARTER = ThreadPoolExecutor(1)
"""A server ends with the thread that started it, so that thread lives as long as this process."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. ``outage_s`` is how long the broker stands still before it is killed."""

    events_per_s: int
    seconds: float
    outage_s: float
    broker_kills: int
    relay_kills: int
    sessions: int = 50


@dataclass(slots=True)
class Report:
    """What came of it. Times are of commits, in ms: `quiet` before the outage, `away` during it."""

    happened: int = 0
    lost: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    repeats: int = 0
    quiet_ms: list[float] = field(default_factory=list)
    away_ms: list[float] = field(default_factory=list)
    drained_s: float = 0.0


def percentile(values: list[float], share: float) -> float:
    """The value that so many are no more than."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Relays:
    """One relay at a time, as if each were a process of its own: a killed one leaves nothing in order."""

    def __init__(self, rabbit: Rabbit, store: SqliteStore, make_broker: Callable[[str], RabbitBroker]) -> None:
        self._rabbit = rabbit
        self._store = store
        self._make_broker = make_broker
        self._task: asyncio.Task[None] | None = None
        self._broker: RabbitBroker | None = None

    def start(self) -> None:
        clock = ServerClock()
        self._broker = self._make_broker(self._rabbit.url)
        outbox = stage.outbox_of(self._store, clock)
        rules = RelayRules(poll_ms=20, retry_ms=50, retry_ms_max=500)
        relay = Relay([outbox], self._broker, clock, Figures(), rules=rules)
        self._task = asyncio.ensure_future(relay.follow())

    async def kill(self) -> None:
        assert self._task is not None
        assert self._broker is not None
        await end_all([self._task])
        await self._broker.close()


class Hasty(RabbitBroker):
    """Takes an event for told when it was sent: a planted fault."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "urn:test", publish_timeout_s=2, connect_timeout_s=2)
        self._sent: set[asyncio.Task[None]] = set()

    async def tell(self, fact: Fact) -> None:
        async def send() -> None:
            with contextlib.suppress(NotTold):
                await super(Hasty, self).tell(fact)

        task = asyncio.ensure_future(send())
        self._sent.add(task)
        task.add_done_callback(self._sent.discard)
        await asyncio.sleep(0)

    async def close(self) -> None:
        await super().close()
        for task in list(self._sent):
            task.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)


def broker_at(url: str) -> RabbitBroker:
    return RabbitBroker(url, "urn:test", publish_timeout_s=2, connect_timeout_s=2)


async def storm(
    rabbit: Rabbit,
    folder: Path,
    scale: Scale,
    *,
    make_broker: Callable[[str], RabbitBroker] = broker_at,
    deadline_s: float = 90.0,
) -> Report:
    """The storm raged, everything is up again, and what waited had `deadline_s` to come."""
    report = Report()
    store = stage.open_store(folder, ServerClock())
    await stage.outbox_of(store, ServerClock()).open()
    relays = Relays(rabbit, store, make_broker)
    try:
        async with Listener.on(rabbit.url, is_judging=False) as listener:
            relays.start()
            expected: list[str] = []
            is_away = asyncio.Event()
            weather = asyncio.ensure_future(_weather(rabbit, relays, scale, is_away))
            await _traffic(store, scale, report, expected, is_away)
            await weather
            begun = time.monotonic()
            end = begun + deadline_s
            while time.monotonic() < end and not listener.ids.issuperset(expected):  # noqa: ASYNC110 - dear to ask
                await asyncio.sleep(0.1)
            report.drained_s = time.monotonic() - begun
            listener.check()
            report.happened = len(expected)
            report.lost = sorted(set(expected) - listener.ids)
            report.disorder = listener.disorder()
            report.repeats = len(listener.events) - len(listener.ids)
    finally:
        await relays.kill()
        store.close()
    return report


async def _traffic(
    store: SqliteStore, scale: Scale, report: Report, expected: list[str], is_away: asyncio.Event
) -> None:
    """Each commit is one fact; sessions take turns."""
    sessions = [SessionId(f"ses_{number}") for number in range(scale.sessions)]
    for session in sessions:
        await stage.create(store, session)
        expected.append(f"{session}:{EPOCH}:1:session.created")
    begin = time.monotonic()
    for number in range(int(scale.events_per_s * scale.seconds)):
        due = begin + number / scale.events_per_s
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        session, version = sessions[number % scale.sessions], 2 + number // scale.sessions
        entry = stage.pause(version)
        at = time.perf_counter()
        await stage.commit(store, session, entry)
        took_ms = (time.perf_counter() - at) * 1000
        (report.away_ms if is_away.is_set() else report.quiet_ms).append(took_ms)
        name = "session.paused" if entry.status == "paused" else "session.resumed"
        expected.append(f"{session}:{EPOCH}:{version}:{name}")


async def _weather(rabbit: Rabbit, relays: Relays, scale: Scale, is_away: asyncio.Event) -> None:
    """Relays are killed all along; the broker stands still, is killed, and comes back, so many times."""

    async def relays_die() -> None:
        for _ in range(scale.relay_kills):
            await asyncio.sleep(scale.seconds / (scale.relay_kills + 1))
            await relays.kill()
            relays.start()

    dying = asyncio.ensure_future(relays_die())
    await asyncio.sleep(scale.seconds / 10)
    for number in range(scale.broker_kills):
        is_away.set()
        if number == 0:
            rabbit.process.freeze()
            await asyncio.sleep(scale.outage_s)
        rabbit.process.kill()
        await asyncio.get_running_loop().run_in_executor(_STARTER, rabbit.start)
        is_away.clear()
        await asyncio.sleep(scale.seconds / 20)
    await dying
