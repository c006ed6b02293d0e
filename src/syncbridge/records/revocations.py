"""What is refused before its time, as every process reads it.

Subjects
    ``jti:ID``           one access token
    ``family:ID``        every token of one log-in
    ``account:ID``       every token of the account from log-ins up to ``before``, but for the log-in ``kept``
    ``identity:DIGEST``  tokens of somebody at an outside issuer, issued up to ``before``; their account is gone
    ``roster:ID``        nothing by itself: the account's devices changed, and who keeps them in memory reads them anew
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Row, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.core.ids import AccountId
from syncbridge.records.database import Database, upserted
from syncbridge.records.faults import retried
from syncbridge.records.leases import shared_ms_of
from syncbridge.records.schema import accounts, pairing_codes, revocations, token_families

FOR_EVER: Final = 2**53 - 1
"""A moment that never comes."""
_ROSTER: Final = "roster:"
KEPT_AFTER_MS: Final = 86_400_000
"""A row stays so long after its time, and as long as the clock of whoever removes it may be ahead (`leap_ms`). For a
process that is behind, and starts anew, what it covers is good until that one's own clock is there."""
ROSTER_TOLD_MS: Final = 60_000
"""How long a row about devices stands: everybody asks for what is new many times meanwhile."""


class Revocation(Struct, frozen=True):
    """One row. ``written`` is its place in the order in which all processes wrote; about a time in ms."""

    subject: str
    expires_at: int
    before: int = 0
    kept: str | None = None
    written: int = 0

    def joined(self, older: Revocation | None) -> Revocation:
        """The two as one: what either refuses is refused."""
        if older is None:
            return self
        before = max(self.before, older.before)
        kept = self.kept if before < FOR_EVER and self.before >= older.before else None
        return replace(self, before=before, kept=kept, expires_at=max(self.expires_at, older.expires_at))


class RevocationTable:
    """The table of revocations. Written by any process, read by all of them about once a second."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def add(self, revocation: Revocation, now_ms: int) -> Revocation:
        """It is in force, after a restart too; answers the row as it stands."""
        async with self._database.transaction() as connection:
            return await add_within(connection, revocation, now_ms)

    async def since(self, written: int, now_ms: int) -> list[Revocation]:
        """What was written after ``written`` and is in force, in that order; everything, where the order began anew.

        News of devices are there as long as their row is, whatever the clock of the node that wrote it said.
        The order begins anew when a row of a clock that was far ahead is over and gone: those that follow count from
        now again.
        """
        newest = select(func.max(revocations.c.created_at))
        async with self._database.reading() as connection:
            last = (await connection.execute(newest)).scalar_one()
            after = written if last is None or last >= written else -1
            rows = await connection.execute(
                select(revocations)
                .where(
                    revocations.c.created_at > after,
                    or_(revocations.c.expires_at > now_ms, revocations.c.subject.startswith(_ROSTER)),
                )
                .order_by(revocations.c.created_at)
            )
            return [_revocation(row) for row in rows.all()]

    @retried
    async def end_logins(self, revocation: Revocation, account: AccountId, now_ms: int) -> Revocation:
        """No refresh token and no one-time code of the account is taken any more, but the kept log-in's; as `add`."""
        async with self._database.transaction() as connection:
            return await end_logins_within(connection, revocation, account, now_ms)


async def add_within(connection: AsyncConnection, revocation: Revocation, now_ms: int) -> Revocation:
    """`RevocationTable.add` inside a transaction that does more."""
    here = revocations.c.subject == revocation.subject
    # The row is made first: what is not there cannot be locked, and of two that both found nothing one would fail.
    empty = {"subject": revocation.subject, "expires_at": revocation.expires_at, "created_at": 0}
    made = await connection.execute(upserted(connection, revocations).values(empty).on_conflict_do_nothing())
    row = (await connection.execute(select(revocations).where(here).with_for_update())).one()
    held = None if made.rowcount else _revocation(row)
    newest = (await connection.execute(select(func.max(revocations.c.created_at)))).scalar_one()
    # In order whatever the writers' clocks say: a reader that asks for what is new must not miss a row. By the time of
    # the server, for of two that are written at once neither knows the other: one that is far ahead would hide it.
    shared_ms = await shared_ms_of(connection, now_ms)
    joined = replace(revocation.joined(held), written=max(shared_ms, (newest or 0) + 1))
    values = {name: getattr(joined, name) for name in ("expires_at", "before", "kept")}
    await connection.execute(update(revocations).where(here).values(values | {"created_at": joined.written}))
    return joined


async def tell_roster_within(connection: AsyncConnection, account: AccountId, now_ms: int) -> None:
    """Once the transaction is over, every process reads the account's devices anew, soon."""
    await add_within(connection, Revocation(f"{_ROSTER}{account}", now_ms + ROSTER_TOLD_MS), now_ms)


async def end_logins_within(
    connection: AsyncConnection, revocation: Revocation, account: AccountId, now_ms: int
) -> Revocation:
    """`RevocationTable.end_logins` inside a transaction that does more."""
    # One after the other with log-ins of the account: none slips through between the look and the mark.
    await connection.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
    mine = (token_families.c.account == account) & token_families.c.revoked_at.is_(None)
    if revocation.kept is not None:
        revoked = select(token_families.c.id).where(
            token_families.c.id == revocation.kept, token_families.c.revoked_at.is_not(None)
        )
        if (await connection.execute(revoked)).first() is not None:
            # Another process ended that log-in a moment ago: it must not come back by this.
            revocation = replace(revocation, kept=None)
        mine &= token_families.c.id != (revocation.kept or "")
    newest = select(func.max(token_families.c.login_at)).where(token_families.c.account == account)
    latest = (await connection.execute(newest)).scalar_one() or 0
    if revocation.before < FOR_EVER:
        # Every log-in that there is, also one of a process whose clock is ahead. An outside issuer's are in no table of
        # ours: until now, by a clock that is not this process' own.
        revocation = replace(revocation, before=max(await shared_ms_of(connection, revocation.before), latest))
    await connection.execute(update(token_families).where(mine).values(revoked_at=now_ms))
    # A code made by whoever is thrown out would let them in again.
    await connection.execute(delete(pairing_codes).where(pairing_codes.c.account == account))
    return await add_within(connection, revocation, now_ms)


def _revocation(row: Row[Any]) -> Revocation:
    return Revocation(row.subject, row.expires_at, row.before or 0, row.kept, row.created_at)
