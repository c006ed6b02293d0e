"""What an event for other services costs who tells it, and the broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from bench.processor import family, spent_s
from deploy.local.rabbitmq import Rabbit
from syncbridge.adapters.cluster.events.broker import RabbitBroker
from syncbridge.core.facts import Change, Fact
from syncbridge.core.ids import AccountId, SessionId

IN_FLIGHT = 64
"""As many as a relay tells at once."""


class EventCost(msgspec.Struct, frozen=True):
    """An event that is confirmed by the broker, persistent, in a queue; ``*_us`` is processor time."""

    events_s: float
    node_us: float
    broker_us: float


async def event_cost(folder: Path, count: int) -> EventCost:
    """By so many changes of sessions, told as a relay tells them; nobody consumes them."""
    rabbit = Rabbit(folder)
    try:
        await asyncio.to_thread(rabbit.start)
        broker = RabbitBroker(rabbit.url, "https://sync.example.com/v1")
        await broker.connect()
        try:
            await _tell(broker, count // 10)
            server, own, begin = _spent(rabbit), time.process_time(), time.perf_counter()
            await _tell(broker, count)
            took_s, own_s, server_s = time.perf_counter() - begin, time.process_time() - own, _spent(rabbit) - server
        finally:
            await broker.close()
    finally:
        await asyncio.to_thread(rabbit.stop)
    return EventCost(count / took_s, own_s / count * 1e6, server_s / count * 1e6)


def _spent(rabbit: Rabbit) -> float:
    return spent_s(family(rabbit.process.pid))


async def _tell(broker: RabbitBroker, count: int) -> None:
    facts = (_fact(number) for number in range(count))

    async def some() -> None:
        for fact in facts:
            await broker.tell(fact)

    await asyncio.gather(*(some() for _ in range(IN_FLIGHT)))


def _fact(number: int) -> Fact:
    at = 1_790_000_000_000 + number
    session, account = SessionId(f"ses-{number % 500}"), AccountId(f"acc-{number % 500}")
    return Change(session, account, "epoch-1", number, number + 1, at, at + 900).as_fact()
