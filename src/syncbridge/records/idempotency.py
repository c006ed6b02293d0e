"""Requests that were made under a key of the caller's, and what they were answered with."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId
from syncbridge.errors import IdempotencyInProgress, IdempotencyKeyReused, NotFound
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.schema import accounts, idempotency_keys

_KEYS = idempotency_keys.c


class KeptAnswer(Struct, frozen=True):
    """An answer as it was given, to be given again."""

    status: int
    headers: dict[str, str]
    body: bytes


class Claim(Struct, frozen=True):
    """The key is this request's: it is answered, then kept or released. ``forgotten`` made room for it."""

    account: AccountId
    key: str
    at: int
    forgotten: int = 0


class IdempotencyKeys:
    """The table of keys. Claims of one account happen one after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def claim(
        self, account: AccountId, key: str, request: bytes, *, now_ms: int, until_ms: int, keys_max: int
    ) -> Claim | KeptAnswer:
        """The key is this request's until ``until_ms``, or the answer that the same request got before.

        Bounded   an account has at most ``keys_max`` keys: the one answered longest ago is forgotten for a new one.
        Raises    IdempotencyInProgress while the first is under way, IdempotencyKeyReused for another request, NotFound
                  where the account is gone.
        """
        async with self._database.transaction() as connection:
            locked = await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
            if locked.one_or_none() is None:
                raise NotFound
            is_over = (_KEYS.account == account) & (_KEYS.expires_at <= now_ms)
            await connection.execute(delete(idempotency_keys).where(is_over))
            query = select(idempotency_keys).where(_KEYS.account == account, _KEYS.key == key)
            row = (await connection.execute(query)).one_or_none()
            if row is not None and row.request != request:
                raise IdempotencyKeyReused
            if row is not None and row.status is None:
                raise IdempotencyInProgress
            if row is not None:
                return KeptAnswer(row.status, row.headers, row.body)
            forgotten = await _make_room(connection, account, keys_max)
            values = {"account": account, "key": key, "request": request, "created_at": now_ms, "expires_at": until_ms}
            await connection.execute(insert(idempotency_keys).values(values))
        return Claim(account, key, now_ms, forgotten)

    @retried
    async def keep(self, claim: Claim, answer: KeptAnswer, until_ms: int) -> None:
        """The answer is given again until ``until_ms``; nothing happens where the claim has run out meanwhile."""
        values = {"status": answer.status, "headers": answer.headers, "body": answer.body, "expires_at": until_ms}
        async with self._database.transaction() as connection:
            await connection.execute(update(idempotency_keys).where(_held(claim)).values(values))

    @retried
    async def release(self, claim: Claim) -> None:
        """The key is free: whoever comes next is judged anew."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(idempotency_keys).where(_held(claim)))

    async def forget_expired(self, now_ms: int) -> int:
        """Keys past their time are gone; how many there were."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(delete(idempotency_keys).where(_KEYS.expires_at <= now_ms))
        return gone.rowcount


def _held(claim: Claim) -> ColumnElement[bool]:
    """This very claim: not one that another request made after it had run out."""
    return and_(
        _KEYS.account == claim.account,
        _KEYS.key == claim.key,
        _KEYS.created_at == claim.at,
        _KEYS.status.is_(None),
    )


async def _make_room(connection: AsyncConnection, account: AccountId, keys_max: int) -> int:
    count = await connection.execute(select(func.count()).where(_KEYS.account == account))
    over = count.scalar_one() - keys_max + 1
    if over <= 0:
        return 0
    oldest = (
        select(_KEYS.key)
        .where(_KEYS.account == account, _KEYS.status.is_not(None))
        .order_by(_KEYS.created_at, _KEYS.key)
        .limit(over)
    )
    gone = await connection.execute(delete(idempotency_keys).where(_KEYS.account == account, _KEYS.key.in_(oldest)))
    return gone.rowcount
