"""Incidents of sessions: the `FlightRecorder` port over its table, written behind in batches."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Incident
from syncbridge.records.behind import WriteBehind
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.schema import incidents, sessions

FLUSH_DELAY_MS = 500
SESSION_MAX = 500
"""Kept of one session, the last ones: weeks of an ordinary one, the last minutes of one that is hammered."""
PENDING_MAX = 10_000
"""Waiting to be written, over all sessions: what a database that is away for a while may cost in memory."""

_KEPT = incidents.alias("kept")


class Incidents:
    """Keeps what is noted for a moment and writes it together, at most every `FLUSH_DELAY_MS`.

    Blocking   `note` is an append; the database is asked in a task of our own.
    Bounded    `PENDING_MAX` wait, `SESSION_MAX` of one session are kept. What a device repeats (the same refusal again
               and again) is one incident with ``times`` and the ``until`` of the last one.
    Loss       the database is asked again while it is away; what does not fit meanwhile is dropped, the newest first,
               and counted. Incidents of a session that is in no listing are dropped too.
    """

    def __init__(self, database: Database, *, delay_ms: int = FLUSH_DELAY_MS) -> None:
        self._database = database
        self._pending: list[Incident] = []
        self._last: dict[SessionId, int] = {}
        self._behind = WriteBehind("incidents", self.flush, self._has_more, delay_ms=delay_ms)
        self.kept_total = 0
        self.dropped_total = 0

    def note(self, incident: Incident) -> None:
        """The incident can be read soon."""
        last = self._last.get(incident.session)
        if last is not None and _is_repeated(self._pending[last], incident):
            self._pending[last] = _repeated(self._pending[last], incident)
            return
        if self._behind.is_closed or len(self._pending) >= PENDING_MAX:
            self.dropped_total += 1
            return
        self._last[incident.session] = len(self._pending)
        self._pending.append(incident)
        self._behind.wake()

    async def of_session(self, session: SessionId) -> list[Incident]:
        """Every incident kept of the session, oldest first, those just noted included where they are written."""
        query = select(incidents).where(incidents.c.session == session).order_by(incidents.c.id)
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [Incident(SessionId(row.session), row.at, row.device, row.kind, row.code, row.detail) for row in rows]

    async def flush(self) -> None:
        """Everything noted so far is in the table. Raises Unavailable, and then keeps it for the next try."""
        noted, self._pending, self._last = self._pending, [], {}
        if not noted:
            return
        try:
            await self._write(noted)
        except Unavailable:
            self._take_back(noted)
            raise
        except IntegrityError:
            self.dropped_total += len(noted)  # a session was deleted between the two statements

    async def close(self) -> None:
        """What was noted is written, where the database answers; nothing is written after it."""
        if not await self._behind.close():
            self.dropped_total += len(self._pending)

    def _has_more(self) -> bool:
        return bool(self._pending)

    @retried
    async def _write(self, noted: list[Incident]) -> None:
        named = {incident.session for incident in noted}
        # Locked in one order, for two nodes that write the same ones, and for whoever deletes one meanwhile.
        listed = select(sessions.c.id).where(sessions.c.id.in_(named)).order_by(sessions.c.id)
        async with self._database.transaction() as connection:
            locked = await connection.execute(listed.with_for_update(read=True, key_share=True))
            known = set(locked.scalars())
            rows = [_row(incident) for incident in noted if incident.session in known]
            if rows:
                await connection.execute(insert(incidents), rows)
            for session in sorted(known):
                oldest = (
                    select(_KEPT.c.id)
                    .where(_KEPT.c.session == session)
                    .order_by(_KEPT.c.id.desc())
                    .offset(SESSION_MAX)
                    .limit(1)
                    .scalar_subquery()
                )
                await connection.execute(
                    delete(incidents).where(incidents.c.session == session, incidents.c.id <= oldest)
                )
        self.kept_total += len(rows)
        self.dropped_total += len(noted) - len(rows)

    def _take_back(self, noted: list[Incident]) -> None:
        room = PENDING_MAX - len(self._pending)
        self.dropped_total += max(0, len(noted) - room)
        self._pending = noted[:room] + self._pending
        self._last = {incident.session: place for place, incident in enumerate(self._pending)}


def _is_repeated(before: Incident, incident: Incident) -> bool:
    is_same = (before.kind, before.code, before.device) == (incident.kind, incident.code, incident.device)
    return is_same and incident.kind == "refused"


def _repeated(before: Incident, incident: Incident) -> Incident:
    times = int(before.detail.get("times", 1)) + 1
    detail = {**before.detail, "times": times, "until": incident.at}
    return Incident(before.session, before.at, before.device, before.kind, before.code, detail)


def _row(incident: Incident) -> dict[str, Any]:
    return {name: getattr(incident, name) for name in incident.__struct_fields__}
