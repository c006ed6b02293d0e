"""The session log: entries, the transaction that appends them, and the snapshot that starts a replay.

Every change to a session is one entry with the next ``version`` (1, 2, 3, no gaps); whatever anybody knows of a
session is a fold over its entries. ``epoch`` names the log itself: after a log was lost and rebuilt the epoch
differs, so an old version is never trusted. A position is always ``(epoch, version)``.

What is kept by the thousand is hidden from the cycle collector (``gc=False``): JSON values hold no cycle. Where an
entry has no conflicts, as most have none, the empty tuple is everybody's; an empty list would be its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, HandoffId, JsonObject, Op, SessionId, TxnId

Kind = Literal["create", "patch", "offer", "withdraw", "handoff", "status", "restore"]
"""What an entry is.

create    version 1; ``ops`` hold the whole first state at the root
patch     a device's push, or an edit over REST
offer     the source asks a device to take over; nothing else changes
withdraw  the waiting offer is over without a handoff (declined, cancelled, expired)
handoff   ownership moves: ``fence`` grows by one, ``active`` is the new owner
status    the session is paused, resumed, completed or archived
restore   the state of a snapshot came back; ``ops`` turn the state before into it
"""

Status = Literal["active", "paused", "completed", "archived"]
Intent = Literal["edit", "progress", "seek", "open", "finish"]
Side = Literal["ours", "theirs"]
Conflict = dict[str, object]
"""One row of what did not simply apply.

``path``, ``policy``, ``winner`` ("ours", "theirs", "both" or "manual"), ``ours`` and ``theirs`` (absent where the
side removed), ``device`` and ``base`` of the push, ``theirs_device`` and ``theirs_version`` of what stood there.
"""


class Position(Struct, frozen=True, gc=False):
    """A place in one log."""

    epoch: str
    version: int


class HandoffNote(Struct, frozen=True, omit_defaults=True, gc=False):
    """What an entry says of a handoff.

    ``mode`` offer or take; ``reason`` why it was withdrawn (declined, cancelled, expired);
    ``uncertainty_ms`` how far the playhead may be off because the source was not heard (0: it was alive);
    ``began_at`` when a take was asked for, where that was before its entry (0: the same moment).
    """

    id: HandoffId
    mode: Literal["offer", "take"]
    source: DeviceId | None = None
    target: DeviceId | None = None
    expires_at: int = 0
    reason: str = ""
    uncertainty_ms: int = 0
    began_at: int = 0


class Undoing(Struct, frozen=True, gc=False):
    """Which conflict an entry takes back: row ``index`` of the entry at ``version``, and whose value it chose."""

    version: int
    index: int
    chosen: Side


class Entry(Struct, frozen=True, omit_defaults=True, gc=False):
    """One entry of a session's log, as it is stored and as every device sees it.

    ``at`` is when it was committed, in milliseconds of server time; ``made_at`` when the edit was made, where the
    device said so and it was earlier (0: the same). ``fence`` and ``active`` stand where they change (create, handoff),
    ``status`` where it changes. ``undoes`` stands where the entry takes back a conflict; its own row in ``conflicts``
    is what it replaced. ``device`` is "" for a change that no device numbered (REST, expiry); then ``seq``
    is 0.
    """

    version: int
    kind: Kind
    at: int
    device: str = ""
    seq: int = 0
    ops: list[Op] = []
    intent: Intent = "edit"
    fence: int = 0
    active: str | None = None
    status: Status | None = None
    handoff: HandoffNote | None = None
    conflicts: Sequence[Conflict] = ()
    made_at: int = 0
    undoes: Undoing | None = None


class Settled(Struct, frozen=True, gc=False):
    """One settled push of a device, kept so that a repeat gets the first answer: its entry and body digest."""

    seq: int
    version: int
    digest: int


class Snapshot(Struct, frozen=True):
    """Everything that is known of a session at one version: loading = newest snapshot + entries after it.

    ``settled`` maps a device to its last pushes, oldest first, at most ``inflight_max`` of them. ``seek_version``
    and ``seek_device`` tell of the last `seek` (progress made before it is stale; the device is "" where the seek was
    no push of its), ``playhead_version`` of the last entry that moved the playhead, ``fence_version`` of the last
    change of owner. ``heard`` maps a device that went away to when it was last heard. ``size`` is the length in bytes
    of the state's compact JSON.
    """

    session: SessionId
    account: AccountId
    type: str
    epoch: str
    version: int
    at: int
    created_at: int
    state: JsonObject
    size: int
    fence: int = 0
    active: str | None = None
    status: Status = "active"
    settled: dict[str, list[Settled]] = {}
    seek_version: int = 0
    seek_device: str = ""
    playhead_version: int = 0
    fence_version: int = 0
    heard: dict[str, int] = {}
    offer: HandoffNote | None = None
    offer_version: int = 0
    title: str = ""


class Txn(Struct, frozen=True, gc=False):
    """Entries that are committed together or not at all, at versions ``expected + 1 ...``.

    Atomicity  the store compares (epoch, expected) with its head and appends all entries, or none.
    Identity   ``id`` is unique; submitted again after an unknown outcome it is answered with the first outcome.

    ``digests`` holds one body digest an entry (0 where no device numbered it). ``snapshot`` stands where this
    commit also writes one (it is the state after the last entry). ``waiting_for`` is the device an offer waits
    for after this commit, with its expiry, so that the offer is found when that device says hello.

    ``claims`` says through which connection each device that joins pushes from now on, ``held`` through which those
    pushed that ``entries`` are of: of a device's connections, at whatever nodes, only the one that claimed last gets
    anything committed. Both are empty where no other node could.

    ``expected_at`` is when the entry at ``expected`` was committed, as whoever made this knows it (0: not known). A
    store that may lose the end of a log compares it too: at the same version may stand another entry by now.
    """

    id: TxnId
    session: SessionId
    account: AccountId
    epoch: str
    expected: int
    entries: list[Entry]
    digests: list[int]
    status: Status
    waiting_for: DeviceId | None = None
    waiting_until: int = 0
    snapshot: Snapshot | None = None
    claims: dict[DeviceId, ConnectionId] = {}
    held: dict[DeviceId, ConnectionId] = {}
    expected_at: int = 0
