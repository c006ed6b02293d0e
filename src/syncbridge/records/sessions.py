"""Sessions as their owner lists them. The truth about a live session is its log; here are its name and its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import Row, and_, delete, insert, or_, select, update

from syncbridge.core.entry import Status
from syncbridge.core.ids import AccountId, JsonObject, SessionId
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.outbox import OutboxTable
from syncbridge.records.schema import log_snapshots, sessions


class SessionRecord(Struct, frozen=True):
    """A session's metadata; ``status``, ``version``, ``active`` and ``updated_at`` follow the log."""

    id: SessionId
    account: AccountId
    type: str
    title: str
    settings: JsonObject
    created_at: int
    status: Status
    version: int
    active: str | None
    updated_at: int


class Sessions:
    """The table of sessions."""

    def __init__(self, database: Database, outbox: OutboxTable) -> None:
        self._database = database
        self._outbox = outbox

    async def add(self, session: SessionRecord) -> None:
        """The session is listed."""
        row = {name: getattr(session, name) for name in session.__struct_fields__}
        async with self._database.transaction() as connection:
            await connection.execute(insert(sessions).values(row))

    async def get(self, session: SessionId) -> SessionRecord | None:
        """The session whoever owns it, None when there is none."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.id == session))).one_or_none()
        return None if row is None else _record(row)

    async def versions(self, some: Sequence[SessionId]) -> dict[SessionId, int]:
        """The listed version of each of these sessions that is listed."""
        query = select(sessions.c.id, sessions.c.version).where(sessions.c.id.in_(some))
        async with self._database.reading() as connection:
            return {SessionId(row.id): row.version for row in (await connection.execute(query)).all()}

    async def page(
        self,
        account: AccountId,
        *,
        status: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name
        after: tuple[int, str] | None = None,
        count: int,
    ) -> list[SessionRecord]:
        """The next ``count`` sessions, newest first, after the (created_at, id) of the last one seen.

        The order never changes, so a walk through all pages meets each session once, whatever happens meanwhile.
        """
        query = select(sessions).where(sessions.c.account == account)
        if status is not None:
            query = query.where(sessions.c.status == status)
        if type is not None:
            query = query.where(sessions.c.type == type)
        if after is not None:
            at, last = after
            query = query.where(
                or_(sessions.c.created_at < at, and_(sessions.c.created_at == at, sessions.c.id < last))
            )
        query = query.order_by(sessions.c.created_at.desc(), sessions.c.id.desc()).limit(count)
        async with self._database.reading() as connection:
            return [_record(row) for row in (await connection.execute(query)).all()]

    async def describe(
        self, session: SessionId, *, title: str | None = None, settings: JsonObject | None = None
    ) -> None:
        """Title and settings are these, where given."""
        values: dict[str, Any] = {}
        if title is not None:
            values["title"] = title
        if settings is not None:
            values["settings"] = settings
        async with self._database.transaction() as connection:
            await connection.execute(update(sessions).where(sessions.c.id == session).values(values))

    @retried
    async def remove(self, *some: SessionId) -> None:
        """The sessions and what hangs on them (snapshots, the archived state, one-time codes) are gone."""
        async with self._database.transaction() as connection:
            # The listings first and in their order, as who writes behind locks them: no state comes back after this.
            query = select(sessions.c.id, sessions.c.account).where(sessions.c.id.in_(some)).order_by(sessions.c.id)
            locked = (await connection.execute(query.with_for_update())).all()
            listed = [(SessionId(row.id), AccountId(row.account)) for row in locked]
            await connection.execute(delete(sessions).where(sessions.c.id.in_(some)))
            await connection.execute(delete(log_snapshots).where(log_snapshots.c.session.in_(some)))
            await self._outbox.sessions_deleted(connection, listed)


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(**row._mapping)
