"""Rows of the journal and of the snapshots: packed with a checksum, read back only when it holds.

The checksum is a CRC-32 (0.3 microseconds for 300 bytes here; blake2b takes 1.1): it is there against torn and flipped
bytes, not against somebody who can write to the directory.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
from msgspec import Struct

from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, DeviceId, SessionId, TxnId

Row = tuple[Any, ...]
"""A row as SQLite takes and gives it, in the order of the table's columns."""

JOURNAL_COLUMNS = (
    "id, previous, session, epoch, account, first, last, txn, at, waiting_for, waiting_until, digests, bodies,"
    " checksum, status"
)
SNAPSHOT_COLUMNS = "session, version, epoch, at, tail, body, checksum"

_entries_decoder = msgspec.json.Decoder(list[Entry])
_snapshot_decoder = msgspec.json.Decoder(Snapshot)
_snapshot_encoder = msgspec.json.Encoder()


class Damage(Exception):
    """What was read is not what was written; the sentence says where."""


class JournalRow(Struct, frozen=True):
    """A transaction as it stands in the journal, its checksum verified.

    ``status`` is the session's after it; "" in rows of schema version 1, which did not keep it.
    """

    id: int
    previous: int
    session: SessionId
    epoch: str
    account: AccountId
    first: int
    last: int
    txn: TxnId
    at: int
    waiting_for: DeviceId | None
    waiting_until: int
    digests: list[int]
    bodies: bytes
    status: str

    def entries(self) -> list[Entry]:
        """The entries, decoded; Damage where they are not those of ``first`` to ``last``."""
        try:
            entries = _entries_decoder.decode(self.bodies)
        except msgspec.DecodeError as error:
            raise Damage(f"journal row {self.id}: {error}") from None
        if [entry.version for entry in entries] != list(range(self.first, self.last + 1)):
            raise Damage(f"journal row {self.id}: its entries are not the versions {self.first} to {self.last}")
        return entries


def _checksum(fields: Row, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(repr(fields).encode()))


def pack_row(row_id: int, previous: int, txn: Txn, bodies: list[bytes]) -> Row:
    """The journal's row of `txn`; the bodies are taken as they are."""
    entries = txn.entries
    last = entries[-1]
    fields = (
        row_id,
        previous,
        txn.session,
        txn.epoch,
        txn.account,
        txn.expected + 1,
        last.version,
        txn.id,
        last.at,
        txn.waiting_for,
        txn.waiting_until,
        ",".join(map(str, txn.digests)),
    )
    packed = b"[%b]" % b",".join(bodies)
    return (*fields, packed, _checksum((*fields, txn.status), packed), txn.status)


def unpack_row(row: Row) -> JournalRow:
    """The row; Damage where its checksum does not hold."""
    *fields, bodies, checksum, status = row
    if not isinstance(bodies, bytes) or _checksum(_sealed(tuple(fields), status), bodies) != checksum:
        raise Damage(f"journal row {fields[0]} fails its checksum")
    row_id, previous, session, epoch, account, first, last, txn, at, waiting_for, waiting_until, digests = fields
    return JournalRow(
        id=row_id,
        previous=previous,
        session=session,
        epoch=epoch,
        account=account,
        first=first,
        last=last,
        txn=txn,
        at=at,
        waiting_for=waiting_for,
        waiting_until=waiting_until,
        digests=[int(digest) for digest in digests.split(",")],
        bodies=bodies,
        status=status,
    )


def _sealed(fields: Row, status: str) -> Row:
    """What the checksum covers: a row of schema version 1 has no status, and its checksum stays what it was."""
    return (*fields, status) if status else fields


def repack_row(row: JournalRow, row_id: int, previous: int, epoch: str) -> Row:
    """A verified row as one of another log: new place, new epoch, the same entries."""
    fields = (
        row_id,
        previous,
        row.session,
        epoch,
        row.account,
        row.first,
        row.last,
        row.txn,
        row.at,
        row.waiting_for,
        row.waiting_until,
        ",".join(map(str, row.digests)),
    )
    return (*fields, row.bodies, _checksum(_sealed(fields, row.status), row.bodies), row.status)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot as JSON."""
    return _snapshot_encoder.encode(snapshot)


def pack_snapshot(snapshot: Snapshot, tail: int, body: bytes) -> Row:
    """The row of a snapshot, whose last entry stands in journal row `tail`."""
    fields = (snapshot.session, snapshot.version, snapshot.epoch, snapshot.at, tail)
    return (*fields, body, _checksum(fields, body))


def unpack_snapshot(row: Row) -> Snapshot:
    """The snapshot; Damage where its checksum does not hold, or where it is of another session or version."""
    *fields, body, checksum = row
    session, version, epoch, _, _ = fields
    if not isinstance(body, bytes) or _checksum(tuple(fields), body) != checksum:
        raise Damage(f"snapshot {version} fails its checksum")
    try:
        snapshot = _snapshot_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Damage(f"snapshot {version}: {error}") from None
    if (snapshot.session, snapshot.version, snapshot.epoch) != (session, version, epoch):
        raise Damage(f"snapshot {version} is of {snapshot.session} at {snapshot.version}")
    return snapshot
