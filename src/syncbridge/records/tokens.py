"""Refresh tokens in families, and what was revoked before its time."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.errors import TokenExpired, TokenInvalid
from syncbridge.records.database import Database
from syncbridge.records.schema import refresh_tokens, revocations, token_families


class Family(Struct, frozen=True):
    """One log-in and every token that came of it; ``device`` and ``session`` are what they are bound to."""

    id: str
    account: AccountId
    login_at: int
    device: DeviceId | None = None
    session: SessionId | None = None


class Tokens:
    """The tables of families, refresh tokens (as digests) and revocations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, family: Family, digest: bytes, expires_at: int) -> None:
        """The family exists with its first refresh token."""
        async with self._database.transaction() as connection:
            await begin_within(connection, family, digest, expires_at)

    async def rotate(self, digest: bytes, successor: bytes, *, expires_at: int, now_ms: int) -> Family | str:
        """The refresh token is used up and ``successor`` stands in its place; answers its family.

        A token that was used before is in two hands: its family is revoked, and the family's id is answered as a
        string, for the caller to refuse its access tokens too. Raises TokenInvalid or TokenExpired.
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
            if row is None or row.revoked_at is not None:
                raise TokenInvalid
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

    async def revoke_family(self, family: str, now_ms: int) -> None:
        """No refresh token of the family is taken any more."""
        async with self._database.transaction() as connection:
            await _revoke(connection, family, now_ms)

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

    async def add_revocation(self, subject: str, expires_at: int) -> None:
        """Access tokens of this subject are refused until ``expires_at``, after a restart too."""
        async with self._database.transaction() as connection:
            known = await connection.execute(
                update(revocations).where(revocations.c.subject == subject).values(expires_at=expires_at)
            )
            if known.rowcount == 0:
                await connection.execute(insert(revocations).values(subject=subject, expires_at=expires_at))

    async def revocations(self, now_ms: int) -> dict[str, int]:
        """Everything that is refused now, with when that ends."""
        query = select(revocations).where(revocations.c.expires_at > now_ms)
        async with self._database.reading() as connection:
            return {row.subject: row.expires_at for row in (await connection.execute(query)).all()}

    async def forget_expired(self, now_ms: int) -> int:
        """What no longer matters is gone: expired tokens, families without any, revocations; how many rows."""
        async with self._database.transaction() as connection:
            used = select(refresh_tokens.c.family)
            statements = (
                delete(refresh_tokens).where(refresh_tokens.c.expires_at <= now_ms),
                delete(token_families).where(token_families.c.id.not_in(used)),
                delete(revocations).where(revocations.c.expires_at <= now_ms),
            )
            return sum([(await connection.execute(statement)).rowcount for statement in statements])


async def begin_within(connection: AsyncConnection, family: Family, digest: bytes, expires_at: int) -> None:
    """`Tokens.begin` inside a transaction that does more."""
    row = {name: getattr(family, name) for name in family.__struct_fields__}
    await connection.execute(insert(token_families).values(row))
    await connection.execute(insert(refresh_tokens).values(digest=digest, family=family.id, expires_at=expires_at))


async def _revoke(connection: AsyncConnection, family: str, now_ms: int) -> None:
    await connection.execute(update(token_families).where(token_families.c.id == family).values(revoked_at=now_ms))
