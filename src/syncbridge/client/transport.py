"""The seam to the network: what a connection needs of a transport, and the one that speaks WebSocket (picows).

A test or a simulator gives its own `Dial`; nothing above this module knows of sockets.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from syncbridge.core.messages import SUBPROTOCOL
from syncbridge.errors import Unavailable

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""A `joined` with a full state and a thousand entries is far below; a server that sends more is none of ours."""


class Receiver(Protocol):
    """Who is told what the transport hears. All calls come in the loop's thread, `closed` once and last."""

    def received(self, data: bytes) -> None:
        """A whole message."""

    def heard(self) -> None:
        """Bytes came, be it a mere ping."""

    def closed(self, code: int | None) -> None:
        """The connection is gone; ``code`` is the peer's close code, None when it said none."""


class Transport(Protocol):
    """An open connection. It answers pings by itself."""

    def send(self, data: bytes) -> None:
        """The message is on its way, in order; nothing happens on a closed connection."""

    def close(self, code: int = 1000) -> None:
        """The peer is told and the connection ends; `Receiver.closed` follows even when the peer is silent."""


Dial = Callable[[str, Receiver], Awaitable[Transport]]
"""Opens a connection to a URL. Raises DependencyFault or OSError when that fails."""


def picows_dial(ssl_context: ssl.SSLContext | None = None) -> Dial:
    """A `Dial` over WebSocket; ``wss`` is checked with ``ssl_context`` or the system's certificates."""

    async def dial(url: str, receiver: Receiver) -> Transport:
        listener = _Listener(receiver)
        try:
            await ws_connect(
                lambda: listener,
                url,
                ssl_context=ssl_context,
                enable_auto_pong=False,
                max_frame_size=MESSAGE_BYTES_MAX,
                max_redirects=0,
                read_buffer_init_size=4096,
                extra_headers={"Sec-WebSocket-Protocol": SUBPROTOCOL},
                logger_name="syncbridge",
            )
        except (WSError, TimeoutError) as error:
            raise Unavailable(f"no connection to {url}: {error}") from error
        if not listener.was_connected:
            # picows tells nobody: without this the device would wait for a welcome that cannot come.
            raise Unavailable(f"no connection to {url}: it was cut before the answer to the handshake was whole")
        return listener

    return dial


class _Listener(WSListener):
    """A picows connection as a `Transport`. Frames are copied: picows' memory dies with the callback."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._socket: WSTransport | None = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._code: int | None = None

    @property
    def was_connected(self) -> bool:
        """Whether the handshake succeeded."""
        return self._socket is not None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._socket = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._receiver.heard()
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            self._parts_bytes += frame.payload_size
            if self._parts_bytes > MESSAGE_BYTES_MAX:
                self.close(1009)
            elif frame.fin:
                data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts, self._parts_bytes = [], 0
                self._receiver.received(data)
        elif kind is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            if len(payload) >= 2:
                self._code = int.from_bytes(payload[:2], "big")
            if not transport.is_close_frame_sent:
                transport.send(WSMsgType.CLOSE, payload[:2])
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._receiver.closed(self._code)

    def send(self, data: bytes) -> None:
        if self._socket is not None and not self._socket.is_disconnected:
            self._socket.send(WSMsgType.TEXT, data)

    def close(self, code: int = 1000) -> None:
        if self._socket is not None and not self._socket.is_disconnected:
            if not self._socket.is_close_frame_sent:
                self._socket.send(WSMsgType.CLOSE, code.to_bytes(2, "big"))
            # Waiting for a peer that may be dead helps nobody: what it has not read it is told at the next join.
            self._socket.disconnect(False)
