"""Facts of accounts that wait to be told to other services: written with the change itself, told under a lease.

Where nobody is told, nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.facts import (
    ACCOUNT_ERASED,
    DELETED,
    DEVICE_JOINED,
    DEVICE_REMOVED,
    AccountData,
    Change,
    DeviceData,
    Fact,
    deletion,
)
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.ports import Backlog, Clock, Waiting
from syncbridge.records.database import Database
from syncbridge.records.leases import claim_within, give_up_within, has_within
from syncbridge.records.schema import outbox

LEASE: Final = "outbox"
LEASE_MS: Final = 15_000
"""A relay that died is followed so soon; one that lives renews it at each take."""
ROWS_MAX: Final = 100_000
"""About 30 MB. Accounts and devices come slowly: past it the broker was away for weeks."""
IDLE_MS: Final = 1_000
"""Where nothing waited, another process's facts are looked for again so much later."""


class OutboxTable:
    """The table of facts about accounts, written inside the transactions that they tell of."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self.is_noted = False
        """Something was written by this process since `RecordsOutbox` last looked."""

    def keep(self, clock: Clock) -> None:
        """What happens from now on is kept until it is told: there is somebody to tell."""
        self._clock = clock

    async def device_joined(self, connection: AsyncConnection, account: AccountId, device: str, at: int) -> None:
        """It waits to be told that the device was registered."""
        await self._add(connection, DEVICE_JOINED, account, at, DeviceData(account=account, device=device))

    async def device_removed(self, connection: AsyncConnection, account: AccountId, device: DeviceId, at: int) -> None:
        """It waits to be told that the device was removed."""
        await self._add(connection, DEVICE_REMOVED, account, at, DeviceData(account=account, device=device))

    async def account_erased(self, connection: AsyncConnection, account: AccountId, at: int) -> None:
        """It waits to be told that the account is gone, and nothing else of it, whoever kept that."""
        await connection.execute(delete(outbox).where(outbox.c.account == account))
        await self._add(connection, ACCOUNT_ERASED, account, at, AccountData(account=account))

    async def sessions_deleted(self, connection: AsyncConnection, some: Iterable[tuple[SessionId, AccountId]]) -> None:
        """It waits to be told that these sessions are gone."""
        if self._clock is None:
            return
        now_ms = self._clock.now_ms()
        rows = [_row(deletion(session, account, now_ms)) for session, account in some]
        if rows:
            await connection.execute(insert(outbox), rows)
            self.is_noted = True

    async def _add(self, connection: AsyncConnection, kind: str, account: AccountId, at: int, data: Struct) -> None:
        if self._clock is not None:
            await connection.execute(
                insert(outbox), [_row(Fact("", kind, account, account, at, msgspec.to_builtins(data)))]
            )
            self.is_noted = True


def _row(fact: Fact) -> dict[str, Any]:
    return {"at": fact.at, "type": fact.type, "subject": fact.subject, "account": fact.account, "data": fact.data}


class RecordsOutbox:
    """`Outbox` over the table: every node has one, and whoever holds the lease tells."""

    name = "records"

    def __init__(self, database: Database, table: OutboxTable, clock: Clock, holder: str) -> None:
        self._database = database
        self._table = table
        self._clock = clock
        self._holder = holder
        self._idle_since: int | None = None
        self._has_lease = False

    async def take(self, count_max: int) -> list[Waiting]:
        now_ms = self._clock.now_ms()
        if self._idle_since is not None and not self._table.is_noted and 0 <= now_ms - self._idle_since < IDLE_MS:
            return []
        self._table.is_noted = False
        self._idle_since = now_ms
        async with self._database.reading() as connection:
            if (await connection.execute(select(outbox.c.id).limit(1))).first() is None:
                return []
        try:
            async with self._database.transaction() as connection:
                fence = await claim_within(connection, LEASE, self._holder, LEASE_MS)
                if fence is None:
                    return []
                query = select(outbox).order_by(outbox.c.id).limit(count_max + 1)
                rows = (await connection.execute(query)).all()
        except IntegrityError:  # two claimed it for the first time
            return []
        self._has_lease = True
        self._idle_since = None
        has_more = len(rows) > count_max
        rows = rows[:count_max]
        facts = [_fact(row) for row in rows]
        return [Waiting(LEASE, fence, facts, [], [str(row.id) for row in rows], has_more)]

    async def settle(self, waiting: Waiting, told: Sequence[int], changes: Sequence[Change]) -> bool:
        ids = [int(waiting.places[index]) for index in told]
        async with self._database.transaction() as connection:
            if not await has_within(connection, LEASE, self._holder, waiting.fence):
                self._has_lease = False
                return False
            await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
        return True

    async def look(self) -> Backlog:
        how_much = select(func.count(), func.min(outbox.c.at))
        async with self._database.reading() as connection:
            count, oldest_at = (await connection.execute(how_much)).one()
        dropped = 0
        if count > ROWS_MAX:
            old = select(outbox.c.id).order_by(outbox.c.id).limit(count - ROWS_MAX)
            async with self._database.transaction() as connection:
                dropped = (await connection.execute(delete(outbox).where(outbox.c.id.in_(old)))).rowcount
                count, oldest_at = (await connection.execute(how_much)).one()
        return Backlog(count, oldest_at or 0, dropped)

    async def release(self) -> None:
        if self._has_lease:
            async with self._database.transaction() as connection:
                await give_up_within(connection, LEASE, self._holder)
            self._has_lease = False


def _fact(row: Any) -> Fact:
    # The row's number makes it this fact's own, should two of a kind fall into one millisecond.
    name = f"{row.subject}:{row.type}" if row.type == DELETED else f"{row.subject}:{row.at}.{row.id}:{row.type}"
    return Fact(name, row.type, row.subject, row.account, row.at, dict(row.data))
