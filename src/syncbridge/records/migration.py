"""The schema of the records: what it is, what this program needs, and the way from the one to the other.

Expand, then contract. A step only adds (tables, columns that may be left out), so that the program before it goes on
working with the tables after it, and nodes can be replaced one by one: `syncbridge migrate`, then the new program.
What nobody uses any more is taken away by a step of a later release. Each step says since which revision programs
work with the tables it leaves (``serves_from``); the database keeps that beside the step (`schema_steps`), so that an
older program knows whether it may still serve.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from msgspec import Struct
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.errors import Unavailable
from syncbridge.records.database import Database, upserted
from syncbridge.records.faults import advice_for, sqlstate_of
from syncbridge.records.schema import schema_steps

LOCK: Final = 5395042
"""The advisory lock of whoever migrates; any number that nobody else of the database takes."""
LOCK_WAIT_S: Final = 30.0
LOCK_AGAIN_S: Final = 0.1
TABLE_WAIT_MS: Final = 5_000
"""For a table that a long transaction holds: while a step waits for it, everybody waits behind the step."""

_MIGRATIONS = Path(__file__).parent / "migrations"

State = Literal["absent", "older", "current", "newer", "foreign"]


class Schema(Struct, frozen=True):
    """The schema as it is. ``newer`` is of a later program and serves this one too, ``foreign`` does not any more."""

    state: State
    revision: str = ""
    serves_from: str = ""

    @property
    def is_served(self) -> bool:
        """Whether this program works with it."""
        return self.state in ("current", "newer")

    def sentence(self, place: str) -> str:
        """What is wrong with it and what to do, for an operator; where nothing is, what it is."""
        ours = newest_revision()
        if self.state == "absent":
            return f"The records at {place} have no schema yet; make it: syncbridge migrate"
        if self.state == "older":
            return (
                f"The records at {place} have schema {self.revision}, this program needs {ours}; "
                "bring them up: syncbridge migrate"
            )
        if self.state == "foreign":
            serves = f"programs from {self.serves_from} on" if self.serves_from else "newer programs alone"
            return (
                f"The records at {place} have schema {self.revision}, which serves {serves}; this program knows "
                f"{ours}: start the newer program, or restore a backup"
            )
        later = f", of a newer program; it serves this one ({ours}) too" if self.state == "newer" else ""
        return f"The records at {place} have schema {self.revision}{later}"


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config, ScriptDirectory.from_config(config)


def newest_revision() -> str:
    """The revision that `migrate` leads to."""
    return str(_scripts()[1].get_current_head())


async def schema_of(database: Database) -> Schema:
    """The schema as it is. Raises Unavailable with where the database is and what it said."""
    try:
        async with database.reading() as connection:
            return await _look(connection)
    except Unavailable as fault:
        raise _told(database, fault) from fault


async def migrate(database: Database, *, to: str = "head", wait_s: float = LOCK_WAIT_S) -> Schema:
    """The schema is at least this program's; answers it as it stands.

    Atomicity  all steps in one transaction: a migration that breaks changed nothing.
    At once    one migrates, the others wait for it (``wait_s``) and find it done; also beside services that run.
    Raises     Unavailable with where the database is and what it said, and who migrates where that takes too long;
               where the schema is `foreign`, too.
    """
    if database.file is not None:
        database.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database.file.touch(mode=0o600, exist_ok=True)
    try:
        async with database.transaction() as connection:
            if not database.is_sqlite:
                # SQLite's transaction is the lock.
                await _lock(connection, wait_s)
                await connection.execute(text(f"SET LOCAL lock_timeout = {TABLE_WAIT_MS}"))
            before = await _look(connection)
            if before.state in ("newer", "foreign"):
                found = before
            else:
                await connection.run_sync(_upgrade, to)
                await _keep_steps(connection)
                found = await _look(connection)
    except Unavailable as fault:
        raise _told(database, fault) from fault
    if found.state == "foreign":
        raise Unavailable(found.sentence(database.place))
    return found


def _upgrade(connection: Connection, to: str) -> None:
    config, _ = _scripts()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


async def _look(connection: AsyncConnection) -> Schema:
    tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    found = None
    if "alembic_version" in tables:
        found = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if found is None:
        return Schema("absent")
    _, scripts = _scripts()
    if found in {step.revision for step in scripts.walk_revisions()}:
        return Schema("current" if found == scripts.get_current_head() else "older", found)
    serves = ""
    if schema_steps.name in tables:
        which = select(schema_steps.c.serves_from).where(schema_steps.c.revision == found)
        serves = (await connection.execute(which)).scalar_one_or_none() or ""
    # Revisions are numbers of four digits: their order is that of their text.
    is_served = bool(serves) and serves <= str(scripts.get_current_head())
    return Schema("newer" if is_served else "foreign", found, serves)


async def _keep_steps(connection: AsyncConnection) -> None:
    """The table says of each step that there is when it was noticed, and whom it serves."""
    _, scripts = _scripts()
    done = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(schema_steps.name)):
        return
    now_ms = time.time_ns() // 1_000_000
    for step in scripts.iterate_revisions(done, "base"):
        row = {"revision": step.revision, "serves_from": step.module.serves_from, "at": now_ms}
        await connection.execute(upserted(connection, schema_steps).values(row).on_conflict_do_nothing())


async def _lock(connection: AsyncConnection, wait_s: float) -> None:
    """Nobody else migrates until the transaction ends."""
    deadline = time.monotonic() + wait_s
    while not (await connection.execute(text(f"SELECT pg_try_advisory_xact_lock({LOCK})"))).scalar_one():
        if time.monotonic() > deadline:
            raise Unavailable(f"another process migrates since {wait_s:g} s and more ({await _holder(connection)})")
        await asyncio.sleep(LOCK_AGAIN_S)


async def _holder(connection: AsyncConnection) -> str:
    held = (
        await connection.execute(
            text(
                "SELECT a.pid, a.application_name, a.client_addr::text AS address FROM pg_locks l"
                " JOIN pg_stat_activity a USING (pid)"
                " WHERE l.locktype = 'advisory' AND l.objid = :lock AND l.granted"
            ).bindparams(lock=LOCK)
        )
    ).first()
    if held is None:
        return "it has just ended: run it again"
    return f"server process {held.pid}, {held.application_name or 'unnamed'} at {held.address or 'the server itself'}"


def _told(database: Database, fault: Unavailable) -> Unavailable:
    """The fault with where the database is and what it said: whoever starts a service may know."""
    cause = fault.__cause__
    said: object = fault.message if cause is None else getattr(cause, "orig", None) or cause
    if sqlstate_of(cause) == "55P03":
        said = f"a long transaction holds a table for {TABLE_WAIT_MS // 1000} s; nothing was changed, run it again"
    advice = "" if database.is_sqlite else advice_for(fault)
    return Unavailable(f"The records at {database.place} cannot be opened: {said}{advice and f' - {advice}'}")
