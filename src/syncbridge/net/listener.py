"""The receive side of one socket: picows' frames in, whole valid messages out.

picows is a frame layer. It refuses what a single frame can be wrong by (opcode, mask, length, a fragmented
control frame) and hands the rest on: reserved bits, continuations of nothing, messages within messages, text that
is not UTF-8, pings without bound. Those are this file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from syncbridge.net.fragments import Fragments
from syncbridge.net.handler import BinaryHandler, SocketHandler
from syncbridge.net.outlet import CLOSING, Outlet
from syncbridge.net.turn import Turn
from syncbridge.wire.close import CloseCode, read_close

_TEXT: Final = WSMsgType.TEXT
_CONTINUATION: Final = WSMsgType.CONTINUATION
_BINARY: Final = WSMsgType.BINARY
_CLOSE: Final = WSMsgType.CLOSE
_PING: Final = WSMsgType.PING

_logger = logging.getLogger("syncbridge.net")


class Listener(WSListener):
    """Calls a `SocketHandler` for one socket.

    Invariants  `on_open` once, `on_close` once after it; between them only whole messages, and none once the
                socket is closing.
    Danger      a `WSFrame` is a view of picows' read buffer: its payload is copied here and nothing else is kept.
    """

    __slots__ = ("_control_count", "_control_since", "_fragments", "_handler", "_on_binary", "_outlet", "_turn")

    def __init__(self, turn: Turn, handler: SocketHandler, outlet: Outlet) -> None:
        self._turn = turn
        self._handler = handler
        self._on_binary = handler.on_binary if isinstance(handler, BinaryHandler) else None
        self._outlet = outlet
        self._fragments: Fragments | None = None
        self._control_since = 0.0
        self._control_count = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        try:
            self._handler.on_open(self._outlet)
        except Exception:
            _logger.exception("a socket handler failed in on_open")
            self._outlet.close(CloseCode.INTERNAL_ERROR)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._outlet.phase:
            # Our close is on its way: of what still comes only the peer's own close matters.
            if kind is _CLOSE and self._outlet.phase == CLOSING:
                self._take_close(frame)
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._outlet.fail(CloseCode.PROTOCOL_ERROR)
        elif kind is _TEXT and frame.fin and self._fragments is None:
            text = frame.get_payload_as_bytes()
            if text.isascii() or _is_utf8(text):
                self._hand_on(self._handler.on_text, text)
            else:
                self._outlet.fail(CloseCode.INVALID_TEXT)
        elif kind is _TEXT or kind is _CONTINUATION:
            self._take_fragment(frame, kind)
        elif kind is _BINARY:
            if self._on_binary is None and self._fragments is None:
                self._outlet.fail(CloseCode.UNSUPPORTED_DATA)
            else:
                self._take_fragment(frame, kind)  # a whole message is a first fragment and the last one
        elif kind is _CLOSE:
            self._take_close(frame)
        else:
            self._take_control(frame, is_ping=kind is _PING)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._fragments = None
        try:
            self._outlet.on_gone()
        except Exception:
            _logger.exception("a socket handler failed in on_close")

    def pause_writing(self) -> None:
        """Nothing to do: the outlet counts what waits. Without this method picows logs a warning each time."""

    def resume_writing(self) -> None:
        self._outlet.on_writable()

    def _take_fragment(self, frame: WSFrame, kind: WSMsgType) -> None:
        fragments = self._fragments
        if (kind is _CONTINUATION) is (fragments is None):
            # A new message inside another, or a continuation of nothing.
            self._outlet.fail(CloseCode.PROTOCOL_ERROR)
            return
        if fragments is None:
            fragments = self._fragments = Fragments(is_text=kind is _TEXT)
        options = self._turn.options
        fault = fragments.add(
            frame.get_payload_as_bytes(),
            bool(frame.fin),
            bytes_max=options.message_bytes_max,
            fragments_max=options.fragments_max,
        )
        if fault is not None:
            self._fragments = None
            self._outlet.fail(fault)
        elif frame.fin:
            self._fragments = None
            on_message = self._handler.on_text if fragments.is_text else self._on_binary
            assert on_message is not None
            self._hand_on(on_message, fragments.message())

    def _take_control(self, frame: WSFrame, *, is_ping: bool) -> None:
        now = self._turn.loop.time()
        if now - self._control_since >= 1.0:
            self._control_since = now
            self._control_count = 0
        self._control_count += 1
        if self._control_count > self._turn.options.control_frames_per_second_max:
            self._outlet.fail(CloseCode.RATE_LIMITED)
            return
        if is_ping:
            self._outlet.pong(frame.get_payload_as_bytes())
        try:
            self._handler.on_heard()
        except Exception:
            _logger.exception("a socket handler failed in on_heard")
            self._outlet.close(CloseCode.INTERNAL_ERROR)

    def _take_close(self, frame: WSFrame) -> None:
        verdict = read_close(frame.get_payload_as_bytes())
        if verdict.answer == verdict.code:
            self._outlet.answer_close(verdict.code, verdict.answer)
        else:
            self._outlet.fail(CloseCode.PROTOCOL_ERROR if verdict.answer is None else CloseCode(verdict.answer))

    def _hand_on(self, on_message: Callable[[bytes], None], message: bytes) -> None:
        try:
            on_message(message)
        except Exception:
            _logger.exception("a socket handler failed with a message")
            self._outlet.close(CloseCode.INTERNAL_ERROR)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
