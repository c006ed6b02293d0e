"""What a session's keys hold, as bytes and back: packed with a checksum, believed only when it holds.

The checksum is a CRC-32, as in the embedded journal: against bytes that are lost or flipped, not against somebody who
can write to Redis.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec

from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.facts import Change
from syncbridge.core.ids import AccountId, SessionId

_FIELDS: Final = [b"t", b"d", b"c", b"b"]
_CHECKSUM_CHARS: Final = 8

encode_entry: Final = msgspec.json.Encoder().encode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode
_decode_snapshot: Final = msgspec.json.Decoder(Snapshot).decode


class Damage(Exception):
    """What was read is not what was written; the sentence says where."""


def seal_entry(epoch: str, version: int, txn: str, digest: int, body: bytes) -> bytes:
    """The checksum of an entry at its place in its log."""
    return b"%08x" % zlib.crc32(body, zlib.crc32(f"{epoch} {version} {digest} {txn}".encode()))


def read_entries(epoch: str, after: int, found: Any) -> tuple[list[Entry], list[int]]:
    """The entries of a stretch of the stream with their digests, contiguous after `after`. Raises Damage."""
    entries: list[Entry] = []
    digests: list[int] = []
    version = after
    try:
        for name, fields in found:
            version += 1
            if name != b"%d-0" % version:
                raise Damage(f"entry {version} is not there")
            if fields[::2] != _FIELDS:
                raise Damage(f"entry {version} has other fields")
            txn, digest, checksum, body = fields[1::2]
            if seal_entry(epoch, version, txn.decode(), int(digest), body) != checksum:
                raise Damage(f"entry {version} fails its checksum")
            entry = _decode_entry(body)
            if entry.version != version:
                raise Damage(f"entry {version} says that it is {entry.version}")
            entries.append(entry)
            digests.append(int(digest))
    except (ValueError, TypeError, msgspec.DecodeError):
        raise Damage(f"entry {version} cannot be read") from None
    return entries, digests


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot with its checksum."""
    body = msgspec.json.encode(snapshot)
    return _seal_snapshot(snapshot.session, snapshot.epoch, snapshot.version, body) + body


def snapshot_mark(snapshot: Snapshot) -> bytes:
    """What the index says of a snapshot: its version and time."""
    return b"%d:%d" % (snapshot.version, snapshot.at)


def read_mark(mark: Any) -> tuple[int, int]:
    """The version and time that a mark names. Raises Damage."""
    try:
        version, _, at = mark.partition(b":")
        return int(version), int(at)
    except (ValueError, AttributeError):
        raise Damage("the index of the snapshots cannot be read") from None


def unpack_snapshot(session: SessionId, epoch: str, version: int, packed: Any) -> Snapshot:
    """The snapshot. Raises Damage where its checksum does not hold, or where it is another one."""
    if not packed:
        raise Damage(f"snapshot {version} is not there")
    checksum, body = packed[:_CHECKSUM_CHARS], packed[_CHECKSUM_CHARS:]
    if _seal_snapshot(session, epoch, version, body) != checksum:
        raise Damage(f"snapshot {version} fails its checksum")
    try:
        snapshot = _decode_snapshot(body)
    except msgspec.DecodeError as error:
        raise Damage(f"snapshot {version}: {error}") from None
    if (snapshot.session, snapshot.version, snapshot.epoch) != (session, version, epoch):
        raise Damage(f"snapshot {version} is of {snapshot.session} at {snapshot.version}")
    return snapshot


def _seal_snapshot(session: SessionId, epoch: str, version: int, body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body, zlib.crc32(f"{session} {epoch} {version}".encode()))


def read_number(raw: Any, what: str) -> int:
    """A number that a field holds. Raises Damage."""
    try:
        return int(raw)
    except (ValueError, TypeError):
        raise Damage(f"{what} is no number") from None


def read_change(session: SessionId, packed: bytes) -> Change:
    """By which versions a session grew, as `commit` notes it for the broker. Raises ValueError."""
    first, last, since, at, epoch, account = packed.decode().split(" ", 5)
    return Change(session, AccountId(account), epoch, int(first), int(last), int(since), int(at))


def text(raw: Any) -> str:
    """A name that Redis holds as bytes. Raises Damage."""
    try:
        return str(raw, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise Damage("a name is no text") from None
