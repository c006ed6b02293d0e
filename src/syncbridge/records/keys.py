"""Signing keys: made at the first start, kept with the other records."""

from __future__ import annotations

import secrets

from msgspec import Struct
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from syncbridge.records.database import Database
from syncbridge.records.schema import signing_keys

SECRET_BYTES = 32  # the size of an HMAC-SHA256 key: less is weaker, more is hashed down (RFC 7518 section 3.2)


class SigningKey(Struct, frozen=True):
    """A key and its public name; ``secret`` never leaves the process, and its text is not the secret."""

    kid: str
    secret: bytes
    created_at: int

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, secret=***)"


class SigningKeys:
    """The table of signing keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, now_ms: int) -> list[SigningKey]:
        """The keys in force, newest last; one is made when there is none.

        Two nodes that start at once both try to make key number 1; one of them is told that it exists.
        """
        keys = await self._read()
        if keys:
            return keys
        row = {
            "kid": secrets.token_hex(8),
            "secret": secrets.token_bytes(SECRET_BYTES),
            "ordinal": 1,
            "created_at": now_ms,
        }
        try:
            async with self._database.transaction() as connection:
                await connection.execute(insert(signing_keys).values(row))
        except IntegrityError:
            return await self._read()
        return await self._read()

    async def _read(self) -> list[SigningKey]:
        query = select(signing_keys).where(signing_keys.c.retired_at.is_(None)).order_by(signing_keys.c.ordinal)
        async with self._database.reading() as connection:
            return [SigningKey(row.kid, row.secret, row.created_at) for row in (await connection.execute(query)).all()]
