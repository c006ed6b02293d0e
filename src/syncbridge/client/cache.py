"""What a device keeps over a crash: state, position and unsettled edits of each session, in one SQLite file.

Durability   `save` returns when the dump survives ``kill -9`` and a power cut (WAL, ``synchronous=FULL``).
Atomicity    a dump is written whole or not at all: state, position, edits and next number never disagree.
Blocking     SQLite runs in one thread of its own; nothing here blocks the loop.
Exclusive    one process holds the file; a second one, which would number its edits the same, is refused.
Cost         an edit writes its own row; the state is written only when it changed since the last save.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from syncbridge.client.pending import ConflictRecord, Dump, PendingRow
from syncbridge.core.ids import JsonObject
from syncbridge.errors import DependencyFault

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE session (
  session TEXT NOT NULL, device TEXT NOT NULL, head BLOB NOT NULL, state BLOB NOT NULL, conflicts BLOB NOT NULL,
  PRIMARY KEY (session, device)
) WITHOUT ROWID;
CREATE TABLE pending (
  session TEXT NOT NULL, device TEXT NOT NULL, key INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (session, device, key)
) WITHOUT ROWID;
"""

Answer = TypeVar("Answer")


class CacheFault(DependencyFault):
    """The offline store cannot be used: held by another process, damaged, no room, or of a newer version."""

    meaning = "The offline store cannot be used."


class Head(msgspec.Struct, frozen=True):
    """A dump without what has a column or a table of its own."""

    epoch: str
    version: int
    kind: str
    fence: int
    active: str | None
    status: str
    next_seq: int
    next_key: int
    revision: int


class _Written(msgspec.Struct):
    """What the file holds of a session, so that only the difference is written."""

    state: JsonObject
    conflicts: list[ConflictRecord]
    revisions: dict[int, int]


_encode = msgspec.json.Encoder().encode


class Cache:
    """The offline store of one device. Open it with `Cache.open`."""

    def __init__(self, database: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._database = database
        self._thread = thread
        self._written: dict[tuple[str, str], _Written] = {}

    @classmethod
    async def open(cls, path: str | Path) -> Cache:
        """The store at ``path``, made if there is none. Raises CacheFault."""
        thread = ThreadPoolExecutor(1, "syncbridge-cache")
        try:
            database = await asyncio.get_running_loop().run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(database, thread)

    async def load(self, session: str, device: str) -> Dump | None:
        """The dump saved last; None when there is none. Raises CacheFault."""
        return await self._run(lambda: self._load(session, device))

    async def save(self, dump: Dump) -> None:
        """The dump is on disk. Raises CacheFault; then the file holds what it held before."""
        await self._run(lambda: self._save(dump))

    async def forget(self, session: str, device: str) -> None:
        """Nothing of the session is left in the store."""
        await self._run(lambda: self._forget(session, device))

    async def sessions(self, device: str) -> list[str]:
        """The sessions that the store holds for the device."""
        return await self._run(lambda: self._sessions(device))

    async def close(self) -> None:
        """The file is closed; what was saved stays."""
        await self._run(self._database.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        def guarded() -> Answer:
            try:
                return work()
            except (sqlite3.Error, msgspec.MsgspecError) as error:
                raise CacheFault(f"the offline store failed: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    # -- in the thread ----------------------------------------------------------------------------------------------

    def _load(self, session: str, device: str) -> Dump | None:
        place = (session, device)
        found = self._database.execute(
            "SELECT head, state, conflicts FROM session WHERE session = ? AND device = ?", place
        ).fetchone()
        if found is None:
            return None
        head = msgspec.json.decode(found[0], type=Head)
        state = msgspec.json.decode(found[1], type=JsonObject)
        conflicts = msgspec.json.decode(found[2], type=list[ConflictRecord])
        bodies = self._database.execute("SELECT body FROM pending WHERE session = ? AND device = ? ORDER BY key", place)
        pending = [msgspec.json.decode(body, type=PendingRow) for (body,) in bodies]
        self._written[place] = _Written(state, conflicts, {row.key: row.revision for row in pending})
        return Dump(
            session=session,
            device=device,
            state=state,
            pending=pending,
            conflicts=conflicts,
            **msgspec.structs.asdict(head),
        )

    def _save(self, dump: Dump) -> None:
        place = (dump.session, dump.device)
        head = _encode(Head(*(getattr(dump, name) for name in Head.__struct_fields__)))
        before = self._written.get(place)
        revisions = {row.key: row.revision for row in dump.pending}
        known = {} if before is None else before.revisions
        with self._database:
            if before is None:
                self._database.execute("DELETE FROM pending WHERE session = ? AND device = ?", place)
                self._database.execute(
                    "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?)",
                    (*place, head, _encode(dump.state), _encode(dump.conflicts)),
                )
            else:
                changed: dict[str, bytes] = {"head": head}
                if before.state is not dump.state:
                    changed["state"] = _encode(dump.state)
                if before.conflicts is not dump.conflicts:
                    changed["conflicts"] = _encode(dump.conflicts)
                for column, body in changed.items():
                    self._database.execute(_UPDATES[column], (body, *place))
            self._database.executemany(
                "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?)",
                [(*place, row.key, _encode(row)) for row in dump.pending if known.get(row.key) != row.revision],
            )
            self._database.executemany(
                "DELETE FROM pending WHERE session = ? AND device = ? AND key = ?",
                [(*place, key) for key in known.keys() - revisions.keys()],
            )
        self._written[place] = _Written(dump.state, dump.conflicts, revisions)

    def _forget(self, session: str, device: str) -> None:
        with self._database:
            self._database.execute("DELETE FROM session WHERE session = ? AND device = ?", (session, device))
            self._database.execute("DELETE FROM pending WHERE session = ? AND device = ?", (session, device))
        self._written.pop((session, device), None)

    def _sessions(self, device: str) -> list[str]:
        rows = self._database.execute("SELECT session FROM session WHERE device = ? ORDER BY session", (device,))
        return [session for (session,) in rows]


_UPDATES = {
    "head": "UPDATE session SET head = ? WHERE session = ? AND device = ?",
    "state": "UPDATE session SET state = ? WHERE session = ? AND device = ?",
    "conflicts": "UPDATE session SET conflicts = ? WHERE session = ? AND device = ?",
}


def _open(path: str | Path) -> sqlite3.Connection:
    database: sqlite3.Connection | None = None
    try:
        database = sqlite3.connect(path, check_same_thread=False, timeout=1.0)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise CacheFault(f"the offline store has version {version}; this client knows {SCHEMA_VERSION}")
        else:
            database.executescript("BEGIN EXCLUSIVE; COMMIT;")
    except (sqlite3.Error, CacheFault) as error:
        if database is not None:
            database.close()
        if isinstance(error, CacheFault):
            raise
        raise CacheFault(f"the offline store cannot be opened: {error}") from error
    return database
