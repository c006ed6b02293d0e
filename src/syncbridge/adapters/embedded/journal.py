"""The session journal: one SQLite file in WAL mode, read and written by one thread, synchronous.

Everything that is read is verified: a row by its checksum, a log by its chain (each row names the one before it, the
versions run on without a gap, all of one epoch and account), a head by the row that it was taken from.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from syncbridge.adapters.embedded.records import (
    JOURNAL_COLUMNS,
    SNAPSHOT_COLUMNS,
    Damage,
    JournalRow,
    Row,
    pack_snapshot,
    unpack_row,
    unpack_snapshot,
)
from syncbridge.adapters.embedded.schema import migrate
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.retention import Kept, plan
from syncbridge.limits import Limits, Retention
from syncbridge.ports import StoredLog

BUSY_TIMEOUT_S = 2.0
"""How long a backup or another reader of the file may hold us up."""

STATEMENT_ROWS_MAX = 128
"""Rows a single INSERT takes; a longer group is several of them in one transaction."""

_log = structlog.get_logger(__name__)

_CHAIN = f"""
WITH RECURSIVE chain (id, previous, first) AS (
  SELECT id, previous, first FROM journal WHERE id = :tail
  UNION ALL
  SELECT journal.id, journal.previous, journal.first FROM chain JOIN journal ON journal.id = chain.previous
  WHERE chain.first > :after + 1 AND chain.previous < chain.id
)
SELECT {JOURNAL_COLUMNS} FROM chain JOIN journal USING (id, previous, first) ORDER BY id
"""  # noqa: S608  (column names only)


class Head(Struct, frozen=True):
    """The row of ``heads``; to be believed only when `Journal.rows` agrees."""

    session: SessionId
    epoch: str
    account: AccountId
    version: int
    tail: int
    at: int
    waiting_for: DeviceId | None
    waiting_until: int
    status: str


class LogRead(Struct, frozen=True):
    """A verified log from a snapshot on, and the journal's rows that it came from."""

    stored: StoredLog
    rows: list[JournalRow]


class SnapshotToKeep(Struct, frozen=True):
    """A snapshot with its JSON; ``tail`` is the row of its last entry, 0 where that must be looked up."""

    snapshot: Snapshot
    body: bytes
    tail: int


class NotThere(Exception):
    """There is no such session, or it does not reach to the version asked for."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the error says that the file is not as it was written (text that is no UTF-8 has no error code)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@lru_cache(maxsize=STATEMENT_ROWS_MAX)
def _insert(count: int) -> str:
    places = ",".join("?" * len(JOURNAL_COLUMNS.split(", ")))
    return "INSERT INTO journal VALUES " + ",".join([f"({places})"] * count)  # noqa: S608  (places only)


def require_chain(rows: Sequence[JournalRow]) -> None:
    """Each row follows the one before it, in one log. Raises Damage."""
    for before, row in pairwise(rows):
        follows = (before.id, before.last + 1, before.session, before.epoch)
        if (row.previous, row.first, row.session, row.epoch) != follows:
            raise Damage(f"journal row {row.id} does not follow row {before.id}")


class Journal:
    """The file `path`, open. Belongs to one thread; every call may raise sqlite3.Error."""

    def __init__(self, path: Path, limits: Limits, retention: Retention, history_entries_max: int) -> None:
        self._limits = limits
        self._retention = retention
        self._history_entries_max = history_entries_max
        self.untold_pruned = 0
        """Rows that `prune` let go though other services were not told of them."""
        self.db = self._connect(path)
        try:
            self._prepare()
            self.set_aside = {session for (session,) in self.db.execute("SELECT session FROM set_aside")}
        except BaseException:
            self.db.close()
            raise

    def _connect(self, path: Path) -> sqlite3.Connection:
        # A statement for each size of a group: preparing one of 64 rows takes 0.4 ms.
        return sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENT_ROWS_MAX + 64,
        )

    def _prepare(self) -> None:
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA secure_delete = ON")
        migrate(self.db)

    def close(self) -> None:
        """The write-ahead log is folded into the file, unless somebody else still reads it."""
        self.db.close()

    def counter(self) -> int:
        """The highest id that any row or erasure ever had."""
        row = self.db.execute(
            "SELECT max(coalesce((SELECT max(id) FROM journal), 0),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0))"
        ).fetchone()
        return int(row[0])

    def store_id(self) -> str:
        """The name that this file got when it was made."""
        return str(self.db.execute("SELECT id FROM store").fetchone()[0])

    # -- writing ------------------------------------------------------------------------------------------------

    def commit(self, rows: Sequence[Row], snapshots: Sequence[SnapshotToKeep]) -> None:
        """Rows and snapshots are on disk, all or none.

        Cost  one statement where that will do: sqlite3 gives the GIL up and must win it back once a statement, and
              against a busy loop each time can cost a turn of it. With the other thread busy, groups of 128 took
              1.4 ms so, 6.0 by executemany, 2.1 as one JSON document taken apart by json_each (p50).
        """
        if not snapshots and len(rows) <= STATEMENT_ROWS_MAX:
            if rows:
                self.db.execute(_insert(len(rows)), list(chain.from_iterable(rows)))
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(rows), STATEMENT_ROWS_MAX):
                part = rows[start : start + STATEMENT_ROWS_MAX]
                self.db.execute(_insert(len(part)), list(chain.from_iterable(part)))
            for snapshot in snapshots:
                self._keep(snapshot)
            self.db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def _keep(self, keep: SnapshotToKeep) -> None:
        """The snapshot stands, if it is of the log that is here: it may come after the session's erasure."""
        snapshot = keep.snapshot
        head = self.head(snapshot.session)
        if head is None or head.epoch != snapshot.epoch or head.version < snapshot.version:
            return
        tail = keep.tail or self._row_at(head, snapshot.version)
        row = pack_snapshot(snapshot, tail, keep.body)
        # One of the same version says the same of the log; who was heard when, the later one knows better.
        how = "REPLACE" if tail else "IGNORE"
        self.db.execute(f"INSERT OR {how} INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608  (our word)

    def _row_at(self, head: Head, version: int) -> int:
        rows = self.db.execute(_CHAIN, {"tail": head.tail, "after": version - 1}).fetchall()
        return int(rows[0][0]) if rows else 0

    def prune(self, session: SessionId) -> None:
        """What `retention.plan` lets go is gone."""
        head = self.head(session)
        if head is None:
            return
        found = self.db.execute(
            "SELECT version, at, tail FROM snapshots WHERE session = ? ORDER BY version", (session,)
        ).fetchall()
        kept = [Kept(version, at) for version, at, _ in found]
        base, dropped = plan(kept, head.version, head.at, self._limits, self._retention, self._history_entries_max)
        if not dropped:
            return
        tails = {version: tail for version, _, tail in found}
        gone = self.db.execute(_CHAIN, {"tail": tails[base], "after": 0}).fetchall() if base else []
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.db.executemany("DELETE FROM journal WHERE id = ?", [(row[0],) for row in gone if row[6] <= base])
            self._count_untold(row[0] for row in gone if row[6] <= base)
            self.db.executemany(
                "DELETE FROM snapshots WHERE session = ? AND version = ?", [(session, version) for version in dropped]
            )
            self.db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _count_untold(self, ids: Iterable[int]) -> None:
        """Rows that went before other services were told of them are counted, where anybody is told at all."""
        told = self.db.execute("SELECT row FROM told").fetchone()
        if told is not None:
            self.untold_pruned += sum(row_id > told[0] for row_id in ids)

    def erase(self, sessions: Iterable[SessionId], counter: int) -> bool:
        """Nothing of `sessions` is left in the database or its write-ahead log.

        `counter` is noted as an id that was used, so that an erasure that is lost is noticed like any other loss.
        False where a reader of the file holds on to the old log: erase again.
        """
        self.db.execute("BEGIN IMMEDIATE")
        try:
            for session in sessions:
                head = self.head(session)
                try:
                    ids = [row.id for row in self.rows(head, 0)] if head and session not in self.set_aside else []
                except Damage:
                    ids = []
                if ids:
                    self.db.executemany("DELETE FROM journal WHERE id = ?", [(row_id,) for row_id in ids])
                else:  # no chain to go by: look at every row
                    self.db.execute("DELETE FROM journal WHERE session = ?", (session,))
                for table in ("heads", "snapshots", "set_aside"):
                    self.db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))  # noqa: S608  (our names)
            self._use_id(counter)
            self.db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self.set_aside.difference_update(sessions)
        return self.fold()

    def _use_id(self, number: int) -> None:
        # SQLite makes the row at the first insert alone.
        self.db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'journal', 0"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'journal')"
        )
        self.db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'journal'", (number,))

    def fold(self) -> bool:
        """The write-ahead log is folded into the file and empty; False where a reader holds it."""
        (is_busy, _, _) = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy

    def probe(self) -> None:
        """There is room for a group: 64 KiB were written and given back."""
        self.db.execute("UPDATE store SET probe = zeroblob(65536)")
        self.db.execute("UPDATE store SET probe = zeroblob(0)")

    def put_aside(self, session: SessionId, reason: str) -> None:
        """The session is not served again until it is erased; said once."""
        if session in self.set_aside:
            return
        self.set_aside.add(session)
        _log.error(
            "session_set_aside",
            session=session,
            reason=reason,
            action="it is refused as state_damaged, others go on; restore the data directory from a backup,"
            " or delete the session",
        )
        try:
            at = time.time_ns() // 1_000_000
            self.db.execute("INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?)", (session, at, reason))
        except sqlite3.Error as error:
            _log.error("session_set_aside_not_noted", session=session, error=str(error))

    # -- reading ------------------------------------------------------------------------------------------------

    def head(self, session: SessionId) -> Head | None:
        """The row of ``heads``, not verified."""
        row = self.db.execute(
            "SELECT session, epoch, account, version, tail, at, waiting_for, waiting_until, status FROM heads"
            " WHERE session = ?",
            (session,),
        ).fetchone()
        return None if row is None else Head(*row)

    def rows(self, head: Head, after: int) -> list[JournalRow]:
        """The rows that hold the versions after `after` (at least the last row), oldest first, verified.

        They begin later where the log itself does: it was pruned. Raises Damage.
        """
        found = self.db.execute(_CHAIN, {"tail": head.tail, "after": min(after, head.version - 1)}).fetchall()
        rows = [unpack_row(row) for row in found]
        if not rows:
            raise Damage("the head's journal row is not there")
        tail = rows[-1]
        shown = (tail.session, tail.epoch, tail.account, tail.last, tail.id, tail.at, tail.waiting_for)
        if shown != (head.session, head.epoch, head.account, head.version, head.tail, head.at, head.waiting_for):
            raise Damage("the head is not what its journal row says")
        if tail.waiting_until != head.waiting_until or tail.status not in ("", head.status):
            raise Damage("the head is not what its journal row says")
        require_chain(rows)
        return rows

    def found(self, session: SessionId) -> Head:
        """The session's head. NotThere where there is none."""
        head = self.head(session)
        if head is None:
            raise NotThere(f"no session {session}")
        return head

    def read(self, session: SessionId, reach: int) -> LogRead:
        """The log from a snapshot at least `reach` entries before the head, or the oldest. NotThere, Damage.

        Who was heard when is no fold of entries: that is the newest snapshot's, wherever the log is read from.
        """
        head = self.found(session)
        read = self._from_snapshot(head, head.version - reach, head.version)
        found = self.db.execute(
            f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE session = ? AND version > ?"  # noqa: S608  (column names)
            " ORDER BY version DESC LIMIT 1",
            (session, read.stored.snapshot.version),
        ).fetchone()
        if found is None:
            return read
        try:
            newest = unpack_snapshot(found)
        except Damage as damage:
            _log.error("snapshot_not_read", session=session, error=str(damage))
            return read
        if newest.epoch != head.epoch:
            return read
        snapshot = replace(read.stored.snapshot, heard=newest.heard)
        return replace(read, stored=replace(read.stored, snapshot=snapshot))

    def last_rows(self, session: SessionId) -> list[JournalRow]:
        """Enough of the log's end for most repeats and conflicts; `since` has the rest. NotThere, Damage."""
        return self.read(session, self._limits.snapshot_entries_max).rows

    def state_at(self, session: SessionId, version: int) -> StoredLog:
        """A snapshot at or before `version` and the entries after it up to `version`. NotThere, Damage."""
        head = self.found(session)
        (oldest,) = self.db.execute("SELECT min(version) FROM snapshots WHERE session = ?", (session,)).fetchone()
        if not (oldest or 0) <= version <= head.version:
            raise NotThere(f"the log holds the states from version {oldest} to {head.version}")
        return self._from_snapshot(head, version, version).stored

    def _from_snapshot(self, head: Head, version: int, until: int) -> LogRead:
        """The newest snapshot at or before `version` (or else the oldest), and the entries after it to `until`."""
        snapshots = f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE session = ?"  # noqa: S608  (column names only)
        found = (
            self.db.execute(
                f"{snapshots} AND version <= ? ORDER BY version DESC LIMIT 1", (head.session, version)
            ).fetchone()
        ) or self.db.execute(f"{snapshots} ORDER BY version LIMIT 1", (head.session,)).fetchone()
        if found is None:
            raise Damage("there is no snapshot")
        snapshot = unpack_snapshot(found)
        if snapshot.epoch != head.epoch or snapshot.account != head.account or snapshot.version > head.version:
            raise Damage(f"snapshot {snapshot.version} is not of this log")
        rows = self.rows(head, snapshot.version)
        if rows[0].first > snapshot.version + 1:
            raise Damage(f"the entries {snapshot.version + 1} to {rows[0].first - 1} are not there")
        entries: list[Entry] = []
        digests: list[int] = []
        for row in rows:
            for entry, digest in zip(row.entries(), row.digests, strict=True):
                if snapshot.version < entry.version <= until:
                    entries.append(entry)
                    digests.append(digest)
        return LogRead(StoredLog(snapshot, entries, digests), rows)

    def since(self, session: SessionId, version: int) -> list[JournalRow]:
        """The rows from version + 1 on. NotThere where the log does not reach so far back."""
        head = self.found(session)
        rows = self.rows(head, version)
        if rows[0].first > version + 1 or head.version <= version:
            raise NotThere(f"the log begins at version {rows[0].first} and ends at {head.version}")
        return rows

    def waiting(self, account: AccountId, device: DeviceId, now_ms: int) -> list[SessionId]:
        """The account's sessions whose head holds an offer to `device` that has not expired."""
        found = self.db.execute(
            "SELECT session FROM heads WHERE account = ? AND waiting_for = ? AND waiting_until > ?",
            (account, device, now_ms),
        ).fetchall()
        return [session for (session,) in found if self.is_sound(session)]

    def is_sound(self, session: SessionId) -> bool:
        """Whether the head is what its journal row says; the session is put aside when it is not."""
        if session in self.set_aside:
            return False
        head = self.found(session)
        try:
            self.rows(head, head.version)
        except Damage as damage:
            self.put_aside(session, str(damage))
            return False
        return True
