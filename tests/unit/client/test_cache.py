"""The offline store: whole dumps, in a file that survives."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from syncbridge.client.cache import Cache, CacheFault
from syncbridge.client.pending import Dump
from syncbridge.client.replica import Replica
from syncbridge.core.entry import Position
from syncbridge.core.messages import Joined


def replica_of(state: dict[str, Any], session: str = "s") -> Replica:
    replica = Replica(session, "phone")
    replica.join()
    replica.joined(
        Joined(
            session=session,
            position=Position("e", 7),
            mode="snapshot",
            hash="",
            fence=2,
            active="tv",
            status="paused",
            kind="custom",
            last_seq=4,
            devices=[],
            server_time=0,
            state=state,
            ref="j1",
        ),
        0,
    )
    return replica


def dump_of(replica: Replica) -> Dump:
    dump = replica.dump()
    assert dump is not None
    return dump


async def reopened(path: Path, dump: Dump) -> Dump | None:
    cache = await Cache.open(path)
    try:
        return await cache.load(dump.session, dump.device)
    finally:
        await cache.close()


async def test_a_saved_dump_comes_back_equal_after_every_kind_of_change(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    replica = replica_of({"notes": "", "n": 1.0})
    for step in range(4):
        cache = await Cache.open(path)
        if step:
            replica = Replica("s", "phone")
            dump = await cache.load("s", "phone")
            assert dump is not None
            replica.load(dump)
        await cache.save(dump_of(replica))
        replica.edit([{"op": "replace", "path": "/notes", "value": f"é{step}"}], "edit", step)
        await cache.save(dump_of(replica))
        await cache.close()
        found = await reopened(path, dump_of(replica))
        assert found == dump_of(replica)
        assert [row.seq for row in dump_of(replica).pending] == list(range(5, 6 + step))


async def test_sessions_are_listed_and_forgotten(tmp_path: Path) -> None:
    cache = await Cache.open(tmp_path / "cache.db")
    for name in ("b", "a"):
        await cache.save(dump_of(replica_of({}, name)))
    assert await cache.sessions("phone") == ["a", "b"]
    await cache.forget("a", "phone")
    assert await cache.sessions("phone") == ["b"]
    assert await cache.load("a", "phone") is None
    assert await cache.load("b", "tv") is None
    await cache.close()


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be looked at" * 20])
async def test_a_file_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(content)
    with pytest.raises(CacheFault):
        await Cache.open(path)


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(CacheFault, match="version 99"):
        await Cache.open(path)


async def test_a_row_that_is_damaged_is_said_and_not_served(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    dump = dump_of(replica_of({"notes": ""}))
    cache = await Cache.open(path)
    await cache.save(dump)
    await cache.close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE session SET state = X'7B22'")
    database.close()
    with pytest.raises(CacheFault):
        await reopened(path, dump)


async def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    cache = await Cache.open(tmp_path / "cache.db")
    pragmas = ("journal_mode", "synchronous", "locking_mode")
    found = await cache._run(lambda: [cache._database.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas])
    await cache.close()
    assert found == ["wal", 2, "exclusive"]
