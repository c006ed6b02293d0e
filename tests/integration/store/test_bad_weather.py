"""No room on the disk, another writer, another process, another version: said, survived, and over when it is over."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from syncbridge.adapters.embedded import CannotOpen
from syncbridge.adapters.embedded.schema import MIGRATIONS, is_as_made, migrate
from syncbridge.core.retention import Kept, plan
from syncbridge.limits import Limits, Retention
from syncbridge.ports import Outcome, StoreFault, WasCommitted
from tests.conformance.clocks import DEADLINE_S, SetClock
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, create, delete, load, loaded, session_named, snapshot_of, submit

ROOT = Path(__file__).parents[3]
SESSION = session_named("a")


def open_at(path: Path, limits: Limits | None = None) -> SqliteHarness:
    return SqliteHarness(path, limits or Limits(), 20_000)


def test_a_full_disk_refuses_changes_and_takes_them_again_when_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.store.disk_fuller", str(tmp_path / "data")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout.splitlines()[-1])
    assert figures["head"] > 1, "nothing was committed before the disk was full"
    assert figures["refused"] == ["unavailable"] * 6
    assert not figures["was_healthy"]
    assert figures["readable"] == figures["head"], "what was refused is not in the log, what was acknowledged is"
    assert figures["again"] == ["WasCommitted"] * 3
    assert figures["after"] == figures["head"] + 3


def test_a_commit_that_hangs_turns_readiness_off_until_it_is_through(tmp_path: Path) -> None:
    harness = open_at(tmp_path / "data", Limits(store_timeout_ms=50))
    create(harness, SESSION)
    other = sqlite3.connect(tmp_path / "data" / "sessions.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    harness.store.submit([change(SESSION, 1)], outcomes.append)
    deadline = time.monotonic() + DEADLINE_S
    while harness.store.is_healthy():
        assert time.monotonic() < deadline
    other.execute("ROLLBACK")
    other.close()
    harness.wait(lambda: bool(outcomes))
    assert isinstance(outcomes[0], WasCommitted)
    assert harness.store.is_healthy()
    harness.close()


def test_a_directory_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotOpen, match=r"file cannot be used: it is no directory"):
        open_at(tmp_path / "file")
    with pytest.raises(CannotOpen, match=r"below cannot be used: Not a directory"):
        open_at(tmp_path / "file" / "below")


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    harness = open_at(tmp_path / "data")
    with pytest.raises(CannotOpen, match=rf"in use by process {os.getpid()}; stop it"):
        open_at(tmp_path / "data")
    harness.close()
    open_at(tmp_path / "data").close()


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    open_at(tmp_path / "data").close()
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_an_older_schema_is_led_step_by_step_to_the_newest(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    migrate(db)
    newer = (*MIGRATIONS, "ALTER TABLE store ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'")
    assert not is_as_made(db, newer)
    migrate(db, newer)
    assert is_as_made(db, newer)
    assert db.execute("SELECT colour FROM store").fetchall() == [("blue",)]
    assert db.execute("PRAGMA user_version").fetchone() == (len(newer),)
    with pytest.raises(
        CannotOpen, match=f"schema version {len(newer)}, this program knows versions up to {len(MIGRATIONS)}"
    ):
        migrate(db)
    db.close()


def test_a_migration_that_fails_leaves_the_schema_it_found(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    migrate(db)
    with pytest.raises(sqlite3.Error):
        migrate(db, (*MIGRATIONS, "CREATE TABLE colour (name TEXT); INSERT INTO nowhere VALUES (1)"))
    db.close()
    db = sqlite3.connect(tmp_path / "old.db")
    assert is_as_made(db)
    db.close()


def files_that_hold(path: Path, canary: bytes) -> list[str]:
    return [file.name for file in path.iterdir() if canary in file.read_bytes()]


def test_nothing_of_a_deleted_session_is_left_in_any_file(tmp_path: Path) -> None:
    path, doomed = tmp_path / "data", session_named("doomed-canary")
    harness = open_at(path)
    for session in (SESSION, doomed):
        create(harness, session)
        submit(harness, *(change(session, version, mark=f"{session}-secret") for version in range(1, 80)))
        harness.store.write_snapshot(snapshot_of(session, 60))
        loaded(harness, session)
    harness.reopen()
    submit(harness, change(doomed, 80, mark="doomed-canary-secret"))
    assert files_that_hold(path, b"doomed-canary")
    assert delete(harness, doomed) is None
    assert files_that_hold(path, b"doomed-canary") == []
    assert len(loaded(harness, SESSION, 10**9).entries) == 79
    harness.close()
    assert files_that_hold(path, b"doomed-canary") == []


def test_an_erasure_that_a_reader_holds_up_is_not_called_done(tmp_path: Path) -> None:
    path, doomed = tmp_path / "data", session_named("doomed-canary")
    harness = open_at(path)
    create(harness, doomed)
    reader = sqlite3.connect(path / "sessions.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM journal").fetchone()
    fault = delete(harness, doomed)
    assert isinstance(fault, StoreFault)
    assert fault.code == "unavailable"
    reader.execute("ROLLBACK")
    reader.close()
    assert delete(harness, doomed) is None
    assert files_that_hold(path, b"doomed-canary") == []
    harness.close()


def test_an_erasure_that_was_lost_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "data"
    harness = open_at(path)
    create(harness, SESSION)
    harness.reopen()
    before = (path / "sessions.db").read_bytes()
    assert delete(harness, SESSION) is None
    harness.close()
    (path / "sessions.db").write_bytes(before)
    with pytest.raises(CannotOpen, match="acknowledged transactions are missing"):
        open_at(path)


def test_memory_holds_no_more_sessions_than_it_may_and_forgets_nothing(tmp_path: Path) -> None:
    harness = open_at(tmp_path / "data")
    harness.close()
    harness.sqlite = harness.store = type(harness.sqlite)(
        tmp_path / "data", SetClock(), harness._posted.put, tails_max=3, tails_bytes_max=20_000
    )
    sessions = [session_named(str(number)) for number in range(12)]
    for session in sessions:
        create(harness, session)
    for start in range(1, 60):
        outcomes = submit(harness, *(change(session, start, mark="x" * 100) for session in sessions))
        assert all(isinstance(outcome, WasCommitted) for outcome in outcomes)
        count, size = harness.sqlite.memory_held()
        assert count <= 3
        assert size <= 20_000
    for session in sessions:
        assert len(loaded(harness, session, 10**9).entries) == 59
    harness.close()


def test_a_sound_session_whose_neighbour_was_set_aside_can_outlive_its_erasure(tmp_path: Path) -> None:
    harness = open_at(tmp_path / "data")
    for session in (SESSION, session_named("b")):
        create(harness, session)
        submit(harness, *(change(session, version) for version in range(1, 20)))
    harness.close()
    db = sqlite3.connect(tmp_path / "data" / "sessions.db", isolation_level=None)
    db.execute("DELETE FROM journal WHERE session = ? AND first = 10", (SESSION,))
    db.close()
    harness = open_at(tmp_path / "data")
    fault = load(harness, SESSION)
    assert isinstance(fault, StoreFault)
    assert fault.code == "state_damaged"
    assert delete(harness, SESSION) is None
    fault = load(harness, SESSION)
    assert isinstance(fault, StoreFault)
    assert fault.code == "not_found"
    harness.reopen()
    assert len(loaded(harness, session_named("b"), 10**9).entries) == 19
    harness.close()
    assert files_that_hold(tmp_path / "data", SESSION.encode()) == []


def test_retention_keeps_the_base_a_replay_needs_and_a_bounded_number_of_snapshots() -> None:
    limits = Limits(log_entries_kept_max=100, resume_entries_max=100, snapshot_entries_max=10)
    snapshots = [Kept(version, version) for version in range(1, 5_001, 3)]
    base, dropped = plan(snapshots, 5_000, 5_000, limits, Retention(), 1_000)
    left = [snapshot.version for snapshot in snapshots if snapshot.version not in set(dropped)]
    assert left[0] == base
    assert 5_000 - 1_000 - 3 <= base <= 5_000 - 1_000
    assert left[-1] == snapshots[-1].version
    assert max(later - earlier for earlier, later in pairwise(left)) <= 10
    assert len(left) <= 2 * 1_000 // 10 + 2
