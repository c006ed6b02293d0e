"""The newest state of every session that was changed here is kept apart from the live store, again and again."""

from __future__ import annotations

from typing import Final

from syncbridge.core.ids import SessionId
from syncbridge.core.log import SessionLog
from syncbridge.ports import Archive, SessionDirectory
from syncbridge.runtime.engine import Engine

ARCHIVE_EVERY_MS: Final = 15_000
"""So old is what a lost store is rebuilt from, at the most; shorter than any session stays in memory unused."""


class Archiving:
    """A `SessionDirectory` that remembers of whom it was told, for `keep`.

    A snapshot beside the log is written each few hundred entries, which for most sessions is never: what the archive
    has would be their beginning.
    """

    def __init__(self, directory: SessionDirectory, archive: Archive) -> None:
        self._directory = directory
        self._archive = archive
        self._changed: set[SessionId] = set()

    def note(self, session: SessionId, *, status: str, version: int, updated_at: int, active: str | None) -> None:
        """As the port says; the session was changed by this node."""
        self._changed.add(session)
        self._directory.note(session, status=status, version=version, updated_at=updated_at, active=active)

    def keep(self, engine: Engine) -> int:
        """The archive has what is committed of each session that was changed since; how many those are.

        Cost   of a session a reference to its state: it is encoded when its turn to be written has come.
        """
        changed, self._changed = self._changed, set()
        kept = 0
        for session in changed:
            live = engine.session(session)
            log: SessionLog | None = None if live is None else live.machine.log
            if live is None or log is None:
                continue  # it left memory: deleted, or dropped for a fault of ours and read again with the next change
            batch = live.machine.batch
            self._archive.keep(log.snapshot() if batch is None else log.snapshot(batch.mark))
            kept += 1
        return kept
