"""Refresh tokens in families."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import TokenExpired, TokenInvalid, TokenRevoked
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.revocations import FOR_EVER
from syncbridge.records.schema import accounts, refresh_tokens, revocations, token_families


class Family(Struct, frozen=True):
    """One log-in and every token that came of it; ``device`` and ``session`` are what they are bound to."""

    id: str
    account: AccountId
    login_at: int
    device: DeviceId | None = None
    session: SessionId | None = None


class Tokens:
    """The tables of families and refresh tokens (as digests)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def begin(
        self, family: Family, digest: bytes, expires_at: int, *, password_hash: str | None = None
    ) -> Family | None:
        """The family exists with its first refresh token; answers it as it stands.

        None, and nothing exists, when the account is gone or going, or, where ``password_hash`` is given, has another
        by now: a log-in that began with the old password must not outlive its change.
        """
        mine = select(accounts.c.password_hash).where(accounts.c.id == family.account).with_for_update()
        async with self._database.transaction() as connection:
            held = (await connection.execute(mine)).scalar_one_or_none()
            if held is None or password_hash not in (None, held):
                return None
            begun = await begin_within(connection, family, digest, expires_at)
            if begun.login_at > FOR_EVER:
                await connection.rollback()
                return None
        return begun

    @retried
    async def rotate(self, digest: bytes, successor: bytes, *, expires_at: int, now_ms: int) -> Family | str:
        """The refresh token is used up and ``successor`` stands in its place; answers its family.

        A token that was used before is in two hands: its family is revoked, and the family's id is answered as a
        string, for the caller to refuse its access tokens too. Raises TokenInvalid, TokenRevoked or TokenExpired.
        """
        async with self._database.transaction() as connection:
            row = (
                await connection.execute(
                    select(refresh_tokens, token_families)
                    .join(token_families, token_families.c.id == refresh_tokens.c.family)
                    .where(refresh_tokens.c.digest == digest)
                    .with_for_update()
                )
            ).one_or_none()
            if row is None:
                raise TokenInvalid
            if row.revoked_at is not None:
                raise TokenRevoked
            if row.used_at is not None:
                await _revoke(connection, row.id, now_ms)
                return str(row.id)
            if row.expires_at <= now_ms:
                raise TokenExpired
            await connection.execute(
                update(refresh_tokens).where(refresh_tokens.c.digest == digest).values(used_at=now_ms)
            )
            await connection.execute(
                insert(refresh_tokens).values(digest=successor, family=row.id, expires_at=expires_at)
            )
            return Family(row.id, row.account, row.login_at, row.device, row.session)

    async def family_of(self, digest: bytes) -> Family | None:
        """The family of a refresh token, used or not."""
        query = (
            select(token_families)
            .join(refresh_tokens, token_families.c.id == refresh_tokens.c.family)
            .where(refresh_tokens.c.digest == digest)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Family(row.id, row.account, row.login_at, row.device, row.session)

    @retried
    async def revoke_family(self, family: str, now_ms: int) -> None:
        """No refresh token of the family is taken any more."""
        async with self._database.transaction() as connection:
            await _revoke(connection, family, now_ms)

    @retried
    async def revoke_device(self, account: AccountId, device: DeviceId, now_ms: int) -> list[str]:
        """No refresh token bound to the device is taken any more; answers the families it hit."""
        mine = (
            (token_families.c.account == account)
            & (token_families.c.device == device)
            & token_families.c.revoked_at.is_(None)
        )
        async with self._database.transaction() as connection:
            ids = list((await connection.execute(select(token_families.c.id).where(mine))).scalars())
            await connection.execute(update(token_families).where(mine).values(revoked_at=now_ms))
        return ids

    async def ends_at(self, subject: str) -> int:
        """When the last refresh token ends of a log-in (``family:ID``) or an account (``account:ID``); 0: it has none.

        By the clock of the process that gave it out, which gave out an access token with it.
        """
        kind, _, name = subject.partition(":")
        newest = select(func.max(refresh_tokens.c.expires_at))
        if kind == "family":
            query = newest.where(refresh_tokens.c.family == name)
        else:
            mine = select(token_families.c.id).where(token_families.c.account == name)
            query = newest.where(refresh_tokens.c.family.in_(mine))
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one() or 0


async def begin_within(connection: AsyncConnection, family: Family, digest: bytes, expires_at: int) -> Family:
    """`Tokens.begin` inside a transaction that does more.

    A log-in after the account's revocation is good, so its moment lies after that one's, whatever the clocks say.
    """
    before = select(revocations.c.before).where(revocations.c.subject == f"account:{family.account}")
    ended_at = (await connection.execute(before)).scalar_one_or_none() or 0
    begun = replace(family, login_at=max(family.login_at, ended_at + 1))
    row = {name: getattr(begun, name) for name in begun.__struct_fields__}
    await connection.execute(insert(token_families).values(row))
    await connection.execute(insert(refresh_tokens).values(digest=digest, family=begun.id, expires_at=expires_at))
    return begun


async def _revoke(connection: AsyncConnection, family: str, now_ms: int) -> None:
    await connection.execute(update(token_families).where(token_families.c.id == family).values(revoked_at=now_ms))
