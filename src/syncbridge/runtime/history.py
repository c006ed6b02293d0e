"""`ports.SessionHistory` over the store: the past of a session is read from its log, never from memory alone.

Everything is read in pages, each bounded by the store, so that no question of one person holds up another's commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from syncbridge import errors
from syncbridge._ext import apply_patch, diff, measure
from syncbridge.core.conflicts import PastConflict, undoings_in
from syncbridge.core.digest import state_hash
from syncbridge.core.effects import StateView
from syncbridge.core.entry import Entry, Position, Side, Undoing
from syncbridge.core.events import AnyEvent, UndoRequested
from syncbridge.core.ids import JsonObject, RequestId, SessionId
from syncbridge.core.playhead import KEY
from syncbridge.core.session_types import touched
from syncbridge.limits import INTEGER_SAFE_MAX
from syncbridge.ports import Between, PastState, StoredLog, StoreFault, Stretch
from syncbridge.runtime.engine import Engine

PAGE_ENTRIES = 256
"""Entries asked of the store at once."""
BETWEEN_ENTRIES_MAX = 1_000
"""Entries that one difference tells one by one; a longer time is asked for in parts."""
SINCE_ENTRIES_MAX = 1_000
SINCE_BYTES_MAX = 4 * 1024 * 1024
"""What an undo follows op by op; past that, what leads from the state then to the state now is followed."""

_Read = TypeVar("_Read")
Ask = Callable[[SessionId, AnyEvent, RequestId], Awaitable[StateView]]


class LogHistory:
    """Implements `ports.SessionHistory`; ``ask`` puts a question to the live session."""

    def __init__(self, engine: Engine, ask: Ask) -> None:
        self._engine = engine
        self._ask = ask
        self._timeout_s = engine.limits.store_timeout_ms / 1000

    async def reach(self, session: SessionId) -> Stretch:
        return await self.entries(session, after=INTEGER_SAFE_MAX, count_max=1)

    async def entries(self, session: SessionId, *, after: int, count_max: int) -> Stretch:
        return await self._read(lambda done: self._engine.store.entries(session, after, count_max, done))

    async def back(self, session: SessionId, *, before: int | None, count_max: int) -> Stretch:
        end = (await self.reach(session)).head if before is None else before - 1
        last = max(0, end - count_max)
        found: list[Entry] = []
        while True:
            read = await self.entries(session, after=last, count_max=max(1, end - last))
            found += [entry for entry in read.entries if entry.version <= end]
            if not read.entries or read.entries[-1].version >= min(end, read.head):
                return Stretch(read.epoch, read.oldest, read.head, found[::-1])
            last = read.entries[-1].version

    async def undoings(self, session: SessionId, *, after: int) -> list[tuple[int, Undoing]]:
        found: list[tuple[int, Undoing]] = []
        while True:
            read = await self.entries(session, after=after, count_max=PAGE_ENTRIES)
            found += undoings_in(read.entries)
            if not read.entries or read.entries[-1].version >= read.head:
                return found
            after = read.entries[-1].version

    async def version_at(self, session: SessionId, at_ms: int) -> int:
        if at_ms > self._engine.clock.now_ms():
            raise errors.ValidationFailed("the time lies in the future")

        def ask(done: Callable[[int | StoreFault], None]) -> None:
            self._engine.store.version_at(session, at_ms, done)

        version = await self._read(ask)
        if not version:
            raise _gone((await self.reach(session)).oldest)
        return version

    async def state_at(self, session: SessionId, version: int) -> PastState:
        there = await self.reach(session)
        if version > there.head:
            raise errors.ValidationFailed(f"version {version} does not exist yet; the log ends at {there.head}")
        if version < there.oldest:
            raise _gone(there.oldest)
        stored: StoredLog = await self._read(lambda done: self._engine.store.state_at(session, version, done))
        state = stored.snapshot.state
        for entry in stored.entries:
            state = _after(state, entry)
        at = stored.entries[-1].at if stored.entries else stored.snapshot.at
        return PastState(Position(stored.snapshot.epoch, version), at, state, state_hash(state))

    async def between(self, session: SessionId, start: int, end: int) -> Between:
        if end < start:
            raise errors.ValidationFailed("the first version must not lie after the second")
        if end - start > BETWEEN_ENTRIES_MAX:
            raise errors.ValidationFailed(
                f"{end - start} entries lie between; expected at most {BETWEEN_ENTRIES_MAX}: ask in parts"
            )
        first = await self.state_at(session, start)
        state, at, entries = first.state, first.at, list[Entry]()
        while start < end:
            read = await self.entries(session, after=start, count_max=min(PAGE_ENTRIES, end - start))
            if end > read.head:
                raise errors.ValidationFailed(f"version {end} does not exist yet; the log ends at {read.head}")
            if not read.entries or read.entries[0].version != start + 1:
                raise _gone(read.oldest)
            for entry in read.entries:
                state, at = _after(state, entry), entry.at
            entries += read.entries
            start = read.entries[-1].version
        last = PastState(Position(first.position.epoch, end), at, state, state_hash(state))
        return Between(first, last, diff(first.state, state), entries)

    async def undo(
        self,
        session: SessionId,
        *,
        device: str,
        version: int,
        index: int,
        chosen: Side | None = None,
        is_forced: bool = False,
        expected: int | None = None,
    ) -> StateView:
        found = await self.entries(session, after=version - 1, count_max=1)
        if not found.entries or found.entries[0].version != version or index >= len(found.entries[0].conflicts):
            raise errors.NotFound
        entry = found.entries[0]
        limits = self._engine.limits
        if self._engine.clock.now_ms() - entry.at > limits.conflict_undo_ms:
            raise errors.ConflictExpired(f"a conflict can be undone for {limits.conflict_undo_ms // 1000} seconds")
        before = (await self.state_at(session, version - 1)).state
        past = await self._past(session, found.epoch, index, before, entry)
        request = RequestId(self._engine.new_id())
        return await self._ask(session, UndoRequested(request, device, past, chosen, is_forced, expected), request)

    async def _past(self, session: SessionId, epoch: str, index: int, before: JsonObject, entry: Entry) -> PastConflict:
        since: list[Entry] | None = []
        undoings: list[tuple[int, Undoing]] = []
        size, last = 0, entry.version
        while True:
            read = await self.entries(session, after=last, count_max=PAGE_ENTRIES)
            if read.epoch != epoch:
                raise errors.EpochUnknown
            if read.entries and read.entries[0].version != last + 1:
                raise _gone(read.oldest)
            undoings += undoings_in(read.entries)
            if since is not None:
                # What moves the playhead alone, the most of a long session, moves no other place.
                moving = [one for one in read.entries if touched(one.ops) - {KEY}]
                since += moving
                size += sum(measure(one.ops) for one in moving)
                if len(since) > SINCE_ENTRIES_MAX or size > SINCE_BYTES_MAX:
                    since = None
            last = read.entries[-1].version if read.entries else last
            if not read.entries or last >= read.head:
                return PastConflict(epoch, index, before, entry, last, since, undoings)

    async def _read(self, question: Callable[[Callable[[_Read | StoreFault], None]], None]) -> _Read:
        answer: asyncio.Future[_Read | StoreFault] = asyncio.get_running_loop().create_future()

        def done(found: _Read | StoreFault) -> None:
            if not answer.done():
                answer.set_result(found)

        question(done)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await answer
        except TimeoutError:
            raise errors.Unavailable from None
        if isinstance(found, StoreFault):
            raise errors.by_code()[found.code]
        return found


def _after(state: JsonObject, entry: Entry) -> JsonObject:
    return cast(JsonObject, apply_patch(state, entry.ops)) if entry.ops else state


def _gone(oldest: int) -> errors.HistoryGone:
    return errors.HistoryGone(f"the log reaches back to version {oldest}", members={"oldest": oldest})
