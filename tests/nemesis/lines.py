"""Bad lines: between devices and nodes, broken in the middle of a message again and again; to Redis, slow."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from tests.nemesis.faults import NOTHING, Fault
from tests.nemesis.relay import Relay
from tests.nemesis.rounds import Report, run_round
from tests.nemesis.stage import NODE_HOST, Stage

BREAK_BYTES_MAX: Final = 6_144
"""A line takes any number of bytes up to this from its node: some joins come whole, some do not."""
RELAY_HOST: Final = "127.0.0.2"
"""Where relays to Redis speak from, so that their own way is not led back to them."""


@asynccontextmanager
async def relays_before(stage: Stage, seed: int) -> AsyncIterator[list[Relay]]:
    """A relay before each node; nothing is wrong with them yet."""
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Relay(node.port, chance)) for node in stage.nodes]


def any_of(relays: list[Relay], chance: random.Random) -> str:
    """Where a device connects next: to either node."""
    return f"ws://{NODE_HOST}:{chance.choice(relays).port}/v1/ws"


async def break_lines(stage: Stage, *, seed: int, breaks: int, deadline_s: float = 60.0) -> tuple[Report, int]:
    """A round in which so many lines broke at least, each at a byte of its own; and how many did.

    A device whose line broke goes on over either node.
    """
    await stage.calm()
    async with relays_before(stage, seed) as relays:
        chance = random.Random(seed + 1)

        def may_break(bytes_max: int) -> None:
            for relay in relays:
                relay.cut_bytes_max = bytes_max

        def broken() -> int:
            return sum(relay.cuts for relay in relays)

        may_break(BREAK_BYTES_MAX)
        report = await run_round(
            stage,
            NOTHING,
            seed=seed,
            hop_share=0.0,
            address=lambda: any_of(relays, chance),
            goes_on=lambda: broken() < breaks,
            goes_on_s=deadline_s,
            before_end=lambda: may_break(0),
        )
    return report, broken()


def resumed(report: Report) -> int:
    """How often a device was brought up to date after a break: by what it lacked or, where less, the state."""
    return report.joins.get("resumed", 0) + report.joins.get("smaller", 0)


@contextmanager
def beside(relays: list[Relay]) -> Iterator[None]:
    """The relays work in a thread of their own: whoever asks Redis here, and waits, goes through them, too."""
    started: Future[Callable[[], object]] = Future()

    async def work() -> None:
        over = asyncio.Event()
        end = partial(asyncio.get_running_loop().call_soon_threadsafe, over.set)
        async with AsyncExitStack() as stack:
            for relay in relays:
                await stack.enter_async_context(relay)
            started.set_result(end)
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    end = started.result(timeout=10)
    try:
        yield
    finally:
        end()
        thread.join()


async def slow_down_redis(stage: Stage, *, seed: int, delay_s: float, holds_s: float) -> Report:
    """A round in which every byte between the nodes and Redis is under way for so long, each way, for a while."""
    await stage.calm()
    servers = stage.redis.nodes
    relays = [Relay(one.port, random.Random(seed), host=one.host, source=RELAY_HOST) for one in servers]

    def delay(by_s: float) -> None:
        for relay in relays:
            relay.delay_s = by_s

    with beside(relays):
        ways = [(relay.host, relay.target, relay.port) for relay in relays]
        with stage.network.detour(NODE_HOST, ways):
            stage.start_nodes()  # whose connections all go the new way
            fault = Fault(
                f"{delay_s * 2_000:.0f} ms to Redis and back",
                lambda *_: delay(delay_s),
                holds_s,
                lambda *_: delay(0.0),
            )
            return await run_round(stage, fault, seed=seed)


async def compete(stage: Stage, *, seed: int, acked_min: int, deadline_s: float = 600.0) -> Report:
    """A round without a fault in which five devices write one register and one counter as fast as they are answered."""
    fault = replace(NOTHING, name="everybody at once")
    return await run_round(stage, fault, seed=seed, pause_s=0.0, acked_min=acked_min, goes_on_s=deadline_s)
