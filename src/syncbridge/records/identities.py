"""Who somebody is at an issuer outside, and which account that is here."""

from __future__ import annotations

from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from syncbridge.core.ids import AccountId
from syncbridge.records.database import Database
from syncbridge.records.ids import new_id
from syncbridge.records.schema import accounts, identities

NO_PASSWORD: Final = ""
"""What stands for the hash where nobody can log in by password."""
_DOMAIN: Final = "outside.invalid"  # of no address that anybody has (RFC 2606 section 2)


class Identities:
    """The table of outside identities."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, issuer: str, subject: str) -> AccountId | None:
        """The account of this person, None when there is none yet."""
        here = (identities.c.issuer == issuer) & (identities.c.subject == subject)
        async with self._database.reading() as connection:
            found = (await connection.execute(select(identities.c.account).where(here))).scalar_one_or_none()
        return None if found is None else AccountId(found)

    async def ensure(self, issuer: str, subject: str, now_ms: int) -> AccountId:
        """The account of this person, made with their first token. Of two who make it at once, one does."""
        found = await self.find(issuer, subject)
        if found is not None:
            return found
        account = AccountId(new_id("acc"))
        row = {"id": account, "email": f"{account}@{_DOMAIN}", "password_hash": NO_PASSWORD, "created_at": now_ms}
        try:
            async with self._database.transaction() as connection:
                await connection.execute(insert(accounts).values(row))
                await connection.execute(
                    insert(identities).values(issuer=issuer, subject=subject, account=account, created_at=now_ms)
                )
        except IntegrityError:
            found = await self.find(issuer, subject)
            if found is None:
                raise
            return found
        return account

    async def of_account(self, account: AccountId) -> list[tuple[str, str]]:
        """(issuer, subject) of everybody who comes to this account from outside."""
        query = select(identities.c.issuer, identities.c.subject).where(identities.c.account == account)
        async with self._database.reading() as connection:
            return [(row.issuer, row.subject) for row in (await connection.execute(query)).all()]


def shown_email(email: str) -> str | None:
    """The address as people see it: none where the account came from an issuer outside."""
    return None if email.endswith(f"@{_DOMAIN}") else email
