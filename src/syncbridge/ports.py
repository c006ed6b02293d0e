"""Every outside thing as a Protocol, with its contract in prose. Adapters answer; nobody else knows a brand.

All calls are made in the event loop's thread. What answers through ``done`` answers in that thread too, once,
later or before the call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from syncbridge.core.effects import NoteKind, StateView
from syncbridge.core.entry import Entry, Intent, Position, Side, Snapshot, Status, Txn, Undoing
from syncbridge.core.ids import AccountId, DeviceId, Json, JsonObject, Op, SessionId, TxnId
from syncbridge.core.messages import DeviceInfo
from syncbridge.limits import Plan

# -- the session log --------------------------------------------------------------------------------------------


class Submission(Struct, frozen=True):
    """A transaction with its entries as they are encoded for the wire (one JSON object each), in step."""

    txn: Txn
    bodies: list[bytes]


class WasCommitted(Struct, frozen=True):
    """Every entry of the transaction is in the log, as durably as the adapter promises."""

    txn: TxnId


class WasConflict(Struct, frozen=True):
    """The head is past ``expected``: ``entries`` and their digests are all that came since."""

    txn: TxnId
    entries: list[Entry]
    digests: list[int]


class WasUnknown(Struct, frozen=True):
    """The answer was lost. Submit the very same transaction again to learn the outcome."""

    txn: TxnId


class WasForeign(Struct, frozen=True):
    """The log has another epoch, or the session is gone: load again."""

    txn: TxnId


class WasRefused(Struct, frozen=True):
    """Nothing was appended: ``code`` is `unavailable` (disk full, I/O error: later) or `state_damaged` (never)."""

    txn: TxnId
    code: str


Outcome = WasCommitted | WasConflict | WasUnknown | WasForeign | WasRefused


class StoredLog(Struct, frozen=True):
    """A snapshot and every entry after it up to the head, with digests in step."""

    snapshot: Snapshot
    entries: list[Entry]
    digests: list[int]


class Stretch(Struct, frozen=True):
    """Entries of one log, contiguous and in order, and how far the log reaches.

    ``oldest`` is the oldest version whose state can still be told: every entry after it is there (and the first of
    all, while nothing of the log was let go). ``head`` is the newest version.
    """

    epoch: str
    oldest: int
    head: int
    entries: list[Entry]


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
    TTL         a log and its snapshots live as long after their last commit as `limits.Retention` says of the
                status that commit left; the adapter is made with these rules.
    """

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


# -- who is speaking --------------------------------------------------------------------------------------------


class Identity(Struct, frozen=True):
    """A checked token. ``session`` limits it to one session (it came from a one-time code).

    The rest is what its revocation is judged by: the log-in that it came of ("" for an outside issuer's) and when
    that was, when it was issued itself, and the key it was signed with.
    """

    account: AccountId
    expires_at: int
    token_id: str
    device: DeviceId | None = None
    session: SessionId | None = None
    family: str = ""
    login_at: int = 0
    issued_at: int = 0
    kid: str = ""


class Admission(Struct, frozen=True):
    """A device was let in; ``roster`` is every device of the account, itself included, ``plan`` what it may."""

    identity: Identity
    device: DeviceInfo
    roster: tuple[DeviceInfo, ...]
    plan: Plan = Plan()


class Refusal(Struct, frozen=True):
    """It was not: an error code of `syncbridge.errors`, its sentence, and the devices for `device_limit`."""

    code: str
    message: str
    devices: tuple[DeviceInfo, ...] = ()


class Gatekeeper(Protocol):
    """Checks tokens and registers devices."""

    def admit(self, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        """The token is valid and the device is one of the account's, registered now if there was room."""

    def renew(
        self, token: str, account: AccountId, device: DeviceId, done: Callable[[Identity | Refusal], None]
    ) -> None:
        """The new token is valid for the same account and device; whether it reaches enough, the caller judges."""

    def refused(self, identity: Identity) -> str:
        """The error code for which this identity, once admitted, is refused now; "" while it is good. Asks nobody."""
        ...


class SigningKey(Struct, frozen=True):
    """A key and its public name; ``secret`` never leaves the process, and its text is not the secret.

    It signs from ``signs_from`` on, and its tokens are refused from ``retired_at`` on (None: not decided). A retired
    one may have no secret any more. ``ordinal`` counts the keys in the order in which they were made.
    """

    kid: str
    secret: bytes
    created_at: int
    signs_from: int = 0
    retired_at: int | None = None
    ordinal: int = 1

    @property
    def born_at(self) -> int:
        """From when its age counts: from when it signs; one of the first release says only when it was made."""
        return max(self.signs_from, self.created_at)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, secret=***)"


class KeySource(Protocol):
    """Where signing keys come from."""

    async def read(self) -> Sequence[SigningKey]:
        """Every key that there is; retired ones may be left out. Raises Unavailable."""
        ...


class KeyStore(KeySource, Protocol):
    """A source in which keys are made."""

    async def rotate(self, *, after: int, signs_from: int, retired_at: int, now_ms: int) -> SigningKey | None:
        """A new key stands after the one with this ordinal, and those before it are retired at ``retired_at``.

        None, and nothing is changed, when another key stands there already: of two who rotate at once, one does.
        """
        ...


class SessionDirectory(Protocol):
    """Metadata about sessions that follows the log: told after each commit that changes it, coalesced."""

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        """The listing shows this soon; it is derived, so a lost note is mended by the next."""


class Incident(Struct, frozen=True):
    """What befell a session beside its log (see `core.effects.Noted`): ids, codes and numbers, never content."""

    session: SessionId
    at: int
    device: str
    kind: NoteKind
    code: str
    detail: dict[str, int | str]


class FlightRecorder(Protocol):
    """Keeps incidents, so that "why was my progress lost?" can be answered later.

    Blocking    `note` never blocks and never raises.
    Bounded     what cannot be kept is dropped and counted; of one session the last ones stay.
    Durability  best effort: what was noted in the last moment before a crash is gone. The log is the truth.
    """

    def note(self, incident: Incident) -> None:
        """The incident can be read soon; gone with its session."""


# -- what REST asks of live sessions ----------------------------------------------------------------------------


class PastState(Struct, frozen=True):
    """A session's state as it was at ``position``; ``at`` is when that version was committed."""

    position: Position
    at: int
    state: JsonObject
    hash: str


class Between(Struct, frozen=True):
    """Two states of one log, the RFC 6902 ops from the first to the second, and the entries that led there."""

    start: PastState
    end: PastState
    ops: list[Op]
    entries: list[Entry]


class SessionHistory(Protocol):
    """The past of sessions as their logs tell it; implemented by the runtime, awaited by http.

    Every call raises a `SyncBridgeError`: `not_found`, `history_gone` (with ``oldest``) where the log no longer
    reaches back so far, `validation_failed` for what is yet to come. Ownership is checked by the caller.
    """

    async def reach(self, session: SessionId) -> Stretch:
        """How far the log reaches; no entries."""
        ...

    async def entries(self, session: SessionId, *, after: int, count_max: int) -> Stretch:
        """As `StateStore.entries`."""
        ...

    async def back(self, session: SessionId, *, before: int | None, count_max: int) -> Stretch:
        """The ``count_max`` versions before ``before`` (None: up to the head), where they are there, newest first."""
        ...

    async def undoings(self, session: SessionId, *, after: int) -> list[tuple[int, Undoing]]:
        """Every entry after ``after`` that takes a conflict back, with its version, oldest first."""
        ...

    async def version_at(self, session: SessionId, at_ms: int) -> int:
        """The version that was the head at that time."""
        ...

    async def state_at(self, session: SessionId, version: int) -> PastState: ...

    async def between(self, session: SessionId, start: int, end: int) -> Between:
        """What changed; `validation_failed` where it is too much to be told at once."""
        ...

    async def undo(
        self,
        session: SessionId,
        *,
        device: str,
        version: int,
        index: int,
        chosen: Side | None = None,
        is_forced: bool = False,
        expected: int | None = None,
    ) -> StateView:
        """Row ``index`` of the entry at ``version`` is taken back by entry ``undone_by``; again: the same answer."""
        ...


class SessionService(Protocol):
    """Live sessions as the REST resources see them; implemented by the runtime, awaited by http.

    Every call raises a `SyncBridgeError` (`not_found`, `precondition_failed`, `bad_patch`, `unavailable`, ...).
    Ownership is checked by the caller. ``device`` is "" where the token is bound to none.
    """

    @property
    def history(self) -> SessionHistory:
        """The past of the same sessions."""
        ...

    async def create(
        self, *, account: AccountId, session: SessionId, kind: str, title: str, state: JsonObject, device: str
    ) -> StateView:
        """The session exists, durably; ``device`` (if any) is its first active device with fence 1."""
        ...

    async def read(self, session: SessionId) -> StateView: ...

    async def edit(
        self,
        session: SessionId,
        *,
        device: str,
        form: Literal["put", "patch", "merge"],
        value: Json,
        expected: int | None,
        intent: Intent = "edit",
    ) -> StateView: ...

    async def set_status(
        self, session: SessionId, *, device: str, status: Status, expected: int | None = None
    ) -> StateView: ...

    async def hand_off(
        self,
        session: SessionId,
        *,
        account: AccountId,
        device: str,
        target: DeviceId,
        mode: Literal["offer", "take"],
        roster: tuple[DeviceInfo, ...],
        expires_ms: int | None = None,
    ) -> StateView:
        """The handoff is done (take) or waits for the target (offer; ``is_waiting``); ``handoff`` is its id."""
        ...

    async def restore(
        self, session: SessionId, *, device: str, state: JsonObject, expected: int | None = None
    ) -> StateView: ...

    async def delete(self, session: SessionId) -> None: ...

    def gone(self, session: SessionId, reason: str) -> None:
        """The store has it no more: its devices are told `left` and why, and nothing in memory answers for it."""
        ...

    def roster_changed(self, account: AccountId, roster: tuple[DeviceInfo, ...]) -> None:
        """A device was registered, renamed or removed: sessions are told, a removed device is cut off (4403)."""
        ...

    def disconnect(self, account: AccountId, device: DeviceId | None, code: str) -> int:
        """Live connections of the account (or one device) are closed for this error; how many there were."""
        ...

    def recheck(self, account: AccountId | None) -> int:
        """Live connections (of the account, or all) whose token is refused now are closed; how many there were."""
        ...

    def is_online(self, account: AccountId, device: DeviceId) -> bool: ...


# -- time and figures -------------------------------------------------------------------------------------------


class Clock(Protocol):
    """``now_ms`` is server wall time in ms, made monotonic: it never steps back within a process."""

    def now_ms(self) -> int: ...


class Telemetry(Protocol):
    """Where `Measured` effects and the runtime's own figures go."""

    def measured(self, name: str, value: float, label: str = "") -> None: ...
