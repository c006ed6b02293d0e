"""The database behind the records: one engine, `sqlite+aiosqlite` or `postgresql+asyncpg`, the same code for both."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from syncbridge.errors import Unavailable

_MIGRATIONS = Path(__file__).parent / "migrations"
_WRITES = "syncbridge_writes"
_BUSY_TIMEOUT_S = 5
_POOL_TIMEOUT_S = 2  # a request is better told `unavailable` than kept in a queue


class Database:
    """Connections, short transactions, and one translation of what goes wrong.

    Atomicity  what is done inside `transaction` is committed whole at its end, or rolled back at an exception.
    Isolation  a transaction is alone with what it reads: SQLite takes its write lock at the start (so a read never
               turns into a write that fails), PostgreSQL locks the account's row where that matters.
    Durability a committed transaction is on disk (WAL, synchronous=FULL).
    Errors     a database that does not answer raises `Unavailable`; a constraint that does not hold raises
               sqlalchemy's IntegrityError, for the caller knows what it means.
    """

    def __init__(self, url: str, *, pool_size: int = 4) -> None:
        parsed = make_url(url)
        self._is_sqlite = parsed.get_backend_name() == "sqlite"
        self.pool_size = pool_size
        self.on_wait: Callable[[float], object] = lambda _ms: None
        """Called with how long each piece of work waited for its connection, in ms; also where it got none."""
        self._path = Path(parsed.database) if self._is_sqlite and parsed.database else None
        self.engine: AsyncEngine = create_async_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            # SQLite is a file: nothing to lose contact with.
            pool_pre_ping=not self._is_sqlite,
            hide_parameters=True,  # a statement's values are people's data: not in messages, not in logs
        )
        if self._is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)

    async def migrate(self) -> str:
        """The schema is the newest; answers its revision. Safe to run twice, also by two processes at once.

        Raises   Unavailable with where the database is and what it said: whoever starts a service may know.
        """
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600, exist_ok=True)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))

        def upgrade(connection: Connection) -> str:
            if not self._is_sqlite:
                # Two nodes that start together must not both make the tables; released at the end of the transaction.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(5395042)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())

        try:
            async with self.transaction() as connection:
                return await connection.run_sync(upgrade)
        except Unavailable as fault:
            said = getattr(fault.__cause__, "orig", None) or fault.__cause__
            place = self._path or self.engine.url.render_as_string(hide_password=True)
            raise Unavailable(f"The records at {place} cannot be opened: {said}") from fault

    async def revision(self) -> str:
        """The schema's revision as it is; "" where there is none. Raises Unavailable."""
        async with self.reading() as connection:
            if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
                return ""
            return str((await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one())

    async def server_version(self) -> tuple[int, ...]:
        """The version of what answers: SQLite's, or the database server's. Raises Unavailable."""
        async with self.reading() as connection:
            return tuple(int(part) for part in connection.dialect.server_version_info or () if isinstance(part, int))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one consistent look; nothing that is written through it stays."""
        with _translated():
            async with self._connected() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose changes are committed at the end, or undone by an exception."""
        with _translated():
            async with self._connected() as plain:
                connection = await plain.execution_options(**{_WRITES: True})
                async with connection.begin():
                    yield connection

    async def fold(self) -> None:
        """What was erased is in no file of the database any more. Raises Unavailable while a reader holds the log.

        SQLite keeps old pages in its write-ahead log until that is folded into the file; PostgreSQL's own vacuum and
        the keeping of its write-ahead log are its operator's.
        """
        if not self._is_sqlite:
            return
        with _translated():
            async with self.engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                cursor = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                (is_busy, _, _) = await cursor.fetchone()
                await cursor.close()
        if is_busy:
            raise Unavailable("Another process reads the records; their write-ahead log still holds what was erased.")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        # Left as `async with` leaves it: to the end, also where its user is cancelled. `close` would be cut off.
        async with AsyncExitStack() as stack:
            begin = time.perf_counter()
            try:
                connection = await stack.enter_async_context(self.engine.connect())
            finally:
                self.on_wait((time.perf_counter() - begin) * 1000)
            yield connection

    @property
    def connections_in_use(self) -> int:
        """Connections that somebody works with now."""
        return int(self.engine.pool.checkedout())  # type: ignore[attr-defined]  # of the pool that is in use here

    async def is_healthy(self) -> bool:
        """Whether the database answers a question now."""
        try:
            async with self.reading() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Every connection is closed."""
        await self.engine.dispose()


def newest_revision() -> str:
    """The revision that `Database.migrate` leads to."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return str(ScriptDirectory.from_config(config).get_current_head())


@contextmanager
def _translated() -> Iterator[None]:
    """What a driver raises when the database is away becomes `Unavailable`; our own mistakes stay what they are."""
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError):
        raise
    except (DBAPIError, PoolTimeout, ConnectionError) as error:
        raise Unavailable("The records do not answer; try again.") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: `_begin_sqlite` decides which kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_TIMEOUT_S * 1000}",
        "secure_delete=ON",  # what is erased is overwritten in the file
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
