"""An edit on its way into the log: what the wire knows of it, what the screen shows of it, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from msgspec import Struct

from syncbridge.core.entry import Intent
from syncbridge.core.ids import JsonObject, Op
from syncbridge.core.messages import Push
from syncbridge.errors import ClientFault, SyncBridgeError, by_code

Row = dict[str, Any]
"""A conflict as the log tells it; see `syncbridge.core.entry.Conflict`."""


class QueueFull(ClientFault):
    """This device holds as many unsettled edits of the session as it may; go online, or drop some."""

    meaning = "Too many edits of this session wait to be sent."


class Phase(Enum):
    """Where an edit stands.

    ====== =========================================================== ==================
    phase  what is known                                               its wire body
    ====== =========================================================== ==================
    FREE   not on the wire, nor can an older copy of it take effect    may still change
    SENT   on the wire, no answer yet                                  never changes
    AGAIN  perhaps applied, perhaps not: to be sent again as it was    never changes
    LOOSE  refused in a way that a join mends                          gets a new number
    ====== =========================================================== ==================
    """

    FREE = "free"
    SENT = "sent"
    AGAIN = "again"
    LOOSE = "loose"


class PendingRow(Struct, frozen=True, omit_defaults=True):
    """A `Pending` as a store keeps it; ``display`` is None where it is the wire body itself."""

    key: int
    seq: int
    base: int
    epoch: str
    ops: list[Op]
    intent: Intent
    at: int
    revision: int
    fence: int | None = None
    display: list[Op] | None = None
    is_contested: bool = False
    rows: list[Row] = []
    is_assumed: bool = False
    is_overtaken: bool = False

    def shown(self) -> list[Op]:
        """The ops that the optimistic state shows."""
        return self.ops if self.display is None else self.display


@dataclass(slots=True)
class Pending:
    """One edit without an answer.

    key           the edit's own name in this replica; never changes, as ``seq``, its number on the wire, may
    ops           with ``base``, ``epoch`` and ``at`` the wire body
    display       the ops that the optimistic state shows: they turn ``context`` into ``after``
    is_contested  others wrote where this edit writes: its body keeps the base it was made on, so that the server
                  decides and lists who lost
    is_assumed    the confirmed state holds its effect already; only its answer is missing
    is_overtaken  a snapshot took the place of the entries between its base and what it is shown on
    is_adrift     an edit below it was refused while it was on the wire
    rows          conflicts met here; ``told`` are those already listed
    revision      grows whenever something that a store keeps has changed
    """

    key: int
    seq: int
    base: int
    epoch: str
    ops: list[Op]
    intent: Intent
    fence: int | None
    at: int
    phase: Phase
    display: list[Op]
    context: JsonObject
    after: JsonObject
    revision: int
    is_contested: bool = False
    is_assumed: bool = False
    is_overtaken: bool = False
    is_adrift: bool = False
    tries: int = 0
    retry_at: int = 0
    rows: list[Row] = field(default_factory=list)
    told: list[Row] = field(default_factory=list)

    @property
    def is_on_wire(self) -> bool:
        """Whether a copy of it may be in the log."""
        return self.phase in (Phase.SENT, Phase.AGAIN)

    def as_push(self, session: str, settled: int) -> Push:
        """The message; equal for equal bodies, so that a repeat has the digest of the first."""
        return Push(session, self.seq, self.base, self.ops, self.intent, self.fence, self.at, self.epoch, settled)

    def as_row(self) -> PendingRow:
        """What a store keeps of it."""
        display = None if self.display is self.ops else self.display
        return PendingRow(
            self.key,
            self.seq,
            self.base,
            self.epoch,
            self.ops,
            self.intent,
            self.at,
            self.revision,
            self.fence,
            display,
            self.is_contested,
            [*self.told, *self.rows],
            self.is_assumed,
            self.is_overtaken,
        )

    @classmethod
    def of_row(cls, row: PendingRow, context: JsonObject, after: JsonObject, phase: Phase = Phase.AGAIN) -> Pending:
        """The edit in its chain again; what was kept counts as perhaps sent."""
        return cls(
            row.key,
            row.seq,
            row.base,
            row.epoch,
            row.ops,
            row.intent,
            row.fence,
            row.at,
            phase,
            row.shown(),
            context,
            after,
            row.revision,
            row.is_contested,
            row.is_assumed,
            row.is_overtaken,
            rows=list(row.rows),
        )


class Acked(Struct, frozen=True):
    """The edit is entry ``version``, durably. ``conflicts`` lists what did not simply apply."""

    version: int
    conflicts: list[Row] = []


class Rejected(Struct, frozen=True):
    """The edit is not in the log and will not be: an error code, its sentence and its retry verdict."""

    code: str
    message: str
    retry: str

    def as_error(self) -> SyncBridgeError:
        """The exception of the code; a code from a newer server is a `ClientFault` with its sentence."""
        return by_code().get(self.code, ClientFault)(self.message)


class Outcome(Struct, frozen=True):
    """How the edit ``key`` ended."""

    key: int
    result: Acked | Rejected


class ConflictRecord(Struct, frozen=True, omit_defaults=True):
    """One place where an edit did not simply apply, with the value that lost.

    ``row`` is the log's own (path, policy, winner, ours, theirs, device, version, ...). ``code`` is an error code
    where the whole edit was refused; then ``ops`` are the edit and the row's "ours" is the value it carried.
    """

    at: int
    row: Row
    code: str = ""
    ops: list[Op] = []


class Dump(Struct, frozen=True):
    """All that a replica has to remember to go on after its process was killed."""

    session: str
    device: str
    epoch: str
    version: int
    state: JsonObject
    kind: str
    fence: int
    active: str | None
    status: str
    next_seq: int
    next_key: int
    revision: int
    pending: list[PendingRow]
    conflicts: list[ConflictRecord]
