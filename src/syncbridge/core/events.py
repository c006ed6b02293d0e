"""What happens to a session: past facts, handed to `core.session.SessionMachine.receive`.

Every event that a device caused carries its connection and its device, already authenticated: the machine trusts
these two and nothing else of the peer's.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from syncbridge.core.conflicts import PastConflict
from syncbridge.core.entry import Entry, Intent, Side, Snapshot, Status
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, Json, JsonObject, RequestId, TxnId
from syncbridge.core.messages import (
    DeviceInfo,
    HandoffCancel,
    HandoffConfirm,
    HandoffDecline,
    HandoffOffer,
    HandoffReady,
    HandoffTake,
    Join,
    Push,
    Signal,
)


class Event(Struct, frozen=True, gc=False):
    """A fact that reached the session."""


# -- the store's answers ----------------------------------------------------------------------------------------


class Loaded(Event, frozen=True):
    """The session's newest useful snapshot and the entries after it, with their digests.

    ``txns`` are the entries' transactions in step, or empty where the store does not say them. ``offer_left_ms``: for
    how long the offer waits yet that the log ends with; None where the store has no clock of its own.
    """

    snapshot: Snapshot
    entries: list[Entry]
    digests: list[int]
    txns: list[str] = []
    offer_left_ms: int | None = None


class LoadFailed(Event, frozen=True):
    """The session cannot be served now: ``code`` is `not_found`, `state_damaged` or `unavailable`."""

    code: str


class Committed(Event, frozen=True):
    """The transaction is in the log and as durable as the store promises."""

    txn: TxnId


class Conflicted(Event, frozen=True):
    """The head had moved: nothing was appended; ``entries`` (with digests) are what came since ``expected``.

    ``txns`` as in `Loaded`.
    """

    txn: TxnId
    entries: list[Entry]
    digests: list[int]
    txns: list[str] = []


class OutcomeUnknown(Event, frozen=True):
    """The store's answer was lost; the transaction may or may not be in the log."""

    txn: TxnId


class EpochChanged(Event, frozen=True):
    """The log is another one than the machine holds; it must be loaded again."""

    txn: TxnId


class Fenced(Event, frozen=True):
    """Nothing was appended: what these devices pushed came through connections that they have left since."""

    txn: TxnId
    devices: list[DeviceId]


class FellBehind(Event, frozen=True):
    """The store lost the end of the log: its head lies before what the transaction builds on. It may be put back."""

    txn: TxnId


class PutBackDone(Event, frozen=True):
    """The store's log reaches as far as was held here, or further: ``version`` is its head."""

    version: int


class PutBackFailed(Event, frozen=True):
    """It could not be put back: ``code`` is `forked` (the log went another way), `not_found` or `unavailable`."""

    code: str


# -- other nodes ------------------------------------------------------------------------------------------------


class EntriesSeen(Event, frozen=True):
    """Entries that a node committed, perhaps this one, as the session's channel told.

    "" where ``txn`` is not known; ``previous_at`` is when the entry before them was committed (0: not known).
    """

    epoch: str
    entries: list[Entry]
    digests: list[int]
    txn: str = ""
    previous_at: int = 0


class HeadSeen(Event, frozen=True):
    """The log's head as somebody found it in the store; ``version`` 0: there is no such log."""

    epoch: str
    version: int


class SeenElsewhere(Event, frozen=True):
    """The devices that follow the session at other nodes, all of them, and when each was heard there."""

    devices: dict[DeviceId, int]


# -- devices ----------------------------------------------------------------------------------------------------


class MemberJoined(Event, frozen=True):
    """A device follows the session on this connection; ``roster`` is every device of the account.

    ``account`` is judged by the session: a foreign session answers like one that does not exist.
    """

    connection: ConnectionId
    account: AccountId
    device: DeviceId
    roster: tuple[DeviceInfo, ...]
    message: Join


class MemberLeft(Event, frozen=True):
    """It follows no more; ``heard_at`` is when its connection was last read from. ``is_gone``: not by request.

    ``cause`` is `left` (by request), `closed` (by the device), `lost`, `restart`, or the code of the error that ended
    its connection.
    """

    connection: ConnectionId
    heard_at: int
    is_gone: bool
    cause: str = "lost"


class MemberLagging(Event, frozen=True):
    """Its outlet is over budget: entries are held back until it drains."""

    connection: ConnectionId


class MemberDrained(Event, frozen=True):
    """Its outlet has room again: one catch-up replaces what was held back."""

    connection: ConnectionId


class DeviceArrived(Event, frozen=True):
    """A device of the account said hello on a connection (whether or not it follows this session)."""

    connection: ConnectionId
    device: DeviceId


class RosterChanged(Event, frozen=True):
    """The account's devices are these now. It may be another's than the session's, that only asked to join."""

    account: AccountId
    roster: tuple[DeviceInfo, ...]


class PushReceived(Event, frozen=True):
    """``digest`` identifies the push's body; equal bodies have equal digests (`core.digest.push_digest`)."""

    connection: ConnectionId
    device: DeviceId
    message: Push
    digest: int


class OfferReceived(Event, frozen=True):
    """A device offers the session; ``handoff`` is the fresh id the offer gets."""

    connection: ConnectionId
    device: DeviceId
    message: HandoffOffer
    handoff: str


class TakeReceived(Event, frozen=True):
    """``source_heard_at``: when the active device's connection was last read from; None when it has none.

    ``asked_at`` is when it came: it may wait for the session to be loaded, or for a commit.
    """

    connection: ConnectionId
    device: DeviceId
    message: HandoffTake
    handoff: str
    source_heard_at: int | None
    asked_at: int = 0


class ReadyReceived(Event, frozen=True):
    """``source_heard_at`` as in `TakeReceived`."""

    connection: ConnectionId
    device: DeviceId
    message: HandoffReady
    source_heard_at: int | None


class DeclineReceived(Event, frozen=True):
    """It may come from a device that never joined, so the account is judged here too."""

    account: AccountId
    connection: ConnectionId
    device: DeviceId
    message: HandoffDecline


class CancelReceived(Event, frozen=True):
    """The source takes its offer back."""

    connection: ConnectionId
    device: DeviceId
    message: HandoffCancel


class ConfirmReceived(Event, frozen=True):
    """The new owner says that it runs."""

    connection: ConnectionId
    device: DeviceId
    message: HandoffConfirm


class SignalReceived(Event, frozen=True):
    """Passing data for the other members: fan-out only, never stored."""

    connection: ConnectionId
    device: DeviceId
    message: Signal


# -- requests over REST (answered by a `Reply` effect) ----------------------------------------------------------


class ReadRequested(Event, frozen=True):
    """The state as it is committed now."""

    request: RequestId


class EditRequested(Event, frozen=True):
    """Change the state from outside a connection.

    ``form``: "put" (value is the whole new state), "patch" (RFC 6902 ops) or "merge" (RFC 7396).
    ``expected`` is the version of If-Match; None where the caller did not say.
    """

    request: RequestId
    device: str
    form: Literal["put", "patch", "merge"]
    value: Json
    expected: int | None
    intent: Intent = "edit"


class StatusRequested(Event, frozen=True):
    """Pause, resume, complete or archive the session."""

    request: RequestId
    device: str
    status: Status
    expected: int | None = None


class TakeRequested(Event, frozen=True):
    """A handoff over REST to ``target``, at once (mode take) or as an offer; ``asked_at`` as in `TakeReceived`."""

    request: RequestId
    device: str
    target: DeviceId
    mode: Literal["offer", "take"]
    handoff: str
    roster: tuple[DeviceInfo, ...]
    expires_ms: int | None
    source_heard_at: int | None
    asked_at: int = 0


class RestoreRequested(Event, frozen=True):
    """The state of a snapshot, or of a version of before, comes back as a new entry."""

    request: RequestId
    device: str
    state: JsonObject
    expected: int | None = None


class UndoRequested(Event, frozen=True):
    """A conflict is taken back; what the log said of it when it was read comes along, for it may lie far back.

    ``chosen``: whose value shall stand; None: the one that lost. ``is_forced``: also over what was written since.
    """

    request: RequestId
    device: str
    past: PastConflict
    chosen: Side | None = None
    is_forced: bool = False
    expected: int | None = None


class Deleted(Event, frozen=True):
    """The session is gone from the store; everybody is told, and why: `deleted`, or `expired` (its time was over)."""

    reason: str = "deleted"


# -- time -------------------------------------------------------------------------------------------------------


class TimerFired(Event, frozen=True):
    """The timer set under ``name`` ran out."""

    name: str


class OfferExpired(Event, frozen=True):
    """The waiting offer's time is over (the machine tells itself, so that it waits its turn like a request)."""


AnyEvent = (
    Loaded
    | LoadFailed
    | Committed
    | Conflicted
    | OutcomeUnknown
    | EpochChanged
    | Fenced
    | FellBehind
    | PutBackDone
    | PutBackFailed
    | EntriesSeen
    | HeadSeen
    | SeenElsewhere
    | MemberJoined
    | MemberLeft
    | MemberLagging
    | MemberDrained
    | DeviceArrived
    | RosterChanged
    | PushReceived
    | OfferReceived
    | TakeReceived
    | ReadyReceived
    | DeclineReceived
    | CancelReceived
    | ConfirmReceived
    | SignalReceived
    | ReadRequested
    | EditRequested
    | StatusRequested
    | TakeRequested
    | RestoreRequested
    | UndoRequested
    | Deleted
    | TimerFired
    | OfferExpired
)
