"""The sample consumer against a real broker and a real push service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest

from deploy.local.rabbitmq import Rabbit
from examples.wake_device import EXCHANGE, IDS_MAX, QUEUE, ROUTING_KEY, Waker
from syncbridge.adapters.cluster.events.broker import RabbitBroker
from syncbridge.core.facts import Fact, facts_of
from syncbridge.core.ids import SessionId
from syncbridge.runtime.clock import ServerClock
from syncbridge.wire.cloudevents import as_cloudevent
from tests.conformance.logs import ACCOUNT, EPOCH, STARTED_AT
from tests.house.files import ROOT
from tests.integration.events.stage import READY_MS, offer

pytestmark = pytest.mark.serial


def offered(number: int, *, waits_ms: int = 10**12) -> Fact:
    entry = offer(number, waits_ms=waits_ms)
    [fact] = facts_of(SessionId(f"ses_{number}"), ACCOUNT, EPOCH, [entry], ready_ms=READY_MS)
    return fact


class Phone:
    """A push service that takes what it is sent; the first ``refuses`` requests get a 503."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.asked = 0
        self.woken: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/wake"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        body = json.loads(await reader.readexactly(length))
        self.asked += 1
        is_refused = self.asked <= self.refuses
        if not is_refused:
            self.woken.put_nowait(body)
        status = b"503 Unavailable" if is_refused else b"204 No Content"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def consuming(url: str, push_url: str) -> AsyncIterator[None]:
    """The example runs as anybody would run it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples/wake_device.py"),
        url,
        "--push-url",
        push_url,
        env={"PATH": os.environ["PATH"]},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def a_queue_is_there(rabbit: Rabbit) -> None:
    """The example has run before: what is told from now on waits for it."""
    connection = await aio_pika.connect(rabbit.url, timeout=10)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(EXCHANGE, ROUTING_KEY)


async def test_a_device_that_is_away_is_woken_once_however_often_the_offer_is_told(rabbit: Rabbit) -> None:
    broker, phone = RabbitBroker(rabbit.url, "urn:test"), Phone(refuses=1)
    await broker.connect()
    await a_queue_is_there(rabbit)
    async with phone.listening() as push_url, consuming(rabbit.url, push_url), asyncio.timeout(60):
        for _ in range(2):
            await broker.tell(offered(1))
        await broker.tell(offered(2, waits_ms=READY_MS))  # to a device that is connected
        await broker.tell(offered(3))
        woken = [await phone.woken.get() for _ in range(2)]
        assert sorted(one["session"] for one in woken) == ["ses_1", "ses_3"]
        assert {(one["account"], one["device"]) for one in woken} == {(ACCOUNT, "tv")}
        assert sorted(one["handoff"] for one in woken) == ["h1", "h3"]
        await broker.tell(offered(1))
        await broker.tell(offered(4))
        assert (await phone.woken.get())["session"] == "ses_4"
        assert phone.woken.empty()
    await broker.close()


async def test_an_offer_that_has_ended_and_one_that_is_known_wake_nobody() -> None:
    sent: list[dict[str, str]] = []

    async def push(wake: dict[str, str]) -> None:
        sent.append(wake)

    waker = Waker(push, now_ms=lambda: STARTED_AT + 700_000)
    assert not await waker.hear(as_cloudevent(offered(1, waits_ms=600_000), "urn:test"))
    assert await waker.hear(as_cloudevent(offered(2), "urn:test"))
    assert not await waker.hear(as_cloudevent(offered(2), "urn:test"))
    assert await waker.hear(as_cloudevent(offered(2), "urn:other"))
    assert len(sent) == 2


async def test_a_push_that_failed_is_not_taken_for_done() -> None:
    failures = [OSError("away")]

    async def push(_wake: dict[str, str]) -> None:
        if failures:
            raise failures.pop()

    waker = Waker(push, now_ms=ServerClock().now_ms)
    with pytest.raises(OSError, match="away"):
        await waker.hear(as_cloudevent(offered(1), "urn:test"))
    assert await waker.hear(as_cloudevent(offered(1), "urn:test"))


async def test_it_remembers_a_bounded_number_of_events() -> None:
    async def push(_wake: dict[str, str]) -> None:
        pass

    waker = Waker(push, now_ms=lambda: 0)
    for number in range(1, IDS_MAX + 10):
        await waker.hear(as_cloudevent(offered(number), "urn:test"))
    assert len(waker._known) == IDS_MAX
