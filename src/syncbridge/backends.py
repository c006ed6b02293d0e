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
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.adapters.embedded.figures import DiskFigures, StoreFigures
from syncbridge.adapters.embedded.store import SqliteStore
from syncbridge.config import Settings
from syncbridge.ports import Alone, Clock, Mesh, StateStore, Telemetry
from syncbridge.records import Records, open_records
from syncbridge.secret_sources import Secrets, open_secrets


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
    if settings.redis_url is not None or settings.amqp_url is not None:
        raise CannotOpen("redis_url and amqp_url name servers that this build has no adapters for; unset them")
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
    records = await open_records(settings.records_url, pool_size=settings.database_pool_size)
    stack.push_async_callback(records.close)
    return Backends(
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
