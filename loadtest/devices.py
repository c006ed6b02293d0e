"""One device under load: the SDK's own pure replica and clock, over a WebSocket that gevent can wait on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import gevent
from gevent.event import Event
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from syncbridge.client.clocksync import ClockSync
from syncbridge.client.pending import Acked
from syncbridge.client.replica import Replica
from syncbridge.core.entry import Intent
from syncbridge.core.ids import Op
from syncbridge.core.messages import (
    SUBPROTOCOL,
    Ack,
    AnyServerMessage,
    ClientMessage,
    ClockMessage,
    DeviceInfo,
    EntriesMessage,
    EntryMessage,
    ErrorMessage,
    HandoffConfirm,
    HandoffDone,
    HandoffTake,
    Hello,
    Joined,
    PresenceMessage,
    Reject,
    Welcome,
)
from syncbridge.core.playhead import POINTER, Anchor, of_state
from syncbridge.wire.codec_client import decode, encode

TIMEOUT_S = 10.0
CLOCK_SAMPLES = 3
_SUBPROTOCOL = Subprotocol(SUBPROTOCOL)


class DeviceFailed(Exception):
    """The device did not get what it waited for; the sentence says what."""


class LoadDevice:
    """A device of one person: it joins one session, edits, takes over, and comes back after a cut."""

    def __init__(self, url: str, token: str, session: str, name: str) -> None:
        self.name = name
        self.replica = Replica(session, name)
        self._url = url
        self._token = token
        self._clock = ClockSync(time.time() * 1000, _mono_ms())
        self._socket: ClientConnection | None = None
        self._reader: gevent.Greenlet | None = None
        self._changed = Event()
        self._welcome = False
        self._clocks = 0
        self._hello_at = 0.0
        self._done: HandoffDone | None = None
        self._fault = ""
        self.acked: dict[int, Acked] = {}
        self.refused = 0

    # -- its life -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The device follows the session and knows the server's time. Raises DeviceFailed, OSError."""
        self._welcome, self._clocks, self._fault = False, 0, ""
        self._socket = connect(self._url, subprotocols=[_SUBPROTOCOL], open_timeout=TIMEOUT_S, compression=None)
        self._reader = gevent.spawn(self._read, self._socket)
        self._hello_at = _mono_ms()
        self._say(Hello(self._token, DeviceInfo(self.name)))
        self._until(lambda: self._welcome, "welcome")
        self._say(self.replica.join())
        self._until(lambda: self.replica.is_joined, "joined")
        for _ in range(CLOCK_SAMPLES):
            known = self._clocks
            self._say(self._clock.ask(_mono_ms()))
            self._until(lambda known=known: self._clocks > known, "clock")  # type: ignore[misc]

    def cut(self) -> None:
        """The connection is gone, without a word to the service."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.close()
            socket.close_timeout = 0
        if self._reader is not None:
            self._reader.kill(block=False)
        self.replica.disconnected()

    # -- what it does -------------------------------------------------------------------------------------------

    def edit(self, ops: list[Op], intent: Intent = "edit") -> int:
        """The edit's key; its answer will be in `acked`."""
        one = self.replica.edit(ops, intent, self.now_ms())
        assert one is not None
        self._send_outgoing()
        return one.key

    def edit_acked(self, ops: list[Op], intent: Intent = "edit") -> Acked:
        """The edit is in the log. Raises DeviceFailed when it was refused, or no answer came."""
        key = self.edit(ops, intent)
        self._until(lambda: key in self.acked or self._is_gone(key), "ack")
        if key not in self.acked:
            raise DeviceFailed("the edit was refused")
        return self.acked.pop(key)

    def take(self) -> HandoffDone:
        """This device runs the session."""
        self._done = None
        self._say(HandoffTake(self.replica.session))
        self._until(lambda: self._done is not None and self._done.active == self.name, "handoff.done")
        done = self._taken()
        self._say(HandoffConfirm(self.replica.session, done.handoff))
        return done

    def now_ms(self) -> int:
        return self._clock.now_ms(_mono_ms())

    @property
    def anchor(self) -> Anchor | None:
        return of_state(self.replica.state)

    def breaths(self) -> int:
        """The counter as this device knows it to be committed."""
        count: int = self.replica.confirmed.get("totals", {}).get("breaths", 0)
        return count

    def reaches(self, version: int) -> None:
        """It has heard of entry ``version``."""
        self._until(lambda: self._version() >= version, f"entry {version}")

    def one_breath_more(self) -> list[Op]:
        count = self.replica.state.get("totals", {}).get("breaths", 0)
        return [{"op": "replace", "path": "/totals/breaths", "value": count + 1}]

    def play(self, position: float) -> Acked:
        anchor = Anchor(position, 1.0, self.now_ms())
        return self.edit_acked([{"op": "replace", "path": POINTER, "value": anchor.as_json()}], "seek")

    @property
    def last_version(self) -> int:
        """The newest entry that it has heard of."""
        return self._version()

    # -- inside -------------------------------------------------------------------------------------------------

    def _version(self) -> int:
        position = self.replica.position
        return 0 if position is None else position.version

    def _taken(self) -> HandoffDone:
        assert self._done is not None
        return self._done

    def _is_gone(self, key: int) -> bool:
        return all(one.key != key for one in self.replica.pending)

    def _say(self, message: ClientMessage) -> None:
        socket = self._socket
        if socket is None:
            raise DeviceFailed("not connected")
        try:
            socket.send(encode(message).decode())
        except ConnectionClosed as error:
            raise DeviceFailed("the connection was closed") from error

    def _send_outgoing(self) -> None:
        for push in self.replica.outgoing(self.now_ms()):
            self._say(push)

    def _read(self, socket: ClientConnection) -> None:
        try:
            for text in socket:
                message = decode(text.encode() if isinstance(text, str) else text)
                if message is not None:
                    self._heard(message)
                    self._changed.set()
        except (ConnectionClosed, OSError, DeviceFailed):
            pass
        if self._socket is socket:
            self._fault = "the connection was closed"
            self._changed.set()

    def _heard(self, message: AnyServerMessage) -> None:
        match message:
            case Welcome():
                self._clock.welcomed(message.server_time, self._hello_at, _mono_ms())
                self._welcome = True
            case ClockMessage():
                self._clock.answered(message, _mono_ms())
                self._clocks += 1
            case Joined() | EntryMessage() | EntriesMessage() | Ack() | Reject() | PresenceMessage():
                for answer in self.replica.receive(message, self.now_ms()):
                    self._say(answer)
                for outcome in self.replica.take_outcomes():
                    if isinstance(outcome.result, Acked):
                        self.acked[outcome.key] = outcome.result
                    else:
                        self.refused += 1
                self._send_outgoing()
            case HandoffDone():
                self._done = message
            case ErrorMessage():
                self._fault = f"{message.code}: {message.message}"
            case _:
                pass  # signals, offers: nobody here waits for them

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            left_s = deadline - time.monotonic()
            if self._fault or left_s <= 0:
                raise DeviceFailed(f"no {what}: {self._fault or f'nothing within {TIMEOUT_S:g} s'}")
            self._changed.clear()
            self._changed.wait(left_s)


def _mono_ms() -> float:
    return time.monotonic() * 1000
