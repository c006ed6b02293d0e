"""The one place where a connection passes from uvicorn to picows.

Both sides are classes that their projects do not call public, so both are pinned to patch releases and
``tests/unit/net/test_handover_contract.py`` holds every point that is leaned on here:

1. uvicorn's HTTP protocol answers every request but those for the socket's address.
2. The bytes that came behind an upgrade's head are kept (``HttpParserUpgrade`` tells where they start) and given
   to the socket before anything else.
3. An upgrade behind an unanswered request is not taken: the late answer would land inside the stream of frames.
   The earlier answer goes out and the connection ends.
4. The transport's protocol is set first, then told `connection_made`, then fed: what picows writes while it is
   fed must find a transport that already belongs to it.
5. uvicorn's keep-alive timer and ours are off before, or they would close a healthy socket.
6. The socket stands in `server_state.connections` in place of the request, and answers `shutdown()`.
7. picows never writes to the kernel itself. It is given a `_Gate` for a transport, so that its error frames,
   whose reasons quote the peer, become our fixed sentences, and stay in order with what the outlet holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, cast

import httptools
from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # compiled, and left out of picows' own stub
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from syncbridge.net.door import Door, Newcomer
from syncbridge.net.endpoint import Endpoint
from syncbridge.net.frames import CLOSE, close_code_of
from syncbridge.net.handler import SocketHandler, Upgrade
from syncbridge.net.listener import Listener
from syncbridge.net.outlet import GONE, OPEN, Outlet
from syncbridge.net.parting import part
from syncbridge.wire.close import CloseCode
from syncbridge.wire.handshake import (
    HEAD_TOO_LARGE,
    INTERNAL,
    MALFORMED,
    ORIGIN_FORBIDDEN,
    UPGRADE_REQUIRED,
    Acceptance,
    Refusal,
    RequestHead,
    canonical_request,
    client_address,
    decide,
    printable,
)

_logger = logging.getLogger("syncbridge.net")

_FRAMING_CODES: Final = frozenset(
    {CloseCode.PROTOCOL_ERROR, CloseCode.UNSUPPORTED_DATA, CloseCode.INVALID_TEXT, CloseCode.MESSAGE_TOO_BIG}
)


class _PicowsLog:
    """The logger given to picows: silent about peers, loud about itself.

    picows makes a `logging.Logger` for each connection when it is given one (1.2 KiB), logs each connection, each
    fault of a peer, and raw handshakes at level 9. Peers' faults are counted elsewhere.
    """

    name = "syncbridge.net"

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        return False

    def exception(self, message: str, *args: object) -> None:
        _logger.error(message, *args, exc_info=True)  # noqa: LOG014  # picows calls this in its except blocks

    def _nothing(self, *args: object, **kwargs: object) -> None:
        """Dropped."""

    debug = info = warning = error = log = _nothing


_PICOWS_LOG: Final = _PicowsLog()


class _Gate:
    """The transport as picows sees it: it may answer the handshake, and say that a frame was faulty.

    Never empty (`get_write_buffer_size`), because an empty transport is what picows takes for leave to write to
    the socket behind everybody's back.
    """

    __slots__ = ("_transport", "fault", "is_open")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_open = False
        self.fault: CloseCode | None = None

    def get_write_buffer_size(self) -> int:
        return 1

    def get_extra_info(self, name: str, default: object = None) -> Any:  # Any: asyncio's own signature
        return self._transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray) -> None:
        if not self.is_open:
            self.is_open = data.startswith(b"HTTP/1.1 101 ")
            self._transport.write(data if self.is_open else INTERNAL.answer())
        elif data[0] == CLOSE:
            code = close_code_of(bytes(data))
            self.fault = CloseCode(code) if code in _FRAMING_CODES else CloseCode.PROTOCOL_ERROR

    def close(self) -> None:
        """picows hangs up 10 ms after a fault. The outlet does it: politely, and with an end."""

    def abort(self) -> None:
        self._transport.abort()


_get_buffer: Final[Callable[[WSProtocol, int], memoryview]] = WSProtocol.get_buffer
_buffer_updated: Final[Callable[[WSProtocol, int], None]] = WSProtocol.buffer_updated


class SocketProtocol(WSProtocol):  # type: ignore[misc]  # see the import
    """An upgraded connection: picows' parser, bounded, and known to the server."""

    __slots__ = (
        "_door",
        "_gate",
        "_heard_at_ms",
        "_is_heard",
        "_is_pinged",
        "_outlet",
        "_progress",
        "_progress_at_ms",
        "_read_bytes_max",
    )

    def __init__(
        self,
        door: Door,
        endpoint: Endpoint,
        transport: asyncio.Transport,
        upgrade: Upgrade,
        handler: SocketHandler,
    ) -> None:
        turn = endpoint.turn
        options = turn.options
        self._door = door
        self._gate = _Gate(transport)
        self._outlet = Outlet(turn, transport, upgrade, handler)
        self._read_bytes_max = options.read_bytes_max
        self._is_heard = True
        self._is_pinged = False
        self._heard_at_ms = 0
        self._progress: int | None = None
        self._progress_at_ms = 0
        listener = Listener(turn, handler, self._outlet)
        headers = [("Sec-WebSocket-Protocol", upgrade.subprotocol)] if upgrade.subprotocol else None

        def make_listener(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), listener)

        super().__init__(
            None,  # host_port and
            None,  # ws_path are for clients
            False,  # is_client_side
            make_listener,
            _PICOWS_LOG,
            True,  # disconnect_on_exception
            None,  # websocket_handshake_timeout: the head is whole already
            False,  # enable_auto_ping: one sweep for all sockets instead of a task for each
            0,
            0,
            1,
            False,  # enable_auto_pong: it answers without bound
            options.message_bytes_max,
            None,  # extra_headers are for clients
            options.read_buffer_bytes,
        )

    def open(self, transport: asyncio.Transport, head: bytes, tail: bytes) -> None:
        """The connection is a socket: the handshake is answered and the bytes behind it are read."""
        self._door.connections.add(self)
        self._door.sockets.add(self)
        self._door.opened_total += 1
        transport.set_protocol(self)
        self.connection_made(self._gate)
        self._feed(head)
        if not self._gate.is_open:
            _logger.error("picows did not take the canonical handshake")
            transport.abort()
        elif tail:
            self._feed(tail)

    def get_buffer(self, size_hint: int) -> memoryview:
        # picows doubles its buffer whenever a read fills it; offered in full, a flood would grow it to the size of
        # the kernel's.
        buffer = _get_buffer(self, size_hint)
        return buffer if len(buffer) <= self._read_bytes_max else buffer[: self._read_bytes_max]

    def buffer_updated(self, nbytes: int) -> None:
        if self._outlet.is_deaf:
            return  # left unparsed, and overwritten by the next read
        self._is_heard = True
        _buffer_updated(self, nbytes)
        if self._gate.fault is not None:
            # Only now: the frames before the faulty one were good and have been handed on.
            self._outlet.fail(self._gate.fault)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.connections.discard(self)
        self._door.sockets.discard(self)
        self._door.closes[self._outlet.close_code] += 1
        if self._gate.is_open:
            WSProtocol.connection_lost(self, exc)
        else:
            self._outlet.phase = GONE

    def shutdown(self) -> None:
        """uvicorn's word for: end what you do. The socket is closed with 1012, by force after a while."""
        self._outlet.close(CloseCode.SERVICE_RESTART)

    def abort(self) -> None:
        self._outlet.abort()

    def beat(self, now_ms: int) -> None:
        """A silent peer is pinged; one that neither speaks nor reads for `idle_timeout_ms` is closed with 4408."""
        outlet = self._outlet
        if outlet.phase != OPEN:
            return
        if self._is_heard:
            self._is_heard = self._is_pinged = False
            self._heard_at_ms = now_ms
        progress = outlet.taken_bytes()
        if progress is None or progress != self._progress:
            self._progress = progress
            self._progress_at_ms = now_ms
        silent_ms = now_ms - self._heard_at_ms
        if max(silent_ms, now_ms - self._progress_at_ms) >= self._door.options.idle_timeout_ms:
            outlet.close(CloseCode.TOO_SLOW)
        elif silent_ms >= self._door.options.ping_interval_ms and not self._is_pinged:
            self._is_pinged = True
            outlet.ping()

    def _feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._outlet.is_deaf:
            buffer = self.get_buffer(len(view))
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            buffer.release()
            self.buffer_updated(size)
            view = view[size:]


class _Refused(Exception):
    """Leaves the HTTP parser's callbacks with the answer to a request that is not to be parsed further."""

    def __init__(self, refusal: Refusal | None) -> None:
        super().__init__()
        self.refusal = refusal


class EntranceProtocol(HttpToolsProtocol):
    """Every connection at first: uvicorn's HTTP protocol with bounds, and a way out to the socket.

    What it adds to uvicorn's: a bound on the head's size, on the time a request takes to arrive and on the number
    of connections; a 400 that never lands inside another answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: the ASGI lifespan state, as uvicorn has it
        loop: asyncio.AbstractEventLoop,
        door: Door,
        before: Newcomer | None = None,
    ) -> None:
        """`before` holds a place at the door for this connection until it is made: its TLS handshake."""
        super().__init__(config, server_state, app_state, loop)
        self._door = door
        self._before = before
        self._deadline: asyncio.TimerHandle | None = None
        self._fed_bytes = 0  # since the request began, while its head is not complete
        self._head_bytes = 0  # of the parts of the head that are
        self._is_in_head = True
        self._is_over = False
        self._unsent_bytes = 0
        self._unsent_since_ms = 0
        self._acceptance: tuple[Endpoint, Acceptance] | None = None

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if self._before is not None:
            self._door.settle(self._before)
            self._before = None
        if self._door.has_no_room(len(self.connections)):
            self._door.refusals["connections_max"] += 1
            self.turn_away()
        else:
            self._door.admit(self)
            self._set_deadline(self._door.options.handshake_timeout_ms)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._door.settle(self)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def turn_away(self) -> None:
        self._is_over = True
        self.transport.abort()

    def abort(self) -> None:
        self.turn_away()

    def beat(self, now_ms: int) -> None:
        """An answer of which the peer takes nothing for `idle_timeout_ms` is given up, and its place with it.

        What TLS has handed down is not seen here; there uvicorn's keep-alive ends it, and a bounded shutdown.
        """
        unsent_bytes = self.transport.get_write_buffer_size()
        if not unsent_bytes or unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since_ms = unsent_bytes, now_ms
        elif now_ms - self._unsent_since_ms >= self._door.options.idle_timeout_ms:
            self._door.refusals["too_slow"] += 1
            self.turn_away()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._unset_keepalive_if_required()
        if self._is_in_head:
            self._fed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Any other upgrade was answered as an ordinary request: uvicorn speaks no other protocol.
            if self._acceptance is not None:
                self._hand_over(*self._acceptance, data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refused):
                _logger.exception("the HTTP protocol failed")
                self._refuse(INTERNAL)
            else:
                self._refuse(error.__context__.refusal)
        except httptools.HttpParserError:
            self._refuse(MALFORMED)
        else:
            if self._is_in_head and self._fed_bytes > self._door.options.head_bytes_max:
                self._refuse(HEAD_TOO_LARGE)

    # -- the parser's callbacks ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._fed_bytes = self._head_bytes = 0
        self._set_deadline(self._door.options.handshake_timeout_ms)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._door.settle(self)
        self._set_deadline(self._door.options.request_timeout_ms)
        endpoint = self._door.endpoint_for(self.url)
        if endpoint is None:
            super().on_headers_complete()
            return
        if self._unanswered() is not None:
            raise _Refused(None)
        head = RequestHead(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        verdict = decide(head, endpoint.rules)
        if isinstance(verdict, Acceptance):
            verdict = self._door.refusal() or (verdict if self.parser.should_upgrade() else UPGRADE_REQUIRED)
        if verdict is ORIGIN_FORBIDDEN:
            self._door.refuse_origin(printable(b", ".join(head.values(b"origin"))))
        if isinstance(verdict, Refusal):
            raise _Refused(verdict)
        self._acceptance = (endpoint, verdict)

    def on_body(self, body: bytes) -> None:
        if self._acceptance is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._end_deadline()
        if self._acceptance is None:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # Asked by uvicorn for requests that are not for the socket: they are answered as if they had not asked.
        return False

    def _count_head(self, size: int) -> None:
        # `data_received` sees a head grow that comes in pieces; one that comes in a single read is seen here.
        self._head_bytes += size
        if self._head_bytes > self._door.options.head_bytes_max:
            raise _Refused(HEAD_TOO_LARGE)

    def _unanswered(self) -> RequestResponseCycle | None:
        # None before the first request, whatever uvicorn's annotation says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    # -- the two ways out ----------------------------------------------------------------------------------------

    def _hand_over(self, endpoint: Endpoint, acceptance: Acceptance, tail: bytes) -> None:
        transport = self.transport
        forwarded = (value for name, value in self.headers if name == b"x-forwarded-for")
        upgrade = Upgrade(
            client_address=client_address(
                self.client[0] if self.client else "", forwarded, self._door.options.trusted_proxies
            ),
            is_tls=self.scheme == "https",
            subprotocol=acceptance.subprotocol,
            origin=acceptance.origin,
            user_agent=acceptance.user_agent,
        )
        try:
            handler = endpoint.make_handler(upgrade)
            protocol = SocketProtocol(self._door, endpoint, transport, upgrade, handler)
        except Exception:
            _logger.exception("no handler for a new socket")
            self._refuse(INTERNAL)
            return
        self._is_over = True
        self._end_deadline()
        self.connections.discard(self)
        self.parser = None  # type: ignore[assignment]  # it holds our bound methods: a cycle for each socket
        protocol.open(transport, canonical_request(endpoint.rules.path, acceptance.key), tail)

    def _refuse(self, refusal: Refusal | None) -> None:
        """The connection ends, after `refusal` where there is room for it between other answers."""
        self._is_over = True
        self._end_deadline()
        self._door.refusals["pending_response" if refusal is None else refusal.code] += 1
        cycle = self._unanswered()
        if cycle is not None:
            if not cycle.more_body:
                cycle.keep_alive = False  # that request is whole: its answer goes out, then the connection ends
                return
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        if refusal is not None:
            self.transport.write(refusal.answer())
        self._deadline = part(self.transport, self.loop, self._door.options.close_timeout_ms)

    # -- deadlines -----------------------------------------------------------------------------------------------

    def _set_deadline(self, timeout_ms: int) -> None:
        self._end_deadline()
        self._deadline = self.loop.call_later(timeout_ms / 1000, self._expire)

    def _expire(self) -> None:
        cycle = self._unanswered()
        if cycle is not None and not cycle.more_body:
            # An earlier request is still being answered and reading may be paused: not the client's slowness.
            self._set_deadline(self._door.options.handshake_timeout_ms)
        else:
            self._door.refusals["request_timeout"] += 1
            self.turn_away()

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
