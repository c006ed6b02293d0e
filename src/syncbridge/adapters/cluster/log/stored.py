"""What a session's keys hold, as bytes and back: packed with a checksum, believed only when it holds.

The checksum is a CRC-32, as in the embedded journal: against bytes that are lost or flipped, not against somebody who
can write to Redis.
"""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import msgspec

from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.facts import Change
from syncbridge.core.ids import AccountId, DeviceId, SessionId

_FIELDS: Final = [b"t", b"s", b"b"]
_CHECKSUM_CHARS: Final = 8
_HOUR_MS: Final = 3_600_000

encode_entry: Final = msgspec.json.Encoder().encode
_decode_entry: Final = msgspec.json.Decoder(Entry).decode
_decode_snapshot: Final = msgspec.json.Decoder(Snapshot).decode


class Damage(Exception):
    """What was read is not what was written; the sentence says where."""


def seal_entry(epoch: bytes, version: int, txn: bytes, digest: int, body: bytes) -> bytes:
    """An entry's digest with the checksum of all that is known of it at its place in its log."""
    return b"%d %08x" % (digest, crc32(body, crc32(b"%b %d %d %b" % (epoch, version, digest, txn))))


def read_entries(epoch: str, after: int, found: Any) -> tuple[list[Entry], list[int], list[str]]:
    """The entries of a stretch of the stream, contiguous after `after`, with digests and transactions. Raises Damage.

    A transaction is "" where the node that put its entry back did not know it.
    """
    entries: list[Entry] = []
    digests: list[int] = []
    txns: list[str] = []
    version, log = after, epoch.encode()
    try:
        for name, fields in found:
            version += 1
            if name != b"%d-0" % version:
                raise Damage(f"entry {version} is not there")
            if fields[::2] != _FIELDS:
                raise Damage(f"entry {version} has other fields")
            txn, seal, body = fields[1::2]
            digest = int(seal.partition(b" ")[0])
            if seal_entry(log, version, txn, digest, body) != seal:
                raise Damage(f"entry {version} fails its checksum")
            entry = _decode_entry(body)
            if entry.version != version:
                raise Damage(f"entry {version} says that it is {entry.version}")
            entries.append(entry)
            digests.append(digest)
            txns.append(text(txn))
    except (ValueError, TypeError, AttributeError, msgspec.DecodeError):
        raise Damage(f"entry {version} cannot be read") from None
    return entries, digests, txns


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
    return b"%08x" % crc32(body, crc32(f"{session} {epoch} {version}".encode()))


def pack_kept(at: int, status: str) -> bytes:
    """The status, and what tells when the time to live must be given anew: each hour is enough."""
    return b"%d %b" % (at // _HOUR_MS, status.encode())


def pack_waiting(device: DeviceId | None, until_ms: int) -> bytes:
    """For whom an offer waits, and until when; empty for none."""
    return b"" if device is None else b"%d %b" % (until_ms, device.encode())


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


def pack_change(change: Change) -> bytes:
    """The very bytes that `read_change` made it of: the outbox removes what is still as it was told."""
    numbers = f"{change.first} {change.last} {change.since} {change.at}"
    return f"{numbers} {change.epoch} {change.account}".encode()


def text(raw: Any) -> str:
    """A name that Redis holds as bytes. Raises Damage."""
    try:
        return str(raw, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise Damage("a name is no text") from None
