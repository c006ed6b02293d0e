"""Which logs have had their time, and the walk over all of them: what the journal's heads say without a log read.

A head that schema version 1 left says nothing of its status. It is read from the log when it could first matter, and
noted, so that it is read once.
"""

from __future__ import annotations

from msgspec import Struct

from syncbridge.adapters.embedded.journal import Journal, NotThere
from syncbridge.adapters.embedded.records import Damage
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.limits import Retention
from syncbridge.ports import StoredHead

ENTRIES_MAX = 2_000
"""Versions of the sessions that go in one step: erasing so many rows holds commits up for some 20 ms."""

DAMAGED = "damaged"
"""What stands for the status of a session that was set aside."""


class Due(Struct, frozen=True):
    """A session past its time: its status, and its last commit or setting aside."""

    session: SessionId
    status: str
    at: int


class Found(Struct, frozen=True):
    """Sessions past their time; ``has_more`` where others are, or may be."""

    due: list[Due]
    has_more: bool


def find_due(journal: Journal, now_ms: int, retention: Retention, count_max: int) -> Found:
    """At most ``count_max`` sessions past their time, and no more than a step's worth of rows (or a single one)."""
    unknown = _learn(journal, now_ms - _shortest_ms(retention), count_max)
    found = journal.db.execute(
        "SELECT session, status, at, version FROM heads WHERE session NOT IN (SELECT session FROM set_aside) AND"
        " at <= CASE status WHEN '' THEN -1 WHEN 'completed' THEN ? WHEN 'archived' THEN ? ELSE ? END LIMIT ?",
        (*(now_ms - retention.session_ms(status) for status in ("completed", "archived", "active")), count_max + 1),
    ).fetchall()
    found += journal.db.execute(
        "SELECT session, ?, at, 0 FROM set_aside WHERE at <= ? LIMIT ?",
        (DAMAGED, now_ms - retention.live_ms, count_max + 1),
    ).fetchall()
    due: list[Due] = []
    entries = 0
    for session, status, at, version in found:
        entries += version
        if len(due) == count_max or (due and entries > ENTRIES_MAX):
            return Found(due, has_more=True)
        if status == DAMAGED or journal.is_sound(session):
            due.append(Due(session, status, at))
    return Found(due, has_more=unknown >= count_max)


def walk(journal: Journal, after: str, count_max: int, account: AccountId | None) -> list[StoredHead]:
    """The next heads in order of their sessions' ids, as they stand."""
    found = journal.db.execute(
        "SELECT session, account, version, at FROM heads WHERE session > ? AND (? IS NULL OR account = ?)"
        " ORDER BY session LIMIT ?",
        (after, account, account, count_max),
    ).fetchall()
    return [StoredHead(*row) for row in found]


def _shortest_ms(retention: Retention) -> int:
    return min(retention.live_ms, retention.completed_ms, retention.archived_ms)


def _learn(journal: Journal, until_ms: int, count_max: int) -> int:
    """The status of these old heads is noted, from their logs; how many there were. A damaged log is set aside."""
    unknown = journal.db.execute(
        "SELECT session FROM heads WHERE status = '' AND at <= ? AND session NOT IN (SELECT session FROM set_aside)"
        " LIMIT ?",
        (until_ms, count_max),
    ).fetchall()
    for (session,) in unknown:
        try:
            log = journal.read(session, 0).stored
        except (Damage, NotThere) as damage:
            journal.put_aside(session, str(damage))
            continue
        said = [entry.status for entry in log.entries if entry.status is not None]
        status = said[-1] if said else log.snapshot.status
        journal.db.execute("UPDATE heads SET status = ? WHERE session = ? AND status = ''", (status, session))
    return len(unknown)
