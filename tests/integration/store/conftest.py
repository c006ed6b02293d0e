"""A data directory as a crash leaves it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from syncbridge.limits import Limits
from syncbridge.ports import StoredLog
from tests.conformance.harness import SqliteHarness
from tests.conformance.logs import change, create, loaded, session_named, snapshot_of, submit

SESSIONS = [session_named(name) for name in ("one", "two", "three")]
FILES = ("sessions.db", "sessions.db-wal", "sessions.mark")


def fill(harness: SqliteHarness, start: int, count: int) -> None:
    """Each session goes on by `count` entries after `start`, and a snapshot."""
    for session in SESSIONS:
        submit(harness, *(change(session, version, name=f"{session}-name") for version in range(start, start + count)))
        harness.store.write_snapshot(snapshot_of(session, start + count))
        loaded(harness, session)


def truth(harness: SqliteHarness) -> dict[str, StoredLog]:
    return {session: loaded(harness, session, 10**9) for session in SESSIONS}


@pytest.fixture(scope="session")
def crashed_source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, StoredLog]]:
    """Three sessions of 81 entries, the later half only in the write-ahead log, and what they hold."""
    base = tmp_path_factory.mktemp("crashed")
    harness = SqliteHarness(base / "live", Limits(), 20_000)
    for session in SESSIONS:
        create(harness, session)
    fill(harness, 1, 40)
    harness.reopen()
    fill(harness, 41, 40)
    held = truth(harness)
    (base / "crash").mkdir()
    for name in FILES:
        shutil.copy(base / "live" / name, base / "crash" / name)
    harness.close()
    return base / "crash", held


@pytest.fixture
def crashed(crashed_source: tuple[Path, dict[str, StoredLog]], tmp_path: Path) -> tuple[Path, dict[str, StoredLog]]:
    """A copy of it, to damage."""
    source, held = crashed_source
    shutil.copytree(source, tmp_path / "data")
    return tmp_path / "data", held


@pytest.fixture
def folded(crashed: tuple[Path, dict[str, StoredLog]]) -> tuple[Path, dict[str, StoredLog]]:
    """The same after a clean stop: everything in the one file."""
    path, held = crashed
    SqliteHarness(path, Limits(), 20_000).close()
    return path, held
