"""Moments that outlive a process: when something was last done."""

from __future__ import annotations

from sqlalchemy import select

from syncbridge.records.database import Database, upserted
from syncbridge.records.leases import now_ms_of
from syncbridge.records.schema import moments


class Moments:
    """The table of moments, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> int | None:
        """When it was, in ms; None when it never was."""
        async with self._database.reading() as connection:
            found = await connection.execute(select(moments.c.at).where(moments.c.name == name))
            return found.scalar_one_or_none()

    async def put(self, name: str, at: int) -> None:
        """It was at this moment."""
        async with self._database.transaction() as connection:
            row = upserted(connection, moments).values(name=name, at=at)
            await connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"at": at}))

    async def witness_ms(self) -> int | None:
        """What another clock than this machine's says: the server's that keeps the records; None where none does."""
        async with self._database.reading() as connection:
            return None if connection.dialect.name == "sqlite" else await now_ms_of(connection)
