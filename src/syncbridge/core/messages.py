"""Every message of protocol version 1, both directions; `docs/protocol.md` is the normative text.

One JSON text frame carries one message; ``type`` is the tag. Unknown fields are ignored, so that version 1 can
grow by optional fields. Times are milliseconds of server time since the Unix epoch, ``t0`` of `clock` excepted,
which is whatever the device likes and comes back untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from syncbridge.core.entry import Conflict, Entry, Intent, Position, Status
from syncbridge.core.ids import Json, JsonObject, Op

PROTOCOL_VERSION = 1
SUBPROTOCOL = "syncbridge.v1.json"

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$(?!\n)")]
"""An id: no braces (they would move a Redis slot), quotes, spaces or control characters."""
Name = Annotated[str, Meta(max_length=100)]
Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Counting = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Ref = Annotated[str, Meta(max_length=64)]
"""A mark of the device's own, echoed in the answer."""


class DeviceInfo(Struct, frozen=True, omit_defaults=True):
    """A device as it presents itself."""

    id: Id
    name: Name = ""
    platform: Name = ""
    capabilities: Annotated[list[Name], Meta(max_length=32)] = []


# -- device to server -------------------------------------------------------------------------------------------


class ClientMessage(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="type"):
    """What a device says."""


class Hello(ClientMessage, frozen=True, tag="hello"):
    """Who I am: the first message on a connection."""

    token: Annotated[str, Meta(max_length=8192)]
    device: DeviceInfo
    protocol: int = PROTOCOL_VERSION


class Auth(ClientMessage, frozen=True, tag="auth"):
    """A renewed token for the open connection."""

    token: Annotated[str, Meta(max_length=8192)]


class Join(ClientMessage, frozen=True, tag="join"):
    """Follow a session; ``seq`` is the number of the device's first unsettled push (all below are settled)."""

    session: Id
    position: Position | None = None
    seq: Counting | None = None
    ref: Ref = ""


class Leave(ClientMessage, frozen=True, tag="leave"):
    """Stop following a session."""

    session: Id


class Push(ClientMessage, frozen=True, tag="push"):
    """Change the state.

    ``ops`` were made on the state at version ``base`` with the device's own unanswered pushes on top.
    ``at`` is when the edit was made, in server time. ``settled`` is the highest number whose answer the device had
    when it made the ops; without it, every number below ``seq``. A push made on top of one that was refused is
    refused too (`context_refused`): its ops mean nothing without it.
    """

    session: Id
    seq: Counting
    base: Natural
    ops: list[Op]
    intent: Intent = "edit"
    fence: Natural | None = None
    at: Natural | None = None
    epoch: Ref | None = None
    settled: Natural | None = None


class HandoffOffer(ClientMessage, frozen=True, tag="handoff.offer"):
    """The active device asks ``to``, online or not, to take over; ``expires_ms`` is how long it may take."""

    session: Id
    to: Id
    expires_ms: Counting | None = None
    ref: Ref = ""


class HandoffTake(ClientMessage, frozen=True, tag="handoff.take"):
    """ "Continue here"; the device must have joined, so it holds the state."""

    session: Id
    ref: Ref = ""


class HandoffReady(ClientMessage, frozen=True, tag="handoff.ready"):
    """The target holds the state and can run."""

    session: Id
    handoff: Id


class HandoffDecline(ClientMessage, frozen=True, tag="handoff.decline"):
    """The target does not want it."""

    session: Id
    handoff: Id


class HandoffCancel(ClientMessage, frozen=True, tag="handoff.cancel"):
    """The source takes its offer back."""

    session: Id
    handoff: Id


class HandoffConfirm(ClientMessage, frozen=True, tag="handoff.confirm"):
    """The target runs: ends the server's measurement; nothing else depends on it."""

    session: Id
    handoff: Id


class Signal(ClientMessage, frozen=True, tag="signal"):
    """Passing data (live heart rate, a cursor): told to the others, never stored, may be dropped."""

    session: Id
    data: Json


class Clock(ClientMessage, frozen=True, tag="clock"):
    """Asks for the server's time; see `ClockMessage`."""

    t0: int | float


AnyClientMessage = (
    Hello
    | Auth
    | Join
    | Leave
    | Push
    | HandoffOffer
    | HandoffTake
    | HandoffReady
    | HandoffDecline
    | HandoffCancel
    | HandoffConfirm
    | Signal
    | Clock
)

# -- server to device -------------------------------------------------------------------------------------------


class ServerMessage(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="type"):
    """What the server says."""


class WelcomeLimits(Struct, frozen=True):
    """What a device must know to stay within bounds."""

    message_bytes_max: int
    state_bytes_max: int
    state_depth_max: int
    ops_max: int
    inflight_max: int
    joins_max: int
    devices_max: int
    push_burst: int = 0
    push_refill_ms: int = 0


class Welcome(ServerMessage, frozen=True, tag="welcome"):
    """You are in: your limits, the heartbeat, and when your token ends (0: never)."""

    connection: str
    device: str
    server_time: int
    heartbeat_ms: int
    limits: WelcomeLimits
    token_expires_at: int = 0
    protocol: int = PROTOCOL_VERSION


class DevicePresence(Struct, frozen=True, omit_defaults=True):
    """A device of the account as a member sees it: following now, and holding the fence."""

    id: str
    name: str = ""
    platform: str = ""
    online: bool = False
    active: bool = False


class WaitingOffer(Struct, frozen=True, omit_defaults=True):
    """The offer that waits on a session, as `joined` tells it."""

    handoff: str
    source: str | None
    target: str
    expires_at: int


class Joined(ServerMessage, frozen=True, tag="joined"):
    """You are at ``position``: by ``entries`` after what you held (resumed), or by ``state`` (snapshot).

    ``hash`` is the digest of the state at ``position``. ``last_seq`` is your highest push in the log. ``reason``
    says why it is a snapshot (new, epoch, behind, ahead, smaller), or that it was sent unasked (slow, missed, epoch).
    ``base_hash`` comes with a snapshot where entries could have come: the digest of the state at the position that you
    held. Unanswered pushes are to be sent again.
    """

    session: str
    position: Position
    mode: Literal["resumed", "snapshot"]
    hash: str
    fence: int
    active: str | None
    status: Status
    kind: str
    last_seq: int
    devices: list[DevicePresence]
    server_time: int
    reason: str = ""
    entries: list[Entry] | None = None
    state: JsonObject | None = None
    offer: WaitingOffer | None = None
    ref: str = ""
    base_hash: str = ""


class Left(ServerMessage, frozen=True, tag="left"):
    """You follow this session no more: you left, or it was deleted, or its time was over, or it is damaged."""

    session: str
    reason: str = ""


class EntryMessage(ServerMessage, frozen=True, tag="entry"):
    """The next log entry; on the wire the entry's own fields stand beside ``session``."""

    session: str
    version: int
    kind: str
    at: int
    device: str = ""
    seq: int = 0
    ops: list[Op] = []
    intent: str = "edit"
    fence: int = 0
    active: str | None = None
    status: Status | None = None
    handoff: JsonObject | None = None
    conflicts: Sequence[Conflict] = ()
    made_at: int = 0
    undoes: JsonObject | None = None


class EntriesMessage(ServerMessage, frozen=True, tag="entries"):
    """Several next log entries, oldest first."""

    session: str
    entries: list[Entry]


class Ack(ServerMessage, frozen=True, tag="ack"):
    """Push ``seq`` is entry ``version``, durably.

    ``ops`` are what it became, when that is not what was sent; ``status`` is the session's, when it changed it.
    """

    session: str
    seq: int
    version: int
    at: int
    ops: list[Op] | None = None
    conflicts: Sequence[Conflict] = ()
    status: Status | None = None


class Reject(ServerMessage, frozen=True, tag="reject"):
    """Push ``seq`` was not applied.

    ``version`` is the head of the log, 0 where the log was not looked at (`rate_limited`); ``playhead`` the true one
    where that is the point; ``state`` the one at ``version`` where the device must merge (`base_too_old`).
    """

    session: str
    seq: int
    code: str
    retry: str
    message: str
    version: int
    fence: int = 0
    active: str | None = None
    playhead: JsonObject | None = None
    epoch: str = ""
    state: JsonObject | None = None
    retry_after_ms: int = 0
    expected_seq: int = 0


class HandoffOffered(ServerMessage, frozen=True, tag="handoff.offered"):
    """To the source: your offer stands; ``waiting`` when the target is not there."""

    session: str
    handoff: str
    to: str
    expires_at: int
    waiting: bool = False
    ref: str = ""


class HandoffPrepare(ServerMessage, frozen=True, tag="handoff.prepare"):
    """To the target: hold this position, then say ready (join first where you have not)."""

    session: str
    handoff: str
    source: str | None
    position: Position
    expires_at: int
    kind: str = ""
    playhead: JsonObject | None = None


class HandoffDone(ServerMessage, frozen=True, tag="handoff.done"):
    """It moved: ``active`` holds ``fence`` from entry ``version`` on."""

    session: str
    handoff: str
    fence: int
    active: str
    version: int
    source: str | None = None
    playhead: JsonObject | None = None
    uncertainty_ms: int = 0
    ref: str = ""


class HandoffFailed(ServerMessage, frozen=True, tag="handoff.failed"):
    """It did not move; the source still runs. ``reason``: declined, cancelled, expired, superseded, ended."""

    session: str
    handoff: str
    reason: str
    active: str | None = None


class PresenceMessage(ServerMessage, frozen=True, tag="presence"):
    """A device began or ceased to follow the session."""

    session: str
    device: str
    online: bool
    active: bool
    name: str = ""
    platform: str = ""


class SignalMessage(ServerMessage, frozen=True, tag="signal"):
    """Another member's passing data."""

    session: str
    device: str
    data: Json


class ClockMessage(ServerMessage, frozen=True, tag="clock"):
    """NTP's timestamps (RFC 5905 section 8): ``t1`` received, ``t2`` sent; the device adds its own t3."""

    t0: int | float
    t1: int
    t2: int


class TokenExpiring(ServerMessage, frozen=True, tag="token.expiring"):
    """Renew the token with `auth` before then, or the connection closes with 4401."""

    expires_at: int


class TokenAccepted(ServerMessage, frozen=True, tag="token.accepted"):
    """The renewed token is good until then."""

    expires_at: int


class ErrorMessage(ServerMessage, frozen=True, tag="error"):
    """Something was not done; ``about`` names the message type, ``ref`` echoes its mark."""

    code: str
    message: str
    retry: str
    about: str = ""
    session: str = ""
    ref: str = ""
    retry_after_ms: int = 0
    devices: list[DevicePresence] = []


class Goodbye(ServerMessage, frozen=True, tag="goodbye"):
    """A planned close follows: come back after this long."""

    reason: str
    reconnect_after_ms: int


AnyServerMessage = (
    Welcome
    | Joined
    | Left
    | EntryMessage
    | EntriesMessage
    | Ack
    | Reject
    | HandoffOffered
    | HandoffPrepare
    | HandoffDone
    | HandoffFailed
    | PresenceMessage
    | SignalMessage
    | ClockMessage
    | TokenExpiring
    | TokenAccepted
    | ErrorMessage
    | Goodbye
)
