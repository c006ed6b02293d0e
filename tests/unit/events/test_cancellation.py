"""A relay that is told once to end does, wherever that finds it."""

from __future__ import annotations

import asyncio
from typing import Final

import aio_pika
import pytest
from yarl import URL

from deploy.local.process import free_port
from syncbridge.adapters.cluster.events.broker import CLOSE_TIMEOUT_S, RabbitBroker
from syncbridge.adapters.cluster.events.relay import Relay, RelayRules
from syncbridge.runtime.ending import end_all
from tests.unit.events.stage import Figures, MemoryOutbox, SetClock

STEPS: Final = range(60)
"""Turns of the loop after which it is told to end: three attempts to connect are over by then."""
AGAIN: Final = RelayRules(poll_ms=0, retry_ms=0, retry_ms_max=0)


class Away(RabbitBroker):
    """A broker that nobody runs; says how often it was called for."""

    def __init__(self) -> None:
        super().__init__(f"amqp://guest:guest@127.0.0.1:{free_port()}/", "urn:test")
        self.calls = asyncio.Condition()
        self.called = 0

    async def connect(self) -> None:
        async with self.calls:
            self.called += 1
            self.calls.notify_all()
        await super().connect()


class Swallows(Away):
    """Takes a cancellation for its own time-out's: a planted fault."""

    async def close(self) -> None:
        connection = self._connection or aio_pika.Connection(URL("amqp://127.0.0.1/"))
        self._connection = None
        await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)


async def goes_on(broker: Away, turns: int) -> bool:
    """Whether the relay calls for its broker again, after it was told once to end."""
    relay = Relay([MemoryOutbox()], broker, SetClock(), Figures(), rules=AGAIN)
    following = asyncio.ensure_future(relay.follow())
    for _ in range(turns):
        await asyncio.sleep(0)
    before = broker.called
    following.cancel()

    async def called_again() -> None:
        async with broker.calls:
            await broker.calls.wait_for(lambda: broker.called > before + 1)

    calls = asyncio.ensure_future(called_again())
    await asyncio.wait([following, calls], return_when=asyncio.FIRST_COMPLETED)
    survived = not following.done()
    await end_all([following, calls])
    await broker.close()
    return survived


@pytest.mark.parametrize("make", [Away, Swallows], ids=["as it is", "planted: swallowed"])
async def test_a_relay_that_is_told_once_to_end_ends(make: type[Away]) -> None:
    survived = False
    for turns in STEPS:
        survived = survived or await goes_on(make(), turns)
    assert survived is (make is Swallows)
