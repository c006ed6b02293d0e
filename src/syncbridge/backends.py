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

import structlog
from pydantic import SecretStr

from syncbridge.adapters.cluster.events.relay import Relay
from syncbridge.adapters.embedded.directory import CannotOpen, DataDirectory
from syncbridge.adapters.embedded.figures import DiskFigures, StoreFigures
from syncbridge.adapters.embedded.outbox import JournalOutbox
from syncbridge.adapters.embedded.store import SqliteStore
from syncbridge.config import Settings
from syncbridge.ports import Alone, Clock, CredentialSource, Mesh, Neighbour, Outbox, StateStore, Telemetry
from syncbridge.records import Records, RecordsOutbox, open_records
from syncbridge.secret_sources import Secrets, open_secrets
from syncbridge.wire.cloudevents import SOURCE

_log = structlog.get_logger("syncbridge")


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
    meet: Callable[[Neighbour], None] | None = None
    """From its call on the other nodes are heard, and told to; None where there are no others."""
    upkeep: list[Callable[[], Coroutine[None, None, None]]] = field(default_factory=list)
    """Work that goes on from when somebody is served until the drain, which cancels it."""
    post: Post | None = None
    """By which the store answers, where it does so from a thread of its own."""


async def open_backends(
    settings: Settings,
    stack: AsyncExitStack,
    *,
    clock: Clock,
    telemetry: Telemetry,
    accept_loss: bool = False,
) -> Backends:
    """The back ends that the settings name, open until the stack is left. What is opened later is closed earlier.

    Raises   CannotOpen (the data directory, Redis), Unavailable (the records, or a secret that cannot be had).
    """
    if settings.redis_url is not None:
        return await _open_shared(settings, settings.redis_url, stack, clock=clock, telemetry=telemetry)
    # The store first: its lock tells whether another process is at work there before anything else is touched.
    # Opening reads and checks the journal; nothing is served yet, so it may block.
    post = Post(asyncio.get_running_loop())
    store = SqliteStore(
        settings.data_dir,
        clock,
        post,
        limits=settings.limits,
        retention=settings.retention,
        accept_loss=accept_loss,
    )
    stack.callback(store.close)
    secrets = await open_secrets(settings, stack, clock=clock)
    records = await _open_records(settings, stack, secrets)
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
        post=post,
    )
    if settings.amqp_url is not None:
        journal = JournalOutbox(store.worker, clock, ready_ms=settings.limits.handoff_ready_ms)
        await journal.open()
        told = (settings, settings.amqp_url, records, [journal], clock, telemetry)
        _add_relay(backends, open_relay(*told, credentials=secrets.amqp), stack)
    return backends


async def _open_shared(
    settings: Settings, url: SecretStr, stack: AsyncExitStack, *, clock: Clock, telemetry: Telemetry
) -> Backends:
    """Session logs in Redis, and the other nodes heard over it."""
    try:
        from syncbridge.adapters.cluster.events.outbox import RedisOutbox
        from syncbridge.adapters.cluster.link.address import BadUrl
        from syncbridge.adapters.cluster.link.dialling import CannotConnect
        from syncbridge.adapters.cluster.link.figures import LinkFigures
        from syncbridge.adapters.cluster.link.link import RedisLink
        from syncbridge.adapters.cluster.log.store import RedisStore
        from syncbridge.adapters.cluster.mesh.mesh import RedisMesh
        from syncbridge.adapters.cluster.trust import CannotTrust
    except ModuleNotFoundError as error:
        raise CannotOpen(f"redis_url needs the extra `cluster`: pip install 'syncbridge[cluster]' ({error})") from error
    figures: list[Callable[[], None]] = []
    if not settings.has_shared_records:
        # Accounts and listings lie in this directory: a second node would have a world of its own, half of it shared.
        stack.callback(DataDirectory(settings.data_dir).close)
        figures.append(DiskFigures(settings.data_dir, telemetry).read)
        _log.warning("records are in a file of this node; it must stay the only one", data_dir=str(settings.data_dir))
    secrets = await open_secrets(settings, stack, clock=clock)
    try:
        link = await RedisLink.open(
            url.get_secret_value(),
            credentials=secrets.redis,
            acks=settings.redis_acks,
            ca_file=str(settings.redis_ca_file or ""),
        )
    except CannotTrust as error:
        raise CannotOpen(f"redis_ca_file: {error}") from error
    except (BadUrl, CannotConnect) as error:
        raise CannotOpen(f"redis_url: {error}") from error
    stack.push_async_callback(link.close)
    records = await _open_records(settings, stack, secrets)
    node = node_name_of(settings)
    outbox = None
    if settings.amqp_url is not None:
        outbox = RedisOutbox(link, node, ready_ms=settings.limits.handoff_ready_ms)
        await outbox.open()
    store = RedisStore(
        link,
        clock,
        limits=settings.limits,
        retention=settings.retention,
        archive=records.archive,
        facts=None if outbox is None else outbox.facts_of,
    )
    mesh = RedisMesh(link, node, telemetry)
    stack.push_async_callback(mesh.close)
    backends = Backends(
        store,
        mesh,
        records,
        health={"session_store": store.is_healthy},
        figures=[*figures, LinkFigures(link, telemetry).read, secrets.figures(telemetry)],
        secrets=secrets,
        meet=mesh.start,
    )
    if settings.amqp_url is not None and outbox is not None:
        told = (settings, settings.amqp_url, records, [outbox], clock, telemetry)
        _add_relay(backends, open_relay(*told, credentials=secrets.amqp, node=node), stack)
    return backends


async def _open_records(settings: Settings, stack: AsyncExitStack, secrets: Secrets) -> Records:
    records = await open_records(
        settings.records_url,
        pool_size=settings.database_pool_size,
        retention=settings.retention,
        credentials=secrets.database,
        migrates=settings.migrates_at_start,
    )
    stack.push_async_callback(records.close)
    return records


def _add_relay(backends: Backends, relay: Relay, stack: AsyncExitStack) -> None:
    stack.push_async_callback(relay.close)
    backends.lesser_health["events"] = relay.is_healthy
    backends.upkeep.append(relay.follow)


def open_relay(
    settings: Settings,
    url: SecretStr,
    records: Records,
    of_sessions: Sequence[Outbox],
    clock: Clock,
    telemetry: Telemetry,
    *,
    credentials: CredentialSource | None,
    node: str = "",
) -> Relay:
    """The relay of these outboxes and the records' own, to the broker at `url`; nothing is reached yet.

    Raises   CannotOpen where the broker's library is not installed (who has no broker needs none), or amqp_ca_file is
             no file of certificates.
    """
    try:
        from syncbridge.adapters.cluster.events.broker import RabbitBroker
        from syncbridge.adapters.cluster.trust import CannotTrust
    except ModuleNotFoundError as error:
        raise CannotOpen(f"amqp_url needs the extra `cluster`: pip install 'syncbridge[cluster]' ({error})") from error
    records.outbox.keep(clock)
    of_accounts = RecordsOutbox(records.database, records.outbox, clock, node or node_name_of(settings))
    # Every node says the same, or a consumer could not tell a repeat from news.
    source = f"{settings.public_url.rstrip('/')}/v1" if settings.public_url else SOURCE
    authorities = str(settings.amqp_ca_file or "")
    try:
        broker = RabbitBroker(url.get_secret_value(), source, credentials=credentials, ca_file=authorities)
    except CannotTrust as error:
        raise CannotOpen(f"amqp_ca_file: {error}") from error
    return Relay([*of_sessions, of_accounts], broker, clock, telemetry)


def node_name_of(settings: Settings) -> str:
    """The configured name of this node, else one that no other process has."""
    return settings.node_name or f"{_host_name()}-{os.getpid()}-{secrets.token_hex(3)}"


def _host_name() -> str:
    """This machine's name, as far as it may stand in a node's."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:32]


class Post:
    """From another thread: a call is made in the loop's, and ``then`` right after it.

    The loop takes such calls between two looks at all its sockets. What one of them had sent would wait for the next
    look, and for everything that comes in with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.then: Callable[[], None] = _nothing
        self._loop = loop

    def __call__(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(self._make, call)

    def _make(self, call: Callable[[], None]) -> None:
        try:
            call()
        finally:
            self.then()


def _nothing() -> None:
    """Nobody is served yet."""
