"""The journal as an onlooker reads it: beside the service that writes it, or without one; nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncbridge.adapters.embedded.directory import DATABASE, CannotOpen
from syncbridge.adapters.embedded.journal import BUSY_TIMEOUT_S, Journal, NotThere, is_damage
from syncbridge.adapters.embedded.records import JOURNAL_COLUMNS, Damage, unpack_row
from syncbridge.adapters.embedded.schema import require_newest
from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.core.retention import HISTORY_ENTRIES_MAX
from syncbridge.limits import Limits, Retention

LOOKED_AT_MAX = 2_000
"""Rows whose checksums a quick look verifies: the newest ones, for a failing disk fails at what was just written."""


class _ReadOnly(Journal):
    """A journal whose file is opened for reading alone; every call that would write raises sqlite3.OperationalError."""

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)

    def _prepare(self) -> None:
        self.db.execute("PRAGMA query_only = ON")
        require_newest(self.db)


class Onlooker:
    """What an onlooker may ask. Belongs to one thread; every call may raise sqlite3.Error."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def counter(self) -> int:
        """The highest id that any row or erasure ever had."""
        return self._journal.counter()

    def store_id(self) -> str:
        """The name that this file got when it was made."""
        return self._journal.store_id()

    def set_aside(self) -> dict[SessionId, str]:
        """Sessions that are not served, each with the reason."""
        return dict(self._journal.db.execute("SELECT session, reason FROM set_aside ORDER BY at").fetchall())

    def damaged_rows(self, count_max: int = LOOKED_AT_MAX) -> list[str]:
        """What is wrong with the newest rows, one sentence a row; empty when their checksums hold."""
        found = []
        for raw in self._journal.db.execute(
            f"SELECT {JOURNAL_COLUMNS} FROM journal ORDER BY id DESC LIMIT ?",  # noqa: S608  (our names)
            (count_max,),
        ):
            try:
                unpack_row(raw)
            except Damage as damage:
                found.append(str(damage))
        return found

    def newest_at(self) -> int:
        """When the newest entry was committed, in server ms; 0 where there is none."""
        (at,) = self._journal.db.execute("SELECT max(at) FROM heads").fetchone()
        return int(at or 0)

    def entries(self, session: SessionId) -> list[Entry]:
        """Every entry that the journal still holds of the session, oldest first, verified. NotThere, Damage."""
        head = self._journal.head(session)
        if head is None:
            raise NotThere(f"no session {session}")
        return [entry for row in self._journal.rows(head, 0) for entry in row.entries()]


@contextmanager
def looking_at(directory: Path, limits: Limits | None = None) -> Iterator[Onlooker]:
    """The journal in the directory. Raises CannotOpen with the sentence for the operator, also when reading fails."""
    path = directory / DATABASE
    if not path.exists():
        raise CannotOpen(f"there is no journal in {directory}: no session was ever made there")
    try:
        journal = _ReadOnly(path, limits or Limits(), Retention(), HISTORY_ENTRIES_MAX)
        try:
            yield Onlooker(journal)
        finally:
            journal.close()
    except sqlite3.Error as error:
        what = "is damaged" if is_damage(error) else "cannot be read"
        raise CannotOpen(f"{path} {what}: {error}") from error
