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
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    ChannelPreconditionFailed,
    DeliveryError,
    PublishError,
)
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from syncbridge.adapters.cluster.trust import trusting
from syncbridge.core.facts import Fact
from syncbridge.ports import Credentials, CredentialSource, NotTold
from syncbridge.ports.outbox import NotToldReason
from syncbridge.wire.cloudevents import CONTENT_TYPE, TYPE_PREFIX, encode_cloudevent

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
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        for name in ("aio_pika", "aiormq"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # its lines say what ours say

    def is_connected(self) -> bool:
        return self._exchange is not None and self._channel is not None and not self._channel.is_closed

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
                self._exchange = await self._declared(self._connection)
        except ChannelAccessRefused as error:
            await self.close()
            raise NotTold("refused", "the user may not declare or use the exchange") from error
        except (AuthenticationError, ProbableAuthenticationError, InvalidFrameError) as error:
            # InvalidFrameError: the library says so when a close comes where the vhost should be opened.
            await self.close()
            raise NotTold("refused", "wrong user or password, or the vhost is not there or not the user's") from error
        except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, ValueError) as error:
            await self.close()
            # Its class, not its text: that may hold the address with the password.
            raise NotTold("away", type(error).__name__) from error

    async def _declared(self, connection: AbstractConnection) -> AbstractExchange:
        """The exchange, made where it is not there; as it is, where an operator made it otherwise."""
        channel = await self._open_channel(connection)
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
            return await channel.declare_exchange(
                EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True, arguments={"alternate-exchange": UNROUTED}
            )
        except ChannelPreconditionFailed:
            channel = await self._open_channel(connection)
            return await channel.declare_exchange(EXCHANGE, passive=True)

    async def _open_channel(self, connection: AbstractConnection) -> AbstractChannel:
        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        return self._channel

    async def tell(self, fact: Fact) -> None:
        exchange = self._exchange
        if exchange is None:
            raise NotTold("away", "not connected")
        message = aio_pika.Message(
            encode_cloudevent(fact, self._source),
            content_type=CONTENT_TYPE,
            content_encoding="utf-8",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=fact.id,
            timestamp=fact.at // 1000,
            type=TYPE_PREFIX + fact.type,
        )
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                await exchange.publish(message, fact.type, mandatory=True)
        except PublishError as error:
            raise NotTold("returned", f"no queue takes {fact.type}") from error
        except DeliveryError as error:
            raise NotTold("nacked") from error
        except TimeoutError as error:
            raise self._lost("timeout") from error
        except ChannelAccessRefused as error:
            raise self._lost("refused", "the user may not write to the exchange") from error
        except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
            raise self._lost("away", type(error).__name__) from error

    def _lost(self, reason: NotToldReason, detail: str = "") -> NotTold:
        """What was told over this channel is not known any more: it is not used again."""
        self._exchange = None
        return NotTold(reason, detail)

    async def close(self) -> None:
        connection = self._connection
        self._connection = self._channel = self._exchange = None
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
