"""The send side of one socket: a bounded queue, one write a turn, and the closing handshake.

::

    OPEN -- close() ----------------------> CLOSING -- the peer's close --> PARTING -- TCP ends --> GONE
     |                                         `------ close_timeout_ms --------------------------->  ^
     `-- the peer's close, or a framing fault --------------------------------> PARTING --------------'

Two marks and a wall bound what a slow device can make us hold. Above `outlet_bytes_max` the caller is told to
stop (`send` answers False) and later, below `outlet_low_bytes`, to catch up (`on_drained`). At
`outlet_bytes_hard_max` the socket is closed with 4408 and what it had not read is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from syncbridge.net.frames import PING, PONG, binary_frame, close_frame, control_frame
from syncbridge.net.handler import SocketHandler, Upgrade
from syncbridge.net.parting import part
from syncbridge.net.turn import Turn
from syncbridge.wire.close import CLOSED_BY_DEVICE, CONNECTION_LOST, REASONS, CloseCode

OPEN: Final = 0
CLOSING: Final = 1
PARTING: Final = 2
GONE: Final = 3

_logger = logging.getLogger("syncbridge.net")


class Outlet:
    """What a handler sends with. Made by the listener, one a socket; every call in the loop's thread."""

    __slots__ = (
        "_buffered_bytes",
        "_deadline",
        "_fd",
        "_handed_bytes",
        "_handler",
        "_is_in_turn",
        "_pending",
        "_pending_bytes",
        "_pong_owed",
        "_transport",
        "_turn",
        "close_code",
        "close_reason",
        "is_deaf",
        "is_over_budget",
        "phase",
        "upgrade",
    )

    def __init__(self, turn: Turn, transport: asyncio.Transport, upgrade: Upgrade, handler: SocketHandler) -> None:
        self._turn = turn
        self._transport = transport
        self._handler = handler
        self.upgrade = upgrade
        self.phase = OPEN
        self.is_over_budget = False
        self.is_deaf = False  # a framing fault: nothing more of the peer is read
        self.close_code: int | None = None
        self.close_reason = CONNECTION_LOST
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._buffered_bytes = 0  # in the transport when last looked; only ever falls between two looks
        self._handed_bytes = 0
        self._is_in_turn = False
        self._pong_owed: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        # Bytes may go straight to the socket when nothing is queued before them. Not under TLS.
        self._fd = -1 if upgrade.is_tls else transport.get_extra_info("socket").fileno()
        # One mark for both: then every queue that ever passes it is followed by `resume_writing`.
        low_bytes = turn.options.outlet_low_bytes
        transport.set_write_buffer_limits(high=low_bytes, low=low_bytes)

    # -- for the handler -----------------------------------------------------------------------------------------

    @property
    def client_address(self) -> str:
        return self.upgrade.client_address

    @property
    def user_agent(self) -> str:
        return self.upgrade.user_agent

    @property
    def subprotocol(self) -> str | None:
        return self.upgrade.subprotocol

    @property
    def is_tls(self) -> bool:
        return self.upgrade.is_tls

    @property
    def queued_bytes(self) -> int:
        """What the device has not taken: queued here and in the transport. The kernel's own buffer is not in it."""
        return self._pending_bytes + (0 if self.phase == GONE else self._transport.get_write_buffer_size())

    def send(self, payload: bytes) -> bool:
        """One text message leaves with this turn of the loop; False when the caller must stop and catch up later.

        On False the message is still sent while the socket is open, so that an answer is not lost with the
        entries; after a close it is dropped. `payload` is kept, not copied.
        """
        if self.phase:
            return False
        turn = self._turn
        frame = turn.frame_of(payload)
        if not self._is_in_turn:
            self._is_in_turn = True
            turn.add(self)
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        if self._pending_bytes + self._buffered_bytes > turn.options.outlet_bytes_max:
            self._judge_budget()
        return not self.is_over_budget

    def send_binary(self, payload: bytes) -> bool:
        """As `send`, for a binary message; for the few addresses that speak any."""
        if self.phase:
            return False
        self._queue(binary_frame(payload))
        if self._pending_bytes + self._buffered_bytes > self._turn.options.outlet_bytes_max:
            self._judge_budget()
        return not self.is_over_budget

    def close(self, code: int, reason: str = "") -> None:
        """The closing handshake has begun: what was sent goes first, then `code`; aborted after a bounded time.

        `reason` is a sentence of ours, at most 123 bytes; the code's own when empty. Nothing happens when the
        socket is closing already.
        """
        if self.phase:
            return
        self._say_close(CLOSING, code, reason or REASONS.get(code, ""), close_frame(code, reason))
        self._deadline = self._turn.loop.call_later(self._turn.options.close_timeout_ms / 1000, self.abort)

    def abort(self) -> None:
        """The connection is gone at once; what was not sent is dropped. `on_close` follows."""
        if self.phase != GONE:
            self.phase = PARTING
            self._drop()
            self._transport.abort()

    # -- for the listener ----------------------------------------------------------------------------------------

    def fail(self, code: CloseCode) -> None:
        """A framing fault is answered with `code`; nothing more of the peer is read."""
        self.is_deaf = True
        if self.phase == OPEN:
            self._say_close(PARTING, code, REASONS[code], close_frame(code))
        self._part()

    def answer_close(self, code: int | None, answer: int | None) -> None:
        """The peer closed, with `code`; it is answered unless it was itself the answer to our close."""
        if self.phase == OPEN:
            self._say_close(PARTING, code, CLOSED_BY_DEVICE, close_frame(answer))
        self._part()

    def pong(self, payload: bytes) -> None:
        """A ping is answered now, or the newest one when the queue drains: RFC 6455 section 5.5.3 allows it.

        A device that pings and never reads must not make anything grow.
        """
        if self.is_over_budget or self._pending_bytes + self._buffered_bytes > self._turn.options.outlet_low_bytes:
            self._pong_owed = payload
            self._join_turn()
        else:
            self._queue(control_frame(PONG, payload))

    def ping(self) -> None:
        """An empty ping leaves with this turn, unless unread bytes already wait: they ask the same question."""
        if self.phase == OPEN and not self.queued_bytes:
            self._queue(control_frame(PING))

    def taken_bytes(self) -> int | None:
        """How much the kernel has taken since the socket opened; None when nothing waits to be taken."""
        buffered = self._transport.get_write_buffer_size()
        return self._handed_bytes - buffered if buffered else None

    def on_writable(self) -> None:
        """The transport's queue fell to the low-water mark; what that means is seen to when the turn ends."""
        self._join_turn()

    def end_turn(self) -> None:
        """Everything queued is handed to the kernel or the transport, in one write; the budget is looked at."""
        self._is_in_turn = False
        if self._pending:
            self._flush()
        if (self.is_over_budget or self._pong_owed is not None) and self.phase == OPEN:
            self._notice_drain()

    def on_gone(self) -> None:
        """The connection has ended; the handler is told, once."""
        self.phase = GONE
        self._drop()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._handler.on_close(self.close_code, self.close_reason)

    # -- inside --------------------------------------------------------------------------------------------------

    def _join_turn(self) -> None:
        if not self._is_in_turn:
            self._is_in_turn = True
            self._turn.add(self)

    def _queue(self, frame: bytes) -> None:
        self._join_turn()
        self._pending.append(frame)
        self._pending_bytes += len(frame)

    def _flush(self) -> None:
        pending = self._pending
        frames = pending[0] if len(pending) == 1 else b"".join(pending)
        pending.clear()
        self._pending_bytes = 0
        self._handed_bytes += len(frames)
        transport = self._transport
        if self._fd >= 0 and not transport.get_write_buffer_size():
            # The transport's own write costs 0.7 microseconds more. The descriptor is ours until `on_gone`: the
            # loop closes it after `connection_lost`, never before.
            try:
                sent = os.write(self._fd, frames)
            except OSError:
                sent = 0  # full or broken; the transport's own write finds out which
            if sent == len(frames):
                self._buffered_bytes = 0
                return
            frames = frames[sent:]
        if transport.is_closing():
            return
        transport.write(frames)
        self._buffered_bytes = transport.get_write_buffer_size()

    def _judge_budget(self) -> None:
        self._buffered_bytes = self._transport.get_write_buffer_size()
        queued = self._pending_bytes + self._buffered_bytes
        if queued > self._turn.options.outlet_bytes_hard_max:
            self._drop()
            self.close(CloseCode.TOO_SLOW)
        if queued > self._turn.options.outlet_bytes_max:
            self.is_over_budget = True

    def _notice_drain(self) -> None:
        self._buffered_bytes = self._transport.get_write_buffer_size()
        if self._pending_bytes + self._buffered_bytes > self._turn.options.outlet_low_bytes:
            return
        if self._pong_owed is not None:
            payload, self._pong_owed = self._pong_owed, None
            self._queue(control_frame(PONG, payload))
        if self.is_over_budget:
            self.is_over_budget = False
            try:
                self._handler.on_drained()
            except Exception:
                _logger.exception("a socket handler failed in on_drained")
                self.close(CloseCode.INTERNAL_ERROR)

    def _say_close(self, phase: int, code: int | None, reason: str, frame: bytes) -> None:
        self.phase = phase
        self.close_code = code
        self.close_reason = reason
        self._pong_owed = None
        self._pending.append(frame)
        self._flush()

    def _part(self) -> None:
        if self.phase == GONE:
            return
        self.phase = PARTING
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = part(self._transport, self._turn.loop, self._turn.options.close_timeout_ms)

    def _drop(self) -> None:
        self._pending.clear()
        self._pending_bytes = 0
        self._pong_owed = None
