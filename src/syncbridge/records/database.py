"""The database behind the records: connections and short transactions, over SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import Table, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from syncbridge.errors import Unavailable
from syncbridge.ports import CredentialSource
from syncbridge.records import engines
from syncbridge.records.engines import WRITES
from syncbridge.records.faults import Reason, reason_of, translated
from syncbridge.records.pool import Pool

SWAP_AGAIN_S: Final = 1.0
"""New credentials that the server does not take yet are tried again so soon; the old ones serve meanwhile."""

_log = structlog.get_logger("syncbridge.records")


class Database:
    """Connections, short transactions, and one translation of what goes wrong.

    Atomicity  what is done inside `transaction` is committed whole at its end, or rolled back at an exception.
    Isolation  a look (`reading`) sees one moment. A transaction is alone with what it reads in SQLite, which takes its
               write lock at the start (so a read never turns into a write that fails); in PostgreSQL it locks the
               account's row where that matters, and the account's before any other.
    Durability a committed transaction is on disk (WAL, synchronous=FULL).
    Errors     a database that does not answer raises `Unavailable`, PostgreSQL within a second; a constraint that does
               not hold raises sqlalchemy's IntegrityError, for the caller knows what it means.
    Rotation   after the credentials changed new connections log in by the new ones; those in use finish their work
               first, so for a moment there may be twice as many as the pool has.
    """

    def __init__(
        self, url: str, *, pool_size: int = 4, credentials: CredentialSource | None = None, is_patient: bool = False
    ) -> None:
        """``is_patient`` bounds no statement (migrations)."""
        self._url = make_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.pool_size = pool_size
        self._credentials = credentials
        self._is_patient = is_patient
        self.on_wait: Callable[[float], object] = lambda _ms: None
        """Called with how long each piece of work waited for its connection, in ms; also where it got none."""
        self.on_fault: Callable[[Reason], object] = lambda _reason: None
        """Called with why a piece of work was not done, each time."""
        self.rotations_total = 0
        self._is_away: bool | None = None  # not known before it answered once: who opens it is told by the exception
        self._pool = self._make_pool()
        self._swapping: asyncio.Task[None] | None = None
        self._is_closed = False
        if credentials is not None and not self.is_sqlite:
            credentials.watch(self._log_in_anew)

    @property
    def engine(self) -> AsyncEngine:
        """The engine that new work gets its connections from."""
        return self._pool.engine

    @property
    def file(self) -> Path | None:
        """The file that it is in; None where it is in a server."""
        return Path(self._url.database) if self.is_sqlite and self._url.database else None

    @property
    def place(self) -> str:
        """Where it is, as an operator is told: without the password."""
        return str(self.file or self._url.render_as_string(hide_password=True))

    async def server_version(self) -> tuple[int, ...]:
        """The version of what answers: SQLite's, or the database server's. Raises Unavailable."""
        async with self.reading() as connection:
            return tuple(int(part) for part in connection.dialect.server_version_info or () if isinstance(part, int))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one consistent look; nothing that is written through it stays."""
        async with self._connected() as connection:
            if not self.is_sqlite:
                connection = await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose changes are committed at the end, or undone by an exception."""
        async with self._connected() as plain:
            connection = await plain.execution_options(**{WRITES: True})
            async with connection.begin():
                yield connection

    async def fold(self) -> None:
        """What was erased is in no file of the database any more. Raises Unavailable while a reader holds the log.

        SQLite keeps old pages in its write-ahead log until that is folded into the file; PostgreSQL's own vacuum and
        the keeping of its write-ahead log are its operator's.
        """
        if not self.is_sqlite:
            return
        with translated(self.on_fault):
            async with self.engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                cursor = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                (is_busy, _, _) = await cursor.fetchone()
                await cursor.close()
        if is_busy:
            raise Unavailable("Another process reads the records; their write-ahead log still holds what was erased.")

    @property
    def connections_in_use(self) -> int:
        """Connections that somebody works with now."""
        return self._pool.in_use

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
        self._is_closed = True
        if self._swapping is not None:
            self._swapping.cancel()
            await asyncio.gather(self._swapping, return_exceptions=True)
        await self._pool.close()

    # -- inside -------------------------------------------------------------------------------------------------

    def _make_pool(self) -> Pool:
        if self.is_sqlite:
            return Pool(engines.sqlite_engine(self._url, pool_size=self.pool_size), within_s=None)
        engine = engines.postgres_engine(
            self._url, pool_size=self.pool_size, credentials=self._credentials, is_patient=self._is_patient
        )
        return Pool(engine, within_s=engines.ANSWER_WITHIN_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        with translated(self._failed):
            begin = time.perf_counter()
            is_waiting = True
            try:
                async with self._pool.connected() as connection:
                    is_waiting = False
                    self.on_wait((time.perf_counter() - begin) * 1000)
                    self._answered()
                    yield connection
            finally:
                if is_waiting:
                    self.on_wait((time.perf_counter() - begin) * 1000)

    def _failed(self, reason: Reason) -> None:
        self.on_fault(reason)
        # Told once: the metric counts each. What befell one statement says nothing of the next.
        if self._is_away is False and reason not in ("undone", "slow_statement"):
            self._is_away = True
            _log.warning("the records do not answer", reason=reason)

    def _answered(self) -> None:
        if self._is_away:
            _log.info("the records answer again")
        self._is_away = False

    def _log_in_anew(self) -> None:
        if self._is_closed:
            return
        if self._swapping is not None:
            self._swapping.cancel()
        self._swapping = asyncio.get_running_loop().create_task(self._swap())

    async def _swap(self) -> None:
        """New work gets connections of the new log-in, once the server takes it."""
        is_told = False
        while True:
            pool = self._make_pool()
            try:
                with translated(self.on_fault):
                    async with pool.connected():
                        pass
            except Unavailable as fault:
                if not is_told:
                    is_told = True
                    _log.warning("new credentials of the records are not taken; tried on", reason=reason_of(fault))
                await pool.close()
                await asyncio.sleep(SWAP_AGAIN_S)
                continue
            except BaseException:
                await asyncio.shield(pool.close())
                raise
            old, self._pool = self._pool, pool
            self.rotations_total += 1
            _log.info("the records' connections log in anew")
            await old.retire()
            return


def upserted(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that may say what becomes of a row that is there (``ON CONFLICT``), in this database's dialect."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
