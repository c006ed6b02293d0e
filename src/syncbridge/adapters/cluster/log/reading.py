"""Reading a log in Redis: in bounded pieces, everything verified, while commits go on between the pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from syncbridge.adapters.cluster.keys import session_keys
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.recovery import Recovery
from syncbridge.adapters.cluster.log.steps import Failed, Missing, Steps, ran, sound
from syncbridge.adapters.cluster.log.stored import Damage, read_entries, read_mark, read_number, text, unpack_snapshot
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import SessionId
from syncbridge.core.retention import begins_after
from syncbridge.ports import StoredLog, StoreFault, Stretch

T = TypeVar("T")

STRETCH_BYTES_MAX: Final = 1024 * 1024
"""Of one answer: a server that writes more at once keeps its other sessions waiting."""
_COUNT_MAX: Final = 1_000
_TRIES: Final = 4
"""A log that is replaced, or whose beginning is let go, while it is read is read again."""

_load = load("load")
_entries = load("entries")
_outline = load("outline")


class Replaced(Exception):
    """What was being read is not there any more: history let go of it, or the log is another by now."""


class Outline(Struct, frozen=True):
    """What is known of a log without reading it; ``marks`` are its snapshots' versions and times, in order."""

    epoch: str
    version: int
    account: str
    at: int
    marks: list[tuple[int, int]]


class _Beginning(Struct, frozen=True):
    epoch: str
    version: int
    snapshot: Snapshot
    offer_left_ms: int | None


class LogReader:
    """Every question that a log is asked. What finds none, or a damaged one, is a matter of `Recovery`."""

    def __init__(self, link: RedisLink, recovery: Recovery) -> None:
        self._link = link
        self._recovery = recovery

    def answer(self, session: SessionId, ask: Callable[[], Steps[T]]) -> Steps[T | StoreFault]:
        """What `ask` finds, or why it finds nothing: a lost log may be there again, and is asked then."""
        for _ in range(_TRIES):
            try:
                try:
                    return (yield from ask())
                except Missing:
                    yield from self._recovery.rebuild(session)
                except Damage as damage:
                    yield from self._recovery.set_aside(session, str(damage))
                except Replaced:
                    continue
            except Failed as failed:
                return failed.fault
            except Damage as damage:
                return StoreFault("state_damaged", str(damage))
        return StoreFault("unavailable", "the log was replaced again and again while it was read")

    def load(self, session: SessionId, reach: int) -> Steps[StoredLog]:
        """As `StateStore.load`. Raises Missing, Damage, Replaced, Failed."""
        begin, heard = yield from self._begin(session, b"reach", reach)
        entries, digests, txns = yield from self.since(session, begin.epoch, begin.snapshot.version, begin.version)
        snapshot = begin.snapshot if heard is None else replace(begin.snapshot, heard=heard)
        return StoredLog(snapshot, entries, digests, txns, begin.offer_left_ms)

    def state_at(self, session: SessionId, version: int) -> Steps[StoredLog]:
        """As `StateStore.state_at`. Raises Missing, Damage, Replaced, Failed."""
        begin, _ = yield from self._begin(session, b"version", max(version, 0))
        if not begin.snapshot.version <= version <= begin.version:
            detail = f"the log holds the states from version {begin.snapshot.version} to {begin.version}"
            raise Failed(StoreFault("not_found", detail))
        entries, digests, txns = yield from self.since(session, begin.epoch, begin.snapshot.version, version)
        return StoredLog(begin.snapshot, entries, digests, txns)

    def entries(self, session: SessionId, after: int, count_max: int) -> Steps[Stretch]:
        """As `StateStore.entries`. Raises Missing, Damage, Replaced, Failed."""
        args = [b"%d" % after, b"", b"%d" % count_max, b"%d" % STRETCH_BYTES_MAX, b"told"]
        epoch, head, oldest, found = yield from self._part(session, args)
        start = max(after, begins_after(oldest))
        entries, _, _ = read_entries(epoch, start, found)
        if not entries and start < head:
            raise Damage(f"the entries after {start} are not there")
        return Stretch(epoch, oldest, head, entries)

    def version_at(self, session: SessionId, at_ms: int) -> Steps[int]:
        """As `StateStore.version_at`. Raises Missing, Damage, Replaced, Failed."""
        outline = yield from self.outline(session)
        known = max((version for version, at in outline.marks if at <= at_ms), default=0)
        later = min((version for version, _ in outline.marks if version > known), default=outline.version)
        if not known or known == outline.version:
            return known
        version = known
        entries, _, _ = yield from self.since(session, outline.epoch, known, later)
        for entry in entries:
            if entry.at > at_ms:
                break
            version = entry.version
        return version

    def outline(self, session: SessionId) -> Steps[Outline]:
        """What is known of the log. Raises Missing, Damage, Failed."""
        keys = session_keys(session)
        raw = yield ran(self._link, _outline, [keys.head, keys.snaps], [], is_write=False)
        if sound(raw) is None:
            raise Missing
        epoch, version, account, at, marks = raw
        return Outline(
            text(epoch),
            read_number(version, "the head's version"),
            text(account),
            read_number(at, "the head's time"),
            [read_mark(mark) for mark in marks],
        )

    def since(
        self, session: SessionId, epoch: str, after: int, until: int
    ) -> Steps[tuple[list[Entry], list[int], list[str]]]:
        """All entries after `after` up to `until` with their digests and transactions. Raises as `load`."""
        entries: list[Entry] = []
        digests: list[int] = []
        txns: list[str] = []
        while after < until:
            args = [b"%d" % after, b"%d" % until, b"%d" % _COUNT_MAX, b"%d" % STRETCH_BYTES_MAX, b"all"]
            now, _, oldest, found = yield from self._part(session, args)
            if now != epoch:
                raise Replaced
            try:
                part, their, made_by = read_entries(epoch, after, found)
                if not part:
                    raise Damage(f"the entries after {after} are not there")
            except Damage:
                if oldest > after:
                    raise Replaced from None
                raise
            entries += part
            digests += their
            txns += made_by
            after += len(part)
        return entries, digests, txns

    def _part(self, session: SessionId, args: list[bytes]) -> Steps[tuple[str, int, int, Any]]:
        keys = session_keys(session)
        touched = [keys.head, keys.log, keys.snaps]
        raw = yield ran(self._link, _entries, touched, args, is_write=False)
        if sound(raw) is None:
            raise Missing
        epoch, version, oldest, found = raw
        if not oldest:
            raise Damage("there is no snapshot")
        return text(epoch), read_number(version, "the head's version"), int(oldest), found

    def _begin(self, session: SessionId, how: bytes, which: int) -> Steps[tuple[_Beginning, dict[str, int] | None]]:
        """Where a replay begins; and who was heard when, where a newer snapshot says it."""
        keys = session_keys(session)
        args = [how, b"%d" % which]
        touched = [keys.head, keys.snap, keys.snaps]
        raw = yield ran(self._link, _load, touched, args, is_write=False)
        if sound(raw) is None:
            raise Missing
        epoch_raw, head, account, _, base, packed, newest, left = raw
        epoch = text(epoch_raw)
        if not base:
            raise Damage("there is no snapshot")
        snapshot = unpack_snapshot(session, epoch, int(base), packed)
        version = read_number(head, "the head's version")
        if snapshot.account != text(account) or snapshot.version > version:
            raise Damage(f"snapshot {snapshot.version} is not of this log")
        heard = None
        if newest[0]:
            heard = unpack_snapshot(session, epoch, int(newest[0]), newest[1]).heard
        return _Beginning(epoch, version, snapshot, int(left) if left else None), heard
