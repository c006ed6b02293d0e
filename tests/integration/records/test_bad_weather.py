"""A real PostgreSQL that is frozen, killed, full, slow, read-only or somebody else's: told clearly, and found again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from syncbridge.core.ids import AccountId
from syncbridge.errors import Unavailable
from syncbridge.records import Account, Records, engines, migrate, open_records
from syncbridge.records.database import Database
from syncbridge.records.faults import reason_of
from tests.databases import Databases

pytestmark = pytest.mark.serial

ANN = AccountId("ann")
DEADLINE_S = 30.0
WITHIN_S = 1.0
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncbridge'"


@pytest.fixture
async def records(own_postgres: Databases) -> AsyncIterator[Records]:
    """Records with an account, over a server of our own, which runs again after the test."""
    opened = await open_records(await own_postgres.migrated())
    await opened.accounts.add(Account(ANN, "ann@example.com", 1), "hash")
    yield opened
    if own_postgres.server.process.is_running:
        own_postgres.server.thaw()
    else:
        own_postgres.server.start()
    await opened.close()


async def failing(work: Awaitable[object]) -> tuple[str, float]:
    """Why the work was not done, and after how long."""
    begin = time.perf_counter()
    with pytest.raises(Unavailable) as raised:
        await work
    return reason_of(raised.value), time.perf_counter() - begin


async def found_again(records: Records) -> None:
    """The account is read, sooner or later, by the same records."""
    async with asyncio.timeout(DEADLINE_S):
        while not await records.is_healthy():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    assert await records.accounts.credentials("ann@example.com") is not None


async def hold(records: Records, release: asyncio.Event) -> None:
    """One connection is in use until it is released."""
    async with records.database.transaction() as connection:
        await connection.execute(text("SELECT 1"))
        await release.wait()


async def test_a_frozen_server_is_told_within_a_second_and_found_again(
    records: Records, own_postgres: Databases
) -> None:
    await asyncio.gather(*(records.accounts.get(ANN) for _ in range(8)))  # the pool is full of good connections
    own_postgres.server.freeze()
    outcomes = await asyncio.gather(*(failing(records.accounts.credentials("ann@example.com")) for _ in range(8)))
    assert {reason for reason, _ in outcomes} <= {"no_answer", "pool_exhausted"}
    assert max(taken for _, taken in outcomes) < WITHIN_S
    own_postgres.server.thaw()
    await found_again(records)
    assert records.database.connections_in_use == 0


async def test_a_server_that_was_killed_is_told_within_a_second_and_found_again(
    records: Records, own_postgres: Databases
) -> None:
    own_postgres.server.kill()
    for _ in range(3):
        reason, taken = await failing(records.accounts.credentials("ann@example.com"))
        assert reason == "unreachable"
        assert taken < WITHIN_S
    own_postgres.server.start()
    await found_again(records)


async def test_planted_patience_is_longer_than_a_log_in_may_take(
    own_postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "POSTGRES_WAIT_S", 1.2)
    monkeypatch.setattr(engines, "ANSWER_WITHIN_S", 1.2)
    records = await open_records(await own_postgres.migrated())
    own_postgres.server.freeze()
    _, taken = await failing(records.accounts.credentials("ann@example.com"))
    own_postgres.server.thaw()
    await records.close()
    assert taken >= WITHIN_S


async def test_connections_that_an_operator_ends_are_replaced_unseen(records: Records, own_postgres: Databases) -> None:
    await asyncio.gather(*(records.accounts.get(ANN) for _ in range(8)))
    own_postgres.server.psql(ENDED)
    assert await records.accounts.get(ANN) is not None


async def test_a_planted_pool_that_tries_no_connection_before_it_gives_it_shows_what_an_operator_ended(
    own_postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*where: Any, **how: Any) -> AsyncEngine:
        return create_async_engine(*where, **{**how, "pool_pre_ping": False})

    monkeypatch.setattr("syncbridge.records.engines.create_async_engine", careless)
    records = await open_records(await own_postgres.migrated())
    await asyncio.gather(*(records.accounts.get(ANN) for _ in range(8)))
    own_postgres.server.psql(ENDED)
    assert (await failing(records.accounts.get(ANN)))[0] in ("shutting_down", "unreachable")
    await records.close()


async def test_one_that_is_ended_at_work_is_told(records: Records, own_postgres: Databases) -> None:
    async def ended() -> None:
        async with records.database.transaction() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            await asyncio.to_thread(own_postgres.server.psql, f"SELECT pg_terminate_backend({pid})")
            await connection.execute(text("SELECT 1"))

    reason, _ = await failing(ended())
    assert reason in ("shutting_down", "unreachable")
    await found_again(records)


async def test_a_server_without_room_is_told_and_found_again(records: Records, own_postgres: Databases) -> None:
    await records.database.engine.dispose()
    plain = own_postgres.server.url.replace("+asyncpg", "")
    taken: list[asyncpg.Connection] = []
    own_postgres.server.psql("CREATE ROLE guest LOGIN PASSWORD 'guest'")

    async def fill() -> None:
        while True:
            taken.append(await asyncpg.connect(plain, user="guest", password="guest"))

    with pytest.raises(asyncpg.TooManyConnectionsError):
        await fill()
    # Some places are kept free for superusers, as the records' role is here: this one is none.
    url = records.database.engine.url.set(username="guest", password="guest")
    guest = Database(url.render_as_string(hide_password=False))
    assert (await failing(guest.server_version()))[0] == "too_many_connections"
    for connection in taken:
        await connection.close()
    async with asyncio.timeout(DEADLINE_S):
        while not await guest.is_healthy():  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    await guest.close()


async def test_a_statement_that_takes_too_long_is_cut_off(
    own_postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "STATEMENT_MS", 50)
    monkeypatch.setattr(engines, "LOCK_MS", 40)
    records = await open_records(await own_postgres.migrated())
    await records.accounts.add(Account(ANN, "ann@example.com", 1), "hash")

    async def slow() -> None:
        async with records.database.reading() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))

    async def blocked() -> None:
        async with records.database.transaction() as connection:
            await connection.execute(text("SELECT * FROM accounts FOR UPDATE"))
            await records.accounts.set_plan(ANN, "plus")

    assert (await failing(slow()))[0] == "slow_statement"
    assert (await failing(blocked()))[0] == "slow_statement"
    assert records.database.connections_in_use == 0
    await found_again(records)
    await records.close()


async def test_a_pool_whose_connections_are_all_in_use_is_told_and_measured(records: Records) -> None:
    waits: list[float] = []
    reasons: list[str] = []
    records.database.on_wait, records.database.on_fault = waits.append, reasons.append
    release = asyncio.Event()
    holders = [asyncio.create_task(hold(records, release)) for _ in range(records.database.pool_size)]
    async with asyncio.timeout(DEADLINE_S):
        while records.database.connections_in_use < records.database.pool_size:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    reason, taken = await failing(records.accounts.get(ANN))
    assert reason == "pool_exhausted"
    assert taken < WITHIN_S
    assert reasons == ["pool_exhausted"]
    assert max(waits) >= engines.POSTGRES_WAIT_S * 1000 * 0.9
    release.set()
    await asyncio.gather(*holders)
    assert await records.accounts.get(ANN) is not None


async def test_a_standby_or_a_read_only_database_is_read_and_tells_that_it_cannot_be_written(
    records: Records, own_postgres: Databases
) -> None:
    name = records.database.engine.url.database
    own_postgres.server.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await records.database.engine.dispose()
    assert await records.accounts.get(ANN) is not None
    assert (await failing(records.accounts.set_plan(ANN, "plus")))[0] == "read_only"
    own_postgres.server.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await records.database.engine.dispose()
    await records.accounts.set_plan(ANN, "plus")


@pytest.mark.parametrize(
    ("change", "reason", "advice"),
    [
        ({"password": "another"}, "wrong_password", "database_url, database_password_file or vault.database_role"),
        ({"database": "nowhere"}, "no_database", "CREATE DATABASE, or correct the name in database_url"),
        ({"port": 9}, "unreachable", "start it, or correct host and port in database_url"),
        ({"host": "nowhere.invalid"}, "unreachable", "start it, or correct host and port in database_url"),
    ],
    ids=["wrong password", "no database", "no server", "no host"],
)
async def test_what_is_wrong_with_the_address_is_named_without_the_password_and_what_to_do(
    own_postgres: Databases, change: dict[str, object], reason: str, advice: str
) -> None:
    database = (await open_records(await own_postgres.migrated())).database
    url = database.engine.url.set(**change)  # type: ignore[arg-type]  # each of them is a part of a URL
    await database.close()
    for opening in (open_records, migrate):
        with pytest.raises(Unavailable) as raised:
            await opening(url.render_as_string(hide_password=False))
        assert reason_of(raised.value) == reason
        assert f":{url.port}/{url.database}" in raised.value.message
        assert "***" in raised.value.message
        assert f":{url.password}@" not in raised.value.message
        assert raised.value.message.endswith(advice)


async def test_who_is_cancelled_while_they_wait_for_a_frozen_server_leaves_nothing_behind(
    records: Records, own_postgres: Databases
) -> None:
    await records.accounts.get(ANN)
    own_postgres.server.freeze()
    waiting = asyncio.create_task(records.accounts.get(ANN))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    own_postgres.server.thaw()
    await found_again(records)
    async with asyncio.timeout(DEADLINE_S):
        while records.database.connections_in_use:  # noqa: ASYNC110 - given back by a task of the pool's own
            await asyncio.sleep(0.005)
