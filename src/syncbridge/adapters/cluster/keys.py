"""The names of everything in Redis, in one place.

A name's tag, the part in braces, decides its slot: what one script touches has one tag.

================================ ======= =========================================================================
name                             is      what
================================ ======= =========================================================================
``sb:{SESSION}:head``            hash    epoch, version, account, status, waiting offer, its end; who pushes by what
``sb:{SESSION}:log``             stream  the entries; an entry's id is ``<version>-0``
``sb:{SESSION}:snap``            hash    version -> snapshot
``sb:{SESSION}:snaps``           zset    ``<version>:<at>`` by version: which snapshots there are
``sb:{SESSION}:gone``            string  the session was deleted: nothing brings it back
``sb:{SESSION}:damaged``         string  the log was set aside, and when; what it was lies beside under ``damaged:``
``sb:{SESSION}:who``             hash    node -> number and frame of its statement: which devices are there
``sb:{SESSION}``                 channel news of the session
``sb:{@ACCOUNT}:sessions``       zset    the account's sessions, by name
``sb:{@ACCOUNT}:offers``         zset    ``device session`` by when the offer expires
``sb:{@ACCOUNT}:last``           string  the number of the last arrival of a device of the account
``sb:{@ACCOUNT}``                channel news for the account's devices
``sb:{#BUCKET}:all``, ``:due``   zset    sessions by name, and by when they must be looked at for their time to live
``sb:{SLOT}:outbox``             stream  facts of the slot's sessions that the broker was not told
``sb:{SLOT}:changed``            hash    session -> by which versions it grew, as far as the broker was not told
``sb:{SLOT}:relay``              hash    who tells the broker of the slot now: holder, fence, until
``sb:{SLOT}:born``               string  since when this Redis knows of the slot: it is missing after a loss
``sb:nodes``                     hash    node -> a count that grows while it lives
================================ ======= =========================================================================

Ids come from outside, too: what is not a plain sign in one is escaped, so that no id has another's slot or name.
"""

from __future__ import annotations

import re
import zlib
from binascii import crc_hqx
from functools import cache
from typing import Final, NamedTuple

from syncbridge.core.ids import AccountId, SessionId

PREFIX: Final = b"sb:"
NODES: Final = b"sb:nodes"
SLOTS: Final = 16_384
BUCKETS: Final = 16
"""Parts of the index over all sessions: enough that no server of a middling cluster has all of it to itself."""

_STRANGE: Final = re.compile(rb"[^A-Za-z0-9._~:-]")


class SessionKeys(NamedTuple):
    """The keys of a session."""

    head: bytes
    log: bytes
    snap: bytes
    snaps: bytes
    gone: bytes
    damaged: bytes
    who: bytes
    set_aside: tuple[bytes, ...]
    """What head, log, snap and snaps are called once the log is damaged."""


def tag_of(name: str) -> bytes:
    """The id as it stands in names: escaped, never empty, and two ids never alike."""
    raw = name.encode("utf-8", "surrogatepass")
    return _STRANGE.sub(lambda found: b"%%%02X" % found[0][0], raw) or b"%"


def session_keys(session: SessionId) -> SessionKeys:
    """All of one slot."""
    base = b"sb:{" + tag_of(session) + b"}:"
    return SessionKeys(
        head=base + b"head",
        log=base + b"log",
        snap=base + b"snap",
        snaps=base + b"snaps",
        gone=base + b"gone",
        damaged=base + b"damaged",
        who=base + b"who",
        set_aside=tuple(base + b"damaged:" + name for name in (b"head", b"log", b"snap", b"snaps")),
    )


def session_channel(session: SessionId) -> bytes:
    """The shard channel of a session's news, in the slot of its keys."""
    return b"sb:{" + tag_of(session) + b"}"


def account_channel(account: AccountId) -> bytes:
    """The shard channel of what is told to an account's devices."""
    return b"sb:{@" + tag_of(account) + b"}"


def account_sessions(account: AccountId) -> bytes:
    """The index of an account's sessions."""
    return account_channel(account) + b":sessions"


def account_offers(account: AccountId) -> bytes:
    """The index of the offers that wait for an account's devices."""
    return account_channel(account) + b":offers"


def account_last(account: AccountId) -> bytes:
    """The number of the account's last arrival."""
    return account_channel(account) + b":last"


def bucket_of(session: SessionId) -> int:
    """The part of the index over all sessions in which this one stands: below `BUCKETS`."""
    return zlib.crc32(session.encode("utf-8", "surrogatepass")) % BUCKETS


def bucket_all(bucket: int) -> bytes:
    """The sessions of a bucket by name."""
    return b"sb:{#%02d}:all" % bucket


def bucket_due(bucket: int) -> bytes:
    """The sessions of a bucket by when they must be looked at."""
    return b"sb:{#%02d}:due" % bucket


# -- by slot ----------------------------------------------------------------------------------------------------


def slot_of(key: bytes) -> int:
    """The slot of a key or channel: CRC-16 (XMODEM) of its tag, or of all where it has none.

    As the cluster's specification says: the tag is between the first brace and the next closing one, if not empty.
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


@cache
def slot_tags() -> tuple[bytes, ...]:
    """A short tag for each slot, always the same: for what belongs to a slot rather than to a session.

    Cost  about 300 ms of CPU, once: never in the loop of a process that serves (`RedisOutbox.open`).
    """
    tags: dict[int, bytes] = {}
    number = 0
    while len(tags) < SLOTS:
        tag = b"%x" % number
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
        number += 1
    return tuple(tags[slot] for slot in range(SLOTS))


def outbox_key(slot: int) -> bytes:
    """The facts of a slot that wait for the broker."""
    return b"sb:{%b}:outbox" % slot_tags()[slot]


def changed_key(slot: int) -> bytes:
    """The state changes of a slot that wait for the broker."""
    return b"sb:{%b}:changed" % slot_tags()[slot]


def relay_key(slot: int) -> bytes:
    """The lease of whoever tells the broker of a slot."""
    return b"sb:{%b}:relay" % slot_tags()[slot]


def born_key(slot: int) -> bytes:
    """Since when this Redis knows of the slot."""
    return b"sb:{%b}:born" % slot_tags()[slot]
