"""What is told as the time of a push is the time that the device waited, by a clock that the test moves."""

from __future__ import annotations

import pytest

from syncbridge.core.ids import ConnectionId
from syncbridge.core.messages import Ack, Push
from syncbridge.runtime import pace
from syncbridge.runtime.pace import SAMPLE, AckWaits
from tests.unit.runtime.world import Device, Figures, World


class MovedCounter:
    """`perf_counter`, moved by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> MovedCounter:
    counter = MovedCounter()
    for module in ("commits", "driver", "engine", "pace"):
        monkeypatch.setattr(f"syncbridge.runtime.{module}.perf_counter", counter)
    return counter


@pytest.fixture
def world(counter: MovedCounter) -> World:
    world = World()
    world.create("s1", {"n": 0})
    return world


def told(figures: Figures, name: str = "sync_ms") -> list[float]:
    return [value for figure, value, _ in figures.seen if figure == name]


def read_while_held(world: World, counter: MovedCounter, device: Device, value: int) -> None:
    """The device's push is read; its commit waits for the disk."""
    world.store.is_holding = True
    assert device.push("s1", "/n", value) == []
    counter.at_s += 0.003


def test_a_push_is_timed_from_its_frame_to_the_end_of_the_turn_that_sends_its_acknowledgement(
    world: World, counter: MovedCounter
) -> None:
    phone = world.device("phone", "s1")
    read_while_held(world, counter, phone, 1)
    world.store.release()
    assert (phone.outlet.take()[-1]["type"], told(world.figures)) == ("ack", [])  # queued, not yet handed over
    counter.at_s += 0.001
    world.loop.turn()
    assert told(world.figures) == [pytest.approx(4.0)]


def test_a_push_that_waits_behind_another_commit_is_timed_whole(world: World, counter: MovedCounter) -> None:
    phone, tv = world.device("phone", "s1"), world.device("tv", "s1")
    phone.outlet.take()
    read_while_held(world, counter, phone, 1)
    counter.at_s += 0.020
    tv.push("s1", "/m", 1)  # goes to the store when the first has come back
    counter.at_s += 0.005
    world.store.release()
    world.loop.turn()
    assert sorted(told(world.figures)) == [pytest.approx(5.0), pytest.approx(28.0)]
    assert max(told(world.figures, "commit_ms")) == pytest.approx(28.0)


def test_one_push_in_so_many_is_timed_and_the_first_is(world: World) -> None:
    phone = world.device("phone", "s1")
    for value in range(2 * SAMPLE + 1):
        phone.push("s1", "/n", value)
    assert len(told(world.figures)) == 3


def test_a_refused_push_is_not_timed_and_counts_anew_when_it_is_sent_again(counter: MovedCounter) -> None:
    figures, soon = Figures(), []
    waits = AckWaits(figures, lambda run: soon.append(run))
    push, here = Push("s1", 1, 1, []), ConnectionId("c1")
    waits.heard(here, push, counter.at_s)
    counter.at_s += 60.0  # refused, and sent again after a while
    waits.heard(here, push, counter.at_s)
    counter.at_s += 0.002
    waits.answered(here, Ack("s1", 1, 2, 0))
    waits.answered(here, Ack("s1", 1, 2, 0))
    for run in soon:
        run()
    assert told(figures) == [pytest.approx(2.0)]


def test_pushes_that_nobody_acknowledges_cost_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WAITING_MAX", 3)
    figures, soon = Figures(), []
    waits = AckWaits(figures, lambda run: soon.append(run))
    for number in range(10):
        waits.heard(ConnectionId(f"c{number}"), Push("s1", 1, 1, []), 0.0)
    for number in range(10):
        waits.answered(ConnectionId(f"c{number}"), Ack("s1", 1, 2, 0))
    assert len(soon) == 3
