"""Everything that the records hold of one person, table by table, for whoever asks for their own data.

No secret and no digest of one is among it: not the password's hash, not tokens, not one-time codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from syncbridge.core.ids import AccountId, SessionId
from syncbridge.records.database import Database
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

Rows = list[dict[str, Any]]


class Personal:
    """Reads the rows of one person. What can be long comes in pages, after the key of the last row seen."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, account: AccountId) -> dict[str, Any] | None:
        """The account itself, None when there is none."""
        table = accounts.c
        rows = await self._rows(select(table.id, table.email, table.plan, table.created_at).where(table.id == account))
        return rows[0] if rows else None

    async def identities(self, account: AccountId) -> Rows:
        """Who the person is at outside issuers."""
        table = identities.c
        return await self._rows(
            select(table.issuer, table.subject, table.created_at).where(table.account == account).order_by(table.issuer)
        )

    async def devices(self, account: AccountId) -> Rows:
        """Every device, those removed too."""
        columns = [column for column in devices.c if column.name != "account"]
        return await self._rows(
            select(*columns).where(devices.c.account == account).order_by(devices.c.created_at, devices.c.id)
        )

    async def log_ins(self, account: AccountId) -> Rows:
        """Every log-in: when, bound to what, and until when it can be renewed."""
        table = token_families.c
        until = (
            select(func.max(refresh_tokens.c.expires_at))
            .where(refresh_tokens.c.family == table.id)
            .scalar_subquery()
            .label("renewable_until")
        )
        return await self._rows(
            select(table.id, table.login_at, table.device, table.session, table.revoked_at, until)
            .where(table.account == account)
            .order_by(table.login_at, table.id)
        )

    async def requests(self, account: AccountId) -> Rows:
        """Requests that are remembered so that a repeat is answered alike; what they answered is in the rest."""
        table = idempotency_keys.c
        return await self._rows(
            select(table.key, table.status, table.created_at, table.expires_at)
            .where(table.account == account)
            .order_by(table.created_at, table.key)
        )

    async def erasure(self, account: AccountId) -> dict[str, Any] | None:
        """Whether an erasure was asked for."""
        table = erasures.c
        rows = await self._rows(select(table.requested_at, table.finished_at).where(table.account == account))
        return rows[0] if rows else None

    async def sessions(self, account: AccountId, after: str, count_max: int) -> Rows:
        """The next sessions by their ids."""
        columns = [column for column in sessions.c if column.name != "account"]
        mine = sessions.c.account == account
        return await self._page(columns, mine, sessions.c.id, after, count_max)

    async def snapshots(self, session: SessionId, after: str, count_max: int) -> Rows:
        """The next labelled snapshots by their ids; ``state`` is JSON in bytes."""
        columns = [column for column in snapshots.c if column.name != "session"]
        return await self._page(columns, snapshots.c.session == session, snapshots.c.id, after, count_max)

    async def archived_state(self, session: SessionId) -> dict[str, Any] | None:
        """The newest state that is kept beside the log, None where none is; ``body`` is JSON in bytes."""
        table = log_snapshots.c
        rows = await self._rows(select(table.expires_at, table.body).where(table.session == session))
        return rows[0] if rows else None

    async def pairing_codes(self, session: SessionId) -> Rows:
        """That there are one-time codes, not which."""
        table = pairing_codes.c
        return await self._rows(
            select(table.created_at, table.expires_at, table.used_at)
            .where(table.session == session)
            .order_by(table.created_at)
        )

    async def incidents(self, session: SessionId, after: int, count_max: int) -> Rows:
        """The next incidents, in the order in which they happened."""
        columns = [column for column in incidents.c if column.name != "session"]
        return await self._page(columns, incidents.c.session == session, incidents.c.id, after, count_max)

    async def _page(
        self,
        columns: Sequence[ColumnElement[Any]],
        which: ColumnElement[bool],
        key: ColumnElement[Any],
        after: str | int,
        count_max: int,
    ) -> Rows:
        return await self._rows(select(*columns).where(which, key > after).order_by(key).limit(count_max))

    async def _rows(self, query: Select[Any]) -> Rows:
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).mappings().all()
            return [{str(name): value for name, value in row.items()} for row in found]
