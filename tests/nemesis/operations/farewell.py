"""A node is told to end while pushes wait for Redis: what its devices hear of it, to the last."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import websockets

from deploy.local.node import Node
from tests.integration.service.conftest import Device
from tests.nemesis.operations.people import Person, until
from tests.nemesis.operations.stage import Stage

DRAINED_S_MAX: Final = 30.0
SPREAD_MS_MAX: Final = 20_000
DEVICES: Final = 3
PUSHES_EACH: Final = 3


@dataclass
class Farewell:
    """How a node ended. ``unanswered`` are pushes that it read, and that took effect, without a word of it."""

    code: int | None
    took_s: float
    goodbyes_ms: list[int] = field(default_factory=list)
    closed: list[int | None] = field(default_factory=list)
    answered: int = 0
    unanswered: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        wrong = []
        if self.code != 0 or self.took_s >= DRAINED_S_MAX:
            wrong.append(f"ended: with {self.code} after {self.took_s:.1f} s")
        if len(self.goodbyes_ms) != DEVICES or len(set(self.goodbyes_ms)) != DEVICES:
            wrong.append(f"goodbye: {self.goodbyes_ms} to {DEVICES} devices, each was to have a time of its own")
        if any(not 0 <= after_ms <= SPREAD_MS_MAX for after_ms in self.goodbyes_ms):
            wrong.append(f"goodbye: {self.goodbyes_ms} is out of bounds")
        if set(self.closed) != {1012}:
            wrong.append(f"closed: with {self.closed}")
        return wrong + [f"unanswered: {key} took effect" for key in self.unanswered]


async def _drained(node: Node) -> tuple[int | None, float]:
    """The exit code, and how long it took. Nobody new is sent to it meanwhile, and it says so."""
    began = time.monotonic()
    process = node.process._process
    assert process is not None
    node.process.signal(signal.SIGTERM)
    while process.poll() is None and time.monotonic() - began < 2 * DRAINED_S_MAX:
        assert not node.is_ready() or time.monotonic() - began < 1.0
        await asyncio.sleep(0.05)
    return process.poll(), time.monotonic() - began


async def _say(device: Device, session: str, name: str) -> dict[int, str]:
    """The node has read some pushes; the key that each of them adds."""
    keys = {}
    for number in range(PUSHES_EACH):
        key = f"{name}-{number}"
        keys[await device.push(session, 1, f"/{key}", 1)] = key
    await device.say(type="clock", t0=1)
    await device.hear("clock")  # it asks nobody, and comes in turn
    return keys


async def _hear_out(device: Device, keys: dict[int, str], farewell: Farewell) -> None:
    """Everything that is still said is heard; what was answered leaves ``keys``."""
    try:
        while True:
            message = json.loads(await device.socket.recv())
            if message["type"] == "goodbye":
                farewell.goodbyes_ms.append(message["reconnect_after_ms"])
            elif message["type"] in ("ack", "reject"):
                keys.pop(message["seq"])
                farewell.answered += 1
    except websockets.ConnectionClosed:
        farewell.closed.append(device.socket.close_code)


async def take_leave(stage: Stage, node: Node, other: Node, name: str, stack: AsyncExitStack) -> Farewell:
    """The node has ended: it was told to while Redis stood still, with pushes on their way there."""
    ann = await Person.new(f"{name}@example.com", other, stack)
    session = await ann.make_session(node)
    devices = [await ann.device(node, f"device-{number}", session) for number in range(DEVICES)]
    redis = stage.redis.primary_of(f"sb:{{{session}}}:head").process
    redis.freeze()
    try:
        asked = [await _say(device, session, f"{name}-{number}") for number, device in enumerate(devices)]
        ending = asyncio.get_running_loop().create_task(_drained(node))
        await until(lambda: not node.is_ready())
    finally:
        redis.thaw()
    farewell = Farewell(None, 0.0)
    await asyncio.gather(*(_hear_out(*one, farewell) for one in zip(devices, asked, strict=True)))
    farewell.code, farewell.took_s = await ending
    state = await ann.get(other, f"/v1/sessions/{session}/state")
    farewell.unanswered = [key for keys in asked for key in keys.values() if key in state]
    return farewell
