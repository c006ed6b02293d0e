"""The way out: what was read is answered, and nobody comes back in a herd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from syncbridge.limits import Limits
from syncbridge.runtime.drain import SPREAD_MS_MAX, say_goodbye, settle
from tests.unit.runtime.world import World


async def test_a_push_under_way_is_answered_before_the_goodbye() -> None:
    world = World()
    world.create("s1")
    phone = world.device("phone", "s1")
    world.store.is_holding = True
    phone.push("s1", "/n", 1)
    settling = asyncio.ensure_future(settle(world.engine, 1_000))
    await asyncio.sleep(0)
    assert world.engine.is_draining
    assert not settling.done()
    world.store.release()
    assert await settling is True
    assert await say_goodbye(world.engine) == 1
    assert [m["type"] for m in phone.outlet.take()] == ["ack", "goodbye"]
    assert phone.outlet.closed is not None
    assert phone.outlet.closed[0] == 1012


async def test_a_store_that_hangs_does_not_hold_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.create("s1")
    phone = world.device("phone", "s1")
    world.store.is_holding = True
    phone.push("s1", "/n", 1)
    ticks = _ticking(world)
    monkeypatch.setattr(world.loop, "now_ms", lambda: next(ticks))
    assert await settle(world.engine, 50) is False


def _ticking(world: World) -> Iterator[int]:
    now_ms = world.loop.time_ms
    while True:
        now_ms += 10
        yield now_ms


async def test_devices_are_told_to_come_back_one_after_the_other() -> None:
    world = World(Limits())
    devices = [world.device("phone", account=f"a{index}") for index in range(450)]
    assert await say_goodbye(world.engine) == 450
    times = [device.outlet.take()[-1]["reconnect_after_ms"] for device in devices]
    assert times == sorted(times)
    assert len(set(times)) == 450
    assert times[0] == 0
    assert times[-1] < 4_500


async def test_the_spread_has_an_end() -> None:
    world = World()
    devices = [world.device("phone", account=f"a{index}") for index in range(2_500)]
    await say_goodbye(world.engine)
    times = [device.outlet.take()[-1]["reconnect_after_ms"] for device in devices]
    assert times == sorted(times)
    assert SPREAD_MS_MAX * 0.99 < times[-1] < SPREAD_MS_MAX


async def test_with_nobody_there_the_end_is_at_once() -> None:
    world = World()
    assert await settle(world.engine, 1_000) is True
    assert await say_goodbye(world.engine) == 0
