"""The check at open: structure of the file, every checksum, every chain, every head.

It reads the whole file, so it is bounded: past `VERIFY_BYTES_MAX` only what is read later is verified, when it is read.
"""

from __future__ import annotations

import sqlite3

import structlog

from syncbridge.adapters.embedded.directory import CannotOpen, DataDirectory
from syncbridge.adapters.embedded.journal import Journal, is_damage
from syncbridge.adapters.embedded.records import (
    JOURNAL_COLUMNS,
    SNAPSHOT_COLUMNS,
    Damage,
    unpack_row,
    unpack_snapshot,
)
from syncbridge.adapters.embedded.schema import is_as_made
from syncbridge.core.ids import SessionId

VERIFY_BYTES_MAX = 256 * 1024 * 1024

_WAY_OUT = (
    "Restore the whole data directory from a backup; or start once with `syncbridge serve --accept-loss`: the readable"
    " sessions are then kept under new epochs and the old file is set aside"
)

_log = structlog.get_logger(__name__)


def check(directory: DataDirectory, journal: Journal) -> None:
    """The file is whole and nothing is missing at its end; damaged sessions are set aside.

    Raises CannotOpen where that cannot be said of the file as such.
    """
    _check_mark(directory, journal)
    try:
        if not is_as_made(journal.db):
            raise CannotOpen(f"{directory.database} does not have the tables it was made with. {_WAY_OUT}")
        size = directory.database.stat().st_size
        if size > VERIFY_BYTES_MAX:
            _log.warning("store_not_verified_at_open", bytes=size, action="each session is verified when it is read")
            return
        (verdict,) = journal.db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise CannotOpen(f"{directory.database} is damaged: {verdict}. {_WAY_OUT}")
        _check_rows(journal)
    except sqlite3.Error as error:
        raise unreadable(directory, error) from error


def unreadable(directory: DataDirectory, error: sqlite3.Error) -> CannotOpen:
    """What to raise when SQLite could not read the file."""
    if is_damage(error):
        return CannotOpen(f"{directory.database} is damaged: {error}. {_WAY_OUT}")
    return CannotOpen(f"{directory.database} cannot be read: {error}")


def require_database(directory: DataDirectory) -> None:
    """Where there is a mark there is a database; CannotOpen where it is gone or empty."""
    try:
        mark = directory.read_mark()
    except ValueError:
        return
    is_there = directory.database.exists() and directory.database.stat().st_size > 0
    if mark is not None and mark.counter > 0 and not is_there:
        raise CannotOpen(
            f"{directory.database} is gone, but its mark says that it held {mark.counter} transactions. {_WAY_OUT}"
        )


def _check_mark(directory: DataDirectory, journal: Journal) -> None:
    counter = journal.counter()
    try:
        mark = directory.read_mark()
    except ValueError as error:
        _log.warning("store_mark_damaged", error=str(error), action="written anew; a loss before this is not noticed")
        return
    if mark is None:
        if counter:
            _log.warning("store_mark_missing", action="written anew; a loss before this start is not noticed")
        return
    if mark.store_id != journal.store_id():
        raise CannotOpen(f"{directory.database} is not the file that its mark was written for. {_WAY_OUT}")
    if mark.counter > counter:
        raise CannotOpen(
            f"acknowledged transactions are missing: {directory.database} and its write-ahead log end at number"
            f" {counter}, the mark says {mark.counter}. {_WAY_OUT}"
        )


def _check_rows(journal: Journal) -> None:
    """Every session whose rows, head and snapshots do not agree is set aside."""
    ends: dict[SessionId, tuple[int, int]] = {}
    for raw in journal.db.execute(f"SELECT {JOURNAL_COLUMNS} FROM journal ORDER BY id"):  # noqa: S608  (our names)
        session = raw[2]
        try:
            row = unpack_row(raw)
            before = ends.get(session)
            if before is not None and before != (row.previous, row.first - 1):
                raise Damage(f"journal row {row.id} does not follow row {before[0]}")
        except Damage as damage:
            journal.put_aside(session, str(damage))
        else:
            ends[session] = (row.id, row.last)
    based: set[SessionId] = set()
    for raw in journal.db.execute(f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots"):  # noqa: S608  (our names)
        try:
            based.add(unpack_snapshot(raw).session)
        except Damage as damage:
            journal.put_aside(raw[0], str(damage))
    headed: set[SessionId] = set()
    for (session,) in journal.db.execute("SELECT session FROM heads").fetchall():
        headed.add(session)
        head = journal.head(session)
        try:
            if head is None:
                raise Damage("the head cannot be found by its key")
            journal.rows(head, head.version)
            if session not in based:
                raise Damage("there is no snapshot")
        except Damage as damage:
            journal.put_aside(session, str(damage))
    for session in (ends.keys() | based) - headed:
        journal.put_aside(session, "there is no head")
