"""Labelled snapshots: states that a person chose to keep."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import and_, delete, func, insert, or_, select

from syncbridge.core.ids import JsonObject, SessionId
from syncbridge.errors import SnapshotsExceeded
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.schema import sessions, snapshots


class SnapshotRecord(Struct, frozen=True):
    """A kept state without the state: where in the log it was taken, by which device ("" by none)."""

    id: str
    session: SessionId
    label: str
    epoch: str
    version: int
    device: str
    created_at: int


_COLUMNS = [snapshots.c[name] for name in SnapshotRecord.__struct_fields__]


class Snapshots:
    """The table of labelled snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    async def add(self, snapshot: SnapshotRecord, state: JsonObject, *, count_max: int) -> None:
        """The state is kept. Raises SnapshotsExceeded when the session holds ``count_max`` snapshots already."""
        row: dict[str, Any] = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
        mine = snapshots.c.session == snapshot.session
        async with self._database.transaction() as connection:
            # The session's row is locked, so that two requests at once cannot both take the last place.
            await connection.execute(select(sessions.c.id).where(sessions.c.id == snapshot.session).with_for_update())
            count = (await connection.execute(select(func.count()).select_from(snapshots).where(mine))).scalar_one()
            if count >= count_max:
                raise SnapshotsExceeded(f"A session keeps at most {count_max} snapshots; delete one first.")
            await connection.execute(insert(snapshots).values(row | {"state": msgspec.json.encode(state)}))

    async def page(
        self, session: SessionId, *, after: tuple[int, str] | None = None, count: int
    ) -> list[SnapshotRecord]:
        """The next ``count`` snapshots, newest first, after the (created_at, id) of the last one seen."""
        query = select(*_COLUMNS).where(snapshots.c.session == session)
        if after is not None:
            at, last = after
            query = query.where(
                or_(snapshots.c.created_at < at, and_(snapshots.c.created_at == at, snapshots.c.id < last))
            )
        query = query.order_by(snapshots.c.created_at.desc(), snapshots.c.id.desc()).limit(count)
        async with self._database.reading() as connection:
            return [_record(row) for row in (await connection.execute(query)).all()]

    async def get(self, session: SessionId, snapshot: str) -> tuple[SnapshotRecord, JsonObject] | None:
        """The snapshot with its state, None when the session has none of this id."""
        query = select(*_COLUMNS, snapshots.c.state).where(snapshots.c.session == session, snapshots.c.id == snapshot)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        return _record(row), msgspec.json.decode(row.state, type=dict[str, Any])

    async def remove(self, session: SessionId, snapshot: str) -> bool:
        """The snapshot is gone; False when there was none."""
        query = delete(snapshots).where(snapshots.c.session == session, snapshots.c.id == snapshot)
        async with self._database.transaction() as connection:
            return (await connection.execute(query)).rowcount > 0


def _record(row: Any) -> SnapshotRecord:
    return SnapshotRecord(**{name: getattr(row, name) for name in SnapshotRecord.__struct_fields__})
