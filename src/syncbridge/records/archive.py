"""The newest state of each session, written behind the live store: from it a lost one is rebuilt.

What stands here was committed, and lags behind by `FLUSH_DELAY_MS` and one transaction: one for all sessions that
changed meanwhile, never one a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import and_, delete, or_, select

from syncbridge.core.entry import Snapshot
from syncbridge.core.epochs import generation
from syncbridge.core.ids import SessionId
from syncbridge.errors import StateDamaged, SyncBridgeError
from syncbridge.limits import Retention
from syncbridge.ports import StoreFault
from syncbridge.records.behind import WriteBehind
from syncbridge.records.database import Database, upserted
from syncbridge.records.faults import retried
from syncbridge.records.schema import log_snapshots, sessions

FLUSH_DELAY_MS: Final = 1_000
BATCH_ROWS_MAX: Final = 200
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of states that wait to be written: what a database that is away may cost in memory, as their JSON is counted."""
_ROW_BYTES: Final = 512
"""What a waiting state costs besides itself."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Snapshot).decode


class Archive:
    """The table of newest states: the `Archive` port.

    Blocking   `keep` is a dictionary write; the state is encoded when its turn to be written has come.
    Coalesced  of each session the newest one waits.
    Ordering   an older version never replaces a newer one of the same epoch, whichever node writes; nor a log that was
               lost the one that was rebuilt from it, whatever the clocks say. Of two that no such order tells apart,
               what was committed earlier never replaces what was committed later.
    Bounded    `PENDING_BYTES_MAX` wait. A session that finds no room is left out (`dropped_total`) and comes again with
               its next one; one that has a place keeps it.
    Erasure    a state is written only while its session is listed, checked in the same transaction: none comes back.
    Loss       what waited when the process died; the store that it is kept for is another.
    """

    def __init__(
        self, database: Database, retention: Retention | None = None, *, delay_ms: int = FLUSH_DELAY_MS
    ) -> None:
        self._database = database
        self._retention = retention or Retention()
        self._pending: dict[SessionId, Snapshot] = {}
        self._writing = asyncio.Lock()
        self._asking: set[asyncio.Task[None]] = set()
        self.pending_bytes = 0
        self._behind = WriteBehind("archive", self.flush, self._has_more, delay_ms=delay_ms)
        self.kept_total = 0
        self.dropped_total = 0

    @property
    def pending(self) -> int:
        """States that wait to be written."""
        return len(self._pending)

    def keep(self, snapshot: Snapshot) -> None:
        """The state is in the table soon, unless a newer one is."""
        waiting = self._pending.get(snapshot.session)
        if waiting is not None:
            if not _is_newer(snapshot, waiting):
                return
        elif self._behind.is_closed or self.pending_bytes + _cost(snapshot) > PENDING_BYTES_MAX:
            self.dropped_total += 1
            return
        self._take_out(snapshot.session)
        self._pending[snapshot.session] = snapshot
        self.pending_bytes += _cost(snapshot)
        self._behind.wake()

    def newest(self, session: SessionId, done: Callable[[Snapshot | StoreFault | None], None]) -> None:
        """See `ports.Archive.newest`; one that waits to be written counts."""

        async def ask() -> None:
            try:
                answer: Snapshot | StoreFault | None = await self.read(session)
            except SyncBridgeError as fault:
                answer = StoreFault(fault.code, fault.message)
            except msgspec.MsgspecError as error:
                answer = StoreFault(StateDamaged.code, str(error))
            done(answer)

        self._start(ask())

    async def read(self, session: SessionId) -> Snapshot | None:
        """The newest snapshot that is kept or waits. Raises Unavailable."""
        query = select(log_snapshots.c.body).where(log_snapshots.c.session == session)
        async with self._database.reading() as connection:
            body = (await connection.execute(query)).scalar_one_or_none()
        waiting = self._pending.get(session)
        kept = None if body is None else _decode(body)
        if kept is None or (waiting is not None and _is_newer(waiting, kept)):
            return waiting
        return kept

    def forget(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        """See `ports.Archive.forget`."""
        self._take_out(session)

        async def ask() -> None:
            try:
                await self._remove(session)
            except SyncBridgeError as fault:
                done(StoreFault(fault.code, fault.message))
            else:
                done(None)

        self._start(ask())

    async def flush(self) -> None:
        """Everything kept so far is in the table. Raises Unavailable, and then it waits on."""
        while self._pending:
            async with self._writing:
                batch = list(self._batch())
                written = await self._write(batch)
                self.kept_total += written
                self.dropped_total += len(batch) - written
                for snapshot in batch:
                    # A newer one came while this one was written: it stays.
                    if self._pending.get(snapshot.session) is snapshot:
                        self._take_out(snapshot.session)

    async def close(self) -> None:
        """What was kept is written, where the database answers; nothing is written after it."""
        if not await self._behind.close():
            self.dropped_total += len(self._pending)
        await asyncio.gather(*self._asking)

    # -- inside -------------------------------------------------------------------------------------------------

    def _has_more(self) -> bool:
        return bool(self._pending)

    def _start(self, asking: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _take_out(self, session: SessionId) -> None:
        snapshot = self._pending.pop(session, None)
        if snapshot is not None:
            self.pending_bytes -= _cost(snapshot)

    def _batch(self) -> Iterator[Snapshot]:
        """The next ones: those that have waited longest."""
        size = 0
        for count, snapshot in enumerate(self._pending.values()):
            size += _cost(snapshot)
            if count and (count >= BATCH_ROWS_MAX or size > BATCH_BYTES_MAX):
                return
            yield snapshot

    @retried
    async def _remove(self, session: SessionId) -> None:
        # After a batch under way, which may hold it; the next one does not.
        async with self._writing, self._database.transaction() as connection:
            await connection.execute(delete(log_snapshots).where(log_snapshots.c.session == session))

    @retried
    async def _write(self, batch: list[Snapshot]) -> int:
        """How many are of sessions that are listed: those are in the table, or a newer one is."""
        rows = {snapshot.session: self._row(snapshot) for snapshot in batch}
        async with self._database.transaction() as connection:
            # Whoever erases a session locks its listing first: either it finds what is written here, or this finds
            # no listing. In one order, for two nodes that write the same ones.
            listed = select(sessions.c.id).where(sessions.c.id.in_(rows)).order_by(sessions.c.id)
            known = list((await connection.execute(listed.with_for_update(read=True, key_share=True))).scalars())
            if known:
                insertion = upserted(connection, log_snapshots).values([rows[session] for session in known])
                held, new = log_snapshots.c, insertion.excluded
                columns = ("account", "epoch", "generation", "version", "at", "expires_at", "body")
                is_sister = and_(held.epoch != new.epoch, held.generation == new.generation)
                await connection.execute(
                    insertion.on_conflict_do_update(
                        index_elements=["session"],
                        set_={name: new[name] for name in columns},
                        where=or_(
                            and_(held.epoch == new.epoch, held.version < new.version),
                            held.generation < new.generation,
                            and_(is_sister, held.at <= new.at),
                        ),
                    )
                )
        return len(known)

    def _row(self, snapshot: Snapshot) -> dict[str, Any]:
        return {
            "session": snapshot.session,
            "account": snapshot.account,
            "epoch": snapshot.epoch,
            "generation": generation(snapshot.epoch),
            "version": snapshot.version,
            "at": snapshot.at,
            "expires_at": snapshot.at + self._retention.session_ms(snapshot.status),
            "body": _encode(snapshot),
        }


def _cost(snapshot: Snapshot) -> int:
    return snapshot.size + _ROW_BYTES


def _is_newer(one: Snapshot, other: Snapshot) -> bool:
    """As the table judges."""
    if one.epoch == other.epoch:
        return one.version > other.version
    ours, theirs = generation(one.epoch), generation(other.epoch)
    return ours > theirs if ours != theirs else one.at >= other.at
