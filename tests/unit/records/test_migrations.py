"""The migrations make the schema that the code speaks of, once, whoever starts them."""

import asyncio
import stat
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from syncbridge.records import Records, Schema, migrate
from syncbridge.records.migration import newest_revision
from syncbridge.records.schema import metadata


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
