"""The database behind the records: what becomes of a connection that somebody worked with."""

from __future__ import annotations

import asyncio
import time

import aiosqlite
import pytest

from syncbridge.records import Records, engines, open_records
from tests.databases import Databases, Kind


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_who_is_cancelled_while_a_connection_is_given_back_gives_it_back_whole(
    records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    under_way, go_on = asyncio.Event(), asyncio.Event()
    roll_back = aiosqlite.Connection.rollback

    async def slow(self: aiosqlite.Connection) -> None:
        under_way.set()
        await go_on.wait()
        await roll_back(self)

    async def change() -> None:
        async with records.database.transaction() as connection:
            await connection.exec_driver_sql("SELECT 1")

    monkeypatch.setattr(aiosqlite.Connection, "rollback", slow)
    changing = asyncio.create_task(change())
    await under_way.wait()
    changing.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert [record.message for record in caplog.records] == []
    assert records.database.connections_in_use == 0


@pytest.mark.parametrize(
    "tail", ["?prepared_statement_cache_size=0&statement_cache_size=0", "?max_cached_statement_lifetime=0"]
)
async def test_what_the_page_says_for_pgbouncer_is_taken(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch, tail: str
) -> None:
    monkeypatch.setattr(engines, "ANSWER_WITHIN_S", 60)  # a busy machine
    records = await open_records(await postgres.migrated() + tail, migrates=False)
    try:
        assert await records.is_healthy()
    finally:
        await records.close()


async def test_a_server_tells_the_time_and_a_file_has_none_of_its_own(records: Records, kind: Kind) -> None:
    told_ms = await records.moments.witness_ms()
    if kind == "sqlite":
        assert told_ms is None
    else:
        assert told_ms is not None
        assert abs(told_ms - time.time_ns() // 1_000_000) < 60_000
