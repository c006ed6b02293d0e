"""The listing that follows the log: the `SessionDirectory` port over the table of sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from sqlalchemy import bindparam, update

from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.records.database import Database
from syncbridge.records.schema import sessions

FLUSH_DELAY_MS = 200

_log = structlog.get_logger("syncbridge.records")
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
    Loss       a note lost with the process is mended by the session's next commit.
    """

    def __init__(self, database: Database, *, delay_ms: int = FLUSH_DELAY_MS) -> None:
        self._database = database
        self._delay_ms = delay_ms
        self._notes: dict[SessionId, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        """The listing shows this soon."""
        self._notes[session] = {
            "key": session,
            "new_status": status,
            "new_version": version,
            "new_active": active,
            "new_updated_at": updated_at,
        }
        if self._task is None and not self._is_closed:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        while self._notes:
            await asyncio.sleep(self._delay_ms / 1000)
            try:
                await self.flush()
            except Unavailable:
                _log.warning("session directory is behind", sessions=len(self._notes))
        self._task = None

    async def flush(self) -> None:
        """Every note so far is in the table. Raises Unavailable, and then keeps the notes for the next try."""
        notes, self._notes = self._notes, {}
        if not notes:
            return
        try:
            async with self._database.transaction() as connection:
                await connection.execute(_UPDATE, list(notes.values()))
        except Unavailable:
            self._notes = notes | self._notes
            raise

    async def close(self) -> None:
        """What was noted is written; nothing is written after it."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.flush()
