"""What a session wants done: orders, performed by the runtime in the order given."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import ConnectionId, DeviceId, JsonObject, RequestId
from syncbridge.core.messages import ServerMessage, SignalMessage

NoteKind = Literal["joined", "caught_up", "left", "refused", "handoff", "clock", "broken"]


class Effect(Struct, frozen=True, gc=False):
    """An order to the runtime."""


class Load(Effect, frozen=True):
    """Read the session from the store; answered by `Loaded` or `LoadFailed`."""


class Commit(Effect, frozen=True):
    """Submit the transaction; answered by `Committed`, `Conflicted`, `OutcomeUnknown`, `EpochChanged`, `Fenced`
    or `FellBehind`."""

    txn: Txn


class PutBack(Effect, frozen=True):
    """Give the store what it lost; answered by `PutBackDone` or `PutBackFailed`. See `ports.Held`."""

    snapshot: Snapshot
    entries: list[Entry]
    digests: list[int]
    txns: list[str]
    before_at: int = 0


class Send(Effect, frozen=True):
    """One message to one connection."""

    connection: ConnectionId
    message: ServerMessage


class SendToDevice(Effect, frozen=True):
    """One message to a device of the account on whichever connection it has, joined or not."""

    device: DeviceId
    message: ServerMessage


class Deliver(Effect, frozen=True):
    """These new entries to these connections, encoded once; in order after everything sent before."""

    entries: list[Entry]
    connections: list[ConnectionId]


class Broadcast(Effect, frozen=True):
    """One message to these connections, encoded once; droppable ones are not queued for a slow reader."""

    message: ServerMessage
    connections: list[ConnectionId]
    is_droppable: bool = False


class Relay(Effect, frozen=True):
    """Passing data of a device here, for the session's devices at other nodes."""

    device: DeviceId
    message: SignalMessage


class Present(Effect, frozen=True):
    """The other nodes hear that the device follows here, and when it was heard."""

    device: DeviceId


class Absent(Effect, frozen=True):
    """The other nodes hear that it does so no more."""

    device: DeviceId
    heard_at: int


class ReadRoster(Effect, frozen=True):
    """A device follows elsewhere that the roster does not name: it is read anew, and `RosterChanged` says it."""


class DropMember(Effect, frozen=True):
    """The connection follows this session no more; its machine is told (`SessionLost`)."""

    connection: ConnectionId


class SetTimer(Effect, frozen=True):
    """Hand `TimerFired(name)` back at ``at_ms`` (machine time); replaces a timer of the same name."""

    name: str
    at_ms: int


class Reply(Effect, frozen=True):
    """The answer to a REST request: a result, or an error's code, its sentence and what else it says."""

    request: RequestId
    result: StateView | None
    code: str = ""
    message: str = ""
    members: JsonObject = {}


class StateView(Struct, frozen=True):
    """What REST shows of a session's live state; ``undone_by`` is the entry that took a conflict back."""

    epoch: str
    version: int
    status: str
    fence: int
    active: str | None
    updated_at: int
    hash: str
    state: JsonObject
    size: int
    handoff: str = ""
    uncertainty_ms: int = 0
    is_waiting: bool = False
    undone_by: int = 0


class Measured(Effect, frozen=True):
    """A figure for telemetry; ``label`` tells its kinds apart.

    handoff_done, handoff_confirmed   ``value`` is when it began, in server ms: the measurement ends when this is
                                      performed, for then the commit it rests on is durable. Label: mode
    handoff_failed, reject, conflict  1 each. Label: reason, error code, policy
    resume                            1 each. Label: the reason of a snapshot, or `resumed`
    offline_sync, continuity          1 each. Label: kept or lost
    retry                             how many races in a row this transaction has lost
    """

    name: str
    value: float
    label: str = ""


class Noted(Effect, frozen=True):
    """An incident for the flight recorder: what befell the session beside its log. Never content, never said twice.

    ``detail`` holds numbers, ids and codes; times are server ms.

    joined     ``code``: `resumed`, or why it was a snapshot. From (version held), version, epoch (where it differed)
    caught_up  the same, of a member whose entries had been held back
    left       ``code``: why (see `MemberLeft.cause`). Heard_at
    refused    ``code``: the error's. About (push, handoff.take, ...), seq, base, version, intent, made_at
    handoff    ``code``: why an offer came to nothing where no entry says it. Handoff
    clock      ``code``: ahead or behind. Off_ms: what the device's stamps are off by
    broken     our own code failed and the session was loaded anew; ``code``: on which event
    """

    kind: NoteKind
    device: str
    code: str
    detail: dict[str, int | str]


class Unload(Effect, frozen=True):
    """Nobody follows and nothing is pending: leave memory. The machine takes no more events."""


class WriteSnapshot(Effect, frozen=True):
    """Write this snapshot beside the log (it follows a commit that is durable already)."""

    snapshot: Snapshot


AnyEffect = (
    Load
    | Commit
    | PutBack
    | Send
    | SendToDevice
    | Deliver
    | Broadcast
    | Relay
    | Present
    | Absent
    | ReadRoster
    | DropMember
    | SetTimer
    | Reply
    | Measured
    | Noted
    | Unload
    | WriteSnapshot
)
