"""Devices that hand a session to each other while others push, and what that takes; one node or several.

Three times are taken on the clock of the devices' process: from the request to `done` at the requester, to `done` at
the target, and until the target's `handoff.confirm` has been read by the service (it answers a `clock` sent behind it).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bench.speaking import Line, ServerProcess, encode, joined, pushes_of

PUSHERS = 8
PUSHES_PER_S = 1000


class Load:
    """Devices that push at a fixed rate, whatever comes back; each has one follower."""

    def __init__(self, pushers: list[Line], frames: list[list[bytes]], per_s: int) -> None:
        self._pushers = pushers
        self._frames = frames
        self._per_s = per_s
        self.pushed = 0

    async def run(self) -> None:
        """Pushes until cancelled; a late wake-up makes up for what it missed."""
        begin = time.perf_counter()
        while self.pushed < len(self._frames[0]) * len(self._pushers):
            due = min(int((time.perf_counter() - begin) * self._per_s), len(self._frames[0]) * len(self._pushers))
            while self.pushed < due:
                turn, place = divmod(self.pushed, len(self._pushers))
                self._pushers[place].say(self._frames[place][turn])
                self.pushed += 1
            await asyncio.sleep(0.001)


class HandoffDevice:
    """One of the two devices: it says what it is told to, and waits for what it is told to wait for."""

    def __init__(self, name: str, line: Line, session: str) -> None:
        self.name = name
        self.line = line
        self.session = session
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._seq = 0
        line.on_text = self._on_text

    def expect(self, kind: str) -> asyncio.Future[dict[str, Any]]:
        waiting = self._waiting[kind] = asyncio.get_running_loop().create_future()
        return waiting

    def say(self, kind: str, **more: object) -> None:
        self.line.say(encode({"type": kind, "session": self.session, **more}))

    def ping(self) -> None:
        self.line.say(b'{"type":"clock","t0":1}')

    def _on_text(self, text: bytes) -> None:
        kind = text[9 : text.index(b'"', 9)].decode()
        waiting = self._waiting.get(kind)
        if waiting is not None and not waiting.done():
            waiting.set_result(msgspec.json.decode(text))


async def one_handoff(source: HandoffDevice, target: HandoffDevice, mode: str) -> tuple[float, float, float]:
    """Seconds from the request to `done` at the requester, at the target, and to the confirmation having been read."""
    at_source, at_target = source.expect("handoff.done"), target.expect("handoff.done")
    requester_done = at_source if mode == "offer" else at_target
    marks: dict[str, float] = {}

    def mark(_done: asyncio.Future[dict[str, Any]]) -> None:
        marks["requester"] = time.perf_counter()

    requester_done.add_done_callback(mark)
    prepared = target.expect("handoff.prepare")
    begin = time.perf_counter()
    async with asyncio.timeout(10):
        if mode == "offer":
            source.say("handoff.offer", to=target.name)
            target.say("handoff.ready", handoff=(await prepared)["handoff"])
        else:
            target.say("handoff.take")
        done = await at_target
        target_s = time.perf_counter() - begin
        read = target.expect("clock")
        target.say("handoff.confirm", handoff=done["handoff"])
        target.ping()
        await read
        confirmed_s = time.perf_counter() - begin
        await at_source  # whoever asked: what came late would be taken for the next handoff's
        await asyncio.sleep(0)
    assert done["active"] == target.name
    return marks["requester"] - begin, target_s, confirmed_s


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


@contextmanager
def no_garbage() -> Iterator[None]:
    """This process never stands still to look for any: that would be measured as the service's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def measure_handoffs(nodes: list[ServerProcess], handoffs: int, per_s: int, seconds: int) -> dict[str, Any]:
    """Figures of so many handoffs between a device of the first node and one of the last, under so many pushes.

    The nodes are one world, of whose accounts the first node has `PUSHERS` and one more; who pushes and who follows are
    at different nodes, where there are two. ``seconds``: for how long there is something to push.
    """
    pushers, followers, frames = [], [], []
    for place, account in enumerate(nodes[0].accounts[:PUSHERS]):
        (session,) = account["sessions"]
        here, there = (nodes[(place + shift) % len(nodes)].port for shift in (0, 1))
        pushers.append(await joined(here, account["token"], "pusher", session))
        followers.append(await joined(there, account["token"], "follower", session))
        frames.append(pushes_of(session, max(1, per_s) * seconds // PUSHERS, 1, 8))
    last = nodes[0].accounts[PUSHERS]
    (session,) = last["sessions"]
    pair = [
        HandoffDevice(name, await joined(node.port, last["token"], name, session), session)
        for name, node in (("left", nodes[0]), ("right", nodes[-1]))
    ]
    await one_handoff(pair[1], pair[0], "take")
    load = Load(pushers, frames, per_s)
    times: list[tuple[float, float, float]] = []
    with no_garbage():
        pushing = asyncio.get_running_loop().create_task(load.run())
        await asyncio.sleep(0.2)
        begin = time.perf_counter()
        pushed_before = load.pushed
        for number in range(handoffs):
            source, target = pair[number % 2], pair[1 - number % 2]
            times.append(await one_handoff(source, target, "offer" if number % 4 < 2 else "take"))
            await asyncio.sleep(0.02)
        took_s = time.perf_counter() - begin
    rate = (load.pushed - pushed_before) / took_s
    pushing.cancel()
    await asyncio.gather(pushing, return_exceptions=True)
    lines = [*pushers, *followers, *(device.line for device in pair)]
    assert not any(line.is_gone for line in lines)
    for line in lines:
        line.close()
    requester, target_done, confirmed = ([one[place] * 1000 for one in times] for place in range(3))
    return {
        "handoffs": handoffs,
        "pushes_per_s": round(rate),
        "requester_done_p50_ms": round(percentile(requester, 0.5), 3),
        "requester_done_p99_ms": round(percentile(requester, 0.99), 3),
        "target_done_p99_ms": round(percentile(target_done, 0.99), 3),
        "confirmed_p50_ms": round(percentile(confirmed, 0.5), 3),
        "confirmed_p99_ms": round(percentile(confirmed, 0.99), 3),
        "confirmed_max_ms": round(max(confirmed), 3),
    }
