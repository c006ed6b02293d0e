"""What happens to a connection, and what it wants done: the words of `core.connection.ConnectionMachine`."""

from __future__ import annotations

from msgspec import Struct

from syncbridge.core import events as session_events
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import AnyClientMessage, DeviceInfo, ServerMessage
from syncbridge.limits import Plan

# -- events -----------------------------------------------------------------------------------------------------


class ConnectionEvent(Struct, frozen=True, gc=False):
    """A fact that reached the connection."""


class Opened(ConnectionEvent, frozen=True):
    """The handshake is done; the hello timer starts."""


class MessageReceived(ConnectionEvent, frozen=True):
    """A well-formed message; for a push its body digest; for a handoff the id it gets; else 0 and ""."""

    message: AnyClientMessage
    digest: int = 0
    new_id: str = ""


class MalformedReceived(ConnectionEvent, frozen=True):
    """A frame that is no message: ``code`` is `bad_message` or `unknown_type`; the sentence names the place."""

    code: str
    message: str


class Admitted(ConnectionEvent, frozen=True):
    """The gate let the device in; ``scope`` limits it to one session, ``plan`` is what its account may."""

    account: AccountId
    device: DeviceId
    expires_at: int
    roster: tuple[DeviceInfo, ...]
    scope: SessionId | None = None
    plan: Plan = Plan()


class Refused(ConnectionEvent, frozen=True):
    """The gate did not (for `hello` or for `auth`)."""

    code: str
    message: str
    devices: tuple[DeviceInfo, ...] = ()
    retry_after_ms: int = 0


class Renewed(ConnectionEvent, frozen=True):
    """The token given by `auth` is valid for the same account and device."""

    expires_at: int


class RosterKnown(ConnectionEvent, frozen=True):
    """The account's devices are these now."""

    roster: tuple[DeviceInfo, ...]


class SessionLost(ConnectionEvent, frozen=True):
    """The session's machine follows this connection no more (refused, deleted, broken)."""

    session: SessionId


class Dismissed(ConnectionEvent, frozen=True):
    """Somebody above ends the connection: ``code`` is an error code (device_replaced, forbidden, too_slow, ...)."""

    code: str


class Draining(ConnectionEvent, frozen=True):
    """The node goes away: say goodbye."""

    reconnect_after_ms: int
    reason: str = "restart"


class PeerClosed(ConnectionEvent, frozen=True):
    """The socket is gone; ``heard_at`` is when it was last read from.

    ``cause`` is `lost`, `closed` where the device closed it, or the code of the fault that it was closed for.
    """

    heard_at: int
    cause: str = "lost"


class ConnectionTimer(ConnectionEvent, frozen=True):
    """The timer set under ``name`` (hello, token) ran out."""

    name: str


AnyConnectionEvent = (
    Opened
    | MessageReceived
    | MalformedReceived
    | Admitted
    | Refused
    | Renewed
    | RosterKnown
    | SessionLost
    | Dismissed
    | Draining
    | PeerClosed
    | ConnectionTimer
)

# -- effects ----------------------------------------------------------------------------------------------------


class ConnectionEffect(Struct, frozen=True, gc=False):
    """An order to the runtime."""


class SendMessage(ConnectionEffect, frozen=True):
    """One message to the device."""

    message: ServerMessage


class CloseConnection(ConnectionEffect, frozen=True):
    """Close with this WebSocket close code, and the sentence that belongs to it."""

    code: int


class Admit(ConnectionEffect, frozen=True):
    """Ask the gate; answered by `Admitted` or `Refused`."""

    token: str
    device: DeviceInfo


class Renew(ConnectionEffect, frozen=True):
    """Ask the gate; answered by `Renewed` or `Refused`."""

    token: str
    account: AccountId
    device: DeviceId


class Announce(ConnectionEffect, frozen=True):
    """The device is here: an older connection of it is dismissed, waiting offers are looked for."""

    account: AccountId
    device: DeviceId


class ToSession(ConnectionEffect, frozen=True):
    """Hand the event to the session's machine.

    For a `TakeReceived` or `ReadyReceived` the runtime fills in ``source_heard_at``; nothing else changes.
    """

    session: SessionId
    event: session_events.Event


class CountLimit(ConnectionEffect, frozen=True):
    """Operators see that this limit was met."""

    limit: str


class SetConnectionTimer(ConnectionEffect, frozen=True):
    """Hand `ConnectionTimer(name)` back at ``at_ms``; replaces a timer of the same name."""

    name: str
    at_ms: int


AnyConnectionEffect = (
    SendMessage | CloseConnection | Admit | Renew | Announce | ToSession | CountLimit | SetConnectionTimer
)
