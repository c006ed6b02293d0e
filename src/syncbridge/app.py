"""The composition root: settings in, a running service out. `backends` says which adapters those are.

::

    async with Service.running(settings) as service:
        ...  # service.server.port

`syncbridge.serving` runs one as a process.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import structlog

from syncbridge import __version__
from syncbridge.auth import AccountGatekeeper, Authority, Plans, open_authority
from syncbridge.auth.upkeep import keep_up
from syncbridge.backends import Backends, open_backends
from syncbridge.config import Settings
from syncbridge.core.session_types import SESSION_TYPES, SessionType
from syncbridge.gauges import Gauges
from syncbridge.http import Health, build_app
from syncbridge.lifecycle import Lifecycle
from syncbridge.net.handler import Upgrade
from syncbridge.net.options import ServerOptions, TlsFiles
from syncbridge.net.renewal import CertificateKeeper
from syncbridge.net.server import Server
from syncbridge.runtime.archiving import ARCHIVE_EVERY_MS, Archiving
from syncbridge.runtime.clock import ServerClock
from syncbridge.runtime.drain import say_goodbye, settle
from syncbridge.runtime.driver import ConnectionDriver
from syncbridge.runtime.ending import end_all
from syncbridge.runtime.engine import Engine
from syncbridge.runtime.hellos import HelloGate
from syncbridge.runtime.neighbour import EngineNeighbour
from syncbridge.runtime.repeating import repeat
from syncbridge.runtime.service import LiveSessionService
from syncbridge.runtime.timers import CallAt, Cancellable
from syncbridge.telemetry import PrometheusTelemetry
from syncbridge.telemetry.traces import Traces, open_traces

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

    from syncbridge.telemetry.traces import AsgiApp

GAUGES_EVERY_MS: Final = 1_000
CLOCK_EVERY_MS: Final = 10_000
CERTIFICATE_EVERY_MS: Final = 5_000
_log = structlog.get_logger("syncbridge")


def make_ids() -> Callable[[], str]:
    """A maker of ids that no other process makes: 96 random bits of this process, and a count."""
    prefix, count = secrets.token_hex(12), 0

    def new_id() -> str:
        nonlocal count
        count += 1
        return f"{prefix}-{count:x}"

    return new_id


def session_types_of(settings: Settings) -> dict[str, SessionType]:
    """The shipped session types and the operator's own. Raises PolicyError naming the type and what is wrong."""
    own = {name: SessionType.from_mapping(name, table) for name, table in settings.session_types.items()}
    return {**SESSION_TYPES, **own}


class Service:
    """Everything of one process, started. Made by `running`; ended by `drain`, then by leaving `running`."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: ServerClock,
        telemetry: PrometheusTelemetry,
        backends: Backends,
        authority: Authority,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.clock = clock
        self.store = store = backends.store
        self.records = records = backends.records
        self.secrets = backends.secrets
        self.authority = authority
        self.telemetry = telemetry
        self.traces = _traces_of(settings)
        types = session_types_of(settings)
        # Where the live store is on this disk, it is its own archive.
        self.archiving = Archiving(records.directory, records.archive) if store.is_shared else None
        self.engine = Engine(
            limits=settings.limits,
            clock=clock,
            call_soon=loop.call_soon,
            call_at=_timers_of(loop, clock),
            store=store,
            gatekeeper=HelloGate(AccountGatekeeper(authority), settings.limits, clock, loop.call_soon),
            directory=records.directory if self.archiving is None else self.archiving,
            telemetry=self.telemetry if self.traces is None else self.traces.before(self.telemetry, clock),
            recorder=records.incidents,
            new_id=make_ids(),
            types=types,
            mesh=backends.mesh,
        )
        if backends.meet is not None:
            backends.meet(EngineNeighbour(self.engine))
        self.sessions = LiveSessionService(self.engine)
        self.lifecycle = Lifecycle(
            store,
            records,
            authority,
            self.sessions,
            clock=clock,
            telemetry=self.telemetry,
            limits=settings.limits,
            retention=settings.retention,
        )
        self.health = Health(__version__)
        for name, is_healthy in backends.health.items():
            self.health.watch(name, is_healthy)
        if self.secrets.standings:
            # What is held is used on: nobody is turned away because its keeper is away.
            self.health.watch("secrets", self.secrets.is_healthy, is_critical=False)
        self.tls_files = _tls_files(settings, self.secrets.certificate)
        for name, is_healthy in backends.lesser_health.items():
            self.health.watch(name, is_healthy, is_critical=False)
        api = build_app(
            self.sessions,
            records,
            authority,
            settings,
            lifecycle=self.lifecycle,
            telemetry=self.telemetry,
            clock=clock,
            health_report=self.health,
            session_types=types,
        )
        asgi = api if self.traces is None else self.traces.around(cast("AsgiApp", api))
        self.server = Server(
            cast("ASGIApplication", asgi), self._make_handler, _server_options(settings, self.tls_files)
        )
        self.certificate: CertificateKeeper | None = None
        self._upkeep: list[asyncio.Task[None]] = []
        self._backends_upkeep = backends.upkeep
        self._post = backends.post
        self.gauges = Gauges(self.telemetry, self.engine, records, authority, backends.figures)
        self.metrics_port: int | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: Settings, *, accept_loss: bool = False) -> AsyncIterator[Service]:
        """A service that listens; everything it wrote is on disk when the block is left.

        Raises   what `opened` raises, and OSError (the port).
        """
        async with cls.opened(settings, accept_loss=accept_loss) as service, AsyncExitStack() as stack:
            await service.lifecycle.eraser.resume()
            await stack.enter_async_context(service._publishing_metrics())
            await service.server.start()
            if service._post is not None:
                service._post.then = service.server.end_turn
            stack.push_async_callback(service.drain)
            if service.tls_files is not None:
                keeper = CertificateKeeper(service.server, service.tls_files, service.telemetry, service.clock.now_ms)
                service.certificate = keeper
            service._start_upkeep()
            yield service

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings, *, accept_loss: bool = False) -> AsyncIterator[Service]:
        """A service over its data that listens to nobody: for an operator's work while none is running.

        ``accept_loss`` opens a damaged journal with what of it can be verified (see `SqliteStore`).
        Raises   what `open_backends` raises.
        """
        clock = ServerClock()
        telemetry = PrometheusTelemetry(clock)
        async with AsyncExitStack() as stack:
            backends = await open_backends(settings, stack, clock=clock, telemetry=telemetry, accept_loss=accept_loss)
            plans = Plans(settings.plans, settings.default_plan)
            authority = await open_authority(
                backends.records,
                settings.auth,
                settings.limits,
                clock,
                plans,
                settings.issuers,
                backends.secrets.keys,
            )
            stack.callback(authority.close)
            service = cls(settings, clock=clock, telemetry=telemetry, backends=backends, authority=authority)
            if service.traces is not None:
                stack.push_async_callback(asyncio.to_thread, service.traces.close)
            yield service

    async def drain(self) -> None:
        """Nobody is connected any more, and nothing that was read is unanswered. May be called again.

        Order   not ready, nobody new; pushes read are answered; goodbyes, each with its own time to come back;
                sockets closed with 1012; requests under way finished.
        """
        self.health.drain()
        self.server.stop_accepting()
        await end_all(self._upkeep)
        self._upkeep.clear()
        is_settled = await settle(self.engine, self.settings.limits.store_timeout_ms)
        if not is_settled:
            _log.warning(
                "the store did not answer in time; devices will send again", commits=self.engine.commits_in_flight
            )
        told = await say_goodbye(self.engine)
        if told:
            _log.info("goodbye said", connections=told)
        await self.server.drain()
        self.engine.keep_heard()
        if self.archiving is not None:
            self.archiving.keep(self.engine)

    # -- inside -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _publishing_metrics(self) -> AsyncIterator[None]:
        """A port of their own has the figures, where one is set."""
        settings = self.settings
        if settings.metrics_port is None:
            yield
            return
        try:
            self.metrics_port, end = self.telemetry.publish(settings.metrics_host, settings.metrics_port)
        except OSError as error:
            place = f"{settings.metrics_host} port {settings.metrics_port}"
            raise type(error)(error.errno, f"metrics cannot listen on {place}: {error.strerror}") from error
        try:
            yield
        finally:
            await asyncio.to_thread(end)

    def _make_handler(self, upgrade: Upgrade) -> ConnectionDriver:
        return self.engine.connect(upgrade.client_address)

    def _start_upkeep(self) -> None:
        loop = asyncio.get_running_loop()
        self._upkeep = [
            loop.create_task(repeat("gauges", GAUGES_EVERY_MS, self._read_gauges, late_ms=self._lagged)),
            loop.create_task(repeat("clock", CLOCK_EVERY_MS, self.clock.follow_wall)),
            loop.create_task(keep_up(self.authority, self.telemetry)),
            loop.create_task(self.lifecycle.retention.follow()),
            loop.create_task(self.lifecycle.eraser.follow()),
        ]
        if (archiving := self.archiving) is not None:
            keep = partial(archiving.keep, self.engine)
            self._upkeep.append(loop.create_task(repeat("archive", ARCHIVE_EVERY_MS, keep)))
        self._upkeep += [loop.create_task(work()) for work in self._backends_upkeep]
        if self.certificate is not None:
            look = self.certificate.look
            self._upkeep.append(loop.create_task(repeat("certificate", CERTIFICATE_EVERY_MS, look)))

    def _read_gauges(self) -> None:
        self.gauges.read(self.server.door)

    def _lagged(self, late_ms: float) -> None:
        self.telemetry.measured("loop_lag_ms", late_ms)


def _traces_of(settings: Settings) -> Traces | None:
    """The way to the collector; None, and nothing of it imported, where there is none."""
    if not settings.otel_endpoint:
        return None
    return open_traces(
        settings.otel_endpoint,
        sample_ratio=settings.otel_sample_ratio,
        version=__version__,
        instance=secrets.token_hex(8),
    )


def _timers_of(loop: asyncio.AbstractEventLoop, clock: ServerClock) -> CallAt:
    def call_at(at_ms: int, run: Callable[[], None]) -> Cancellable:
        return loop.call_later(max(0, at_ms - clock.now_ms()) / 1000, run)

    return call_at


def _tls_files(settings: Settings, issued: Path | None) -> TlsFiles | None:
    """The operator's files, or the one that was issued to us."""
    if issued is not None:
        return TlsFiles(issued)
    return None if settings.tls_certificate is None else TlsFiles(settings.tls_certificate, settings.tls_key)


def _server_options(settings: Settings, tls: TlsFiles | None) -> ServerOptions:
    limits = settings.limits
    return ServerOptions(
        **asdict(settings.net),
        host=settings.host,
        port=settings.port,
        tls=tls,
        tls_port=settings.tls_port,
        reuse_port=settings.workers > 1,
        allowed_origins=frozenset(settings.allowed_origins),
        trusted_proxies=frozenset(settings.trusted_proxies),
        connections_max=settings.connections_max,
        test_echo=settings.test_echo,
        message_bytes_max=limits.message_bytes_max,
        ping_interval_ms=limits.heartbeat_ms,
        idle_timeout_ms=limits.idle_timeout_ms,
    )
