"""The databases that the records' tests run on: a file of SQLite, or a database of a real PostgreSQL.

One server a run of the tests, started when the first test asks for it; each test gets a database of its own, copied
from a migrated one.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import asyncpg
import pytest

from deploy.local.postgres import DATABASE, Postgres
from syncbridge.records import migrate

Kind = Literal["sqlite", "postgresql"]
KINDS: Final[tuple[Kind, ...]] = ("sqlite", "postgresql")
_MIGRATED: Final = "migrated"


class Databases:
    """Databases on one server, by name; ``server`` is for who kills it, freezes it, or asks it with `psql`."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._names = (f"t{number}" for number in itertools.count(1))

    def url(self, name: str) -> str:
        return self.server.url.removesuffix(DATABASE) + name

    async def empty(self) -> str:
        """The URL of a database with nothing in it."""
        return await self._make("template0")

    async def migrated(self) -> str:
        """The URL of a database with the newest schema."""
        return await self._make(_MIGRATED)

    async def _make(self, template: str) -> str:
        name = next(self._names)
        plain = self.server.url.replace("+asyncpg", "")
        connection = await asyncpg.connect(plain)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await connection.close()
        return self.url(name)


def _open(server: Postgres) -> Databases:
    databases = Databases(server)
    server.psql(f"CREATE DATABASE {_MIGRATED}")
    asyncio.run(migrate(databases.url(_MIGRATED)))
    return databases


@contextmanager
def _running(options: str) -> Iterator[Databases]:
    # In a folder of its own: pytest's are shut to the user that PostgreSQL runs as, by each run that starts.
    with tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as folder:
        server = Postgres(Path(folder), options=options)
        server.start()
        try:
            yield _open(server)
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """A PostgreSQL for the whole run; nobody stops it."""
    with _running("-c max_connections=60") as databases:
        yield databases


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Databases]:
    """A PostgreSQL of this module's own, to be stopped, frozen and killed."""
    with _running("-c max_connections=12 -c superuser_reserved_connections=2") as databases:
        yield databases


def sqlite_url(folder: Path) -> str:
    """The URL of a file in the folder that is not there yet."""
    return f"sqlite+aiosqlite:///{folder / 'records.db'}"
