"""Under any schedule of refusals, moves and losses a slot's calls are each done at most once, and in order.

Two servers in memory take calls in order, refuse them or are lost with them; time moves when the schedule says so.
Routings with a planted fault are there to show that the same check finds it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Call
from syncbridge.adapters.cluster.link.pipe import Pipe
from syncbridge.adapters.cluster.link.replies import Answer, Failure, Verdict
from syncbridge.adapters.cluster.link.routing import SLOTS, Lane, Routing
from syncbridge.adapters.cluster.link.rules import Figures, Rules

SLOT = 7
HERE, THERE = Address("here", 1), Address("there", 2)


class Clock:
    """As much of an event loop as routing asks for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, after_s: float, step: Callable[..., object], *args: Any) -> None:
        heapq.heappush(self._due, (self.now + after_s, next(self._numbers), step, args))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, step, args = heapq.heappop(self._due)
            step(*args)
        self.now = end


class Server:
    """A pipe and the server behind it: calls wait in it until the schedule says what becomes of them."""

    is_ready = True

    def __init__(self, address: Address, world: World) -> None:
        self.address = address
        self.sent: list[Call] = []
        self._world = world

    def put(self, call: Call) -> bool:
        if call.slot >= 0:  # ASKING goes with the call after it
            self.sent.append(call)
        return True

    def take_back(self, _is_leaving: Callable[[Call], bool]) -> list[Call]:
        return []

    def in_flight(self, _slot: int) -> int:
        return len(self.sent)

    def sent_slots(self) -> Counter[int]:
        return Counter(call.slot for call in self.sent)

    def forget(self, _script: object) -> None: ...
    def log_in(self) -> None: ...

    def execute(self) -> None:
        if self.sent:
            call = self.sent.pop(0)
            self._world.done.append(call)
            self._settle(call)
            call.done(1)

    def refuse(self, verdict: Verdict, text: str) -> None:
        if self.sent:
            self._world.routing.postponed(cast(Pipe, self), self.sent.pop(0), verdict, text)

    def lose(self, count: int) -> None:
        """The connection ends; the first ``count`` calls had been done."""
        lost, self.sent = self.sent, []
        self._world.done += lost[:count]
        for call in lost:
            if call.is_write:
                self._settle(call)
                call.done(Failure("unknown", "lost"))
            else:
                self._world.routing.postponed(cast(Pipe, self), call, Verdict.LATER, "lost")
        self._world.routing.gone(cast(Pipe, self))

    def _settle(self, call: Call) -> None:
        if call.slot in self._world.routing.lanes:
            self._world.routing.settled(call)


class World:
    """A routing, two servers, and what became of each call."""

    def __init__(self, kind: type[Routing] = Routing) -> None:
        self.clock = Clock()
        self.done: list[Call] = []
        self.asked: list[Call] = []
        self.answers: dict[int, list[Answer]] = {}
        self.servers = {address: Server(address, self) for address in (HERE, THERE)}
        self.routing = kind(
            lambda address, _: cast(Pipe, self.servers[address]),
            lambda: None,
            loop=cast(asyncio.AbstractEventLoop, self.clock),
            rules=Rules(),
            figures=Figures(),
        )
        self.adopt(HERE)

    def adopt(self, address: Address) -> None:
        self.routing.adopt([cast(Pipe, self.servers[address])] * SLOTS)

    def ask(self, is_write: bool) -> None:
        number = len(self.asked)
        self.answers[number] = []
        call = Call(SLOT, b"%d" % number, self.answers[number].append, is_write, self.clock.now)
        self.asked.append(call)
        self.routing.ask(call)

    def settle(self) -> None:
        """Servers do all that is asked of them, and time passes, until nothing waits."""
        for _ in range(60):
            for server in self.servers.values():
                while server.sent:
                    server.execute()
            self.clock.advance(0.5)
            self.routing.expire(self.clock.now)

    def faults(self) -> list[str]:
        """What the promises forbid."""
        numbers = [int(call.packed) for call in self.done if call.is_write]
        found = [] if numbers == sorted(numbers) else [f"order {numbers}"]
        found += [f"twice {number}" for number, count in Counter(numbers).items() if count > 1]
        found += [f"answers of {number}: {told}" for number, told in self.answers.items() if len(told) != 1]
        for number in numbers:
            told = self.answers[number]
            if told and isinstance(told[0], Failure) and told[0].kind != "unknown":
                found.append(f"done, and answered {told[0].kind}: {number}")
        return found + [f"parked: {slot}" for slot in self.routing.lanes]


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.booleans()),
    st.tuples(st.just("execute"), st.sampled_from([HERE, THERE])),
    st.tuples(
        st.just("refuse"),
        st.sampled_from([HERE, THERE]),
        st.sampled_from(
            [
                (Verdict.MOVED, f"MOVED {SLOT} there:2"),
                (Verdict.MOVED, f"MOVED {SLOT} here:1"),
                (Verdict.MOVED, "MOVED nonsense"),
                (Verdict.ASK, f"ASK {SLOT} there:2"),
                (Verdict.LATER, "TRYAGAIN"),
                (Verdict.SCRIPT, "NOSCRIPT"),
                (Verdict.LOOK, "CLUSTERDOWN"),
                (Verdict.LOGIN, "NOAUTH"),
            ]
        ),
    ),
    st.tuples(st.just("lose"), st.sampled_from([HERE, THERE]), st.integers(0, 3)),
    st.tuples(st.just("adopt"), st.sampled_from([HERE, THERE])),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.03, 0.3, 1.5])),
)
SCHEDULES = st.lists(STEPS, max_size=40)


def play(schedule: list[Any], kind: type[Routing] = Routing) -> list[str]:
    world = World(kind)
    for what, *about in schedule:
        match what:
            case "ask":
                world.ask(about[0])
            case "execute":
                world.servers[about[0]].execute()
            case "refuse":
                world.servers[about[0]].refuse(*about[1])
            case "lose":
                world.servers[about[0]].lose(about[1])
            case "adopt":
                world.adopt(about[0])
            case _:
                world.clock.advance(about[0])
    world.settle()
    return world.faults()


@settings(max_examples=300)
@given(SCHEDULES)
def test_calls_of_a_slot_are_done_once_in_order_and_answered_once(schedule: list[Any]) -> None:
    assert play(schedule) == []


class SendsOvertaken(Routing):
    """Forgets that a later write was carried out."""

    def settled(self, call: Call) -> None:
        lane = self.lanes.get(call.slot)
        if lane is not None and lane.probe is not call:
            self._drain(call.slot, lane)
        else:
            super().settled(call)


class DoesNotPark(Routing):
    """Lets new calls pass those that wait."""

    def ask(self, call: Call) -> None:
        pipe = self.pipes[call.slot]
        assert pipe is not None
        pipe.put(call)


class DoesNotDrain(Routing):
    """Sends a refused call again while others of its slot are on their way."""

    def _drain(self, slot: int, lane: Lane) -> None:
        lane.in_flight = min(lane.in_flight, 1)
        super()._drain(slot, lane)


class AdoptsAtOnce(Routing):
    """Sends calls to the new server while the old one may still do earlier ones."""

    def adopt(self, pipes: list[Pipe | None]) -> None:
        self.pipes = pipes


MOVED = ("refuse", HERE, (Verdict.MOVED, f"MOVED {SLOT} there:2"))
WRITE = ("ask", True)


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        (SendsOvertaken, [WRITE, WRITE, MOVED]),
        (DoesNotPark, [WRITE, MOVED, WRITE]),
        (DoesNotDrain, [WRITE, WRITE, MOVED]),
        (AdoptsAtOnce, [WRITE, ("adopt", THERE), WRITE, ("execute", THERE)]),
    ],
)
def test_a_planted_fault_is_found_by_its_smallest_schedule(kind: type[Routing], schedule: list[Any]) -> None:
    assert play(schedule) == []
    assert play(schedule, kind) != []
