"""What a configuration means: which adapter stands behind each port. Decided here, and nowhere else.

::

    async with AsyncExitStack() as stack:
        backends = await open_backends(settings, stack, clock=clock, telemetry=telemetry)
        backends.store, backends.mesh, backends.records  # open, and closed with the stack, in the reverse order
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from pydantic import SecretStr

from syncbridge.adapters.cluster.relay import Relay
from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.adapters.embedded.figures import DiskFigures, StoreFigures
from syncbridge.adapters.embedded.outbox import JournalOutbox
from syncbridge.adapters.embedded.store import SqliteStore
from syncbridge.config import Settings
from syncbridge.ports import Alone, Clock, Mesh, Outbox, StateStore, Telemetry
from syncbridge.records import Records, RecordsOutbox, open_records
from syncbridge.secret_sources import Secrets, open_secrets
from syncbridge.wire.cloudevents import SOURCE


@dataclass(slots=True)
class Backends:
    """Everything outside this process that a service stands on, open."""

    store: StateStore
    mesh: Mesh
    records: Records
    health: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """What readiness follows, by the name that the health page gives it."""
    figures: list[Callable[[], None]] = field(default_factory=list)
    """Called at each look at the gauges: each takes what its back end tells of itself to the telemetry."""
    secrets: Secrets = field(default_factory=Secrets)
    """What others keep for us, and is kept fresh: keys, credentials, the certificate."""
    lesser_health: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """What the health page tells and readiness does not follow: nobody's session needs it."""
    upkeep: list[Callable[[], Coroutine[None, None, None]]] = field(default_factory=list)
    """Work that goes on from when somebody is served until the drain, which cancels it."""


async def open_backends(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    clock: Clock,
    telemetry: Telemetry,
    accept_loss: bool = False,
) -> Backends:
    """The back ends that the settings name, open until the stack is left.

    Order    the store first: where it is a directory, its lock tells whether another process is at work there before
             anything else is touched. What is opened later is closed earlier.
    Raises   CannotOpen (the data directory), Unavailable (the records, or a secret that cannot be had).
    """
    if settings.redis_url is not None:
        raise CannotOpen("redis_url names a server that this build has no adapter for; unset it")
    # Opening reads and checks the journal; nothing is served yet, so it may block.
    store = SqliteStore(
        settings.data_dir,
        clock,
        _post_of(asyncio.get_running_loop()),
        limits=settings.limits,
        retention=settings.retention,
        accept_loss=accept_loss,
    )
    stack.callback(store.close)
    secrets = await open_secrets(settings, stack, clock=clock)
    records = await open_records(
        settings.records_url,
        pool_size=settings.database_pool_size,
        retention=settings.retention,
        credentials=secrets.database,
        migrates=settings.migrates_at_start,
    )
    stack.push_async_callback(records.close)
    backends = Backends(
        store,
        Alone(),
        records,
        health={"session_store": store.is_healthy},
        figures=[
            StoreFigures(store, telemetry).read,
            DiskFigures(settings.data_dir, telemetry).read,
            secrets.figures(telemetry),
        ],
        secrets=secrets,
    )
    if settings.amqp_url is not None:
        journal = JournalOutbox(store.worker, clock, ready_ms=settings.limits.handoff_ready_ms)
        await journal.open()
        relay = open_relay(settings, settings.amqp_url, records, [journal], clock, telemetry)
        stack.push_async_callback(relay.close)
        backends.lesser_health["events"] = relay.is_healthy
        backends.upkeep.append(relay.follow)
    return backends


def open_relay(
    settings: Settings,
    url: SecretStr,
    records: Records,
    of_sessions: Sequence[Outbox],
    clock: Clock,
    telemetry: Telemetry,
) -> Relay:
    """The relay of these outboxes and the records' own, to the broker at `url`; nothing is reached yet.

    Raises   CannotOpen where the broker's library is not installed: who has no broker needs none.
    """
    try:
        from syncbridge.adapters.cluster.broker import RabbitBroker
    except ModuleNotFoundError as error:
        raise CannotOpen(f"amqp_url needs the extra `cluster`: pip install 'syncbridge[cluster]' ({error})") from error
    records.outbox.keep(clock)
    of_accounts = RecordsOutbox(records.database, records.outbox, clock, node_name_of(settings))
    # Every node says the same, or a consumer could not tell a repeat from news.
    source = f"{settings.public_url.rstrip('/')}/v1" if settings.public_url else SOURCE
    broker = RabbitBroker(url.get_secret_value(), source)
    return Relay([*of_sessions, of_accounts], broker, clock, telemetry)


def node_name_of(settings: Settings) -> str:
    """The configured name of this node, else one that no other process has."""
    return settings.node_name or f"{_host_name()}-{os.getpid()}-{secrets.token_hex(3)}"


def _host_name() -> str:
    """This machine's name, as far as it may stand in a node's."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:32]


def _post_of(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    def post(call: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(call)

    return post
