"""Accounts: who owns sessions and devices."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from syncbridge.core.ids import AccountId
from syncbridge.errors import AccountExists, NotFound
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.revocations import Revocation, end_logins_within
from syncbridge.records.schema import accounts

_SHOWN: list[Column[Any]] = [accounts.c.id, accounts.c.email, accounts.c.created_at, accounts.c.plan]


class Account(Struct, frozen=True):
    """One account; ``email`` is in the form it is compared in, ``plan`` a name of the configuration's."""

    id: AccountId
    email: str
    created_at: int
    plan: str = "standard"


class Accounts:
    """The table of accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account, password_hash: str) -> None:
        """The account exists. Raises AccountExists when one with this address does."""
        row = {
            "id": account.id,
            "email": account.email,
            "password_hash": password_hash,
            "created_at": account.created_at,
            "plan": account.plan,
        }
        try:
            async with self._database.transaction() as connection:
                await connection.execute(insert(accounts).values(row))
        except IntegrityError as error:
            raise AccountExists from error

    async def get(self, account: AccountId) -> Account | None:
        """The account, None when there is none."""
        query: Select[Any] = select(*_SHOWN).where(accounts.c.id == account)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _account(row)

    async def credentials(self, email: str) -> tuple[Account, str] | None:
        """The account with this address and its password hash."""
        return await self._credentials(accounts.c.email == email)

    async def credentials_of(self, account: AccountId) -> tuple[Account, str] | None:
        """The account and its password hash."""
        return await self._credentials(accounts.c.id == account)

    async def _credentials(self, which: ColumnElement[bool]) -> tuple[Account, str] | None:
        query: Select[Any] = select(*_SHOWN, accounts.c.password_hash).where(which)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else (_account(row), row.password_hash)

    async def renew_hash(self, account: AccountId, old: str, new: str) -> None:
        """The stored hash is the new one, where it was the old one: the same password under newer parameters."""
        mine = (accounts.c.id == account) & (accounts.c.password_hash == old)
        async with self._database.transaction() as connection:
            await connection.execute(update(accounts).where(mine).values(password_hash=new))

    @retried
    async def change_password(
        self, account: AccountId, old: str, new: str, revocation: Revocation, now_ms: int
    ) -> Revocation | None:
        """The hash is the new one and the log-ins are ended, both or neither; None when the old one is not in force."""
        mine = (accounts.c.id == account) & (accounts.c.password_hash == old)
        async with self._database.transaction() as connection:
            changed = await connection.execute(update(accounts).where(mine).values(password_hash=new))
            if changed.rowcount == 0:
                return None
            return await end_logins_within(connection, revocation, account, now_ms)

    async def set_plan(self, account: AccountId, plan: str) -> None:
        """The account has this plan. Raises NotFound."""
        async with self._database.transaction() as connection:
            changed = await connection.execute(update(accounts).where(accounts.c.id == account).values(plan=plan))
            if changed.rowcount == 0:
                raise NotFound


def _account(row: Row[Any]) -> Account:
    return Account(AccountId(row.id), row.email, row.created_at, row.plan)
