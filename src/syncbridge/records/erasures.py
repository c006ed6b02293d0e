"""Erasures of accounts: what was asked for, how far it is, and the receipt that is left.

The row is written before anything is erased, and is the only thing that stays: the account's random id, two moments,
and how many things of each kind there were. So a process that dies half way is gone on with by the next one, and a
journal out of an old backup is known for what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import NotFound
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.outbox import OutboxTable
from syncbridge.records.schema import (
    accounts,
    devices,
    erasures,
    idempotency_keys,
    identities,
    incidents,
    log_snapshots,
    pairing_codes,
    refresh_tokens,
    sessions,
    snapshots,
    token_families,
)

RECEIPT_PREFIX = "ers_"

OF_SESSIONS: tuple[tuple[str, Table], ...] = (
    ("archived_states", log_snapshots),
    ("incidents", incidents),
    ("pairing_codes", pairing_codes),
    ("snapshots", snapshots),
)
"""What hangs on a session, by its column ``session``."""

OF_ACCOUNTS: tuple[tuple[str, Table], ...] = (
    ("archived_states", log_snapshots),
    ("pairing_codes", pairing_codes),
    ("idempotency_keys", idempotency_keys),
    ("log_ins", token_families),
    ("devices", devices),
    ("identities", identities),
)
"""What hangs on an account, by its column ``account``; sessions go before it, tokens with their log-ins."""


class Erasure(Struct, frozen=True):
    """One erasure; ``erased`` counts what is gone so far, ``finished_at`` is None until all of it is."""

    account: AccountId
    requested_at: int
    finished_at: int | None
    erased: dict[str, int]

    @property
    def receipt(self) -> str:
        """The receipt's id: the account's random part, which means nothing any more."""
        return receipt_of(self.account)


def receipt_of(account: str) -> str:
    """The id of the receipt for the erasure of this account."""
    return RECEIPT_PREFIX + account.partition("_")[2] if "_" in account else RECEIPT_PREFIX + account


class Erasures:
    """The table of erasures, and the erasing of rows.

    Atomicity  rows and their count in the receipt go in one transaction, so every step may be done again.
    """

    def __init__(self, database: Database, outbox: OutboxTable) -> None:
        self._database = database
        self._outbox = outbox

    @retried
    async def begin(self, account: AccountId, now_ms: int) -> Erasure:
        """It is written that the account is to be erased; the same row again when it is already. Raises NotFound."""
        row = {"account": account, "requested_at": now_ms, "finished_at": None, "receipt": {}}
        known = await self.get(account)
        if known is not None:
            return known
        try:
            async with self._database.transaction() as connection:
                there = await connection.execute(select(accounts.c.id).where(accounts.c.id == account))
                if there.one_or_none() is None:
                    raise NotFound
                await connection.execute(insert(erasures).values(row))
        except IntegrityError:  # two asked at once
            pass
        found = await self.get(account)
        assert found is not None
        return found

    async def get(self, account: AccountId) -> Erasure | None:
        """The erasure of this account, None when none was asked for."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(erasures).where(erasures.c.account == account))).one_or_none()
        return None if row is None else _erasure(row)

    async def by_receipt(self, receipt: str) -> Erasure | None:
        """The erasure with this receipt."""
        body = receipt.removeprefix(RECEIPT_PREFIX)
        for account in (f"acc_{body}", body):
            found = await self.get(AccountId(account))
            if found is not None and found.receipt == receipt:
                return found
        return None

    async def pending(self) -> list[AccountId]:
        """Accounts whose erasure is not finished, in the order asked."""
        query = select(erasures.c.account).where(erasures.c.finished_at.is_(None)).order_by(erasures.c.requested_at)
        async with self._database.reading() as connection:
            return [AccountId(one) for one in (await connection.execute(query)).scalars()]

    async def among(self, some: Sequence[AccountId]) -> set[AccountId]:
        """Those of the accounts that were, or are being, erased."""
        query = select(erasures.c.account).where(erasures.c.account.in_(set(some)))
        async with self._database.reading() as connection:
            return {AccountId(one) for one in (await connection.execute(query)).scalars()}

    async def next_sessions(self, account: AccountId, count_max: int) -> list[SessionId]:
        """Some sessions of the account that are listed still."""
        query = select(sessions.c.id).where(sessions.c.account == account).limit(count_max)
        async with self._database.reading() as connection:
            return [SessionId(one) for one in (await connection.execute(query)).scalars()]

    @retried
    async def erase_session(self, account: AccountId, session: SessionId) -> None:
        """The session's listing and everything that hangs on it are gone, and counted."""
        gone: Counter[str] = Counter()
        async with self._database.transaction() as connection:
            # The listing first: whoever writes something that hangs on it locks it too, and writes nothing after this.
            await connection.execute(select(sessions.c.id).where(sessions.c.id == session).with_for_update())
            for kind, table in OF_SESSIONS:
                gone[kind] += await _erase(connection, table, table.c.session == session)
            gone["sessions"] += await _erase(connection, sessions, sessions.c.id == session)
            await _count(connection, account, gone)

    @retried
    async def erase_account(self, account: AccountId) -> None:
        """The account and everything that hangs on it are gone, and counted; no session may be listed any more."""
        gone: Counter[str] = Counter()
        async with self._database.transaction() as connection:
            # The account first, as everybody locks it.
            await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
            mine = select(token_families.c.id).where(token_families.c.account == account)
            gone["tokens"] += await _erase(connection, refresh_tokens, refresh_tokens.c.family.in_(mine))
            for kind, table in OF_ACCOUNTS:
                gone[kind] += await _erase(connection, table, table.c.account == account)
            gone["accounts"] += await _erase(connection, accounts, accounts.c.id == account)
            await _count(connection, account, gone)

    async def finish(self, account: AccountId, now_ms: int) -> Erasure:
        """The receipt says that all of it is gone."""
        async with self._database.transaction() as connection:
            finished = await connection.execute(
                update(erasures)
                .where(erasures.c.account == account, erasures.c.finished_at.is_(None))
                .values(finished_at=now_ms)
            )
            if finished.rowcount:
                await self._outbox.account_erased(connection, account, now_ms)
        found = await self.get(account)
        if found is None:
            raise NotFound
        return found


async def _erase(connection: AsyncConnection, table: Table, which: ColumnElement[bool]) -> int:
    count = (await connection.execute(select(func.count()).select_from(table).where(which))).scalar_one()
    if count:
        await connection.execute(delete(table).where(which))
    return int(count)


async def _count(connection: AsyncConnection, account: AccountId, gone: Counter[str]) -> None:
    mine = erasures.c.account == account
    held = (await connection.execute(select(erasures.c.receipt).where(mine))).scalar_one() or {}
    total = {kind: held.get(kind, 0) + count for kind, count in gone.items()}
    await connection.execute(update(erasures).where(mine).values(receipt={**held, **total}))


def _erasure(row: Row[Any]) -> Erasure:
    return Erasure(AccountId(row.account), row.requested_at, row.finished_at, dict(row.receipt or {}))
