"""Signing keys: made at the first start, kept with the other records, replaced one by the next."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from syncbridge.ports import SigningKey
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.schema import signing_keys

SECRET_BYTES = 32  # the size of an HMAC-SHA256 key: less is weaker, more is hashed down (RFC 7518 section 3.2)


class SigningKeys:
    """The table of signing keys, as a `ports.KeyStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, now_ms: int) -> list[SigningKey]:
        """Every key, the newest last; one is made when none is in force.

        Two nodes that start at once both try to make the next one; one of them is told that it exists.
        """
        keys = await self.read()
        if all(key.retired_at is not None and key.retired_at <= now_ms for key in keys):
            after = max((key.ordinal for key in keys), default=0)
            await self.rotate(after=after, signs_from=now_ms, retired_at=now_ms, now_ms=now_ms)
        return await self.read()

    async def read(self) -> list[SigningKey]:
        """Every key, the newest last."""
        async with self._database.reading() as connection:
            return [_key(row) for row in (await connection.execute(select(signing_keys).order_by(_ordinal))).all()]

    @retried
    async def rotate(self, *, after: int, signs_from: int, retired_at: int, now_ms: int) -> SigningKey | None:
        """See `ports.KeyStore.rotate`. What is retired by now loses its secret: nothing can be signed with it."""
        key = SigningKey(secrets.token_hex(8), secrets.token_bytes(SECRET_BYTES), now_ms, signs_from, ordinal=after + 1)
        ends = signing_keys.c.retired_at
        older = _ordinal <= after
        try:
            async with self._database.transaction() as connection:
                row = {name: getattr(key, name) for name in key.__struct_fields__}
                await connection.execute(insert(signing_keys).values(row))
                later = or_(ends.is_(None), ends > retired_at)
                await connection.execute(update(signing_keys).where(older, later).values(retired_at=retired_at))
                await connection.execute(update(signing_keys).where(older, ends <= now_ms).values(secret=b""))
        except IntegrityError:
            return None
        return key


_ordinal = signing_keys.c.ordinal


def _key(row: Row[Any]) -> SigningKey:
    return SigningKey(row.kid, row.secret, row.created_at, row.signs_from, row.retired_at, row.ordinal)
