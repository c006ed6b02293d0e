"""Which connection a slot's calls take, and how their order holds while the slot has none.

Normally a call goes straight to the slot's pipe. A server that answers "not here" or "not now" makes the slot a
*lane*: nothing of the slot goes out any more but by these steps.

========= =============================================================================================
DRAINING  calls of the slot are still on their way behind the one that was refused; what is refused too
          waits in order. One that is carried out has overtaken the writes that wait: these are answered
          `unavailable`, for sent again they would take effect in another order than they were asked
WAITING   nothing is on its way; the first that waits goes out when its time has come
PROBING   that one is on its way, alone. Carried out: the slot is a lane no more, and the rest follows it
          (one by one while a slot moves, where each key may lie elsewhere). Refused: WAITING again
========= =============================================================================================

Whoever waited too long is answered `unavailable`. A write whose answer was lost is never sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from syncbridge.adapters.cluster.link.address import Address
from syncbridge.adapters.cluster.link.calls import Call, nobody, packed
from syncbridge.adapters.cluster.link.pipe import Pipe
from syncbridge.adapters.cluster.link.replies import Verdict, redirection
from syncbridge.adapters.cluster.link.rules import Figures, Rules

SLOTS = 16_384
RETRY_FIRST_S = 0.02
RETRY_LAST_S = 0.2
ASKING = packed((b"ASKING",))


class Lane(Struct, eq=False):
    """A slot whose calls wait."""

    pipe: Pipe | None
    """Over which those are on their way that `in_flight` counts."""
    in_flight: int
    refused: list[Call]
    fresh: list[Call]
    target: Address | None = None
    """Where an ASK said that the first one's key is."""
    probe: Call | None = None
    retries: int = 0
    due_s: float = 0.0
    text: str = ""
    is_scheduled: bool = False


class Routing:
    """The table of slots and the lanes; a `pipe.Router` for what the pipes tell of calls."""

    def __init__(
        self,
        pipe_to: Callable[[Address, int], Pipe],
        look_again: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop,
        rules: Rules,
        figures: Figures,
    ) -> None:
        self._pipe_to = pipe_to
        self._look_again = look_again
        self._rules = rules
        self._figures = figures
        self._loop = loop
        self.pipes: list[Pipe | None] = [None] * SLOTS
        self.lanes: dict[int, Lane] = {}
        self._parked = 0
        self._parked_bytes = 0

    # -- asking ---------------------------------------------------------------------------------------------------

    def ask(self, call: Call) -> None:
        """The call is on its way, or waits its turn."""
        slot = call.slot
        if not self.lanes or (lane := self.lanes.get(slot)) is None:
            pipe = self.pipes[slot]
            if pipe is not None:
                pipe.put(call)
                return
            lane = self.lanes[slot] = Lane(None, 0, [], [], due_s=RETRY_FIRST_S, text="nobody serves the slot")
            self._schedule(slot, lane)
        if self._parked >= self._rules.parked_max or self._parked_bytes >= self._rules.parked_bytes_max:
            call.done(self._figures.failed("unavailable", f"too many calls wait: {lane.text}"))
            return
        self._parked += 1
        self._parked_bytes += len(call.packed)
        lane.fresh.append(call)

    def adopt(self, pipes: list[Pipe | None]) -> None:
        """From now on the slots are where this table says; the order of each slot's calls holds."""
        old = {pipe for pipe in self.pipes if pipe is not None}
        self.pipes = pipes
        for pipe in old:
            for slot, count in pipe.sent_slots().items():
                if slot >= 0 and pipes[slot] is not pipe and slot not in self.lanes:
                    self.lanes[slot] = Lane(pipe, count, [], [], text="the slot moves")
            for call in pipe.take_back(partial(_is_elsewhere, pipes, pipe)):
                lane = self.lanes.get(call.slot)
                if lane is not None and lane.probe is call:
                    self._postpone(call.slot, lane, call)
                else:
                    self.ask(call)

    def expire(self, now: float) -> None:
        """What waited too long in a lane is answered; to be called every now and then."""
        oldest = now - self._rules.retry_ms / 1000
        for lane in list(self.lanes.values()):
            self._expire_lane(lane, oldest)
        # Between two counts only what comes is added, so the bounds are never passed.
        waiting = [call for lane in self.lanes.values() for call in (*lane.refused, *lane.fresh)]
        self._parked, self._parked_bytes = len(waiting), sum(len(call.packed) for call in waiting)

    def close(self) -> None:
        """Nothing waits any more."""
        lanes, self.lanes = list(self.lanes.values()), {}
        for lane in lanes:
            for call in [*lane.refused, *lane.fresh]:
                call.done(self._figures.failed("unavailable", "closed"))

    # -- told by pipes --------------------------------------------------------------------------------------------

    def settled(self, call: Call) -> None:
        """A lane's call was carried out, or may have been."""
        lane = self.lanes.get(call.slot)
        if lane is None:
            return
        if lane.probe is call:
            lane.probe = None
            self._go_on(call.slot, lane)
            return
        if call.is_write and lane.in_flight:
            overtaken = [parked for parked in lane.refused if parked.is_write]
            lane.refused = [parked for parked in lane.refused if not parked.is_write]
            for parked in overtaken:
                parked.done(self._figures.failed("unavailable", f"not done, and a later call was: {lane.text}"))
        self._drain(call.slot, lane)

    def postponed(self, pipe: Pipe, call: Call, verdict: Verdict, text: str) -> None:
        """The call had no effect; it goes out again, within its time."""
        slot = call.slot
        lane = self.lanes.get(slot)
        if lane is None:
            unsent = pipe.take_back(lambda other: other.slot == slot)
            lane = self.lanes[slot] = Lane(pipe, pipe.in_flight(slot) + 1, [], unsent)
        lane.text = text
        self._learn(pipe, lane, call, verdict, text)
        if lane.probe is call:
            self._postpone(slot, lane, call)
            return
        lane.refused.append(call)
        self._drain(slot, lane)

    def dropped(self, call: Call) -> None:
        """A pipe let go of a call that it had not sent."""
        lane = self.lanes.get(call.slot)
        if lane is not None and lane.probe is call:
            lane.probe = None
            self._schedule(call.slot, lane)

    def gone(self, pipe: Pipe) -> None:
        """Nothing is on its way over this pipe any more."""
        for slot, lane in list(self.lanes.items()):
            if lane.pipe is pipe and lane.in_flight:
                lane.in_flight = 1
                self._drain(slot, lane)

    # -- the steps of a lane --------------------------------------------------------------------------------------

    def _expire_lane(self, lane: Lane, oldest: float) -> None:
        for calls in (lane.refused, lane.fresh):
            if calls and calls[0].asked_at < oldest:
                late = [call for call in calls if call.asked_at < oldest]
                calls[:] = [call for call in calls if call.asked_at >= oldest]
                for call in late:
                    call.done(self._figures.failed("unavailable", lane.text))

    def _learn(self, pipe: Pipe, lane: Lane, call: Call, verdict: Verdict, text: str) -> None:
        lane.due_s = min(RETRY_LAST_S, RETRY_FIRST_S * 2 ** min(lane.retries, 8))
        lane.target = None
        found = redirection(text) if verdict in (Verdict.MOVED, Verdict.ASK) else None
        if found is not None:
            self._figures.redirects += 1
            address = Address(found[1] or pipe.address.host, found[2])
            if verdict is Verdict.ASK:
                lane.target = address
            else:
                self.pipes[call.slot] = self._pipe_to(address, call.slot)
            # At once, but for two servers that send it to and fro.
            lane.due_s = 0.0 if lane.retries < 2 else lane.due_s
        elif verdict is Verdict.SCRIPT and call.script is not None:
            pipe.forget(call.script)
            lane.due_s = 0.0 if lane.retries < 2 else lane.due_s
        elif verdict is Verdict.LOGIN:
            pipe.log_in()
        if verdict in (Verdict.MOVED, Verdict.LOOK):
            self._look_again()

    def _drain(self, slot: int, lane: Lane) -> None:
        if lane.in_flight:
            lane.in_flight -= 1
            if not lane.in_flight:
                lane.pipe = None
                self._schedule(slot, lane)

    def _postpone(self, slot: int, lane: Lane, call: Call) -> None:
        lane.probe = None
        lane.refused.insert(0, call)
        self._schedule(slot, lane)

    def _schedule(self, slot: int, lane: Lane) -> None:
        if not lane.is_scheduled:
            lane.is_scheduled = True
            self._loop.call_later(lane.due_s, self._probe, slot, lane)

    def _probe(self, slot: int, lane: Lane) -> None:
        lane.is_scheduled = False
        if self.lanes.get(slot) is not lane or lane.in_flight or lane.probe is not None:
            return
        self._expire_lane(lane, self._loop.time() - self._rules.retry_ms / 1000)
        waiting = lane.refused or lane.fresh
        if not waiting:
            del self.lanes[slot]
            return
        pipe = self._pipe_to(lane.target, slot) if lane.target is not None else self.pipes[slot]
        if pipe is None or not pipe.is_ready:
            lane.due_s = RETRY_FIRST_S
            self._schedule(slot, lane)
            return
        call = lane.probe = waiting.pop(0)
        lane.retries += 1
        self._figures.retries += 1
        if lane.target is not None:
            pipe.put(Call(-1, ASKING, nobody, False, call.asked_at))
        if not pipe.put(call):
            lane.probe = None
            self._schedule(slot, lane)

    def _go_on(self, slot: int, lane: Lane) -> None:
        if lane.target is not None:
            lane.target, lane.retries, lane.due_s = None, 0, 0.0
            self._schedule(slot, lane)
            return
        del self.lanes[slot]
        for call in [*lane.refused, *lane.fresh]:
            self.ask(call)


def _is_elsewhere(pipes: list[Pipe | None], pipe: Pipe, call: Call) -> bool:
    return call.slot >= 0 and pipes[call.slot] is not pipe
