"""The migrations make the schema that the code speaks of, once, whoever starts them."""

import asyncio
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, inspect, text

from syncbridge.errors import Unavailable
from syncbridge.records import Records, Schema, look_at_schema, migrate, open_records
from syncbridge.records.database import Database
from syncbridge.records.migration import LOCK, newest_revision
from syncbridge.records.migration import migrate as bring_up
from syncbridge.records.schema import metadata, schema_steps


async def test_migrations_make_exactly_the_tables_of_the_schema(records: Records) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async with records.database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_and_by_two_at_once_changes_nothing(empty_url: str) -> None:
    first = await asyncio.gather(migrate(empty_url), migrate(empty_url))
    assert {*first, await migrate(empty_url)} == {Schema("current", newest_revision())}


async def test_records_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    await migrate(f"sqlite+aiosqlite:///{folder / 'records.db'}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


# -- what a start takes, and what a migration does not do -----------------------------------------------------------


async def stand_at(url: str, revision: str, serves_from: str) -> None:
    """The database says that it was brought to this revision."""
    database = Database(url)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": revision})
        await connection.execute(insert(schema_steps).values(revision=revision, serves_from=serves_from, at=1))
    await database.close()


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
async def test_a_start_takes_a_server_s_schema_as_it_is_or_refuses_it_with_what_to_do(empty_url: str) -> None:
    with pytest.raises(Unavailable, match=r"have no schema yet; make it: syncbridge migrate"):
        await open_records(empty_url)
    await (await open_records(empty_url, migrates=True)).close()
    await (await open_records(empty_url)).close()
    database = Database(empty_url)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    await database.close()
    with pytest.raises(Unavailable, match=r"have schema 0002, this program needs 0\d+; bring them up"):
        await open_records(empty_url)


async def test_a_newer_schema_is_taken_where_it_serves_this_program_and_named_where_not(empty_url: str) -> None:
    ours = (await migrate(empty_url)).revision
    await stand_at(empty_url, "8000", ours)
    assert await migrate(empty_url) == Schema("newer", "8000", ours)
    await (await open_records(empty_url)).close()
    await stand_at(empty_url, "9000", "8000")
    assert await look_at_schema(empty_url) == Schema("foreign", "9000", "8000")
    for opening in (open_records, migrate):
        with pytest.raises(Unavailable, match=f"schema 9000, which serves programs from 8000 on; .* knows {ours}"):
            await opening(empty_url)


async def test_who_looks_at_a_schema_makes_nothing(empty_url: str, tmp_path: Path) -> None:
    assert await look_at_schema(empty_url) == Schema("absent")
    assert not (tmp_path / "new").exists()
    await migrate(empty_url)
    assert await look_at_schema(empty_url) == Schema("current", newest_revision())


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
async def test_who_waits_too_long_for_another_s_migration_is_told_whose(empty_url: str) -> None:
    other = Database(empty_url)
    async with other.transaction() as connection:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        with pytest.raises(Unavailable, match=f"another process migrates .*server process {pid}, syncbridge at 127"):
            await migrate(empty_url, wait_s=0.01)
    await other.close()
    assert (await migrate(empty_url)).state == "current"


# -- expand, then contract ------------------------------------------------------------------------------------------

Tables = dict[str, dict[str, tuple[str, bool]]]


def tables_of(connection: Connection) -> Tables:
    """Of each table: of each column its type, and whether an INSERT must name it."""
    found = inspect(connection)
    return {
        table: {
            column["name"]: (
                str(column["type"]),
                not column["nullable"] and column["default"] is None and column.get("autoincrement") is not True,
            )
            for column in found.get_columns(table)
        }
        for table in found.get_table_names()
    }


def breaks(before: Tables, after: Tables) -> list[str]:
    """What the program before a step would stumble over after it."""
    found = [f"{table} is gone" for table in before if table not in after]
    for table in before.keys() & after.keys():
        for column, (kind, _) in before[table].items():
            if after[table].get(column, ("",))[0] != kind:
                found.append(f"{table}.{column} is gone, or another")
        new = after[table].keys() - before[table].keys()
        found += [f"{table}.{column} must be given" for column in sorted(new) if after[table][column][1]]
    return found


async def test_each_step_leaves_the_program_before_it_at_work(empty_url: str) -> None:
    database = Database(empty_url)
    if database.file is not None:
        database.file.parent.mkdir()
    before: Tables = {}
    for revision in ("0001", "0002", newest_revision()):
        await bring_up(database, to=revision)
        async with database.reading() as connection:
            after = await connection.run_sync(tables_of)
        assert breaks(before, after) == []
        before = after
    await database.close()


def test_a_step_that_contracts_too_early_is_seen() -> None:
    before: Tables = {"a": {"x": ("TEXT", True)}, "b": {}}
    after: Tables = {"a": {"x": ("BIGINT", True), "y": ("TEXT", True), "z": ("TEXT", False)}}
    assert breaks(before, after) == ["b is gone", "a.x is gone, or another", "a.y must be given"]
