"""Wakes a device that is away when a session is offered to it.

::

    python examples/wake_device.py amqp://guest:guest@127.0.0.1:5672/ --push-url https://push.example.com/wake

Listens to `handoff.offered`, and tells a push service which device of which account to wake: a POST of JSON with
``account``, ``device``, ``session`` and ``handoff``. Without ``--push-url`` it prints that. The push carries nothing of
the session: the device connects, and is told of the offer that waits for it.

Start as many of these as you like: they share one queue. Each event is acknowledged after its push, so one that dies
loses none; an event that is told twice is known by its id. A push service that is away is asked again until the offer
has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

EXCHANGE = "harmonyflow.events"
QUEUE = "wake-devices"
ROUTING_KEY = "handoff.offered"
IDS_MAX = 10_000
PUSH_TIMEOUT_S = 5.0
RETRY_S = 1.0

Push = Callable[[dict[str, str]], Awaitable[None]]


class Waker:
    """Decides which events wake somebody, each at most once while it runs."""

    def __init__(self, push: Push, *, now_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._push = push
        self._now_ms = now_ms
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def hear(self, event: dict[str, Any]) -> bool:
        """The device is woken, where the event asks for it. Raises OSError when the push service did not take it."""
        name = (event["source"], event["id"])
        offer = event["data"]
        if name in self._known or not offer["is_away"] or offer["expires_at"] <= self._now_ms():
            return False
        await self._push(
            {
                "account": offer["account"],
                "device": offer["target"],
                "session": offer["session"],
                "handoff": offer["handoff"],
            }
        )
        self._known[name] = None
        if len(self._known) > IDS_MAX:
            self._known.popitem(last=False)
        return True


async def print_it(wake: dict[str, str]) -> None:
    """What would be sent is on standard output."""
    print(json.dumps(wake), flush=True)


def posting_to(url: str) -> Push:
    """A push service at `url` takes it."""

    def post(wake: dict[str, str]) -> None:
        request = urllib.request.Request(url, json.dumps(wake).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PUSH_TIMEOUT_S):
            pass

    async def push(wake: dict[str, str]) -> None:
        await asyncio.to_thread(post, wake)

    return push


async def consume(url: str, waker: Waker) -> None:
    """Every event is heard, until this is cancelled; the connection comes back by itself."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=16)
        exchange = await channel.get_exchange(EXCHANGE)
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(exchange, ROUTING_KEY)

        async def on_message(message: AbstractIncomingMessage) -> None:
            try:
                await waker.hear(json.loads(message.body))
            except OSError as error:
                print(f"the push service did not take it, once more soon: {error}", file=sys.stderr)
                await asyncio.sleep(RETRY_S)
                await message.nack(requeue=True)
            except (ValueError, KeyError, TypeError) as error:
                print(f"no event of ours, put away: {error!r}", file=sys.stderr)
                await message.reject(requeue=False)
            else:
                await message.ack()

        await queue.consume(on_message)
        await asyncio.Future()


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Wakes devices to which a session is offered while they are away.")
    parser.add_argument("amqp_url", help="the broker, like amqp://USER:PASSWORD@HOST:5672/VHOST")
    parser.add_argument("--push-url", help="where to POST whom to wake; without it, that is printed")
    options = parser.parse_args()
    push = print_it if options.push_url is None else posting_to(options.push_url)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(consume(options.amqp_url, Waker(push)))


if __name__ == "__main__":
    main()
