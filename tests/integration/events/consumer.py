"""A consumer as any other service's: a durable queue of its own, and every event judged by its schema."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from jsonschema import Draft202012Validator, FormatChecker
from yarl import URL

from docs.generate import cloudevents
from syncbridge.adapters.cluster.events.broker import EXCHANGE, UNROUTED
from syncbridge.runtime.ending import end_all
from syncbridge.wire.cloudevents import CONTENT_TYPE, TYPE_PREFIX

QUEUE = "everything"
DEADLINE_S = 90.0
ACKNOWLEDGED_AT_ONCE = 100

_SCHEMAS = {schema["title"]: schema for schema in cloudevents.files().values()}
_JUDGES = {name: Draft202012Validator(schema, format_checker=FormatChecker()) for name, schema in _SCHEMAS.items()}


async def forget_everything(url: str) -> None:
    """Exchanges and queues of the service and of the tests are gone."""
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        channel = await connection.channel()
        for exchange in (EXCHANGE, UNROUTED):
            await channel.exchange_delete(exchange)
        for queue in (QUEUE, UNROUTED, "tiny", "wake-devices"):
            await channel.queue_delete(queue)


async def bound(channel: AbstractChannel) -> AbstractQueue:
    """The queue of every event, bound to the service's exchange (made as the service makes it)."""
    exchange = await channel.declare_exchange(
        EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True, arguments={"alternate-exchange": UNROUTED}
    )
    queue = await channel.declare_queue(QUEUE, durable=True)
    await queue.bind(exchange, "#")
    return queue


async def keep_everything(url: str) -> None:
    """Every event from now on waits in the queue, for whoever listens later."""
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        await bound(await connection.channel())


def judge(message: AbstractIncomingMessage) -> dict[str, Any]:
    """The event; AssertionError or ValidationError where it is not what the documents say."""
    event: dict[str, Any] = json.loads(message.body)
    kind = event["type"].removeprefix(TYPE_PREFIX)
    _JUDGES[kind].validate(event)
    strangers = event["data"].keys() - _SCHEMAS[kind]["properties"]["data"]["properties"].keys()
    assert strangers == set()
    assert (message.routing_key, message.content_type, message.delivery_mode, message.message_id) == (
        kind,
        CONTENT_TYPE,
        aio_pika.DeliveryMode.PERSISTENT,
        event["id"],
    )
    return event


class Listener:
    """What came to the queue so far, in order; it connects again where the broker went away."""

    def __init__(self, url: str, *, is_judging: bool, is_calm: bool) -> None:
        self._url = url
        self._is_calm = is_calm
        self._is_judging = is_judging
        self.events: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self._came = asyncio.Event()
        self.is_listening = asyncio.Event()
        self.failure: Exception | None = None

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str, *, is_judging: bool = True, is_calm: bool = False) -> AsyncIterator[Listener]:
        """Listening to the queue of every event.

        Judging takes a millisecond an event: where it is about how many come, it is left out. Where the broker is calm,
        a hundred are acknowledged at once: each takes as long as the rest.
        """
        listener = cls(url, is_judging=is_judging, is_calm=is_calm)
        task = asyncio.ensure_future(listener._follow())
        try:
            await asyncio.wait_for(listener.is_listening.wait(), DEADLINE_S)
            yield listener
        finally:
            await end_all([task])

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
            except (aio_pika.exceptions.AMQPError, OSError, TimeoutError, RuntimeError):
                await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        connection = aio_pika.Connection(URL(self._url), heartbeat=5)
        try:
            await connection.connect(10)
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=500)
            queue = await bound(channel)
            closed = asyncio.Event()
            connection.close_callbacks.add(lambda *_: closed.set())
            await queue.consume(self._hear)
            self.is_listening.set()
            await closed.wait()
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.close(), 2)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        try:
            event = judge(message) if self._is_judging else json.loads(message.body)
            self.events.append(event)
            self.ids.add(event["id"])
        except Exception as error:  # noqa: BLE001 - told where the test waits
            self.failure = error
        if not self._is_calm:
            await message.ack()
        elif len(self.events) % ACKNOWLEDGED_AT_ONCE == 0:
            await message.ack(multiple=True)
        self._came.set()

    async def until_silence(self, condition: Callable[[], bool], *, silence_s: float) -> bool:
        """The condition holds, or nothing came for so long; says which. What is late is not lost."""
        heard = -1
        while len(self.events) > heard and not condition():
            heard = len(self.events)
            with suppress(AssertionError):
                await self.until(condition, deadline_s=silence_s)
        self.check()
        return condition()

    async def until(self, condition: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
        """The condition holds for what came; fails with what it was that came otherwise."""
        end = time.monotonic() + deadline_s
        while not condition():
            self.check()
            left = end - time.monotonic()
            assert left > 0, f"only {len(self.events)} events came: {Counter(one['type'] for one in self.events)}"
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), min(left, 1))
            except TimeoutError:
                continue
        self.check()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def kinds(self) -> list[str]:
        """The types in the order in which they came, each event once."""
        once = {one["id"]: one["type"].removeprefix(TYPE_PREFIX) for one in self.events}
        return list(once.values())

    def disorder(self) -> list[str]:
        """Where, without the repeats, a session's versions do not rise."""
        seen: set[str] = set()
        newest: dict[tuple[str, str], int] = {}
        wrong = []
        for event in self.events:
            if event["id"] in seen or "version" not in event["data"]:
                continue
            seen.add(event["id"])
            log = (event["subject"], event["data"]["epoch"])
            version = event["data"]["version"]
            is_joined = event["type"].endswith("session.updated")
            if version < newest.get(log, 0) and not is_joined:
                wrong.append(f"{event['id']} after {newest[log]}")
            if not is_joined:
                newest[log] = version
        return wrong
