"""A journal of the first schema is taken over as it is: read, gone on with, and kept as its sessions' status says."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import msgspec
import pytest

from syncbridge.adapters.embedded.records import encode_snapshot, pack_snapshot
from syncbridge.adapters.embedded.schema import MIGRATIONS, migrate
from syncbridge.core.entry import Entry, Status
from syncbridge.core.ids import SessionId
from syncbridge.limits import Limits, Retention
from syncbridge.ports import StoreFault, WasCommitted
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import (
    ACCOUNT,
    EPOCH,
    STARTED_AT,
    change,
    entry_at,
    load,
    loaded,
    session_named,
    snapshot_of,
    submit,
    sweep,
)

KEPT = Retention()
STATUSES: dict[SessionId, Status | None] = {
    session_named("live"): None,
    session_named("completed"): "completed",
    session_named("archived"): "archived",
}


def first_row(row_id: int, session: SessionId, entries: list[Entry], previous: int) -> tuple[object, ...]:
    """A journal row as the first release wrote it: without a status, and with a checksum over what there was."""
    fields = (
        row_id,
        previous,
        session,
        EPOCH,
        ACCOUNT,
        entries[0].version,
        entries[-1].version,
        f"txn-{row_id}",
        entries[-1].at,
        None,
        0,
        ",".join("0" for _ in entries),
    )
    bodies = msgspec.json.encode(entries)
    return (*fields, bodies, zlib.crc32(bodies, zlib.crc32(repr(fields).encode())))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory of the first release: a session of each status, told by its last entry."""
    path = tmp_path / "data"
    path.mkdir()
    db = sqlite3.connect(path / "sessions.db", isolation_level=None)
    migrate(db, MIGRATIONS[:1])
    row_id = 0
    for session, status in STATUSES.items():
        first = Entry(1, "create", STARTED_AT + 1, ops=[{"op": "add", "path": "", "value": {}}])
        last = msgspec.structs.replace(entry_at(2), status=status)
        rows = [first_row(row_id + 1, session, [first], 0), first_row(row_id + 2, session, [last], row_id + 1)]
        row_id += 2
        db.executemany(f"INSERT INTO journal VALUES ({','.join('?' * 14)})", rows)
        snapshot = snapshot_of(session)
        db.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?)",
            pack_snapshot(snapshot, row_id - 1, encode_snapshot(snapshot)),
        )
    db.close()
    return path


def test_an_old_journal_is_read_and_gone_on_with(old: Path) -> None:
    harness = SqliteHarness(old, Limits(), 20_000)
    for session in STATUSES:
        assert [entry.version for entry in loaded(harness, session).entries] == [2]
        assert isinstance(submit(harness, change(session, 2))[0], WasCommitted)
    harness.reopen()
    assert all(len(loaded(harness, session).entries) == 2 for session in STATUSES)
    harness.close()


def test_sessions_of_an_old_journal_are_kept_as_long_as_their_status_says(old: Path) -> None:
    harness = SqliteHarness(old, Limits(), 20_000)
    at = STARTED_AT + 2
    live, completed, archived = STATUSES
    assert sweep(harness, at + KEPT.live_ms).sessions == [(live, "active")]
    harness.reopen()
    assert sweep(harness, at + KEPT.completed_ms).sessions == [(completed, "completed")]
    assert sweep(harness, at + KEPT.archived_ms).sessions == [(archived, "archived")]
    harness.close()


def test_a_damaged_log_of_an_old_journal_is_set_aside_and_holds_up_no_other(old: Path) -> None:
    live, completed, _ = STATUSES
    harness = SqliteHarness(old, Limits(), 20_000)
    harness.close()
    db = sqlite3.connect(old / "sessions.db", isolation_level=None)
    db.execute("UPDATE journal SET bodies = '[]' WHERE session = ?", (completed,))
    db.close()
    harness = SqliteHarness(old, Limits(), 20_000)
    assert sweep(harness, STARTED_AT + KEPT.live_ms + 10).sessions == [(live, "active")]
    fault = load(harness, completed)
    assert isinstance(fault, StoreFault)
    assert fault.code == "state_damaged"
    harness.close()
