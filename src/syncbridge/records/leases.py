"""Leases: who does what only one may do at a time, and a fence that tells a holder from the one before.

Times are the database's own: nodes whose clocks differ agree on when a lease is over.
"""

from __future__ import annotations

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.records.schema import leases

_NOW = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}


async def claim_within(connection: AsyncConnection, name: str, holder: str, for_ms: int) -> int | None:
    """The fence of the lease, which is the holder's for so long from now; None where it is another's.

    A fence grows with each change of holder, and when a lease ran out in between: whoever held it then may have been
    followed without knowing. Raises IntegrityError where two claim it for the first time at once.
    """
    now_ms = await now_ms_of(connection)
    row = (await connection.execute(select(leases).where(leases.c.name == name).with_for_update())).one_or_none()
    until = now_ms + for_ms
    if row is None:
        await connection.execute(insert(leases).values(name=name, holder=holder, fence=1, expires_at=until))
        return 1
    is_over = row.expires_at <= now_ms
    if row.holder != holder and not is_over:
        return None
    fence = int(row.fence) + (1 if is_over or row.holder != holder else 0)
    mine = update(leases).where(leases.c.name == name)
    await connection.execute(mine.values(holder=holder, fence=fence, expires_at=until))
    return fence


async def has_within(connection: AsyncConnection, name: str, holder: str, fence: int) -> bool:
    """Whether nobody claimed the lease since it was the holder's under this fence; it stays so until the end of this.

    One that ran out, and that nobody followed on, is as good as held.
    """
    query = select(leases.c.fence, leases.c.holder).where(leases.c.name == name).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return row is not None and (row.fence, row.holder) == (fence, holder)


async def give_up_within(connection: AsyncConnection, name: str, holder: str) -> None:
    """The lease is over, if it is the holder's."""
    mine = (leases.c.name == name) & (leases.c.holder == holder)
    await connection.execute(update(leases).where(mine).values(expires_at=0))


async def shared_ms_of(connection: AsyncConnection, now_ms: int) -> int:
    """The time by which all processes go that share the records: the server's, or else that of this machine."""
    return now_ms if connection.dialect.name == "sqlite" else await now_ms_of(connection)


async def now_ms_of(connection: AsyncConnection) -> int:
    """The database's own time; of a file, that of the machine."""
    found = await connection.execute(text(_NOW[connection.dialect.name]))
    return int(found.scalar_one())
