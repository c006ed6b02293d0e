"""Credentials that change while the records work: new connections use the new ones, and nobody's question fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId
from syncbridge.errors import SyncBridgeError, Unavailable
from syncbridge.ports import Credentials
from syncbridge.records import Account, Records, open_records
from syncbridge.records.database import Database
from syncbridge.records.pool import Pool
from tests.databases import Databases

ANN = AccountId("ann")
ROTATIONS = 10
DEADLINE_S = 60.0


class Rotating:
    """A `CredentialSource` that a test changes."""

    def __init__(self, credentials: Credentials) -> None:
        self._current = credentials
        self._told: list[Callable[[], None]] = []

    def current(self) -> Credentials:
        return self._current

    def watch(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def change(self, credentials: Credentials) -> None:
        self._current = credentials
        for told in self._told:
            told()


async def swapped(records: Records, times: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while records.database.rotations_total < times:  # noqa: ASYNC110 - done by a task of the database's own
            await asyncio.sleep(0.005)


def connections(postgres: Databases, role: str) -> int:
    return int(postgres.server.psql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))


async def rotate_under_load(postgres: Databases, rotations: int) -> list[str]:
    """The questions that failed while the credentials changed so often, or until one did."""
    for role in ("odd", "even"):
        postgres.server.psql(f"DROP ROLE IF EXISTS {role}")
        postgres.server.psql(f"CREATE ROLE {role} LOGIN IN ROLE harmonyflow PASSWORD 'p0'")
    source = Rotating(Credentials("even", "p0"))
    records = await open_records(await postgres.migrated(), credentials=source)
    await records.accounts.add(Account(ANN, "ann@example.com", 1), "hash")
    asked, is_over, failed = itertools.count(), asyncio.Event(), list[str]()

    async def ask() -> None:
        while not is_over.is_set():
            try:
                assert await records.accounts.get(ANN) is not None
                await records.moments.put(f"m{next(asked) % 3}", 1)
            except SyncBridgeError as error:
                failed.append(error.code)

    asking = [asyncio.create_task(ask()) for _ in range(6)]
    for number in range(1, rotations + 1):
        role, before = ("even", "odd") if number % 2 == 0 else ("odd", "even")
        await asyncio.to_thread(postgres.server.psql, f"ALTER ROLE {role} PASSWORD 'p{number}'")
        source.change(Credentials(role, f"p{number}"))
        await swapped(records, number)
        async with asyncio.timeout(DEADLINE_S):
            # Those of the old log-in finish their work, and then are closed, idle ones at once.
            while await asyncio.to_thread(connections, postgres, before):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        if failed:
            break
    is_over.set()
    await asyncio.gather(*asking)
    assert next(asked) > rotations or failed
    assert records.database.connections_in_use == 0
    await records.close()
    return failed


async def test_no_question_fails_over_ten_rotations_under_load(postgres: Databases, patient: None) -> None:
    assert await rotate_under_load(postgres, ROTATIONS) == []


async def test_swap_that_cuts_off_who_works_would_be_seen(
    postgres: Databases, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: the old log-in's connections are closed at once, also those that somebody works with."""
    working: list[tuple[Pool, AsyncConnection]] = []
    real_connected, real_retire = Pool.connected, Pool.retire

    @asynccontextmanager
    async def connected(self: Pool) -> AsyncIterator[AsyncConnection]:
        async with real_connected(self) as connection:
            working.append((self, connection))
            try:
                yield connection
            finally:
                working.remove((self, connection))

    async def retire(self: Pool) -> None:
        for pool, connection in tuple(working):
            driver = (await connection.get_raw_connection()).driver_connection
            if pool is self and driver is not None:
                driver.terminate()
        await real_retire(self)

    monkeypatch.setattr(Pool, "connected", connected)
    monkeypatch.setattr(Pool, "retire", retire)
    assert set(await rotate_under_load(postgres, 100)) == {"unavailable"}


async def test_credentials_that_the_server_does_not_take_yet_leave_the_old_ones_at_work(
    postgres: Databases, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncbridge.records.database.SWAP_AGAIN_S", 0.01)
    postgres.server.psql("CREATE ROLE late LOGIN IN ROLE harmonyflow PASSWORD 'old'")
    source = Rotating(Credentials("late", "old"))
    records = await open_records(await postgres.migrated(), credentials=source)
    failed: list[str] = []
    records.database.on_fault = failed.append
    source.change(Credentials("late", "new"))
    async with asyncio.timeout(DEADLINE_S):
        while not failed:  # noqa: ASYNC110 - tried by a task of the database's own
            await asyncio.sleep(0.005)
    assert set(failed) == {"wrong_password"}
    assert await records.accounts.get(ANN) is None
    postgres.server.psql("ALTER ROLE late PASSWORD 'new'")
    await swapped(records, 1)
    assert await records.is_healthy()
    await records.close()


async def test_credentials_that_are_used_before_they_are_tried_would_be_seen(
    postgres: Databases, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: new work gets connections of the new log-in at once."""

    async def swap(self: Database) -> None:
        self._pool = self._make_pool()

    monkeypatch.setattr(Database, "_swap", swap)
    postgres.server.psql("CREATE ROLE early LOGIN IN ROLE harmonyflow PASSWORD 'old'")
    source = Rotating(Credentials("early", "old"))
    records = await open_records(await postgres.migrated(), credentials=source)
    assert await records.accounts.get(ANN) is None
    first = records.database._pool
    source.change(Credentials("early", "new"))
    while records.database._pool is first:  # noqa: ASYNC110 - done by a task of the database's own
        await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await records.accounts.get(ANN)
    await first.close()
    await records.close()


async def test_records_that_are_closed_while_they_rotate_leave_no_connection(
    postgres: Databases, patient: None
) -> None:
    postgres.server.psql("CREATE ROLE brief LOGIN IN ROLE harmonyflow PASSWORD 'p'")
    source = Rotating(Credentials("brief", "p"))
    records = await open_records(await postgres.migrated(), credentials=source)
    for _ in range(3):
        source.change(Credentials("brief", "p"))
        await asyncio.sleep(0)
    await records.close()
    source.change(Credentials("brief", "p"))  # whoever tells late is not heard
    async with asyncio.timeout(DEADLINE_S):
        while await asyncio.to_thread(connections, postgres, "brief"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
