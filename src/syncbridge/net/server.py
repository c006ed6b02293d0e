"""One port for REST and WebSocket: an ASGI app served by uvicorn's HTTP protocol, and picows behind the upgrade.

::

    server = Server(app, make_handler, ServerOptions(port=0))
    await server.start()  # bound; the app's lifespan has started
    ...  # server.port
    await server.drain()  # answers finished, sockets closed with 1012, lifespan ended
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from email.utils import formatdate
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from uvicorn import Config
from uvicorn.server import ServerState

from syncbridge.net.door import Connection, Door, Newcomer
from syncbridge.net.echo import Echo, echo_options
from syncbridge.net.endpoint import Endpoint
from syncbridge.net.handler import MakeHandler
from syncbridge.net.handover import EntranceProtocol
from syncbridge.net.options import ServerOptions
from syncbridge.net.tls import Identity, TlsEntrance, load_identity
from syncbridge.net.turn import Turn

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

_DRAIN_POLL_S = 0.02
_TCP_NOTSENT_LOWAT = 25  # Linux's; Python has a name for it from 3.12 on
_CANCEL_GRACE_MS = 1_000  # for a request's task that was cancelled

_logger = logging.getLogger("syncbridge.net")


class StartFailed(Exception):
    """The app's lifespan refused to start; its own log says why."""


class Server:
    """The listening sockets, the connections behind them, and the app's lifespan.

    Takes no signal and starts no thread: whoever made it decides when to drain. Not to be started twice.
    """

    def __init__(self, app: ASGIApplication, make_handler: MakeHandler, options: ServerOptions) -> None:
        self._app = app
        self._make_handler = make_handler
        self._options = options
        self._state = ServerState()
        self._plain: asyncio.Server | None = None
        self._secure: TlsEntrance | None = None
        self._identity: Identity | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._ports: list[int] = []

    # -- what it says --------------------------------------------------------------------------------------------

    @property
    def door(self) -> Door:
        """Counts of connections, refusals and closes, for metrics; there once `start` was called."""
        return self._door

    def end_turn(self) -> None:
        """What any socket was to be sent in this turn of the loop has left; called after `start`."""
        for endpoint in self._door.endpoints.values():
            endpoint.turn.end()

    @property
    def port(self) -> int:
        """The bound port: plain, or TLS when there is only that."""
        return self._ports[0]

    @property
    def tls_port(self) -> int | None:
        """The bound TLS port, None without a certificate."""
        return self._ports[-1] if self._identity is not None else None

    @property
    def identity(self) -> Identity | None:
        """What new TLS connections are shown, None without TLS; there once `start` was called."""
        return self._identity

    # -- its life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The ports are bound and served.

        Raises  OSError when a port cannot be bound or a certificate not read; StartFailed when the app refuses.
        """
        options = self._options
        loop = asyncio.get_running_loop()
        # uvicorn types the set for its own protocols; what is asked of a member is in `Connection`.
        connections = cast("set[Connection]", self._state.connections)
        endpoints = [Endpoint(Turn(loop, options), self._make_handler)]
        if options.test_echo:
            endpoints.append(Endpoint(Turn(loop, echo_options(options)), Echo))
        self._door = Door(options, endpoints, connections)
        config = Config(
            self._app,
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,  # it prints whole query strings
            server_header=False,
            proxy_headers=bool(options.trusted_proxies),
            forwarded_allow_ips=sorted(options.trusted_proxies),
        )
        config.load()
        if options.tls is not None:
            self._identity = load_identity(options.tls)
        listening = self._bind()
        self._lifespan = config.lifespan_class(config)
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            for listener in listening:
                listener.close()
            raise StartFailed("the application's lifespan did not start")
        self._set_date()

        def make_protocol(before: Newcomer | None = None) -> EntranceProtocol:
            return EntranceProtocol(config, self._state, self._lifespan.state, loop, self._door, before)

        if self._identity is not None:
            self._secure = TlsEntrance(listening[-1], self._identity.context, self._door, make_protocol)
        if self._identity is None or options.tls_port is not None:
            self._plain = await loop.create_server(make_protocol, sock=listening[0], backlog=options.backlog)
        self._ticking = loop.create_task(self._tick())

    def stop_accepting(self) -> None:
        """Nobody new gets in: the ports are closed and upgrades on open connections are answered 503."""
        self._door.is_draining = True
        if self._plain is not None:
            self._plain.close()
        if self._secure is not None:
            self._secure.close()

    async def drain(self, grace_ms: int | None = None) -> None:
        """Everything has ended: answers under way were finished, sockets closed with 1012, the lifespan is over.

        What is still open after `grace_ms` (the option's when None) was aborted. May be called again.
        """
        if self._ticking is None:
            return
        ticking, self._ticking = self._ticking, None
        self.stop_accepting()
        for connection in tuple(self._door.connections):
            connection.shutdown()
        await self._wait_empty(self._options.shutdown_grace_ms if grace_ms is None else grace_ms)
        for connection in tuple(self._door.connections):
            connection.abort()
        for task in tuple(self._state.tasks):
            task.cancel()
        await self._wait_empty(_CANCEL_GRACE_MS)
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        if self._secure is not None:
            await self._secure.wait_closed()
        await self._lifespan.shutdown()

    async def stop(self) -> None:
        """As `drain`, without waiting for anybody."""
        await self.drain(grace_ms=0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain()

    def show(self, identity: Identity) -> None:
        """New TLS connections are shown `identity`; open ones, and handshakes under way, keep what they have."""
        self._identity = identity
        if self._secure is not None:
            self._secure.context = identity.context

    # -- inside --------------------------------------------------------------------------------------------------

    def _bind(self) -> list[socket.socket]:
        options = self._options
        listening: list[socket.socket] = []
        try:
            for port in (options.port, *((options.tls_port,) if options.tls_port is not None else ())):
                found = socket.getaddrinfo(options.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
                family, kind, protocol, _, address = found[0]
                listener = socket.socket(family, kind, protocol)
                listening.append(listener)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if options.reuse_port:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                # Every connection inherits it. Without, the kernel takes 4 MiB for a device that reads nothing, and
                # the outlet's budget is never looked at.
                listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, options.unsent_bytes_max)
                listener.bind(address)
                listener.listen(options.backlog)
                listener.setblocking(False)
                self._ports.append(listener.getsockname()[1])
        except OSError as error:
            for listener in listening:
                listener.close()
            raise type(error)(error.errno, f"cannot listen on {options.host} port {port}: {error.strerror}") from error
        return listening

    async def _wait_empty(self, grace_ms: int) -> None:
        deadline = time.monotonic() + grace_ms / 1000
        # Two sets of uvicorn's, which tell nobody when they are empty.
        while (self._state.connections or self._state.tasks) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _tick(self) -> None:
        """Once in a while: the Date header, and a look at every connection (one sweep costs less than a timer each)."""
        options = self._options
        every_s = max(0.005, min(1.0, options.ping_interval_ms / 4000))
        loop = asyncio.get_running_loop()
        while True:
            self._set_date()
            now_ms = int(loop.time() * 1000)
            for connection in tuple(self._door.connections):
                connection.beat(now_ms)
            await asyncio.sleep(every_s)

    def _set_date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
