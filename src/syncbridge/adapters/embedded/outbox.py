"""The journal as an `Outbox`: it holds every entry anyway, so a cursor into it is all that a commit needs.

Facts are made of the rows as they are read, and a commit pays nothing for them. What was read and not told yet is in
memory; the cursor stands before the oldest of it, so a process that dies reads it again and makes the same facts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from syncbridge.adapters.embedded.journal import Journal
from syncbridge.adapters.embedded.records import JOURNAL_COLUMNS, Damage, unpack_row
from syncbridge.adapters.embedded.worker import Ask, JournalWorker
from syncbridge.core.facts import Change, Fact, change_of, facts_of
from syncbridge.core.ids import SessionId
from syncbridge.errors import Unavailable
from syncbridge.ports import Backlog, Clock, StoreFault, Waiting

ROWS_MAX: Final = 32
"""Rows read at a time: the journal's thread, which commits wait for, is busy with them for half a millisecond."""
READS_MAX: Final = 8
CHANGES_MAX: Final = 10_000
"""Sessions whose changes wait in memory for their turn; no more is read before some were told."""
CURSOR_INTERVAL_MS: Final = 1_000
"""The cursor costs a sync of its own: so much is told again after a crash, under the same ids."""

_log = structlog.get_logger(__name__)
_Read = TypeVar("_Read")


class Portion(Struct, frozen=True):
    """Rows of the journal as what they are told as, each with its row; ``last`` was looked at, too."""

    facts: list[tuple[int, Fact]]
    changes: list[tuple[int, Change]]
    last: int
    is_end: bool


class JournalOutbox:
    """`Outbox` over the journal of one process: nobody else could have a lease of it.

    Bounded  by the journal's own window: what it no longer holds (7 days, or so many entries of a session) is not
             told, and counted.
    """

    name = "journal"

    def __init__(self, worker: JournalWorker, clock: Clock, *, ready_ms: int) -> None:
        self._worker = worker
        self._clock = clock
        self._ready_ms = ready_ms
        self._read = -1
        self._facts: dict[str, tuple[int, Fact]] = {}
        self._changes: dict[SessionId, tuple[int, Change]] = {}
        self._cursor = -1
        self._written_at = 0
        self._dropped = 0

    async def open(self) -> None:
        """What is committed from now on is told; what was before, only where telling had begun. Raises Unavailable."""
        self._read = self._cursor = await self._ask(begin)

    async def take(self, count_max: int) -> list[Waiting]:
        if self._read < 0:
            await self.open()
        is_end = False
        for _ in range(READS_MAX):
            if is_end or len(self._facts) >= count_max or len(self._changes) >= CHANGES_MAX:
                break
            after = self._read
            portion = await self._ask(partial(read_portion, after=after, ready_ms=self._ready_ms))
            self._add(portion)
            is_end = portion.is_end
        facts = [fact for _, fact in list(self._facts.values())[:count_max]]
        is_whole = len(facts) == len(self._facts)
        changes = [change for _, change in self._changes.values()] if is_whole else []
        if not facts and not changes:
            await self._keep_cursor()
            return []
        places = [fact.id for fact in facts]
        return [Waiting("", 0, facts, changes, places, has_more=not is_whole or not is_end)]

    def _add(self, portion: Portion) -> None:
        self._facts.update((fact.id, (row, fact)) for row, fact in portion.facts)
        for row, change in portion.changes:
            held = self._changes.get(change.session)
            self._changes[change.session] = (row, change) if held is None else (held[0], held[1].joined(change))
        self._read = portion.last

    async def settle(self, waiting: Waiting, told: Sequence[int], changes: Sequence[Change]) -> bool:
        for index in told:
            self._facts.pop(waiting.places[index], None)
        for change in changes:
            # Nothing was read since they were taken, so nothing joined them.
            self._changes.pop(change.session, None)
        await self._keep_cursor()
        return True

    async def _keep_cursor(self, *, is_last: bool = False) -> None:
        """The cursor stands before the oldest row that waits, if it is time to write that down."""
        now_ms = self._clock.now_ms()
        if not is_last and 0 <= now_ms - self._written_at < CURSOR_INTERVAL_MS:
            return
        waiting = [row for row, _ in self._facts.values()] + [row for row, _ in self._changes.values()]
        cursor = min(waiting) - 1 if waiting else self._read
        if cursor > self._cursor:
            self._written_at = now_ms
            await self._ask(partial(write_cursor, cursor=cursor))
            self._cursor = cursor

    async def look(self) -> Backlog:
        if self._read < 0:
            await self.open()
        count, oldest_at, pruned = await self._ask(partial(measure, cursor=self._cursor))
        dropped, self._dropped = pruned - self._dropped, pruned
        return Backlog(count, oldest_at, max(0, dropped))

    async def release(self) -> None:
        """The next process begins where this one ended."""
        if self._read >= 0:
            await self._keep_cursor(is_last=True)

    async def _ask(self, question: Callable[[Journal], _Read]) -> _Read:
        """The journal's answer, out of its thread. Raises Unavailable."""
        answer: asyncio.Future[_Read | StoreFault] = asyncio.get_running_loop().create_future()

        def take(read: _Read | StoreFault) -> None:
            if not answer.done():  # whoever asked may be gone
                answer.set_result(read)

        self._worker.put(Ask(question, take))
        read = await answer
        if isinstance(read, StoreFault):
            raise Unavailable(read.detail)
        return read


# -- in the journal's thread ------------------------------------------------------------------------------------


def begin(journal: Journal) -> int:
    """The cursor as it is kept; set to the journal's end where there is none yet."""
    found = journal.db.execute("SELECT row FROM told").fetchone()
    if found is not None:
        return int(found[0])
    end = journal.counter()
    journal.db.execute("INSERT INTO told VALUES (?)", (end,))
    return end


def write_cursor(journal: Journal, cursor: int) -> None:
    """The cursor is kept."""
    journal.db.execute("UPDATE told SET row = ?", (cursor,))


def read_portion(journal: Journal, after: int, ready_ms: int) -> Portion:
    """The next rows as what they are told as; a damaged one is passed over, for nothing of it can be believed."""
    found = journal.db.execute(
        f"SELECT {JOURNAL_COLUMNS} FROM journal WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608  (column names only)
        (after, ROWS_MAX),
    ).fetchall()
    facts: list[tuple[int, Fact]] = []
    changes: list[tuple[int, Change]] = []
    for raw in found:
        try:
            row = unpack_row(raw)
            entries = row.entries()
        except Damage as damage:
            _log.error("journal_row_not_told", reason=str(damage))
            continue
        about = (row.session, row.account, row.epoch, entries)
        facts += [(row.id, fact) for fact in facts_of(*about, ready_ms=ready_ms)]
        change = change_of(*about)
        if change is not None:
            changes.append((row.id, change))
    return Portion(facts, changes, found[-1][0] if found else after, len(found) < ROWS_MAX)


def measure(journal: Journal, cursor: int) -> tuple[int, int, int]:
    """How many rows wait (at most: erased ones count until the cursor is past them), since when, and how many went."""
    oldest = journal.db.execute("SELECT at FROM journal WHERE id > ? ORDER BY id LIMIT 1", (cursor,)).fetchone()
    if oldest is None:
        return 0, 0, journal.untold_pruned
    (newest,) = journal.db.execute("SELECT max(id) FROM journal").fetchone()
    return newest - cursor, oldest[0], journal.untold_pruned
