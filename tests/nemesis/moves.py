"""A session that goes back and forth between two devices on two nodes, and nodes that are killed while it does.

Both devices also push under the fence they know, at the very moment at which it is taken from them: what is
acknowledged under a fence must stand in the log while that fence was in force.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import httpx
import websockets

from syncbridge.core.messages import SUBPROTOCOL
from tests.nemesis.judge import Stored, stored_log
from tests.nemesis.rounds import next_name
from tests.nemesis.stage import Person, Stage, until

Message = dict[str, Any]
Step = Literal["offered", "prepared", "ready", "take"]
STEPS: Final[tuple[tuple[Step, int], ...]] = tuple(itertools.product(("offered", "prepared", "ready", "take"), (0, 1)))
"""When a node is killed, and whose: 0 that of the device that has the session, 1 that of the one that gets it."""
NAMES: Final = ("phone", "tv")
HEARD_S: Final = 10.0


class Seat:
    """A device's connection to one node, and everything that came over it."""

    def __init__(self, device: str, node: int, socket: websockets.ClientConnection) -> None:
        self.device = device
        self.node = node
        self.heard: list[Message] = []
        self.is_closed = False
        self._socket = socket
        self._ear = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def taken(cls, stage: Stage, token: str, device: str, node: int) -> Self:
        """The device is welcome at the node."""
        protocols = [websockets.Subprotocol(SUBPROTOCOL)]
        seat = cls(
            device, node, await websockets.connect(stage.socket_of(node), subprotocols=protocols, close_timeout=1)
        )
        await seat.say(type="hello", token=token, device={"id": device, "name": device})
        await seat.hear("welcome")
        return seat

    async def _listen(self) -> None:
        try:
            async for frame in self._socket:
                self.heard.append(json.loads(frame))
        except websockets.ConnectionClosed:
            pass
        self.is_closed = True

    async def say(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def hear(self, *kinds: str, matching: Callable[[Message], bool] = lambda _: True) -> Message:
        """The first message of these kinds that matches. Raises AssertionError where none comes in time."""
        deadline = time.monotonic() + HEARD_S
        while True:
            for message in self.heard:
                if message["type"] in kinds and matching(message):
                    return message
            is_over = self.is_closed or time.monotonic() > deadline
            assert not is_over, f"{self.device} hears none of {kinds}, but {self.heard[-3:]}"
            await asyncio.sleep(0.001)

    async def join(self, session: str) -> Message:
        """What the node says of the session."""
        while True:
            ref = f"j{len(self.heard)}"
            await self.say(type="join", session=session, ref=ref)
            answer = await self.hear("joined", "error", matching=lambda one, ref=ref: one.get("ref") == ref)  # type: ignore[misc]
            if answer["type"] == "joined":
                return answer
            await asyncio.sleep(answer["retry_after_ms"] / 1000 + 0.05)  # storage does not answer just now

    async def close(self) -> None:
        self._ear.cancel()
        await self._socket.close()


@dataclass
class Moves:
    """What was done and told: ``acked`` are pushes as (fence under which they were made, version)."""

    done: dict[int, tuple[int, str]] = field(default_factory=dict)
    acked: list[tuple[int, int]] = field(default_factory=list)
    refused: int = 0
    kills: int = 0
    unmoved: int = 0
    took_s: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.took_s)
        return (
            f"{len(self.done)} handoffs, {self.kills} with a node killed ({self.unmoved} of those changed nothing); "
            f"{self.refused} pushes under an old fence refused, {len(self.acked)} acknowledged under their own; "
            f"p50 {ordered[len(ordered) // 2] * 1000:.1f} ms, p99 {ordered[len(ordered) * 99 // 100] * 1000:.1f} ms"
        )


class Journey:
    """One session and its two devices; `go` moves it so many times."""

    def __init__(self, stage: Stage, person: Person, session: str) -> None:
        self.stage = stage
        self.person = person
        self.session = session
        self.moves = Moves()
        self.seats: list[Seat] = []
        self._fence = 0
        self._owner = 0
        self._seqs = [0, 0]
        self._version = 1

    async def sit(self, number: int, node: int) -> Message:
        """The device follows the session over this node."""
        if len(self.seats) > number:
            await self.seats[number].close()
            self.seats.pop(number)
        seat = await Seat.taken(self.stage, self.person.token, NAMES[number], node)
        self.seats.insert(number, seat)
        joined = await seat.join(self.session)
        self._seqs[number] = max(self._seqs[number], int(joined.get("last_seq", 0)))
        self._version = int(joined["position"]["version"])
        return joined

    async def begin(self) -> None:
        """Each device is at a node of its own, and the first one has the session."""
        for name in NAMES:
            answer = await self.person.ask(0, "POST", "/v1/devices", json={"id": name, "name": name})
            assert answer.status_code == 201, answer.text
        for number in (0, 1):
            await self.sit(number, number)
        await self.seats[0].say(type="handoff.take", session=self.session, ref="t0")
        done = await self.seats[0].hear("handoff.done")
        self._fence = done["fence"]
        self._note(done)

    async def go(self, count: int) -> None:
        """The session moved so often, by offers and takes in turn; after each the old owner is refused."""
        for number in range(count):
            source, target = self.seats[self._owner], self.seats[1 - self._owner]
            old, begun_at = self._fence, time.monotonic()
            if number % 2:
                await target.say(type="handoff.take", session=self.session, ref=f"t{old}")
            else:
                await self._offer(source, target)
                await self._prepared(target)
            racing = await self._push(self._owner, old)
            done = await target.hear("handoff.done", matching=lambda one, old=old: one["fence"] > old)  # type: ignore[misc]
            self.moves.took_s.append(time.monotonic() - begun_at)
            self._note(done)
            await source.hear("handoff.done", matching=lambda one, fence=done["fence"]: one["fence"] == fence)  # type: ignore[misc]
            await self._judge_push(source, racing, old)
            late = await self._push(self._owner, old)
            answer = await source.hear("ack", "reject", matching=lambda one, seq=late: one["seq"] == seq)  # type: ignore[misc]
            if answer["type"] == "ack":
                self.moves.violations.append(f"fence {old} was taken after {done['fence']} was told: {answer}")
            self.moves.refused += answer["type"] == "reject"
            self._moved_to(1 - self._owner, done["fence"])
            if number % 25 == 24:
                del source.heard[:], target.heard[:]

    async def go_and_kill(self, step: Step, whose: int) -> None:
        """The session is on its way when a node is killed at this step: it moved, or nothing changed."""
        source, target = self.seats[self._owner], self.seats[1 - self._owner]
        old, is_hit = self._fence, (source, target)[whose]
        if step == "take":
            await target.say(type="handoff.take", session=self.session, ref=f"t{old}")
        else:
            await source.say(type="handoff.offer", session=self.session, to=target.device, ref=f"o{old}")
            if step in ("prepared", "ready"):
                await self._prepared(target, says_ready=step == "ready")
        self.stage.nodes[is_hit.node].process.kill()
        self.moves.kills += 1
        other = (source, target)[1 - whose]
        number = self._owner if is_hit is source else 1 - self._owner
        joined = await self.sit(number, other.node)
        # What is under way gets there, or its time runs out; then both know the same.
        if joined["fence"] == old and (step == "ready" or step == "take"):
            joined = await self._settled(old)
        if joined["fence"] == old:
            self.moves.unmoved += 1
            if joined["active"] != NAMES[self._owner]:
                self.moves.violations.append(f"killed at {step}: fence {old}, but {joined['active']} is active")
            seat = self.seats[1 - self._owner]
            await seat.say(type="handoff.take", session=self.session, ref=f"k{old}")
            done = await seat.hear("handoff.done", matching=lambda one: one["fence"] > old)
            self._note(done)
            joined = {"fence": done["fence"], "active": done["active"]}
        if (joined["fence"], joined["active"]) != (old + 1, NAMES[1 - self._owner]):
            self.moves.violations.append(f"killed at {step}: {joined['active']} has fence {joined['fence']}")
        self._moved_to(1 - self._owner, joined["fence"])
        self.stage.restart_node(is_hit.node)
        await until(self.stage.nodes[is_hit.node].is_ready, deadline_s=60, what="the node's readiness")
        await self.sit(number, is_hit.node)

    # -- the steps --------------------------------------------------------------------------------------------------

    async def _offer(self, source: Seat, target: Seat) -> None:
        ref = f"o{self._fence}"
        await source.say(type="handoff.offer", session=self.session, to=target.device, ref=ref)
        await source.hear("handoff.offered", matching=lambda one: one.get("ref") == ref)

    async def _prepared(self, target: Seat, *, says_ready: bool = True) -> None:
        known = {one["handoff"] for one in target.heard if one["type"] in ("handoff.done", "handoff.failed")}
        prepare = await target.hear("handoff.prepare", matching=lambda one: one["handoff"] not in known)
        if says_ready:
            await target.say(type="handoff.ready", session=self.session, handoff=prepare["handoff"])

    async def _push(self, number: int, fence: int) -> int:
        """The device's next push, under this fence; answers with its number."""
        self._seqs[number] += 1
        seq = self._seqs[number]
        ops = [{"op": "add", "path": "/settings/last", "value": f"{NAMES[number]}-{seq}"}]
        await self.seats[number].say(
            type="push", session=self.session, seq=seq, base=self._version, ops=ops, fence=fence
        )
        return seq

    async def _judge_push(self, seat: Seat, seq: int, fence: int) -> None:
        answer = await seat.hear("ack", "reject", matching=lambda one: one["seq"] == seq)
        if answer["type"] == "ack":
            self.moves.acked.append((fence, answer["version"]))
        else:
            self.moves.refused += 1

    async def _settled(self, old: int) -> Message:
        """Where the session is once what was under way has come, or 2 s have gone by."""
        seat = self.seats[1 - self._owner]
        deadline = time.monotonic() + 2
        while True:
            joined = await seat.join(self.session)
            if joined["fence"] != old or time.monotonic() > deadline:
                return joined
            await asyncio.sleep(0.1)

    def _note(self, done: Message) -> None:
        self.moves.done[done["fence"]] = (done["version"], done["active"])

    def _moved_to(self, owner: int, fence: int) -> None:
        self._owner, self._fence = owner, fence


def reigns(stored: Stored) -> dict[int, tuple[int, str | None]]:
    """Each fence of the log, with the version that it began at and its owner. Raises AssertionError where one leaps."""
    found: dict[int, tuple[int, str | None]] = {}
    fence = 0
    for entry in stored.entries:
        if entry.fence:
            assert entry.fence == fence + 1, f"{entry} follows fence {fence}"
            assert entry.kind in ("create", "handoff"), f"{entry} moves the fence"
            fence = entry.fence
            found[fence] = entry.version, entry.active
    return found


def judge(moves: Moves, stored: Stored) -> list[str]:
    """What devices were told of owners, against the log."""
    told = reigns(stored)
    wrong = list(moves.violations)
    for fence, (version, active) in moves.done.items():
        if told.get(fence) != (version, active):
            wrong.append(f"{active} was told to have fence {fence} at {version}; the log says {told.get(fence)}")
    for fence, version in moves.acked:
        begin, end = told[fence][0], told.get(fence + 1, (1 << 53, None))[0]
        if not begin <= version < end:
            wrong.append(f"entry {version} was taken under fence {fence}, which stood from {begin} to {end}")
    return wrong


async def travel(stage: Stage, *, moves: int, kills: tuple[tuple[Step, int], ...]) -> tuple[Moves, list[str]]:
    """The session went back and forth, nodes were killed; what was done, and what was wrong with it."""
    await stage.calm()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False))
        person = Person(stage, http)
        await person.register(next_name())
        state: Message = {"settings": {"last": ""}, "playhead": {"position": 1, "rate": 0, "at": 1}}
        journey = Journey(stage, person, await person.make_session(state))
        await journey.begin()
        try:
            await journey.go(moves)
            for step, whose in kills:
                await journey.go_and_kill(step, whose)
                await journey.go(1)
        finally:
            for seat in journey.seats:
                await seat.close()
        return journey.moves, judge(journey.moves, await stored_log(stage.redis.url, journey.session))
