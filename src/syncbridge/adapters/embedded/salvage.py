"""What an operator accepts when a loss cannot be undone: the readable sessions go on, in a new file.

Each gets a new epoch: devices may have seen entries that are lost here, and the versions after the loss will be
given to other entries. With a new epoch no device trusts its old position.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from syncbridge.adapters.embedded.directory import CannotOpen, DataDirectory
from syncbridge.adapters.embedded.journal import Journal, SnapshotToKeep
from syncbridge.adapters.embedded.records import (
    SNAPSHOT_COLUMNS,
    Damage,
    encode_snapshot,
    repack_row,
    unpack_snapshot,
)
from syncbridge.core.ids import SessionId

_log = structlog.get_logger(__name__)


def salvage(directory: DataDirectory, open_journal: Callable[[Path], Journal]) -> None:
    """The database holds what could be read of the old one, which lies beside it under another name."""
    path = directory.database
    fresh_path = path.with_suffix(".salvaged")
    for leftover in _with_logs(fresh_path):
        leftover.unlink(missing_ok=True)
    kept, lost = 0, 0
    fresh = open_journal(fresh_path)
    try:
        try:
            old = open_journal(path)
        except (sqlite3.Error, CannotOpen) as error:
            _log.error("store_unreadable", error=str(error))
        else:
            try:
                for session in _sessions(old):
                    try:
                        _copy(old, fresh, session)
                        kept += 1
                    except (sqlite3.Error, Damage, ValueError) as error:
                        lost += 1
                        _log.error("session_lost", session=session, reason=str(error))
            finally:
                old.close()
        fresh.fold()
    finally:
        fresh.close()
    aside = f".damaged-{time.time_ns() // 1_000_000}"
    for file in _with_logs(path):
        if file.exists():
            file.rename(file.with_name(file.name + aside))
    fresh_path.rename(path)
    (directory.path / "sessions.mark").unlink(missing_ok=True)
    _log.error(
        "store_salvaged",
        kept=kept,
        lost=lost,
        set_aside=path.name + aside,
        action="sessions go on under new epochs; the old file holds personal data: remove it when it was looked at",
    )


def _with_logs(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def _sessions(old: Journal) -> set[SessionId]:
    """Every session that any readable row names and that was not set aside."""
    sessions: set[SessionId] = set()
    for table in ("heads", "journal"):
        try:
            for (session,) in old.db.execute(f"SELECT session FROM {table}"):  # noqa: S608  (our names)
                sessions.add(session)
        except sqlite3.Error as error:
            _log.error("table_unreadable", table=table, error=str(error))
    return sessions


def _copy(old: Journal, fresh: Journal, session: SessionId) -> None:
    """The session stands in `fresh` under a new epoch. Damage where it cannot be verified."""
    head = old.head(session)
    if head is None or session in old.set_aside:
        raise Damage("it has no head, or was set aside")
    rows = old.rows(head, 0)
    epoch = f"{head.epoch[:40]}.{secrets.token_hex(6)}"
    row_id = previous = fresh.counter()
    packed = []
    places: dict[int, int] = {}
    for row in rows:
        row.entries()
        row_id += 1
        packed.append(repack_row(row, row_id, previous if places else 0, epoch))
        previous = places[row.id] = row_id
    snapshots = []
    for raw in old.db.execute(
        f"SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE session = ? ORDER BY version",  # noqa: S608  (our names)
        (session,),
    ):
        snapshot = msgspec.structs.replace(unpack_snapshot(raw), epoch=epoch)
        snapshots.append(SnapshotToKeep(snapshot, encode_snapshot(snapshot), places.get(raw[4], 0)))
    if not snapshots or snapshots[0].snapshot.version + 1 < rows[0].first:
        raise Damage("there is no snapshot that its entries go on from")
    fresh.commit(packed, snapshots)
