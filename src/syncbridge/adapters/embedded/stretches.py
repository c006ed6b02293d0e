"""Stretches of one log out of the journal, for history: found by way of the snapshots, verified like all that is read.

A log is a chain that is walked from its end back. Every snapshot names the row of its last entry, so a stretch in the
middle is walked from the first snapshot past it: the cost is that of one gap between snapshots, not of the log.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from syncbridge.adapters.embedded.journal import Head, Journal, require_chain
from syncbridge.adapters.embedded.records import JOURNAL_COLUMNS, Damage, JournalRow, unpack_row
from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.core.retention import begins_after
from syncbridge.ports import Stretch

STRETCH_BYTES_MAX = 1024 * 1024
"""Bodies decoded in one read: about 5 ms of the worker's time, in which commits wait."""

_WALK = """
WITH RECURSIVE chain (id, previous, first) AS (
  SELECT id, previous, first FROM journal WHERE id = :tail AND session = :session
  UNION ALL
  SELECT journal.id, journal.previous, journal.first FROM chain JOIN journal ON journal.id = chain.previous
  WHERE chain.first > :after + 1 AND chain.previous < chain.id
)
SELECT id, first, last, at, length(bodies) FROM chain JOIN journal USING (id, previous, first) ORDER BY id
"""
_ROWS = f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608


class _Place(NamedTuple):
    """Where a row stands, before it is read."""

    id: int
    first: int
    last: int
    at: int
    size: int


def read_entries(journal: Journal, session: SessionId, after: int, count_max: int) -> Stretch:
    """As `StateStore.entries` says. NotThere, Damage."""
    head = journal.found(session)
    oldest = _oldest(journal, session)
    start = max(after, begins_after(oldest))
    until = min(start + count_max, head.version)
    entries: list[Entry] = []
    if start < until:
        chosen: list[int] = []
        size = 0
        for place in _walk(journal, head, start, until):
            if place.first > until or (chosen and size + place.size > STRETCH_BYTES_MAX):
                break
            chosen.append(place.id)
            size += place.size
        rows = _rows(journal, head, chosen)
        if not rows or rows[0].first > max(start, oldest) + 1:
            raise Damage(f"the entries after {start} are not there")
        entries = [entry for row in rows for entry in row.entries() if start < entry.version <= until]
    return Stretch(head.epoch, oldest, head.version, entries)


def read_version_at(journal: Journal, session: SessionId, at_ms: int) -> int:
    """As `StateStore.version_at` says. NotThere, Damage."""
    head = journal.found(session)
    (known,) = journal.db.execute(
        "SELECT max(version) FROM snapshots WHERE session = ? AND at <= ?", (session, at_ms)
    ).fetchone()
    if known is None:
        return 0
    later = journal.db.execute(
        "SELECT min(version) FROM snapshots WHERE session = ? AND version > ?", (session, known)
    ).fetchone()[0]
    version = int(known)
    if version == head.version:
        return version
    for place in _walk(journal, head, version, later or head.version):
        if place.last <= known:
            continue
        if place.at > at_ms:
            # The entries of one transaction need not be of one moment.
            for entry in (entry for row in _rows(journal, head, [place.id]) for entry in row.entries()):
                if entry.version > version and entry.at <= at_ms:
                    version = entry.version
            break
        version = place.last
    return version


def _oldest(journal: Journal, session: SessionId) -> int:
    (oldest,) = journal.db.execute("SELECT min(version) FROM snapshots WHERE session = ?", (session,)).fetchone()
    if oldest is None:
        raise Damage("there is no snapshot")
    return int(oldest)


def _walk(journal: Journal, head: Head, after: int, until: int) -> list[_Place]:
    """The rows that hold the versions after `after` up to `until` at least, oldest first."""
    found = journal.db.execute(
        "SELECT tail FROM snapshots WHERE session = ? AND epoch = ? AND version >= ? AND tail > 0"
        " ORDER BY version LIMIT 1",
        (head.session, head.epoch, until),
    ).fetchone()
    for tail in (found[0] if found else head.tail, head.tail):
        chain = [
            _Place(*row) for row in journal.db.execute(_WALK, {"session": head.session, "tail": tail, "after": after})
        ]
        if chain and chain[-1].last >= until:
            return chain
    raise Damage(f"the entries up to {until} are not there")


def _rows(journal: Journal, head: Head, ids: list[int]) -> list[JournalRow]:
    rows = [unpack_row(row) for row in journal.db.execute(_ROWS, (json.dumps(ids),)).fetchall()]
    require_chain(rows)
    if any((row.session, row.epoch, row.account) != (head.session, head.epoch, head.account) for row in rows):
        raise Damage("the journal's rows are of another log than the head")
    return rows
