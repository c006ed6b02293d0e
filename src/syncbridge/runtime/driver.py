"""One connection's machine between its socket and the engine."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from syncbridge.core.connection import ConnectionMachine, ConnectionState
from syncbridge.core.connection_events import (
    Admit,
    Admitted,
    Announce,
    AnyConnectionEffect,
    AnyConnectionEvent,
    CloseConnection,
    ConnectionTimer,
    CountLimit,
    Dismissed,
    MalformedReceived,
    MessageReceived,
    Opened,
    PeerClosed,
    Refused,
    Renew,
    Renewed,
    SendMessage,
    SetConnectionTimer,
    ToSession,
)
from syncbridge.core.digest import push_digest
from syncbridge.core.events import AnyEvent, MemberDrained, ReadyReceived, TakeReceived
from syncbridge.core.ids import ConnectionId, DeviceId, SessionId
from syncbridge.core.messages import ErrorMessage, HandoffOffer, HandoffTake, Push, ServerMessage
from syncbridge.errors import Forbidden, SyncBridgeError
from syncbridge.ports import Admission, Identity, Refusal
from syncbridge.runtime.outlet import Outlet
from syncbridge.runtime.pace import is_timed
from syncbridge.runtime.timers import Timers
from syncbridge.wire.close import CLOSED_BY_DEVICE, CloseCode
from syncbridge.wire.codec import encode_message

if TYPE_CHECKING:
    from syncbridge.runtime.engine import Engine

FRAMING_FAULTS: Final = {
    CloseCode.PROTOCOL_ERROR: "bad_frame",
    CloseCode.UNSUPPORTED_DATA: "bad_frame",
    CloseCode.INVALID_TEXT: "bad_frame",
    CloseCode.MESSAGE_TOO_BIG: "message_too_large",
    CloseCode.INTERNAL_ERROR: "internal",
    CloseCode.TOO_SLOW: "too_slow",
    CloseCode.RATE_LIMITED: "rate_limited",
}
"""What the socket itself closes for, below the messages, as operators count it."""

_PREPARED_MAX: Final = 64
"""Offers remembered as told, newest last: an older one would be told once more at the worst."""

_logger = logging.getLogger("syncbridge.runtime")


class ConnectionDriver:
    """A `net.handler.SocketHandler`: hands what the socket says to the machine and performs what it orders.

    Invariants   `on_open` before everything, `on_close` last; after it nothing reaches the outlet.
    Order        what the machine sends leaves in the order it was ordered, entries of its sessions included.
    """

    __slots__ = (
        "_engine",
        "_prepared",
        "client_address",
        "connection",
        "heard_at",
        "identity",
        "machine",
        "outlet",
        "timers",
    )

    def __init__(self, engine: Engine, connection: ConnectionId, client_address: str) -> None:
        self._engine = engine
        self.client_address = client_address
        self.connection = connection
        self.machine = ConnectionMachine(connection, engine.limits, engine.hub.push_buckets)
        self.outlet: Outlet | None = None
        self.timers = Timers(engine.clock, engine.call_at, self._on_timer)
        self.heard_at = 0
        self.identity: Identity | None = None  # of the token in force, by which its revocation is judged
        self._prepared: dict[SessionId, str] = {}  # the offers that it was told of, by their sessions

    def is_first_told(self, session: SessionId, handoff: str) -> bool:
        """Whether this offer was not told on this connection yet; from now on it was.

        The same one is found by a look into the store and heard of from other nodes.
        """
        if self._prepared.get(session) == handoff:
            return False
        self._prepared.pop(session, None)
        self._prepared[session] = handoff
        if len(self._prepared) > _PREPARED_MAX:
            del self._prepared[next(iter(self._prepared))]
        return True

    # -- the socket ---------------------------------------------------------------------------------------------

    def on_open(self, outlet: Outlet) -> None:
        self.outlet = outlet
        engine = self._engine
        crowded_out = engine.hub.opened(self, strangers_max=engine.limits.hello_pending_max)
        engine.telemetry.measured("connection_opened", 1)
        engine.post_connection(self, Opened())
        if crowded_out is not None:
            engine.post_connection(crowded_out, Dismissed("busy"))
        self.heard_at = engine.now_ms

    def on_text(self, frame: bytes) -> None:
        """The message in ``frame`` has had its effect, or is answered as malformed; while draining it is unread."""
        since = perf_counter()
        engine = self._engine
        if engine.is_draining:
            return  # the device was told, or is about to be; what is not acknowledged it sends again
        event: AnyConnectionEvent
        try:
            message = engine.decoder.decode(frame)
        except SyncBridgeError as fault:
            event = MalformedReceived(fault.code, fault.message)
        else:
            kind = type(message)
            if isinstance(message, Push):
                if is_timed(message.seq):
                    engine.ack_waits.heard(self.connection, message, since)
                digest = push_digest(message)
                pushed = self.machine.pushed(message, digest, engine.now_ms)
                if pushed is not None:
                    engine.post_session(SessionId(message.session), pushed)
                    self.heard_at = engine.now_ms
                    return
                event = MessageReceived(message, digest)
            elif kind is HandoffOffer or kind is HandoffTake:
                event = MessageReceived(message, 0, engine.new_id())
            else:
                event = MessageReceived(message)
        engine.post_connection(self, event)
        self.heard_at = engine.now_ms

    def on_heard(self) -> None:
        """Bytes were read that are no message (a pong): the device is alive."""
        self.heard_at = self._engine.clock.now_ms()

    def on_drained(self) -> None:
        for session in sorted(self.machine.joined):
            self._engine.post_session(session, MemberDrained(self.connection))

    def on_close(self, code: int | None, reason: str) -> None:
        self.outlet = None
        self.timers.clear()
        self._engine.hub.closed(self)
        if self.machine.account:
            self._engine.mesh.depart(self.machine.account, self.machine.device, self.connection)
        cause = "closed" if reason == CLOSED_BY_DEVICE else "lost"
        # A machine that is closed has told why already; a code that the device chose is no fault of ours or its own.
        if self.machine.state is not ConnectionState.CLOSED and reason != CLOSED_BY_DEVICE and code in FRAMING_FAULTS:
            cause = FRAMING_FAULTS[CloseCode(code)]
            self._tell_error(cause)
        self._engine.post_connection(self, PeerClosed(self.heard_at, cause))

    # -- the engine ---------------------------------------------------------------------------------------------

    def send(self, message: ServerMessage) -> bool:
        """The message is queued; False where the device has more queued than it takes (or is gone)."""
        outlet = self.outlet
        return outlet is not None and outlet.send(encode_message(message))

    def step(self, event: AnyConnectionEvent, now_ms: int) -> None:
        """The machine has judged ``event`` and its orders are performed. What is raised here is our own fault."""
        said: ServerMessage | None = None
        for effect in self.machine.receive(event, now_ms):
            if type(effect) is ToSession:
                self._to_session(effect)
            elif type(effect) is SendMessage:
                said = effect.message
                self.send(said)
            else:
                if type(effect) is CloseConnection and isinstance(said, ErrorMessage):
                    self._tell_error(said.code)
                self._perform(effect)

    def give_up(self) -> None:
        """Our own fault ends this connection alone; the engine tells its sessions."""
        if self.outlet is not None:
            self.outlet.close(CloseCode.INTERNAL_ERROR)

    def _tell_error(self, code: str) -> None:
        """Operators see each connection that ends for a fault; nothing in it is the peer's but ids and address."""
        self._engine.telemetry.measured("connection_error", 1, code)
        machine = self.machine
        _logger.info(
            "websocket connection error",
            extra={
                "code": code,
                "connection": self.connection,
                "account": machine.account,
                "device": machine.device,
                "client": self.client_address,
            },
        )

    def _perform(self, effect: AnyConnectionEffect) -> None:
        engine = self._engine
        match effect:
            case SendMessage():
                self.send(effect.message)
            case ToSession():
                self._to_session(effect)
            case SetConnectionTimer():
                if self.outlet is not None:
                    self.timers.set(effect.name, effect.at_ms)
            case CloseConnection():
                self.timers.clear()
                if self.outlet is not None:
                    self.outlet.close(effect.code)  # with the code's own sentence, as the protocol's table has it
            case CountLimit():
                engine.telemetry.measured("limit_hit", 1, effect.limit)
            case Admit():
                engine.gatekeeper.admit(effect.token, effect.device, self._on_admission)
            case Renew():
                engine.gatekeeper.renew(effect.token, effect.account, effect.device, self._on_renewal)
            case Announce():
                if self.outlet is not None:
                    engine.announce(self, effect.account, effect.device)
            case _ as never:
                assert_never(never)

    def _to_session(self, effect: ToSession) -> None:
        event: AnyEvent = effect.event  # type: ignore[assignment]
        if type(event) is TakeReceived or type(event) is ReadyReceived:
            heard_at = self._engine.active_heard_at(self.machine.account, effect.session)
            event = msgspec.structs.replace(event, source_heard_at=heard_at)
        self._engine.post_session(effect.session, event)

    def _on_admission(self, answer: Admission | Refusal) -> None:
        if isinstance(answer, Refusal):
            refused = Refused(answer.code, answer.message, answer.devices, answer.retry_after_ms)
            self._engine.post_connection(self, refused)
            return
        identity = self.identity = answer.identity
        admitted = Admitted(
            identity.account,
            DeviceId(answer.device.id),
            identity.expires_at,
            answer.roster,
            identity.session,
            answer.plan,
        )
        self._engine.post_connection(self, admitted)

    def _on_renewal(self, answer: Identity | Refusal) -> None:
        if isinstance(answer, Refusal):
            self._engine.post_connection(self, Refused(answer.code, answer.message, answer.devices))
        elif answer.session not in (None, self.machine.scope):
            # Else whoever holds a token of one session could keep up what an account's token once opened, for ever.
            sentence = "The new token reaches one session alone, this connection reaches more or another."
            self._engine.post_connection(self, Refused(Forbidden.code, sentence))
        else:
            self.identity = answer
            self._engine.post_connection(self, Renewed(answer.expires_at))

    def _on_timer(self, name: str) -> None:
        self._engine.post_connection(self, ConnectionTimer(name))
