"""The listing that follows the log: the `SessionDirectory` port over the table of sessions."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, update

from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.records.behind import WriteBehind
from syncbridge.records.database import Database
from syncbridge.records.faults import retried
from syncbridge.records.schema import sessions

FLUSH_DELAY_MS: Final = 200
NOTES_MAX: Final = 100_000
"""Sessions whose note waits: what a database that is away may cost in memory, some 50 MiB at the most."""
BATCH_MAX: Final = 1_000

_UPDATE = (
    update(sessions)
    .where(sessions.c.id == bindparam("key"), sessions.c.version <= bindparam("new_version"))
    .values(
        status=bindparam("new_status"),
        version=bindparam("new_version"),
        active=bindparam("new_active"),
        updated_at=bindparam("new_updated_at"),
    )
)


class Directory:
    """Keeps the newest note of each session and writes them together, at most every `FLUSH_DELAY_MS`.

    Blocking   `note` is a dictionary write; the database is asked in a task of our own.
    Ordering   an older version never replaces a newer one, also when two nodes write.
    Bounded    `NOTES_MAX` sessions wait while the database is away; one beyond them is left out (`dropped_total`).
    Loss       a note lost with the process, or left out, is mended by the session's next commit, or by the daily run
               that compares logs and listings.
    """

    def __init__(self, database: Database, *, delay_ms: int = FLUSH_DELAY_MS) -> None:
        self._database = database
        self._notes: dict[SessionId, dict[str, Any]] = {}
        self._behind = WriteBehind("session listings", self.flush, self._has_more, delay_ms=delay_ms)
        self.dropped_total = 0

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        """The listing shows this soon."""
        if len(self._notes) >= NOTES_MAX and session not in self._notes:
            self.dropped_total += 1
            return
        self._notes[session] = {
            "key": session,
            "new_status": status,
            "new_version": version,
            "new_active": active,
            "new_updated_at": updated_at,
        }
        self._behind.wake()

    async def flush(self) -> None:
        """Every note so far is in the table. Raises Unavailable, and then keeps the notes for the next try."""
        while self._notes:
            # In one order: two nodes that write the same sessions crosswise would wait for each other.
            some = [self._notes.pop(session) for session in sorted(list(self._notes)[:BATCH_MAX])]
            try:
                await self._write(some)
            except Unavailable:
                self._notes = {note["key"]: note for note in some} | self._notes
                raise

    async def close(self) -> None:
        """What was noted is written, where the database answers; nothing is written after it."""
        if not await self._behind.close():
            self.dropped_total += len(self._notes)

    def _has_more(self) -> bool:
        return bool(self._notes)

    @retried
    async def _write(self, some: list[dict[str, Any]]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_UPDATE, some)
