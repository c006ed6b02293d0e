"""A pace: few at once and evenly, whatever waits gone in time, and nobody held up for it, by a clock that is moved."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from syncbridge.adapters.cluster.events import pacing
from syncbridge.adapters.cluster.events.pacing import AT_ONCE, CREDIT_S, Pace
from syncbridge.adapters.cluster.events.relay import RelayRules
from tests.unit.events.stage import Timers

PER_S = 1_000
RULES = RelayRules()


def pace_of(timers: Timers, *, per_s: int = PER_S, per_s_max: int = 8_000, drain_s: int = 30) -> Pace:
    return Pace(per_s, per_s_max, drain_s, now=timers.now, later=timers.later)


async def begun(pace: Pace, timers: Timers, count: int) -> list[float]:
    """When each of so many that all wait from now on may begin."""
    at: list[float] = []

    async def one() -> None:
        await pace.turn()
        at.append(timers.s)

    tasks = [asyncio.ensure_future(one()) for _ in range(count)]
    while len(at) < count:
        assert await timers.go() or len(at) == count
    await asyncio.gather(*tasks)
    return at


def most_within(at: list[float], span_s: float) -> int:
    """The most that began within so long."""
    return max(sum(begin <= other < begin + span_s for other in at) for begin in set(at))


@pytest.mark.parametrize("at_once", [AT_ONCE, 128], ids=["as it is", "planted: a window's worth"])
async def test_few_begin_at_once_however_many_wait(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "AT_ONCE", at_once)
    timers = Timers()
    at = await begun(pace_of(timers), timers, 500)
    assert (most_within(at, 0.001) <= AT_ONCE) is (at_once == AT_ONCE)


async def test_a_backlog_is_told_evenly_at_its_pace() -> None:
    timers = Timers()
    at = await begun(pace_of(timers), timers, 2 * PER_S)
    assert at[-1] - at[0] == pytest.approx(2.0, abs=2 * AT_ONCE / PER_S)
    assert most_within(at, 0.1) <= PER_S * 0.1 + 2 * AT_ONCE


async def test_what_a_slow_take_cost_is_made_up_for_but_no_long_silence_is() -> None:
    timers = Timers()
    pace = pace_of(timers)
    await begun(pace, timers, PER_S)
    timers.s += CREDIT_S
    at = await begun(pace, timers, 500)
    assert at[-1] - at[0] == pytest.approx(0.5 - CREDIT_S, abs=3 * AT_ONCE / PER_S)
    timers.s += 3_600
    at = await begun(pace, timers, 500)
    assert at[-1] - at[0] == pytest.approx(0.5 - CREDIT_S, abs=3 * AT_ONCE / PER_S)
    assert most_within(at, AT_ONCE / 8_000) <= 2 * AT_ONCE


async def test_whoever_waits_first_begins_first_and_who_gave_up_takes_no_turn() -> None:
    timers = Timers()
    pace = pace_of(timers)
    order: list[int] = []

    async def one(number: int) -> None:
        await pace.turn()
        order.append(number)

    tasks = [asyncio.ensure_future(one(number)) for number in range(4 * AT_ONCE)]
    await asyncio.sleep(0)
    given_up = range(AT_ONCE, 2 * AT_ONCE)
    for number in given_up:
        tasks[number].cancel()
    before = timers.s
    while len(order) < 3 * AT_ONCE:
        assert await timers.go()
    assert order == [number for number in range(4 * AT_ONCE) if number not in given_up]
    assert timers.s - before <= 2 * AT_ONCE / PER_S + 1e-9
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def drained_s(*, waiting: int, new_per_s: int, look_s: int = 5, until: int = 0) -> tuple[float, float]:
    """After how many seconds no more than ``until`` wait, by the pace of the relay's rules; and the fastest of them."""
    pace = Pace(RULES.per_s_min, RULES.per_s_max, RULES.drain_s)
    told, fastest = 0, 0.0
    for second in range(10_000):
        if second % look_s == 0:
            pace.follow(waiting, told, look_s)
            told, fastest = 0, max(fastest, pace.per_s)
        if waiting <= until:
            return second, fastest
        step = min(int(pace.per_s), waiting + new_per_s)
        told += step
        waiting += new_per_s - step
    return 10_000, fastest


def test_what_waits_after_a_minute_is_gone_in_another_and_the_pace_stays_what_a_loop_does_not_notice() -> None:
    took_s, fastest = drained_s(waiting=30_000, new_per_s=500)
    assert took_s <= 40
    assert fastest <= 2_000


def test_more_new_events_than_the_least_pace_do_not_pile_up() -> None:
    took_s, _ = drained_s(waiting=30_000, new_per_s=3_000, until=3_000)
    assert took_s <= 120


def test_a_backlog_of_an_hour_is_told_at_the_fastest_pace_and_no_faster() -> None:
    took_s, fastest = drained_s(waiting=1_800_000, new_per_s=500, until=10_000)
    assert fastest == RULES.per_s_max
    assert took_s <= 600


def test_a_first_look_tells_nothing_of_what_came() -> None:
    pace = Pace(RULES.per_s_min, RULES.per_s_max, RULES.drain_s)
    pace.follow(30_000, 0, 5)
    assert pace.per_s == RULES.per_s_min
