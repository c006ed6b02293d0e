"""What the hand-over leans on in uvicorn, picows and the loop, point by point.

Neither project calls these classes public. When an update turns one of these tests red, the hand-over has to be
read again before the pin is moved; the suite in tests/wire then says whether it still works as a whole.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable

import httptools
import pytest
from picows import WSListener, WSMsgType, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # compiled, and left out of picows' own stub
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from syncbridge.net.handover import _PICOWS_LOG, EntranceProtocol, SocketProtocol, _Gate
from syncbridge.net.listener import Listener
from syncbridge.net.options import ServerOptions
from syncbridge.net.server import Server
from syncbridge.wire.handshake import canonical_request
from tests.wire.conftest import Recorder, until
from tests.wire.rawclient import ACCEPT, KEY, TEXT, RawClient, frame, head


class Callbacks:
    """The parser's callbacks that a hand-over sees."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


# -- httptools ---------------------------------------------------------------------------------------------------


def test_parser_tells_where_the_bytes_behind_an_upgrade_start() -> None:
    parser = httptools.HttpRequestParser(Callbacks())
    data = head() + b"\x81\x85tail"
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        parser.feed_data(data)
    assert data[upgrade.value.args[0] :] == b"\x81\x85tail"


def test_parser_keeps_an_exception_of_a_callback_as_the_context() -> None:
    class Failing(Callbacks):
        def on_headers_complete(self) -> None:
            raise KeyError("mine")

    with pytest.raises(httptools.HttpParserCallbackError) as error:
        httptools.HttpRequestParser(Failing()).feed_data(head())
    assert isinstance(error.value.__context__, KeyError)


# -- uvicorn -----------------------------------------------------------------------------------------------------


def test_http_protocol_has_the_members_that_the_entrance_uses() -> None:
    assert list(inspect.signature(HttpToolsProtocol.__init__).parameters) == [
        "self",
        "config",
        "server_state",
        "app_state",
        "_loop",
    ]
    for name in ("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"):
        assert callable(getattr(HttpToolsProtocol, name)), name
    for name in ("_unset_keepalive_if_required", "_should_upgrade", "shutdown", "data_received", "connection_lost"):
        assert callable(getattr(HttpToolsProtocol, name)), name
    assert vars(ServerState()).keys() >= {"connections", "tasks", "default_headers"}


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, list[Recorder]]]:
    async def app(scope: object, receive: Callable[[], object], send: Callable[[object], object]) -> None:
        raise AssertionError("nothing asks for REST here")

    recorders: list[Recorder] = []

    def make_handler(upgrade: object) -> Recorder:
        recorders.append(Recorder(upgrade))  # type: ignore[arg-type]  # an Upgrade
        return recorders[-1]

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    running = Server(app, make_handler, ServerOptions(port=0))  # type: ignore[arg-type]  # an app that is never asked
    await running.start()
    yield running, recorders
    await running.stop()


async def test_socket_takes_the_place_of_the_request_among_the_connections(
    server: tuple[Server, list[Recorder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[EntranceProtocol] = []
    original = EntranceProtocol.connection_made

    def connection_made(self: EntranceProtocol, transport: asyncio.Transport) -> None:
        made.append(self)
        original(self, transport)

    monkeypatch.setattr(EntranceProtocol, "connection_made", connection_made)
    running, recorders = server
    async with await RawClient.upgraded(running.port) as client:
        assert await client.echo("a") == "a"
        (entrance,) = made
        (connection,) = running.door.connections
        assert isinstance(connection, SocketProtocol)
        # Both timers are off: either would close a healthy socket after 5 s.
        assert entrance.timeout_keep_alive_task is None
        assert entrance._deadline is None
        assert running.door.newcomers_count == 0
        # The answer to uvicorn's word for the end is 1012.
        connection.shutdown()
        assert (await client.frame()).close_code == 1012
        client.send(frame(8, b"\x03\xf4"))
        assert await client.rest() == b""
    await until(lambda: not running.door.connections)
    assert len(recorders) == 1


async def test_transport_belongs_to_the_socket_before_the_socket_is_told(
    server: tuple[Server, list[Recorder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    original = SocketProtocol.connection_made

    class Told(SocketProtocol):
        __slots__ = ()

        def connection_made(self, transport: object) -> None:
            assert self._gate._transport.get_protocol() is self
            order.append("made")
            original(self, transport)

        def buffer_updated(self, nbytes: int) -> None:
            order.append("fed")
            super().buffer_updated(nbytes)

    monkeypatch.setattr("syncbridge.net.handover.SocketProtocol", Told)
    running, _ = server
    async with await RawClient.open(running.port) as client:
        client.send(head() + frame(TEXT, b"tail"))
        assert (await client.response()).status == 101
        assert (await client.frame()).payload == b"tail"
    assert order[:3] == ["made", "fed", "fed"]


# -- picows ------------------------------------------------------------------------------------------------------


class FakeSocket:
    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: object) -> None:
        """Taken."""

    def getsockopt(self, *_: object) -> int:
        return 0


class FakeTransport(asyncio.Transport):
    """Keeps what is written; the socket is one that a direct write would fail on."""

    def __init__(self) -> None:
        super().__init__({"socket": FakeSocket()})
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


class Keeping(WSListener):
    def __init__(self) -> None:
        self.frames: list[tuple[WSMsgType, bytes]] = []

    def on_ws_frame(self, transport: object, frame: object) -> None:
        self.frames.append((frame.msg_type, frame.get_payload_as_bytes()))  # type: ignore[attr-defined]  # a WSFrame


def parser(listener: WSListener, log: object = _PICOWS_LOG) -> tuple[object, FakeTransport, _Gate]:
    def make(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), listener)

    transport = FakeTransport()
    gate = _Gate(transport)
    protocol = WSProtocol(None, None, False, make, log, True, None, False, 0, 0, 1, False, 65536, None, 4096)
    protocol.connection_made(gate)
    return protocol, transport, gate


def feed(protocol: object, data: bytes) -> None:
    buffer = protocol.get_buffer(len(data))  # type: ignore[attr-defined]  # a WSProtocol
    buffer[: len(data)] = data
    protocol.buffer_updated(len(data))  # type: ignore[attr-defined]  # a WSProtocol


async def test_picows_takes_the_canonical_request_and_answers_101() -> None:
    protocol, transport, gate = parser(Keeping())
    feed(protocol, canonical_request(b"/v1/ws", KEY.encode()))
    assert gate.is_open
    assert transport.written[0].startswith(b"HTTP/1.1 101 ")
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode() in transport.written[0]


async def test_picows_gives_every_good_frame_before_a_faulty_one_and_names_its_fault() -> None:
    listener = Keeping()
    protocol, transport, gate = parser(listener)
    feed(protocol, canonical_request(b"/v1/ws", KEY.encode()))
    feed(protocol, frame(TEXT, b"a") + frame(TEXT, b"b") + frame(0x3))
    assert listener.frames == [(WSMsgType.TEXT, b"a"), (WSMsgType.TEXT, b"b")]
    assert gate.fault == 1002
    assert len(transport.written) == 1, "picows' own close frame must not pass the gate"


async def test_picows_refusal_never_passes_the_gate_with_its_text() -> None:
    protocol, transport, gate = parser(Keeping())
    feed(protocol, b"GET /canary HTTP/1.0\r\n\r\n")
    assert not gate.is_open
    assert b"canary" not in transport.written[0]
    assert transport.written[0].startswith(b"HTTP/1.1 500 ")


async def test_picows_is_quiet_about_peers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    protocol, _, _ = parser(Keeping())
    feed(protocol, canonical_request(b"/canary", KEY.encode()))
    feed(protocol, frame(0x3))
    protocol.connection_lost(None)  # type: ignore[attr-defined]  # a WSProtocol
    assert not caplog.records


async def test_socket_protocol_and_listener_have_no_dict() -> None:
    assert SocketProtocol.__dictoffset__ == 0
    assert Listener.__dictoffset__ == 0


# -- the loop ----------------------------------------------------------------------------------------------------


async def test_loop_keeps_the_descriptor_until_connection_lost_has_returned() -> None:
    """The outlet writes to the descriptor itself: were it closed earlier, it could be another connection's."""
    states: list[bool] = []

    class Closing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.descriptor = transport.get_extra_info("socket").fileno()
            transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            states.append(bool(os.fstat(self.descriptor)))

    listening = await asyncio.get_running_loop().create_server(Closing, "127.0.0.1", 0)
    client = await RawClient.open(listening.sockets[0].getsockname()[1])
    assert await client.rest() == b""
    await client.__aexit__()
    listening.close()
    assert states == [True]
