"""One connection: who is speaking, which sessions it follows, when it must end.

Theory. A connection is nobody until `hello` was admitted; then it is one device of one account until it closes.
It owns no session state: what concerns a session is handed to that session's machine with the device's proven
identity, and the session judges it.

============== ============================== ============================== ===========================
state          a message                      the gate's answer              time
============== ============================== ============================== ===========================
AWAITING       hello -> ask the gate,         (never asked)                  hello_timeout: close 4401
               CHECKING; anything else:
               `hello_required`, close 4401
CHECKING       kept, a few, until the         admitted: `welcome`, READY,    hello_timeout: close 4401
               gate answers                   kept messages follow
                                              refused: error, close
READY          hello: `already_hello`;        renewed: new expiry            token_warning: tell;
               auth -> ask the gate;          refused: error, close 4401     token_expiry: close 4401
               the rest -> session or answer
CLOSED         nothing                        nothing                        nothing
============== ============================== ============================== ===========================

Malformed messages are answered and counted; past ``bad_messages_max`` the connection is closed with 4400. A device
that speaks too fast is answered `rate_limited`, and closed with 4429 when it does not listen (`core.pace`).
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from syncbridge import errors
from syncbridge._ext import measure
from syncbridge.core import events as session_events
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
    Draining,
    MalformedReceived,
    MessageReceived,
    Opened,
    PeerClosed,
    Refused,
    Renew,
    Renewed,
    RosterKnown,
    SendMessage,
    SessionLost,
    SetConnectionTimer,
    ToSession,
)
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, HandoffId, SessionId
from syncbridge.core.messages import (
    PROTOCOL_VERSION,
    AnyClientMessage,
    Auth,
    Clock,
    ClockMessage,
    DeviceInfo,
    DevicePresence,
    ErrorMessage,
    Goodbye,
    HandoffCancel,
    HandoffConfirm,
    HandoffDecline,
    HandoffOffer,
    HandoffReady,
    HandoffTake,
    Hello,
    Join,
    Leave,
    Left,
    Push,
    Reject,
    Signal,
    TokenAccepted,
    TokenExpiring,
    Welcome,
    WelcomeLimits,
)
from syncbridge.core.pace import Pace
from syncbridge.errors import SyncBridgeError
from syncbridge.limits import Limits
from syncbridge.rates import Buckets


class ConnectionState(Enum):
    """Who the connection is so far: nobody, being checked, a device, or over."""

    AWAITING = "awaiting"
    CHECKING = "checking"
    READY = "ready"
    CLOSED = "closed"


class ConnectionMachine:
    """One connection's rules (see the module's table).

    Invariants   after CloseConnection nothing but ToSession(MemberLeft) is emitted;
                 every session in ``joined`` got a MemberJoined and gets exactly one MemberLeft;
                 a session event carries the admitted device, never what the peer claims.
    """

    __slots__ = (
        "_buckets",
        "account",
        "bad_messages",
        "connection",
        "device",
        "ended_by",
        "expires_at",
        "joined",
        "kept",
        "limits",
        "pace",
        "roster",
        "scope",
        "state",
    )

    def __init__(self, connection: ConnectionId, limits: Limits, buckets: Buckets | None = None) -> None:
        """``buckets`` are the pushes of all devices: who connects anew finds its bucket as it left it."""
        self.connection = connection
        self.limits = limits
        self.state = ConnectionState.AWAITING
        self.account = AccountId("")
        self.device = DeviceId("")
        self.scope: SessionId | None = None
        self.expires_at = 0
        self.roster: tuple[DeviceInfo, ...] = ()
        self.joined: set[SessionId] = set()
        self.kept: list[MessageReceived] | None = None
        self.bad_messages = 0
        self.pace = Pace(limits)
        self._buckets = Buckets() if buckets is None else buckets
        self.ended_by = ""  # the code of what we closed it for

    def receive(self, event: AnyConnectionEvent, now_ms: int) -> list[AnyConnectionEffect]:
        """What is to be done about ``event``; never raises for what the peer did."""
        if self.state is ConnectionState.CLOSED:
            return self._leave_all(event) if isinstance(event, PeerClosed) else []
        match event:
            case MessageReceived():
                return self._on_message(event, now_ms)
            case MalformedReceived():
                return self._on_malformed(event, now_ms)
            case Opened():
                return [SetConnectionTimer("hello", now_ms + self.limits.hello_timeout_ms)]
            case Admitted():
                return self._on_admitted(event, now_ms)
            case Refused():
                return self._on_refused(event)
            case Renewed():
                self.expires_at = event.expires_at
                return [SendMessage(TokenAccepted(event.expires_at)), *self._token_timer(now_ms)]
            case RosterKnown():
                self.roster = event.roster
                if self.state is ConnectionState.READY and all(info.id != self.device for info in event.roster):
                    return self._close(errors.DeviceUnknown(), about="")
                return []
            case SessionLost():
                self.joined.discard(event.session)
                return []
            case Dismissed():
                return self._close(errors.by_code()[event.code](), about="")
            case Draining():
                effects: list[AnyConnectionEffect] = [SendMessage(Goodbye(event.reason, event.reconnect_after_ms))]
                self.state, self.ended_by = ConnectionState.CLOSED, "restart"
                return [*effects, CloseConnection(1012)]
            case PeerClosed():
                self.state = ConnectionState.CLOSED
                return self._leave_all(event)
            case ConnectionTimer():
                return self._on_timer(event.name, now_ms)
            case _ as never:
                assert_never(never)

    def reaches(self, session: SessionId) -> bool:
        """Whether the token is good for this session; what it is not good for does not exist for it."""
        return self.scope is None or session == self.scope

    def pushed(self, message: Push, digest: int, then_ms: int) -> session_events.PushReceived | None:
        """What the session is told of a push, where the connection itself has nothing to judge; else None.

        The way of nearly every frame, without an event, a list and an effect on it; `receive` says the same, or what
        it comes to at its own time: ``then_ms`` may be of an earlier moment, at which there are fewer tokens.
        """
        if self.state is ConnectionState.READY and message.session in self.joined and self.pace.takes_push(then_ms):
            return session_events.PushReceived(self.connection, self.device, message, digest)
        return None

    # -- hello and the gate -------------------------------------------------------------------------------------

    def _on_message(self, event: MessageReceived, now_ms: int) -> list[AnyConnectionEffect]:
        message = event.message
        if self.state is ConnectionState.READY:
            return self._on_ready(event, now_ms)
        if self.state is ConnectionState.CHECKING:
            if self.kept is None:
                self.kept = []
            if len(self.kept) >= self.limits.hello_messages_max:
                many = errors.BadMessage(f"more than {self.limits.hello_messages_max} messages before `welcome`")
                return [CountLimit("hello_messages_max"), *self._close(many)]
            self.kept.append(event)
            return []
        if not isinstance(message, Hello):
            return self._close(errors.HelloRequired())
        if message.protocol != PROTOCOL_VERSION:
            fault = errors.ProtocolUnsupported(f"protocol {PROTOCOL_VERSION} is spoken here, not {message.protocol}")
            return self._close(fault, about="hello")
        self.state = ConnectionState.CHECKING
        return [Admit(message.token, message.device)]

    def _on_admitted(self, event: Admitted, now_ms: int) -> list[AnyConnectionEffect]:
        if self.state is not ConnectionState.CHECKING:
            return []
        self.state = ConnectionState.READY
        self.account, self.device, self.scope = event.account, event.device, event.scope
        self.roster, self.expires_at = event.roster, event.expires_at
        self.pace.admitted(self._buckets.of((event.account, event.device)), event.plan)
        limits = self.limits
        effects: list[AnyConnectionEffect] = [
            SendMessage(
                Welcome(
                    connection=self.connection,
                    device=self.device,
                    server_time=now_ms,
                    heartbeat_ms=limits.heartbeat_ms,
                    limits=WelcomeLimits(
                        message_bytes_max=limits.message_bytes_max,
                        state_bytes_max=limits.state_bytes_max,
                        state_depth_max=limits.state_depth_max,
                        ops_max=limits.ops_max,
                        inflight_max=limits.inflight_max,
                        joins_max=limits.joins_max,
                        devices_max=event.plan.devices_max,
                        push_burst=event.plan.push_burst,
                        push_refill_ms=event.plan.push_refill_ms,
                    ),
                    token_expires_at=event.expires_at,
                )
            ),
            *self._token_timer(now_ms),
            Announce(self.account, self.device),
        ]
        kept, self.kept = self.kept or [], None
        for message in kept:
            effects += self.receive(message, now_ms)
        return effects

    def _on_refused(self, event: Refused) -> list[AnyConnectionEffect]:
        kind = errors.by_code()[event.code]
        devices = [DevicePresence(info.id, info.name, info.platform) for info in event.devices]
        about = "hello" if self.state is ConnectionState.CHECKING else "auth"
        if about == "auth" and issubclass(kind, errors.DependencyFault):
            # The old token is still good: a gate that cannot be reached is no reason to end a session.
            return [SendMessage(ErrorMessage(kind.code, event.message, kind.retry, about=about))]
        return self._close(kind(event.message), about=about, devices=devices, retry_after_ms=event.retry_after_ms)

    def _token_timer(self, now_ms: int) -> list[AnyConnectionEffect]:
        if not self.expires_at:
            return []
        warn_at = max(now_ms, self.expires_at - self.limits.token_warning_ms)
        return [SetConnectionTimer("token", warn_at)]

    # -- a ready connection -------------------------------------------------------------------------------------

    def _on_ready(self, event: MessageReceived, now_ms: int) -> list[AnyConnectionEffect]:
        message, me, device = event.message, self.connection, self.device
        if isinstance(message, Push):
            return self._on_push(message, event.digest, now_ms)
        if not self.pace.takes_message(now_ms):
            return self._too_fast(message, now_ms)
        match message:
            case Join():
                return self._on_join(message)
            case Leave():
                return self._on_leave(message, now_ms)
            case Clock():
                return [SendMessage(ClockMessage(message.t0, now_ms, now_ms))]
            case Signal():
                return self._on_signal(message)
            case HandoffOffer():
                offer = session_events.OfferReceived(me, device, message, HandoffId(event.new_id))
                return self._route(message.session, "handoff.offer", offer, message.ref)
            case HandoffTake():
                take = session_events.TakeReceived(me, device, message, HandoffId(event.new_id), None, now_ms)
                return self._route(message.session, "handoff.take", take, message.ref)
            case HandoffReady():
                return self._route(
                    message.session, "handoff.ready", session_events.ReadyReceived(me, device, message, None)
                )
            case HandoffDecline():
                decline = session_events.DeclineReceived(self.account, me, device, message)
                return self._route(message.session, "handoff.decline", decline, is_open=True)
            case HandoffCancel():
                cancel = session_events.CancelReceived(me, device, message)
                return self._route(message.session, "handoff.cancel", cancel)
            case HandoffConfirm():
                confirm = session_events.ConfirmReceived(me, device, message)
                return self._route(message.session, "handoff.confirm", confirm)
            case Auth():
                return [Renew(message.token, self.account, self.device)]
            case Hello():
                return [self._error(errors.AlreadyHello(), about="hello")]
            case _ as never:
                assert_never(never)

    def _on_push(self, message: Push, digest: int, now_ms: int) -> list[AnyConnectionEffect]:
        session, is_joined = SessionId(message.session), message.session in self.joined
        if is_joined and self.pace.takes_push(now_ms):
            pushed = session_events.PushReceived(self.connection, self.device, message, digest)
            return [ToSession(session, pushed)]
        # What is refused costs as much as any other message: whoever goes on sending does not listen.
        if not self.pace.takes_message(now_ms) and (not is_joined or self.pace.is_overrun):
            return self._too_fast(message, now_ms)
        if not is_joined:
            return [self._error(errors.NotJoined(), about="push", session=session)]
        fault = errors.RateLimited("This device pushes faster than its plan allows; send the same push again.")
        wait_ms = self.pace.push_wait_ms(now_ms)
        reject = Reject(session, message.seq, fault.code, fault.retry, fault.message, 0, retry_after_ms=wait_ms)
        return [CountLimit("push_burst"), SendMessage(reject)]

    def _on_signal(self, message: Signal) -> list[AnyConnectionEffect]:
        bytes_max = self.limits.signal_bytes_max
        if measure(message.data) > bytes_max:
            fault = errors.MessageTooLarge(f"the data of a signal takes at most {bytes_max} bytes")
            return [CountLimit("signal_bytes_max"), self._error(fault, about="signal", session=message.session)]
        told = session_events.SignalReceived(self.connection, self.device, message)
        return self._route(message.session, "signal", told)

    def _on_join(self, message: Join) -> list[AnyConnectionEffect]:
        session = SessionId(message.session)
        if not self.reaches(session):
            return [self._error(errors.NotFound(), about="join", session=session, ref=message.ref)]
        if session not in self.joined and len(self.joined) >= self.limits.joins_max:
            fault = errors.JoinsExceeded(f"a connection follows at most {self.limits.joins_max} sessions; leave one")
            return [CountLimit("joins_max"), self._error(fault, about="join", session=session, ref=message.ref)]
        self.joined.add(session)
        joined = session_events.MemberJoined(self.connection, self.account, self.device, self.roster, message)
        return [ToSession(session, joined)]

    def _on_leave(self, message: Leave, now_ms: int) -> list[AnyConnectionEffect]:
        session = SessionId(message.session)
        if session not in self.joined:
            return [self._error(errors.NotJoined(), about="leave", session=session)]
        self.joined.discard(session)
        return [
            ToSession(session, session_events.MemberLeft(self.connection, now_ms, is_gone=False, cause="left")),
            SendMessage(Left(session, "left")),
        ]

    def _route(
        self, to: str, about: str, event: session_events.Event, ref: str = "", *, is_open: bool = False
    ) -> list[AnyConnectionEffect]:
        session = SessionId(to)
        if session in self.joined or (is_open and self.reaches(session)):
            return [ToSession(session, event)]
        return [self._error(errors.NotJoined(), about=about, session=session, ref=ref)]

    # -- trouble and time ---------------------------------------------------------------------------------------

    def _too_fast(self, message: AnyClientMessage | None, now_ms: int) -> list[AnyConnectionEffect]:
        """The message is not acted on, and said so; the connection ends when that goes on."""
        fault = errors.RateLimited("Too many messages on this connection; wait as long as this says.")
        if self.pace.is_overrun:
            return [CountLimit("message_refusals_max"), *self._close(fault)]
        error = ErrorMessage(
            fault.code,
            fault.message,
            fault.retry,
            about="" if message is None else str(message.__struct_config__.tag),
            session=getattr(message, "session", ""),
            ref=getattr(message, "ref", ""),
            retry_after_ms=self.pace.message_wait_ms(now_ms),
        )
        return [CountLimit("message_burst"), SendMessage(error)]

    def _on_malformed(self, event: MalformedReceived, now_ms: int) -> list[AnyConnectionEffect]:
        fault = errors.by_code()[event.code](event.message)
        self.bad_messages += 1
        if self.state is not ConnectionState.READY or self.bad_messages > self.limits.bad_messages_max:
            closing = errors.BadMessage(event.message)
            return self._close(closing if fault.close_code is None else fault)
        if not self.pace.takes_message(now_ms):
            return self._too_fast(None, now_ms)
        return [self._error(fault)]

    def _on_timer(self, name: str, now_ms: int) -> list[AnyConnectionEffect]:
        if name == "hello":
            return [] if self.state is ConnectionState.READY else self._close(errors.HelloTimeout())
        if name == "token" and self.expires_at:
            if now_ms >= self.expires_at:
                return self._close(errors.TokenExpired())
            return [SendMessage(TokenExpiring(self.expires_at)), SetConnectionTimer("token", self.expires_at)]
        return []

    def _error(
        self,
        fault: SyncBridgeError,
        *,
        about: str = "",
        session: str = "",
        ref: str = "",
        devices: list[DevicePresence] | None = None,
        retry_after_ms: int = 0,
    ) -> SendMessage:
        return SendMessage(
            ErrorMessage(
                fault.code,
                fault.message,
                fault.retry,
                about=about,
                session=session,
                ref=ref,
                retry_after_ms=retry_after_ms,
                devices=devices or [],
            )
        )

    def _close(
        self,
        fault: SyncBridgeError,
        *,
        about: str = "",
        devices: list[DevicePresence] | None = None,
        retry_after_ms: int = 0,
    ) -> list[AnyConnectionEffect]:
        self.state, self.ended_by = ConnectionState.CLOSED, fault.code
        self.kept = None
        return [
            self._error(fault, about=about, devices=devices, retry_after_ms=retry_after_ms),
            CloseConnection(fault.close_code or 1011),
        ]

    def _leave_all(self, event: PeerClosed) -> list[AnyConnectionEffect]:
        joined, self.joined = sorted(self.joined), set()
        left = session_events.MemberLeft(
            self.connection, event.heard_at, is_gone=True, cause=self.ended_by or event.cause
        )
        return [ToSession(session, left) for session in joined]
