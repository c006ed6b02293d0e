"""The relay: nothing lost, each subject in order, changes at most once a second, a window, and patience."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from syncbridge.adapters.cluster.events.pacing import AT_ONCE, Pace
from syncbridge.adapters.cluster.events.relay import SETTLED_AT_ONCE, Relay, RelayRules
from syncbridge.core.facts import Fact
from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Backlog, NotTold, Waiting
from tests.unit.events.stage import (
    Consumer,
    Figures,
    FlakyBroker,
    MemoryOutbox,
    MuteOutbox,
    SetClock,
    Timers,
    change,
    fact,
)

SEEDS = range(40)
LEASE_MS = 15_000
Plant = Callable[[], contextlib.AbstractContextManager[None]]


def relay_of(outbox: MemoryOutbox, broker: FlakyBroker, **rules: int) -> tuple[Relay, SetClock, Figures]:
    clock, figures = SetClock(), Figures()
    made = Relay([outbox], broker, clock, figures, rules=RelayRules(**rules), chance=lambda: 0.0)
    return made, clock, figures


async def run(seed: int) -> list[str]:
    """Facts that come while relays are killed and the broker fails; what the consumer complains of at the end."""
    chance = random.Random(seed)
    consumer, outbox = Consumer(), MemoryOutbox()
    broker = FlakyBroker(consumer, seed)
    happened: list[Fact] = []
    for round_number in range(60):
        if round_number < 40:
            for _ in range(chance.randrange(6)):
                subject = f"s{chance.randrange(4)}"
                one = fact(subject, 1 + sum(other.subject == subject for other in happened))
                happened.append(one)
                outbox.facts.append(one)
        relay, _, _ = relay_of(outbox, broker, take_max=8)
        task = asyncio.ensure_future(relay.run_once())
        for _ in range(chance.randrange(2, 12)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            task.cancel()
            outbox.fence += 1
        await asyncio.gather(task, return_exceptions=True)
    broker._failures = 0
    relay, _, _ = relay_of(outbox, broker)
    while outbox.facts:
        await relay.run_once()
    return consumer.complaints(happened)


@contextmanager
def _put(target: Any, name: str, wrong: Any) -> Iterator[None]:
    real = getattr(target, name)
    setattr(target, name, wrong(real))
    try:
        yield
    finally:
        setattr(target, name, real)


def confirm_not_awaited() -> contextlib.AbstractContextManager[None]:
    def wrong(real: Any) -> Any:
        async def tell(self: FlakyBroker, fact: Fact) -> None:
            with contextlib.suppress(NotTold):
                await real(self, fact)

        return tell

    return _put(FlakyBroker, "tell", wrong)


def order_broken() -> contextlib.AbstractContextManager[None]:
    def wrong(real: Any) -> Any:
        def planned(self: Relay, parts: Any) -> Any:
            one = real(self, parts)
            one.lanes = deque(deque([waiting]) for lane in one.lanes for waiting in lane)
            return one

        return planned

    return _put(Relay, "_planned", wrong)


def settled_before_told() -> contextlib.AbstractContextManager[None]:
    def wrong(real: Any) -> Any:
        async def tell(self: Relay, outbox: MemoryOutbox, parts: Any) -> Any:
            for part in parts:
                await outbox.settle(part, range(len(part.facts)), [])
            return await real(self, outbox, parts)

        return tell

    return _put(Relay, "_tell", wrong)


async def test_whatever_fails_nothing_is_lost_and_every_subject_keeps_its_order() -> None:
    for seed in SEEDS:
        assert await run(seed) == [], f"seed {seed}"


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [(confirm_not_awaited, "lost"), (settled_before_told, "lost"), (order_broken, "came after")],
    ids=["confirm not awaited", "settled before told", "order broken"],
)
async def test_a_planted_fault_is_seen(plant: Plant, complaint: str) -> None:
    with plant():
        found = [one for seed in SEEDS for one in await run(seed)]
    assert [one for one in found if complaint in one]


async def test_changes_of_a_session_are_told_at_most_once_a_second_and_join_meanwhile() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    relay, clock, _ = relay_of(outbox, FlakyBroker(consumer, 1, failures=0))
    outbox.changes[SessionId("s")] = change("s", 2, 3)
    await relay.run_once()
    for version in range(4, 9):
        clock.ms += 199
        held = outbox.changes.get(SessionId("s"))
        new = change("s", version, version)
        outbox.changes[SessionId("s")] = held.joined(new) if held else new
        await relay.run_once()
    assert [(one.data["first_version"], one.data["version"]) for one in consumer.heard] == [(2, 3)]
    clock.ms += 10
    await relay.run_once()
    assert [(one.data["first_version"], one.data["version"]) for one in consumer.heard] == [(2, 3), (4, 8)]
    assert outbox.changes == {}


async def test_a_clock_that_is_set_back_keeps_no_session_and_no_figure_silent() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    relay, clock, figures = relay_of(outbox, FlakyBroker(consumer, 1, failures=0))
    outbox.changes[SessionId("s")] = change("s", 1, 3)
    await relay.run_once()
    await relay._look()
    clock.ms -= 86_400_000
    outbox.changes[SessionId("s")] = change("s", 4, 5)
    await relay.run_once()
    assert [one.data["version"] for one in consumer.heard] == [3, 5]
    outbox.backlog = Backlog(0, 0, 2)
    await relay._look()
    assert figures.sums["event_dropped", ""] == 2


async def test_a_fact_that_no_queue_takes_holds_up_nobody_but_its_subject() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    broker = FlakyBroker(consumer, 1, failures=0)
    broker.refuses["a:1"] = "returned"
    outbox.facts = [fact("a", 1), fact("a", 2), fact("b", 1), fact("b", 2)]
    relay, _, figures = relay_of(outbox, broker)
    with pytest.raises(NotTold):
        await relay.run_once()
    assert {one.id for one in outbox.facts} == {"a:1", "a:2"}
    assert figures.sums["event_failed", "returned"] == 1
    del broker.refuses["a:1"]
    await relay.run_once()
    assert consumer.complaints([fact("a", 1), fact("a", 2), fact("b", 1), fact("b", 2)]) == []


async def test_no_more_is_in_flight_than_the_window_holds() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    broker = FlakyBroker(consumer, 3, failures=0)
    outbox.facts = [fact(f"s{number}", 1) for number in range(200)]
    relay, _, _ = relay_of(outbox, broker, in_flight_max=7)
    await relay.run_once()
    assert broker.in_flight_most == 7
    assert outbox.facts == []


async def test_what_was_taken_under_a_lost_lease_is_said_and_settles_nothing() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    broker = FlakyBroker(consumer, 1, failures=0)
    outbox.facts = [fact("a", 1)]
    relay, _, figures = relay_of(outbox, broker)
    task = asyncio.ensure_future(relay.run_once())
    await consumer.has_heard.wait()
    outbox.fence += 1  # another relay followed
    await task
    assert [one.id for one in outbox.facts] == ["a:1"]
    assert figures.sums["event_failed", "fenced"] == 1


@pytest.mark.parametrize("pass_ms", [RelayRules().pass_ms, 60_000], ids=["as it is", "planted: longer than a lease"])
async def test_what_a_slow_broker_confirmed_is_settled_before_the_lease_of_it_ends(pass_ms: int) -> None:
    class Leased(MemoryOutbox):
        async def take(self, count_max: int) -> list[Waiting]:
            if clock.ms - self.taken_at > LEASE_MS:
                self.fence += 1  # another relay was here
            self.taken_at = clock.ms
            return await super().take(count_max)

        async def settle(self, waiting: Waiting, told: Any, changes: Any) -> bool:
            if clock.ms - self.taken_at > LEASE_MS:
                return False
            return await super().settle(waiting, told, changes)

        taken_at = 0

    class Slow(FlakyBroker):
        async def tell(self, fact: Fact) -> None:
            clock.ms += 200
            await super().tell(fact)

    consumer, outbox = Consumer(), Leased()
    outbox.facts = [fact(f"s{number % 7}", 1 + number // 7) for number in range(200)]
    happened = list(outbox.facts)
    slow = Slow(consumer, 1, failures=0)
    relay, clock, figures = relay_of(outbox, slow, in_flight_max=1, pass_ms=pass_ms, per_s_min=10**6, per_s_max=10**6)
    for _ in range(14):
        assert await relay.run_once() is bool(outbox.facts) or pass_ms > LEASE_MS
    is_planted = pass_ms > LEASE_MS
    assert (len(consumer.heard) > len(happened), bool(outbox.facts)) == (is_planted, is_planted)
    assert bool(figures.sums["event_failed", "fenced"]) is is_planted
    assert consumer.complaints(happened) == []


async def test_a_fact_that_cannot_be_told_is_let_go_said_and_counted() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    broker = FlakyBroker(consumer, 1, failures=0)
    broker.refuses["a:1"] = "unfit"
    outbox.facts = [fact("a", 1), fact("a", 2), fact("b", 1)]
    relay, _, figures = relay_of(outbox, broker)
    await relay.run_once()
    assert (outbox.facts, {one.id for one in consumer.heard}) == ([], {"a:2", "b:1"})
    assert (figures.sums["event_dropped", ""], figures.sums["event_failed", "unfit"]) == (1, 1)
    assert relay.is_healthy()


async def test_an_outbox_that_cannot_settle_one_part_settles_the_others() -> None:
    class Parted(MemoryOutbox):
        async def take(self, count_max: int) -> list[Waiting]:
            return [Waiting(one.subject, 0, [one], [], [one.id]) for one in self.facts]

        async def settle(self, waiting: Waiting, told: Any, changes: Any) -> bool:
            if waiting.part == "a":
                raise Unavailable("away")
            return await super().settle(waiting, told, changes)

    consumer, outbox = Consumer(), Parted()
    outbox.facts = [fact("a", 1), *(fact(f"b{number}", 1) for number in range(2 * SETTLED_AT_ONCE))]
    relay, _, _ = relay_of(outbox, FlakyBroker(consumer, 1, failures=0))
    await relay.run_once()
    assert [one.id for one in outbox.facts] == ["a:1"]


async def test_the_waits_after_failures_double_up_to_a_bound_with_jitter() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    relay, _, _ = relay_of(outbox, FlakyBroker(consumer, 1), retry_ms=100, retry_ms_max=1_000)
    waits = []
    for _ in range(6):
        relay._note_failure(NotTold("away"))
        waits.append(relay.retry_delay_ms())
    assert waits == [50, 100, 200, 400, 500, 500]
    assert not relay.is_healthy()
    relay._note_success()
    assert relay.is_healthy()
    fullest = Relay([outbox], FlakyBroker(consumer, 1), SetClock(), Figures(), chance=lambda: 1.0)
    fullest._note_failure(NotTold("away"))
    assert fullest.retry_delay_ms() == RelayRules().retry_ms


async def test_an_outbox_that_does_not_answer_holds_up_no_other() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    outbox.facts = [fact("a", 1)]
    relay = Relay([MuteOutbox(), outbox], FlakyBroker(consumer, 1, failures=0), SetClock(), Figures())
    await relay.run_once()
    assert [one.id for one in consumer.heard] == ["a:1"]


async def test_following_tells_figures_and_what_was_dropped_and_closing_gives_the_lease_up() -> None:
    consumer, outbox = Consumer(), MemoryOutbox()
    relay, clock, figures = relay_of(outbox, FlakyBroker(consumer, 1, failures=0), poll_ms=1)
    outbox.backlog = Backlog(7, clock.ms - 9_000, 3)
    outbox.facts = [fact("a", 1)]
    task = asyncio.ensure_future(relay.follow())
    async with asyncio.timeout(10):
        await consumer.has_heard.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await relay.close()
    assert figures.sums["events_waiting", ""] == 7
    assert figures.sums["events_oldest_s", ""] == 9
    assert figures.sums["event_dropped", ""] == 3
    assert outbox.is_released


async def test_facts_of_a_take_are_begun_as_the_pace_lets_them() -> None:
    consumer, outbox, timers = Consumer(), MemoryOutbox(), Timers()
    outbox.facts = [fact(f"s{number % 50}", 1 + number // 50) for number in range(100)]
    happened = list(outbox.facts)
    relay, _, _ = relay_of(outbox, FlakyBroker(consumer, 1, failures=0))
    relay._pace = Pace(1_000, 2_000, 30, now=timers.now, later=timers.later)
    task = asyncio.ensure_future(relay.run_once())
    for number in range(1, 1 + len(happened) // AT_ONCE):
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(consumer.heard) == number * AT_ONCE
        assert await timers.go()
    await task
    assert (outbox.facts, consumer.complaints(happened)) == ([], [])


async def test_what_waits_for_its_turn_when_the_broker_goes_is_not_told() -> None:
    class Going(FlakyBroker):
        async def tell(self, fact: Fact) -> None:
            if len(consumer.heard) >= AT_ONCE:
                raise NotTold("away")
            await super().tell(fact)

    consumer, outbox = Consumer(), MemoryOutbox()
    outbox.facts = [fact(f"s{number}", 1) for number in range(200)]
    relay, _, figures = relay_of(outbox, Going(consumer, 1, failures=0))
    with pytest.raises(NotTold):
        await relay.run_once()
    assert len(consumer.heard) + len(outbox.facts) == 200
    assert figures.sums["event_failed", "away"] <= 2 * AT_ONCE


async def test_the_pace_follows_what_waits_but_not_what_only_some_outboxes_say() -> None:
    outbox, mute = MemoryOutbox(), MuteOutbox()
    relay, clock, _ = relay_of(outbox, FlakyBroker(Consumer(), 1, failures=0), per_s_min=100, drain_s=10)
    outbox.backlog = Backlog(5_000, clock.ms, 0)
    await relay._look()
    assert relay._pace.per_s == 500
    relay._outboxes.append(mute)
    outbox.backlog = Backlog(0, 0, 0)
    clock.ms += 5_000
    await relay._look()
    assert relay._pace.per_s == 500
    relay._outboxes.remove(mute)
    clock.ms += 5_000
    await relay._look()
    assert relay._pace.per_s == 100
