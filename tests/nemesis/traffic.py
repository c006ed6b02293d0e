"""Five devices of one person at work in several sessions, over both nodes: what they asked for and were told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from syncbridge.client import Bridge, Device, Session, connect
from syncbridge.core.digest import state_hash
from syncbridge.errors import SyncBridgeError
from tests.nemesis.history import Operation
from tests.nemesis.stage import Person, Stage
from tests.nemesis.wire import Wire

DEVICES: Final = ("phone", "watch", "tablet", "tv", "car")
STATE: Final[dict[str, Any]] = {"settings": {"last": ""}, "totals": {"n": 0}, "marks": []}
"""A register, a counter and a list: each write sets the one and adds to the other, some add to the list."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A session as somebody holds it."""

    epoch: str
    version: int
    hash: str


@dataclass
class Traffic:
    """What is going on. ``histories`` are by session; ``wire`` is what passed over the sockets."""

    stage: Stage
    person: Person
    wire: Wire
    chance: random.Random
    sessions: list[str]
    bridges: list[Bridge]
    pause_s: float = 0.0
    rest_share: float = 0.08
    """Of what is done, the writes over REST: no device holds them afterwards."""
    histories: dict[str, list[Operation]] = field(default_factory=dict)
    replicas: dict[tuple[str, str], Session] = field(default_factory=dict)
    is_ending: bool = False
    _workers: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self) -> None:
        """Every device is in every session, and works there."""
        self.histories = {session: [] for session in self.sessions}
        for bridge in self.bridges:
            for session in self.sessions:
                joined = await bridge.join(session)
                await joined.joined()
                self.replicas[bridge.device.id, session] = joined
        spawn = asyncio.get_running_loop().create_task
        self._workers = [
            spawn(self._work(device, session, replica)) for (device, session), replica in self.replicas.items()
        ]

    async def end(self, *, deadline_s: float = 30.0) -> None:
        """Nobody begins anything more, and what was begun has its answer, or none to come."""
        self.is_ending = True
        _, late = await asyncio.wait(self._workers, timeout=deadline_s)
        for worker in late:
            worker.cancel()
        for result in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        assert not late, f"{len(late)} of {len(self._workers)} devices still wait for an answer"

    async def abandon(self) -> None:
        """Nobody waits for anything any more: what has no answer is unknown."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    @property
    def operations(self) -> int:
        return sum(len(history) for history in self.histories.values())

    @property
    def acked(self) -> int:
        """How many edits were acknowledged."""
        return sum(one.kind == "write" and one.outcome == "ok" for each in self.histories.values() for one in each)

    def holders(self, session: str) -> dict[str, Whole]:
        """The session as each device holds it."""
        found = {}
        for (device, name), replica in self.replicas.items():
            if name == session and replica.position is not None:
                position = replica.position
                found[device] = Whole(position.epoch, position.version, state_hash(replica.replica.confirmed))
        return found

    # -- one device in one session ----------------------------------------------------------------------------------

    async def _work(self, device: str, session: str, replica: Session) -> None:
        number = 0
        while not self.is_ending:
            number += 1
            what = self.chance.random()
            value = f"{device}-{number}"
            if what < 0.12:
                await self._read(device, session)
            elif what < 0.12 + self.rest_share:
                await self._write_next(device, session, value)
            else:
                await self._write(device, session, replica, value)
            if self.pause_s:
                await asyncio.sleep(self.pause_s * self.chance.random())

    def _begun(self, device: str, session: str, kind: Any, value: str = "", base: int | None = None) -> Operation:
        operation = Operation(device, kind, time.monotonic(), value, base)
        self.histories[session].append(operation)
        return operation

    async def _write(self, device: str, session: str, replica: Session, value: str) -> None:
        ops: list[dict[str, Any]] = [
            {"op": "replace", "path": "/settings/last", "value": value},
            {"op": "replace", "path": "/totals/n", "value": replica.get("/totals/n") + 1},
        ]
        if self.chance.random() < 0.1:
            ops.append({"op": "add", "path": "/marks/-", "value": {"id": value}})
        operation = self._begun(device, session, "write", value)
        mutation = await replica.patch(ops)
        try:
            acked = await mutation.acked()
        except SyncBridgeError:
            if mutation.is_settled:
                operation.failed(time.monotonic())
            return
        position = replica.position
        operation.ok(time.monotonic(), "" if position is None else position.epoch, acked.version)

    async def _read(self, device: str, session: str) -> None:
        operation = self._begun(device, session, "read")
        answer = await self._ask("GET", session)
        if answer is None or answer.status_code != 200:
            operation.failed(time.monotonic())
            return
        operation.value = answer.json()["settings"]["last"]
        operation.ok(time.monotonic(), *_place(answer))

    async def _write_next(self, device: str, session: str, value: str) -> None:
        """A write that asks to stand right after what was read: by REST, which does not ask again by itself."""
        seen = await self._ask("GET", session)
        if seen is None or seen.status_code != 200:
            return
        ops = [
            {"op": "replace", "path": "/settings/last", "value": value},
            {"op": "replace", "path": "/totals/n", "value": seen.json()["totals"]["n"] + 1},
        ]
        operation = self._begun(device, session, "write", value, _place(seen)[1])
        headers = {"If-Match": seen.headers["ETag"], "Content-Type": "application/json-patch+json"}
        answer = await self._ask("PATCH", session, content=json.dumps(ops), headers=headers)
        if answer is not None and answer.status_code == 200:
            operation.ok(time.monotonic(), *_place(answer))
        elif answer is not None and answer.status_code in (412, 429):
            operation.failed(time.monotonic())

    async def _ask(self, method: str, session: str, **what: Any) -> httpx.Response | None:
        """What one of the nodes answered; None where it did not in time."""
        try:
            return await self.person.ask(self.chance.randrange(2), method, f"/v1/sessions/{session}/state", **what)
        except httpx.TransportError:
            return None


def _place(answer: httpx.Response) -> tuple[str, int]:
    epoch, _, version = answer.headers["ETag"].strip('"').rpartition(".")
    return epoch, int(version)


async def whole_at(person: Person, node: int, session: str) -> Whole | None:
    """The session as the node tells it; None where it tells nothing now."""
    try:
        answer = await person.ask(node, "GET", f"/v1/sessions/{session}/state")
    except httpx.TransportError:
        return None
    return Whole(*_place(answer), answer.headers["SyncBridge-Hash"]) if answer.status_code == 200 else None


async def open_traffic(
    stage: Stage,
    stack: AsyncExitStack,
    *,
    name: str,
    seed: int,
    each: int = 1,
    address: Callable[[], str] | None = None,
    **wire: Any,
) -> Traffic:
    """A person with five devices, online over nodes by chance, and sessions: ``each`` on every primary of Redis."""
    chance = random.Random(seed)
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=3.0, trust_env=False, limits=limits))
    person = Person(stage, http)
    await person.register(name)
    by_primary: dict[int, list[str]] = {}
    wanted = stage.redis.primaries_count * each
    while sum(len(some[:each]) for some in by_primary.values()) < wanted:
        session = await person.make_session(STATE)
        by_primary.setdefault(stage.primary_of(session).port, []).append(session)
    sessions = [session for some in by_primary.values() for session in some[:each]]
    seen = Wire(chance, address or (lambda: stage.socket_of(chance.randrange(2))), **wire)
    bridges = []
    for device in DEVICES:
        bridge = connect(
            "",
            token=person.token,
            device=Device(device),
            dial=seen.dial_of(device),  # type: ignore[arg-type]
            # Half a minute between two attempts is right for a crowd; here it would be measured as time to agree.
            random=lambda: chance.random() * 0.02,
        )
        bridges.append(await stack.enter_async_context(bridge))
    for bridge in bridges:
        await bridge.online()
    return Traffic(stage, person, seen, chance, sessions, bridges)
