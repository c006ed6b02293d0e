"""What other services are told of a session: facts, made of the entries that were committed.

Pure: the same entries make the same facts with the same ids, on whatever node and however often they are read, so
that whoever is told twice knows it. A fact says ids, versions and moments; never a value of the state, a path into
it, a title or a name that a person gave.

Most entries are ordinary edits, which nobody wants to hear one by one: those come to a `Change`, the range of versions
by which a session grew, and the ranges of one session join until they are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from syncbridge.core.entry import Entry, HandoffNote, Txn
from syncbridge.core.ids import AccountId, SessionId


class SessionData(Struct, frozen=True, kw_only=True):
    """What every fact of a session's log says; ``device`` is empty where no device did it (REST, expiry)."""

    account: str
    session: str
    epoch: str
    version: int
    device: str = ""


class UpdatedData(Struct, frozen=True, kw_only=True):
    """The session grew from ``first_version`` to ``version``, both included."""

    account: str
    session: str
    epoch: str
    first_version: int
    version: int


class HandoffData(SessionData, frozen=True, kw_only=True):
    """A handoff; ``source`` is empty where nobody was active."""

    handoff: str
    source: str
    target: str


class OfferedData(HandoffData, frozen=True, kw_only=True):
    """``is_away``: the target has longer than a connected device needs to answer, so it may have to be woken."""

    expires_at: int
    is_away: bool


class CompletedData(HandoffData, frozen=True, kw_only=True):
    """``mode`` is `offer` or `take`; the playhead may be off by ``uncertainty_ms``."""

    mode: str
    fence: int
    uncertainty_ms: int


class FailedData(HandoffData, frozen=True, kw_only=True):
    """``reason`` is `declined`, `cancelled` or `expired`."""

    reason: str


class ConflictData(SessionData, frozen=True, kw_only=True):
    """How many places did not simply apply, how many of those a person has to decide, and by which policies."""

    conflicts: int
    undecided: int
    policies: list[str]


class DeletedData(Struct, frozen=True, kw_only=True):
    """Whose session it was."""

    account: str
    session: str


class DeviceData(Struct, frozen=True, kw_only=True):
    """Which device of which account; its id means something within its account only."""

    account: str
    device: str


class AccountData(Struct, frozen=True, kw_only=True):
    """Which account."""

    account: str


class FactKind(NamedTuple):
    """A type of fact: the name that it is routed by, what it says has happened, and the form of its data."""

    name: str
    meaning: str
    data: type[Struct]


CREATED: Final = "session.created"
UPDATED: Final = "session.updated"
DELETED: Final = "session.deleted"
DEVICE_JOINED: Final = "device.joined"
DEVICE_REMOVED: Final = "device.removed"
ACCOUNT_ERASED: Final = "account.erased"

FACT_KINDS: Final[tuple[FactKind, ...]] = (
    FactKind(CREATED, "A session began.", SessionData),
    FactKind(UPDATED, "A session's log grew; at most once a second for each session.", UpdatedData),
    FactKind("session.paused", "A session was paused.", SessionData),
    FactKind("session.resumed", "A paused session goes on.", SessionData),
    FactKind("session.completed", "A session was completed; an offer that waited is over with it.", SessionData),
    FactKind("session.archived", "A session was archived; an offer that waited is over with it.", SessionData),
    FactKind("session.restored", "The state of a snapshot, or of an earlier version, came back.", SessionData),
    FactKind("session.conflict", "A change met another one, and did not simply apply.", ConflictData),
    FactKind("handoff.offered", "A device was asked to take the session over; the offer waits for it.", OfferedData),
    FactKind(
        "session.handoff.completed",
        "The session has a new active device; an offer that waited is over with it.",
        CompletedData,
    ),
    FactKind("session.handoff.failed", "A waiting offer is over without a handoff.", FailedData),
    FactKind(DELETED, "A session is gone, by its owner or past its time; nothing of it is told any more.", DeletedData),
    FactKind(DEVICE_JOINED, "A device was registered with an account.", DeviceData),
    FactKind(DEVICE_REMOVED, "A person removed a device from the account.", DeviceData),
    FactKind(ACCOUNT_ERASED, "Everything of an account is gone, its sessions and devices with it.", AccountData),
)
"""Every type, once: the documents, the schemas and the figures are made of this."""

_BY_STATUS: Final = {
    "paused": "session.paused",
    "active": "session.resumed",
    "completed": "session.completed",
    "archived": "session.archived",
}


class Fact(Struct, frozen=True):
    """One thing that has happened; facts of one ``subject`` are told in order.

    ``id`` is the same whenever this fact is told, and no other fact's. ``at`` is server time in ms.
    """

    id: str
    type: str
    subject: str
    account: str
    at: int
    data: dict[str, Any]


class Change(Struct, frozen=True, gc=False):
    """A session grew from version ``first`` to ``last``; ``since`` is when it first did, ``at`` when it last did."""

    session: SessionId
    account: AccountId
    epoch: str
    first: int
    last: int
    since: int
    at: int

    def joined(self, later: Change) -> Change:
        """One range for both; the later one alone where the log is another by then."""
        if later.epoch != self.epoch:
            return later
        return Change(
            self.session,
            self.account,
            self.epoch,
            min(self.first, later.first),
            max(self.last, later.last),
            min(self.since, later.since),
            max(self.at, later.at),
        )

    def as_fact(self) -> Fact:
        """What is told of it."""
        data = UpdatedData(
            account=self.account,
            session=self.session,
            epoch=self.epoch,
            first_version=self.first,
            version=self.last,
        )
        name = f"{self.session}:{self.epoch}:{self.last}:{UPDATED}"
        return Fact(name, UPDATED, self.session, self.account, self.at, msgspec.to_builtins(data))


def facts_of(
    session: SessionId, account: AccountId, epoch: str, entries: Sequence[Entry], *, ready_ms: int
) -> list[Fact]:
    """The facts that these entries are, in the order of the log; none for an ordinary edit.

    ``ready_ms`` is how long an offer waits for a device that is connected (`Limits.handoff_ready_ms`).
    """
    facts = []
    for entry in entries:
        base = {
            "account": account,
            "session": session,
            "epoch": epoch,
            "version": entry.version,
            "device": entry.device,
        }
        for name, data in _said_by(entry, base, ready_ms):
            facts.append(
                Fact(
                    f"{session}:{epoch}:{entry.version}:{name}",
                    name,
                    session,
                    account,
                    entry.at,
                    msgspec.to_builtins(data),
                )
            )
    return facts


def facts(txn: Txn, *, ready_ms: int) -> list[Fact]:
    """The facts that a committed transaction is."""
    return facts_of(txn.session, txn.account, txn.epoch, txn.entries, ready_ms=ready_ms)


def change_of(session: SessionId, account: AccountId, epoch: str, entries: Sequence[Entry]) -> Change | None:
    """The range by which these entries grew the log; None for none, and for a session's first."""
    grown = [entry for entry in entries if entry.kind != "create"]
    if not grown:
        return None
    first, last = grown[0], grown[-1]
    return Change(session, account, epoch, first.version, last.version, first.at, last.at)


def deletion(session: SessionId, account: AccountId, at: int) -> Fact:
    """The session is gone: told of the record, for its log is no more."""
    data = DeletedData(account=account, session=session)
    return Fact(f"{session}:{DELETED}", DELETED, session, account, at, msgspec.to_builtins(data))


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Fact)


def encode_fact(fact: Fact) -> bytes:
    """The fact as it waits in an outbox."""
    return _encoder.encode(fact)


def decode_fact(body: bytes) -> Fact:
    """The fact again. Raises msgspec.DecodeError where the bytes are none."""
    return _decoder.decode(body)


def _said_by(entry: Entry, base: dict[str, Any], ready_ms: int) -> Iterator[tuple[str, Struct]]:
    if entry.kind == "create":
        yield CREATED, SessionData(**base)
    elif entry.status is not None:
        yield _BY_STATUS[entry.status], SessionData(**base)
    if entry.kind == "restore":
        yield "session.restored", SessionData(**base)
    note = entry.handoff
    if note is not None:
        yield _of_handoff(entry, note, base, ready_ms)
    if entry.conflicts:
        policies = [str(row.get("policy", "")) for row in entry.conflicts]
        yield (
            "session.conflict",
            ConflictData(
                **base,
                conflicts=len(policies),
                undecided=sum(row.get("winner") == "manual" for row in entry.conflicts),
                policies=sorted(set(policies)),
            ),
        )


def _of_handoff(entry: Entry, note: HandoffNote, base: dict[str, Any], ready_ms: int) -> tuple[str, Struct]:
    whole = {**base, "handoff": note.id, "source": note.source or "", "target": note.target or ""}
    if entry.kind == "offer":
        is_away = note.expires_at - entry.at > ready_ms
        return "handoff.offered", OfferedData(**whole, expires_at=note.expires_at, is_away=is_away)
    if entry.kind == "handoff":
        data = CompletedData(**whole, mode=note.mode, fence=entry.fence, uncertainty_ms=note.uncertainty_ms)
        return "session.handoff.completed", data
    return "session.handoff.failed", FailedData(**whole, reason=note.reason)
