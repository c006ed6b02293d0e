"""RabbitMQ as an onlooker sees it: whether it lets us in, and whether somebody takes what is told. Nothing is made."""

from __future__ import annotations

import asyncio
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelClosed
from aiormq.exceptions import ChannelNotFoundEntity
from msgspec import Struct
from yarl import URL

from syncbridge.adapters.cluster.events.broker import EXCHANGE, UNROUTED, address_of, hush_libraries, place_of
from syncbridge.adapters.cluster.events.faults import FAULTS, fault_of
from syncbridge.adapters.cluster.trust import trusting
from syncbridge.ports import CredentialSource

ANSWER_S: Final = 5.0


class InspectedBroker(Struct, frozen=True):
    """The broker; ``fault`` says why no more is known. ``unrouted`` are events that no consumer's queue asked for."""

    address: str
    fault: str = ""
    has_exchange: bool = False
    unrouted: int = 0


async def inspect_broker(
    url: str, credentials: CredentialSource | None = None, *, ca_file: str = ""
) -> InspectedBroker:
    """What the broker says now, within `ANSWER_S`. Raises CannotTrust."""
    place = URL(url)
    tls = trusting(ca_file) if place.scheme == "amqps" else None
    address = place_of(place)
    hush_libraries()
    connection = aio_pika.Connection(address_of(place, credentials), ssl_context=tls)
    try:
        async with asyncio.timeout(ANSWER_S):
            await connection.connect()
            has_exchange = await _has_exchange(connection)
            return InspectedBroker(address, has_exchange=has_exchange, unrouted=await _unrouted(connection))
    except (*FAULTS, ChannelClosed) as error:
        return InspectedBroker(address, fault_of(error)[1])
    finally:
        await connection.close()


async def _has_exchange(connection: AbstractConnection) -> bool:
    try:
        await (await connection.channel()).declare_exchange(EXCHANGE, passive=True)
    except ChannelNotFoundEntity:
        return False
    return True


async def _unrouted(connection: AbstractConnection) -> int:
    try:
        queue = await (await connection.channel()).declare_queue(UNROUTED, passive=True)
    except ChannelNotFoundEntity:
        return 0
    return queue.declaration_result.message_count or 0
