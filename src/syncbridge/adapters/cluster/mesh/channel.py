"""What nodes say to each other over Redis' channels: the messages, as bytes and back.

A frame is one byte that tells its kind, then one JSON object; where a message carries a frame for a device (`Signal`,
`Told`), that frame follows as it is, after a line feed, which JSON never holds unescaped.

==== =========== ===================================================================================
byte on          message
==== =========== ===================================================================================
e    a session's `Entries`: a transaction was committed, in full
h    a session's `Moved`: one was committed that is too large to be said; it is read from the log
p    a session's `Statement`: who follows the session at one node, all of them
s    a session's `Signal`: passing data of a device
d    a session's `Deleted`: the session is gone
a    an account's `Arrived`: a device said hello at a node
q    an account's `Asked`: is a device's connection there, for which another one would give way
y    an account's `Stays`: it is
t    an account's `Told`: a message for a device that may be connected anywhere
==== =========== ===================================================================================

Nodes of two versions work together: unknown members are ignored, an unknown kind is `Broken` as `unknown` and costs
nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct, field

from syncbridge.core.entry import Entry
from syncbridge.core.ids import ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.limits import INTEGER_SAFE_MAX

FRAME_BYTES_MAX: Final = 1024 * 1024
"""A frame beyond is not read, nor sent: the largest is a `handoff.prepare` with a whole state."""

ENTRIES_BYTES_MAX: Final = 256 * 1024
"""Entries beyond are not said but read from the log: a message waits in the buffer of every node that listens."""

SIGNAL_BYTES_MAX: Final = 64 * 1024
"""A signal beyond is dropped: `limits.signal_bytes_max` and what is around it are far below."""

DEVICES_MAX: Final = 1_024
"""Devices in one statement; an account has a handful."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Count = Annotated[int, Meta(ge=0, le=INTEGER_SAFE_MAX)]
Ordinal = Annotated[int, Meta(ge=1, le=INTEGER_SAFE_MAX)]
Devices = Annotated[dict[DeviceId, Count], Meta(max_length=DEVICES_MAX)]


class Entries(Struct, frozen=True):
    """A transaction's entries as devices are told of them, contiguous from ``first``, with their digests in step.

    What they say is read by `read_entries`: a node also hears what it committed itself, and need not read that.
    ``previous_at`` is when the entry before them was committed (0: not told): whoever has another one there is on
    another log.

    Danger  ``bodies`` are views of the frame; `copies` are not.
    """

    epoch: Name
    first: Ordinal
    txn: TxnId
    digests: list[int]
    bodies: list[Raw] = field(name="entries")
    previous_at: Count = 0

    def copies(self) -> list[bytes]:
        """The bodies as bytes of their own."""
        return [bytes(body) for body in self.bodies]


class Moved(Struct, frozen=True):
    """The log has the versions ``first`` to ``last`` now."""

    epoch: Name
    first: Ordinal
    last: Ordinal


class Statement(Struct, frozen=True, omit_defaults=True):
    """Who follows the session at ``node``, all of them, and when each was last heard.

    ``number`` counts the node's statements, over all sessions: of two about one session the higher is true, in
    whatever order they arrive. A node says it whole each time, so that none needs the one before it.
    ``left`` are devices that went since the last one, and when they were last heard: said once, and it may be lost.
    """

    node: Name
    number: Ordinal
    devices: Devices
    left: Devices = {}


class Signal(Struct, frozen=True):
    """Passing data from a device at ``node``; ``frame`` is as devices get it."""

    node: Name
    device: DeviceId
    frame: bytes


class Deleted(Struct, frozen=True):
    """The session is gone from the store, as ``node`` says."""

    node: Name
    reason: Annotated[str, Meta(max_length=64)]


class Arrived(Struct, frozen=True):
    """The device is connected at ``node``; of two connections of it that with the lower ``number`` asks (`arrivals`).

    ``answers``: its node answers `Asked`; one of an earlier version does not, and its number is believed.
    """

    node: Name
    device: DeviceId
    connection: ConnectionId
    number: Ordinal
    answers: bool = False


class Asked(Struct, frozen=True):
    """The device's ``connection`` at ``node`` would give way to ``rival``: is that one there, and for how long?

    Each with the highest number that the asking node knows of it; ``question`` tells that node's questions apart.
    """

    node: Name
    device: DeviceId
    connection: ConnectionId
    number: Ordinal
    rival: ConnectionId
    rival_number: Ordinal
    question: Ordinal


class Stays(Struct, frozen=True):
    """The answer of ``node`` to ``asker``: the connection is there, and was for ``age_ms`` when this was said."""

    node: Name
    device: DeviceId
    connection: ConnectionId
    number: Ordinal
    age_ms: Count
    asker: Name
    question: Ordinal


class Told(Struct, frozen=True):
    """A message for ``device``, wherever it is connected, about a session; ``frame`` is as the device gets it."""

    node: Name
    device: DeviceId
    session: SessionId
    frame: bytes


Message = Entries | Moved | Statement | Signal | Deleted | Arrived | Asked | Stays | Told


class Broken(Struct, frozen=True):
    """A frame that says nothing: it is too large, of a kind not known here, or not what its kind must be."""

    reason: Literal["large", "unknown", "malformed"]


_MALFORMED: Final = Broken("malformed")


class _Arriving(Struct, frozen=True):
    node: Name
    device: DeviceId
    connection: ConnectionId
    answers: bool = True


class _EntriesHead(Struct, frozen=True):
    epoch: str
    first: int
    txn: str
    previous_at: int
    digests: Sequence[int]


class _SignalHead(Struct, frozen=True):
    node: Name
    device: DeviceId


class _ToldHead(Struct, frozen=True):
    node: Name
    device: DeviceId
    session: SessionId


_json: Final = msgspec.json.Encoder().encode
_entries: Final = msgspec.json.Decoder(Entries).decode
_entry: Final = msgspec.json.Decoder(Entry).decode
_moved: Final = msgspec.json.Decoder(Moved).decode
_statement: Final = msgspec.json.Decoder(Statement).decode
_signal_head: Final = msgspec.json.Decoder(_SignalHead).decode
_deleted: Final = msgspec.json.Decoder(Deleted).decode
_arrived: Final = msgspec.json.Decoder(Arrived).decode
_asked: Final = msgspec.json.Decoder(Asked).decode
_stays: Final = msgspec.json.Decoder(Stays).decode
_told_head: Final = msgspec.json.Decoder(_ToldHead).decode


# -- to bytes ---------------------------------------------------------------------------------------------------


def encode_entries(
    epoch: str, first: int, txn: str, digests: Sequence[int], bodies: Sequence[bytes], *, previous_at: int = 0
) -> bytes:
    """The frame that says the committed entries; ``bodies`` are as the wire encodes them, in step with ``digests``.

    Past `ENTRIES_BYTES_MAX` it says only which versions there are.
    """
    if sum(map(len, bodies)) > ENTRIES_BYTES_MAX:
        return b"h" + _json(Moved(epoch, first, first + len(bodies) - 1))
    head = _json(_EntriesHead(epoch, first, txn, previous_at, digests))
    return b'e%b,"entries":[%b]}' % (head[:-1], b",".join(bodies))


def encode_statement(statement: Statement) -> bytes:
    """The frame that says who is at a node."""
    return b"p" + _json(statement)


def encode_signal(node: str, device: DeviceId, frame: bytes) -> bytes:
    """The frame that passes a device's signal on."""
    return b"s%s\n%s" % (_json(_SignalHead(node, device)), frame)


def encode_deleted(node: str, reason: str) -> bytes:
    """The frame that says that the session is gone."""
    return b"d" + _json(Deleted(node, reason))


def encode_arrived(arrived: Arrived) -> bytes:
    """The frame that says where a device's newest connection is."""
    return b"a" + _json(arrived)


def encode_arriving(node: str, device: DeviceId, connection: ConnectionId) -> bytes:
    """The same up to the number, which is known only where the arrival is written; a brace closes it."""
    return b'a%s,"number":' % _json(_Arriving(node, device, connection)).removesuffix(b"}")


def encode_asked(asked: Asked) -> bytes:
    """The frame that asks after a device's connection elsewhere."""
    return b"q" + _json(asked)


def encode_stays(stays: Stays) -> bytes:
    """The frame that says that it is there."""
    return b"y" + _json(stays)


def encode_told(node: str, device: DeviceId, session: SessionId, frame: bytes) -> bytes:
    """The frame that takes a message to a device."""
    return b"t%s\n%s" % (_json(_ToldHead(node, device, session)), frame)


# -- and back ---------------------------------------------------------------------------------------------------


def decode(frame: bytes) -> Message | Broken:
    """What the frame says. Total: any bytes give a message or `Broken`, in time and memory of the frame's length."""
    if len(frame) > FRAME_BYTES_MAX:
        return Broken("large")
    try:
        match frame[:1]:
            case b"e":
                message = _entries(frame[1:])
                return message if message.bodies and len(message.bodies) == len(message.digests) else _MALFORMED
            case b"p":
                return _statement(frame[1:])
            case b"s":
                head, feed, rest = frame[1:].partition(b"\n")
                signal = _signal_head(head)
                if not feed or len(rest) > SIGNAL_BYTES_MAX:
                    return Broken("malformed")
                return Signal(signal.node, signal.device, rest)
            case b"h":
                return _moved(frame[1:])
            case b"a":
                return _arrived(frame[1:])
            case b"q":
                return _asked(frame[1:])
            case b"y":
                return _stays(frame[1:])
            case b"t":
                head, feed, rest = frame[1:].partition(b"\n")
                told = _told_head(head)
                return Told(told.node, told.device, told.session, rest) if feed else Broken("malformed")
            case b"d":
                return _deleted(frame[1:])
            case _:
                return Broken("unknown")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Broken("malformed")


def read_entries(first: int, bodies: Sequence[bytes]) -> list[Entry] | Broken:
    """The entries that a message tells. They run on from its ``first``; else nothing of them is believed."""
    try:
        entries = [_entry(body) for body in bodies]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _MALFORMED
    for version, entry in enumerate(entries, first):
        if entry.version != version:
            return _MALFORMED
    return entries
