"""RabbitMQ as an `EventBroker`: a durable topic exchange, persistent messages, and nothing believed but a confirm.

One connection and one channel, opened anew after whatever went wrong with them: the library's robust connection
repeats no publication that failed, and the outbox does. What no queue asks for goes by the exchange's alternate to
`harmonyflow.unrouted`, a bounded queue: a consumer that comes late finds there what it missed, and no event waits for
a consumer that never comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Final

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, ChannelPreconditionFailed
from yarl import URL

from syncbridge.adapters.cluster.events.faults import FAULTS, fault_of
from syncbridge.adapters.cluster.events.publisher import Publisher
from syncbridge.adapters.cluster.trust import trusting
from syncbridge.core.facts import Fact
from syncbridge.ports import Credentials, CredentialSource, NotTold
from syncbridge.wire.cloudevents import encode_cloudevent

EXCHANGE: Final = "harmonyflow.events"
UNROUTED: Final = "harmonyflow.unrouted"
"""The alternate exchange, and the queue bound to it."""

UNROUTED_MESSAGES_MAX: Final = 100_000
"""About 50 MB on the broker's disk; past it the oldest goes."""
UNROUTED_TTL_MS: Final = 7 * 86_400_000
"""As long as a live session is kept."""

PUBLISH_TIMEOUT_S: Final = 10.0
"""A broker flushes to disk within a fraction of that; one that is frozen or blocked is found out so."""
CONNECT_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
HEARTBEAT_S: Final = 10
"""So long a cut link goes unnoticed while nothing is told."""


class RabbitBroker:
    """The broker at `url`; ``source`` is what every event says it comes from.

    ``credentials`` go before those in the URL, and are asked for at each connection: one that is open outlives a
    rotation, for the broker asks for a password once. ``ca_file`` names the authorities that are trusted over TLS (else
    the system's).
    """

    def __init__(
        self,
        url: str,
        source: str,
        *,
        credentials: CredentialSource | None = None,
        ca_file: str = "",
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        """Raises CannotTrust."""
        self._url = URL(url)
        self._tls = trusting(ca_file) if self._url.scheme == "amqps" else None
        self._credentials = credentials
        self._source = source
        self._publish_timeout_s = publish_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._connection: AbstractConnection | None = None
        self._publisher: Publisher | None = None
        self._has_unrouted = False
        hush_libraries()

    def is_connected(self) -> bool:
        return self._publisher is not None and self._publisher.is_open

    async def connect(self) -> None:
        await self.close()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                # Ours before it is open: one that does not get so far must be closed, too.
                self._connection = aio_pika.Connection(
                    address_of(self._url, self._credentials), ssl_context=self._tls, heartbeat=HEARTBEAT_S
                )
                # Without its own time-out, which is `asyncio.wait_for` again.
                await self._connection.connect()
                self._publisher = await self._publishing(self._connection)
        except FAULTS as error:
            await self.close()
            reason, detail = fault_of(error)
            raise NotTold(reason, f"{place_of(self._url)}: {detail}") from error

    async def _publishing(self, connection: AbstractConnection) -> Publisher:
        """A publisher over a channel of its own, whose exchange is there."""
        channel = await (await self._declared(connection)).get_underlay_channel()
        if not isinstance(channel, aiormq.Channel):
            raise AMQPError(f"a channel of {type(channel).__module__}")
        encode = partial(encode_cloudevent, source=self._source)
        return Publisher(channel, channel.connection, encode, patience_s=self._publish_timeout_s)

    async def _declared(self, connection: AbstractConnection) -> AbstractChannel:
        """A channel, its exchange made where it is not there; as it is, where an operator made it otherwise."""
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        self._has_unrouted = False
        try:
            alternate = await channel.declare_exchange(UNROUTED, aio_pika.ExchangeType.FANOUT, durable=True)
            queue = await channel.declare_queue(
                UNROUTED,
                durable=True,
                arguments={
                    "x-max-length": UNROUTED_MESSAGES_MAX,
                    "x-overflow": "drop-head",
                    "x-message-ttl": UNROUTED_TTL_MS,
                },
            )
            await queue.bind(alternate)
            self._has_unrouted = True
            await channel.declare_exchange(
                EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True, arguments={"alternate-exchange": UNROUTED}
            )
        except ChannelPreconditionFailed:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            await channel.declare_exchange(EXCHANGE, passive=True)
        return channel

    async def tell(self, fact: Fact) -> None:
        if self._publisher is None:
            raise NotTold("away", "not connected")
        try:
            await self._publisher.publish(EXCHANGE, fact)
        except NotTold as failure:
            if failure.reason != "returned" or not self._has_unrouted:
                raise
            # Where an operator's exchange has no alternate, ours does what it would.
            await self._publisher.publish(UNROUTED, fact)

    async def close(self) -> None:
        connection, publisher = self._connection, self._publisher
        self._connection = self._publisher = None
        if publisher is not None:
            await publisher.close()
        if connection is not None:
            # A frozen broker answers no goodbye. Not `asyncio.wait_for`: told to end in the moment in which the closing
            # ends, it swallows the cancellation (Python 3.11), and the relay goes on for ever.
            with contextlib.suppress(AMQPError, ChannelInvalidStateError, OSError, RuntimeError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.close()


def address_of(url: URL, credentials: CredentialSource | None) -> URL:
    """The URL with the credentials in force."""
    held = credentials.current() if credentials is not None else Credentials()
    if not held.password:
        return url
    return url.with_user(held.username or url.user or "guest").with_password(held.password)


def place_of(url: URL) -> str:
    """Host and port of the broker."""
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"


def hush_libraries() -> None:
    """The libraries log nothing of their own: their lines say what ours say."""
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
