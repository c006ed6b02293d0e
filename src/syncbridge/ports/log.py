"""The session log: what a store must promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, DeviceId, SessionId, TxnId


class Submission(Struct, frozen=True):
    """A transaction with its entries as they are encoded for the wire (one JSON object each), in step."""

    txn: Txn
    bodies: list[bytes]


class WasCommitted(Struct, frozen=True):
    """Every entry of the transaction is in the log, as durably as the adapter promises."""

    txn: TxnId


class WasConflict(Struct, frozen=True):
    """The head is past ``expected``: ``entries`` and their digests are all that came since.

    ``txns`` are the entries' transactions ("" where unknown), in step; empty where the store does not say them.
    """

    txn: TxnId
    entries: list[Entry]
    digests: list[int]
    txns: list[str] = []


class WasUnknown(Struct, frozen=True):
    """The answer was lost. Submit the very same transaction again to learn the outcome."""

    txn: TxnId


class WasForeign(Struct, frozen=True):
    """The log has another epoch, or the session is gone: load again."""

    txn: TxnId


class WasFenced(Struct, frozen=True):
    """Nothing was appended: these devices push through another connection by now (see `Txn.held`)."""

    txn: TxnId
    devices: list[DeviceId]


class WasBehind(Struct, frozen=True):
    """The store lost the end of the log: its head is ``version`` of the same epoch, before ``expected``.

    0 where the log is gone whole, though nobody deleted it. `StateStore.put_back` mends it.
    """

    txn: TxnId
    version: int


class WasRefused(Struct, frozen=True):
    """Nothing was appended: ``code`` is `unavailable` (disk full, I/O error: later) or `state_damaged` (never)."""

    txn: TxnId
    code: str


Outcome = WasCommitted | WasConflict | WasUnknown | WasForeign | WasFenced | WasBehind | WasRefused


class StoredLog(Struct, frozen=True):
    """A snapshot and every entry after it up to the head, with digests in step, and ``txns`` as in `WasConflict`.

    ``offer_left_ms``: where the head holds a waiting offer, for how long it does yet by the store's own clock, since it
    was committed. None where the store has no clock but that of the process, or does not know.
    """

    snapshot: Snapshot
    entries: list[Entry]
    digests: list[int]
    txns: list[str] = []
    offer_left_ms: int | None = None


class Stretch(Struct, frozen=True):
    """Entries of one log, contiguous and in order, and how far the log reaches.

    ``oldest`` is the oldest version whose state can still be told: every entry after it is there (and the first of
    all, while nothing of the log was let go). ``head`` is the newest version.
    """

    epoch: str
    oldest: int
    head: int
    entries: list[Entry]


class Held(Struct, frozen=True):
    """What a node holds of a log that the store lost the end of.

    ``snapshot`` is of the newest version held; ``entries`` are the last ones up to it (contiguous, as many as are
    kept), with their digests and, where known, their transactions ("") in step. ``before_at`` is when the entry before
    them was committed (0: not known): a store that has just that one left shows by it whether it is the same.
    """

    snapshot: Snapshot
    entries: list[Entry]
    digests: list[int]
    txns: list[str]
    before_at: int = 0


class PutBack(Struct, frozen=True):
    """The store's log reaches at least as far as what was held; ``version`` is its head."""

    version: int


class Forked(Struct, frozen=True):
    """The store's log went another way (other entries at versions held, or another epoch): load it again."""


class StoreFault(Struct, frozen=True):
    """Why nothing could be read: ``code`` is `not_found`, `state_damaged` or `unavailable`; ``detail`` for the log."""

    code: str
    detail: str = ""


class StoredHead(Struct, frozen=True):
    """The end of one log: whose it is, its last version and when that was committed."""

    session: SessionId
    account: AccountId
    version: int
    at: int


class Swept(Struct, frozen=True):
    """What a sweep erased: (session, the status it was in; `damaged` where it had been set aside).

    ``has_more`` says that the next sweep will find some too. With a ``fault`` the sessions named are gone from the
    store, but not yet from every file: sweep again.
    """

    sessions: list[tuple[SessionId, str]] = []
    has_more: bool = False
    fault: StoreFault | None = None


class StateStore(Protocol):
    """The session log: it compares and sets; it never merges.

    Atomicity   a transaction's entries are appended all or none, if and only if (epoch, expected) is the head.
    Identity    a transaction submitted again (same ``id``) is answered `WasCommitted` when its entries stand at
                the versions it asked for, however often and over whichever node; it is never applied twice.
    Ordering    transactions of one session take effect in the order submitted.
    Durability  `WasCommitted` is answered only when the entries survive ``kill -9`` (and what the adapter's
                acknowledgement level says beyond).
    Blocking    no call blocks the loop; a batch is one trip.
    Fencing     where `is_shared`, a transaction with a device in ``held`` whose claim is another by then is answered
                `WasFenced`, and one that commits leaves ``claims`` as they say, in the same atomic step. A transaction
                without entries compares the head and sets its claims. Where one process writes, nobody else claims.
    TTL         a log and its snapshots live as long after their last commit as `limits.Retention` says of the
                status that commit left; the adapter is made with these rules.
    """

    @property
    def is_shared(self) -> bool:
        """Other processes write the same logs, so that claims matter and a head may move by itself."""
        ...

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        """The log of a new session exists, with ``first`` at version 1 and ``snapshot`` of it.

        Answered `WasCommitted` (txn id "create"), also when the same log was created before by a lost answer;
        `WasForeign` when a session of this id with another epoch exists.
        """

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        """Commit each transaction of the batch on its own; ``done`` is called once for each, in order a session."""

    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        """The log from a snapshot that lies at least ``reach`` entries before the head (or the oldest there is).

        Its ``heard`` is that of the newest snapshot kept: no entry says it.
        Never serves what fails its checksum: `state_damaged`, and the session is set aside.
        """

    def state_at(self, session: SessionId, version: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        """A snapshot at or before ``version`` and the entries after it up to ``version``; for history."""

    def entries(
        self, session: SessionId, after: int, count_max: int, done: Callable[[Stretch | StoreFault], None]
    ) -> None:
        """The oldest entries after ``after`` that are still there, at most ``count_max``; none past the head.

        Shape     fewer than ``count_max`` where they are large (about 1 MiB is read at a time), but at least one
                  where there is one: ask again after the last until it is the head.
        Ordering  everything submitted before the call is in it, or was refused.
        Cost      of the entries given and of those to the next snapshot, however long the log is; a long read is
                  many calls, and commits go between them.
        """

    def version_at(self, session: SessionId, at_ms: int, done: Callable[[int | StoreFault], None]) -> None:
        """The version that was the head at ``at_ms``: of the last entry committed at that time or before it.

        0 where the log had not begun, or no longer reaches so far back. Cost: of the entries between two snapshots.
        """

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot, soon; it is derived from committed entries, so losing it loses nothing."""

    def put_back(self, held: Held, done: Callable[[PutBack | Forked | StoreFault], None]) -> None:
        """What the store lost of the log stands there again, under the same epoch and versions.

        Appended only to what is a prefix of ``held``; made anew where nothing is there and nobody deleted it. Safe to
        be done by several nodes at once, and again. A store that loses nothing answers `PutBack` with its head.
        """

    def delete(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        """Nothing of the session is left in the store, files included, once ``done`` is called with None."""

    def waiting_offers(self, account: AccountId, device: DeviceId, done: Callable[[list[SessionId]], None]) -> None:
        """Sessions whose head holds an unexpired offer waiting for this device."""

    def sweep(self, now_ms: int, count_max: int, done: Callable[[Swept], None]) -> None:
        """Of the logs past their TTL at most ``count_max`` are erased, as `delete` erases.

        Bounded   a sweep holds commits up about as long as the deletion of one long session; ask while `has_more`.
        In use    a session that is written just now is left for a later sweep.
        """

    def walk(
        self,
        after: str,
        count_max: int,
        done: Callable[[list[StoredHead] | StoreFault], None],
        account: AccountId | None = None,
    ) -> None:
        """The next ``count_max`` logs in order of their ids, after the id ``after`` ("": from the first).

        Those of one account where it is named. Fewer than ``count_max``: the walk is over. What is set aside as
        damaged may be missing, and what is named was not verified.
        """

    def is_healthy(self) -> bool:
        """False while commits fail or hang (disk full, worker dead); readiness follows it."""
