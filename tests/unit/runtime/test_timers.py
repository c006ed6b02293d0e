"""Named timers: one a name, never early, never after they were cancelled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from syncbridge.runtime.timers import Cancellable, Timers
from tests.unit.runtime.world import START_MS, VirtualLoop


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop()


@pytest.fixture
def fired() -> list[str]:
    return []


@pytest.fixture
def timers(loop: VirtualLoop, fired: list[str]) -> Timers:
    return Timers(loop, loop.call_at, fired.append)


def test_a_timer_fires_once_at_its_time(timers: Timers, loop: VirtualLoop, fired: list[str]) -> None:
    timers.set("a", START_MS + 100)
    loop.advance(99)
    assert fired == []
    loop.advance(1)
    assert fired == ["a"]
    loop.advance(1_000)
    assert fired == ["a"]
    assert len(timers) == 0


def test_setting_a_timer_again_replaces_it(timers: Timers, loop: VirtualLoop, fired: list[str]) -> None:
    timers.set("a", START_MS + 100)
    timers.set("a", START_MS + 300)
    loop.advance(200)
    assert fired == []
    loop.advance(100)
    assert fired == ["a"]


def test_clear_leaves_nothing_scheduled(timers: Timers, loop: VirtualLoop, fired: list[str]) -> None:
    timers.set("a", START_MS + 100)
    timers.set("b", START_MS + 200)
    timers.clear()
    assert loop.pending_timers == 0
    loop.advance(500)
    assert fired == []


def test_a_loop_that_is_early_is_asked_again(loop: VirtualLoop, fired: list[str]) -> None:
    def early(at_ms: int, run: Callable[[], None]) -> Cancellable:
        return loop.call_at(at_ms - 1, run) if at_ms - 1 > loop.now_ms() else loop.call_at(at_ms, run)

    timers = Timers(loop, early, fired.append)
    timers.set("a", START_MS + 100)
    loop.advance(99)
    assert fired == []
    assert len(timers) == 1
    loop.advance(1)
    assert fired == ["a"]
