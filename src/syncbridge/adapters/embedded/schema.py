"""The tables of the session journal, and the way from one version of them to the next.

``journal`` is written at its end only: a row is a transaction, chained to the one before it of the same session by
``previous``. A key (session, version) instead would touch a page of its own for each session in a group; measured
over 1,000 sessions, groups of 128: 32 microseconds a transaction against 8.

``heads`` is moved by a trigger, so that a group is one statement. Everything in it also stands in the journal's row
under that row's checksum, and is compared with it before it is believed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from syncbridge.adapters.embedded.directory import CannotOpen

_V1 = """
CREATE TABLE store (id TEXT NOT NULL, probe BLOB);
CREATE TABLE journal (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  previous INTEGER NOT NULL,
  session TEXT NOT NULL,
  epoch TEXT NOT NULL,
  account TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  txn TEXT NOT NULL,
  at INTEGER NOT NULL,
  waiting_for TEXT,
  waiting_until INTEGER NOT NULL,
  digests TEXT NOT NULL,
  bodies BLOB NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE TABLE heads (
  session TEXT PRIMARY KEY,
  epoch TEXT NOT NULL,
  account TEXT NOT NULL,
  version INTEGER NOT NULL,
  tail INTEGER NOT NULL,
  at INTEGER NOT NULL,
  waiting_for TEXT,
  waiting_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX heads_waiting ON heads (account, waiting_for) WHERE waiting_for IS NOT NULL;
CREATE TRIGGER journal_moves_head AFTER INSERT ON journal BEGIN
  INSERT INTO heads
  VALUES (NEW.session, NEW.epoch, NEW.account, NEW.last, NEW.id, NEW.at, NEW.waiting_for, NEW.waiting_until)
  ON CONFLICT (session) DO UPDATE SET version = excluded.version, tail = excluded.tail, at = excluded.at,
    waiting_for = excluded.waiting_for, waiting_until = excluded.waiting_until;
END;
CREATE TABLE snapshots (
  session TEXT NOT NULL,
  version INTEGER NOT NULL,
  epoch TEXT NOT NULL,
  at INTEGER NOT NULL,
  tail INTEGER NOT NULL,
  body BLOB NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (session, version)
);
CREATE TABLE set_aside (session TEXT PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO store VALUES (lower(hex(randomblob(8))), zeroblob(0));
"""

_V2 = """
ALTER TABLE journal ADD COLUMN status TEXT NOT NULL DEFAULT '';
ALTER TABLE heads ADD COLUMN status TEXT NOT NULL DEFAULT '';
DROP TRIGGER journal_moves_head;
CREATE TRIGGER journal_moves_head AFTER INSERT ON journal BEGIN
  INSERT INTO heads
  VALUES (NEW.session, NEW.epoch, NEW.account, NEW.last, NEW.id, NEW.at, NEW.waiting_for, NEW.waiting_until, NEW.status)
  ON CONFLICT (session) DO UPDATE SET version = excluded.version, tail = excluded.tail, at = excluded.at,
    waiting_for = excluded.waiting_for, waiting_until = excluded.waiting_until, status = excluded.status;
END;
"""
# The status after each transaction, so that a sweep knows how long a session is kept. Rows that are there already
# keep their checksums and say "": `ageing` reads their status from the log itself when it is first asked for.

_V3 = "CREATE TABLE told (row INTEGER NOT NULL);"
# The journal's last row that other services were told of; empty until the first time that there is anybody to tell.

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3)
"""Statement ``n`` leads from schema version ``n`` to ``n + 1``; the version is SQLite's ``user_version``."""


def migrate(db: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """The schema is the newest, each step in a transaction of its own. CannotOpen where it is newer than that."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise CannotOpen(
            f"the session journal has schema version {version}, this program knows versions up to {len(migrations)};"
            " start the newer program that wrote it, or restore a backup from before the upgrade"
        )
    for step in range(version, len(migrations)):
        db.executescript(f"BEGIN; {migrations[step]}; PRAGMA user_version = {step + 1}; COMMIT;")


def require_newest(db: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """CannotOpen where the schema is another than this program's: for who only reads, and must not migrate."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != len(migrations):
        raise CannotOpen(
            f"the session journal has schema version {version}, this program reads version {len(migrations)};"
            " use the program that serves it"
        )


def is_as_made(db: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> bool:
    """Whether tables, indexes and trigger are word for word those that the migrations make."""
    question = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(fresh, migrations)
        return bool(fresh.execute(question).fetchall() == db.execute(question).fetchall())
    finally:
        fresh.close()
