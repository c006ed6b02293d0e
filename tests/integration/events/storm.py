"""A storm: commits go on while the broker stops, is killed, and relays are killed; then what came is counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from bisect import bisect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

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
from tests.integration.events.consumer import Listener, keep_everything
from tests.integration.events.control import Sample, controlling
from tests.unit.events.stage import Figures

UNDER_WAY: Final = 8
DRAIN_DEADLINE_S: Final = 600.0
SILENCE_S: Final = 15.0
RULES: Final = RelayRules(poll_ms=20, retry_ms=50, retry_ms_max=500)
_STARTER = ThreadPoolExecutor(1)
"""A server ends with the thread that started it, so that thread lives as long as this process."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. ``outage_s`` is how long the broker stands still before it is killed.

    ``calm_per_s`` events go on while the backlog is drained: so that it is known what commits take meanwhile.

    With ``control_per_s`` another process commits as often, and tells nobody.
    """

    events_per_s: int
    seconds: float
    outage_s: float
    broker_kills: int
    relay_kills: int
    sessions: int = 50
    calm_per_s: int = 100
    control_per_s: int = 0


Phase = Literal["quiet", "away", "starting", "draining"]
"""`starting`: a broker takes a core of the machine for ten seconds, and what others take then says nothing of us."""


@dataclass(slots=True)
class Report:
    """What came of it. Samples are of commits, when and how many ms: ours, and those of a process without a relay."""

    happened: int = 0
    lost: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    repeats: int = 0
    phases: list[tuple[float, Phase]] = field(default_factory=list)
    ours: list[Sample] = field(default_factory=list)
    control: list[Sample] = field(default_factory=list)
    backlog: int = 0
    """What waited when the broker was back for good."""
    told: int = 0
    drained_s: float = 0.0
    drained_cpu_s: float = 0.0
    """How long it took from then on until nothing waited, how much was told in that time, and our processor time."""

    def enter(self, phase: Phase) -> None:
        self.phases.append((time.monotonic(), phase))

    def p99_ms(self, samples: list[Sample], phase: Phase) -> float:
        """Of those that began in the phase."""
        begins = [at for at, _ in self.phases]
        inside = [took for at, took in samples if at >= begins[0] and self.phases[bisect(begins, at) - 1][1] == phase]
        return percentile(inside, 0.99)


def percentile(values: list[float], share: float) -> float:
    """The value that so many are no more than."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Relays:
    """One relay at a time, as if each were a process of its own: a killed one leaves nothing in order."""

    def __init__(
        self,
        rabbit: Rabbit,
        store: SqliteStore,
        make_broker: Callable[[str], RabbitBroker],
        rules: RelayRules = RULES,
    ) -> None:
        self._rabbit = rabbit
        self._store = store
        self._make_broker = make_broker
        self._rules = rules
        self._task: asyncio.Task[None] | None = None
        self._broker: RabbitBroker | None = None
        self._figures = Figures()
        self.outbox = stage.outbox_of(store, ServerClock())

    def start(self) -> None:
        clock = ServerClock()
        self._broker = self._make_broker(self._rabbit.url)
        self.outbox = stage.outbox_of(self._store, clock)
        relay = Relay([self.outbox], self._broker, clock, self._figures, rules=self._rules)
        self._task = asyncio.ensure_future(relay.follow())

    def told(self) -> int:
        """How often the broker confirmed an event."""
        return sum(count for (name, _), count in self._figures.sums.items() if name == "event_published")

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
) -> Report:
    """The storm raged, everything is up again, nothing waits, and all that the broker kept was listened to.

    Who listens does so afterwards: a consumer takes more of a core than the relay,
    and is none of the service's.
    """
    report = Report()
    store = stage.open_store(folder, ServerClock())
    await stage.outbox_of(store, ServerClock()).open()
    relays = Relays(rabbit, store, make_broker)
    await keep_everything(rabbit.url)
    try:
        async with AsyncExitStack() as stack:
            if scale.control_per_s:
                control = controlling(folder.with_name("control"), scale.control_per_s)
                report.control = await stack.enter_async_context(control)
            relays.start()
            expected: list[str] = []
            enough = asyncio.Event()
            pace = Pace(scale.events_per_s)
            traffic = asyncio.ensure_future(_traffic(store, scale, report, expected, pace, enough))
            try:
                await _weather(rabbit, relays, scale, report)
                pace.per_s = scale.calm_per_s
                await _drain(relays, scale, report)
            finally:
                enough.set()
                await traffic
        await waits_at_most(relays, 0)
    finally:
        await relays.kill()
        store.close()
    async with Listener.on(rabbit.url, is_judging=False, is_calm=True) as listener:
        await listener.until_silence(_all_of(expected, listener.ids), silence_s=SILENCE_S)
        report.happened = len(expected)
        report.lost = sorted(set(expected) - listener.ids)
        report.disorder = listener.disorder()
        report.repeats = len(listener.events) - len(listener.ids)
    return report


def _all_of(expected: list[str], came: set[str]) -> Callable[[], bool]:
    """Whether all that is expected came; asked for each that comes, it looks at each once."""
    place = 0

    def is_whole() -> bool:
        nonlocal place
        while place < len(expected) and expected[place] in came:
            place += 1
        return place == len(expected)

    return is_whole


async def _drain(relays: Relays, scale: Scale, report: Report) -> None:
    """Nothing of the backlog waits, and it is known how long that took."""
    report.backlog = (await relays.outbox.look()).count
    told, begun, begun_cpu = relays.told(), time.monotonic(), time.process_time()
    # The cursor is written once a second: what was committed since counts as waiting, and is none of the backlog.
    await waits_at_most(relays, 2 * scale.calm_per_s)
    report.drained_s, report.told = time.monotonic() - begun, relays.told() - told
    report.drained_cpu_s = time.process_time() - begun_cpu


async def waits_at_most(relays: Relays, count: int) -> None:
    """No more waits than that."""
    async with asyncio.timeout(DRAIN_DEADLINE_S):
        while (await relays.outbox.look()).count > count:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.1)


@dataclass(slots=True)
class Pace:
    """So many events a second; what a slow machine missed it need not make up for."""

    per_s: int
    due: float = field(default_factory=time.monotonic)

    async def wait(self) -> None:
        now = time.monotonic()
        self.due = max(self.due + 1 / self.per_s, now)
        await asyncio.sleep(self.due - now)


async def _traffic(
    store: SqliteStore, scale: Scale, report: Report, expected: list[str], pace: Pace, enough: asyncio.Event
) -> None:
    """Each commit is one fact, some under way at a time; sessions take turns, until it is enough."""
    sessions = [SessionId(f"ses_{number}") for number in range(scale.sessions)]
    for session in sessions:
        await stage.create(store, session)
        expected.append(f"{session}:{EPOCH}:1:session.created")

    async def commits(some: list[SessionId]) -> None:
        for version in itertools.count(2):
            for session in some:
                await pace.wait()
                if enough.is_set():
                    return
                entry = stage.pause(version)
                at = time.monotonic()
                await stage.commit(store, session, entry)
                report.ours.append((at, (time.monotonic() - at) * 1000))
                name = "session.paused" if entry.status == "paused" else "session.resumed"
                expected.append(f"{session}:{EPOCH}:{version}:{name}")

    await asyncio.gather(*(commits(sessions[number::UNDER_WAY]) for number in range(UNDER_WAY)))


async def _weather(rabbit: Rabbit, relays: Relays, scale: Scale, report: Report) -> None:
    """Relays are killed all along; the broker stands still, is killed, and comes back, so many times."""

    async def relays_die() -> None:
        for _ in range(scale.relay_kills):
            await asyncio.sleep(scale.seconds / (scale.relay_kills + 1))
            await relays.kill()
            relays.start()

    dying = asyncio.ensure_future(relays_die())
    report.enter("quiet")
    await asyncio.sleep(scale.seconds / 5)
    report.enter("away")
    rabbit.process.freeze()
    await asyncio.sleep(scale.outage_s)
    for number in range(scale.broker_kills):
        if number:
            await asyncio.sleep(scale.seconds / 20)
        await asyncio.to_thread(rabbit.kill)
        report.enter("starting")
        await asyncio.get_running_loop().run_in_executor(_STARTER, rabbit.start)
        report.enter("draining")
    await dying
