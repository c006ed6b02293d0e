"""The session logs, awaited: what the store answers through a callback, as a result or an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar, cast

from msgspec import Struct

from syncbridge import errors
from syncbridge._ext import apply_patch
from syncbridge.core.entry import Status
from syncbridge.core.ids import AccountId, Json, JsonObject, SessionId
from syncbridge.ports import StateStore, StoredHead, StoredLog, StoreFault, Stretch, Swept

WALK_PAGE = 200

_Answer = TypeVar("_Answer")


class HeadState(Struct, frozen=True):
    """A session as its log says at the head."""

    type: str
    title: str
    epoch: str
    version: int
    created_at: int
    updated_at: int
    status: Status
    active: str | None
    state: JsonObject
    heard: dict[str, int]


class StoredLogs:
    """Asks the store; nothing is loaded into a live session's memory.

    Raises   NotFound, StateDamaged, Unavailable (also where the answer takes longer than a request may).
    """

    def __init__(self, store: StateStore, *, timeout_ms: int) -> None:
        self._store = store
        self._timeout_s = timeout_ms / 1000

    async def head(self, session: SessionId) -> HeadState:
        """What the log comes to."""

        def load(done: Callable[[StoredLog | StoreFault], None]) -> None:
            self._store.load(session, 0, done)

        return _fold(_sound(await self._ask(load)))

    async def entries(self, session: SessionId, after: int, count_max: int) -> Stretch:
        """The next entries after a version, as `StateStore.entries` gives them."""

        def read(done: Callable[[Stretch | StoreFault], None]) -> None:
            self._store.entries(session, after, count_max, done)

        return _sound(await self._ask(read))

    async def sweep(self, now_ms: int, count_max: int) -> Swept:
        """One step of a sweep. It may take its time: nobody waits for it."""
        return await self._wait(lambda done: self._store.sweep(now_ms, count_max, done))

    async def delete(self, session: SessionId) -> None:
        """Nothing of the log is left, files included."""

        def erase(done: Callable[[StoreFault | None], None]) -> None:
            self._store.delete(session, done)

        fault = await self._wait(erase)
        if fault is not None:
            raise errors.by_code()[fault.code](fault.detail)

    async def walk(self, account: AccountId | None = None) -> AsyncIterator[StoredHead]:
        """Every log, or every one of an account, in the order of their ids."""
        after = ""
        while True:
            page = _sound(await self._page(after, account))
            for head in page:
                yield head
            if len(page) < WALK_PAGE:
                return
            after = page[-1].session

    async def _page(self, after: str, account: AccountId | None) -> list[StoredHead] | StoreFault:
        return await self._ask(lambda done: self._store.walk(after, WALK_PAGE, done, account))

    async def _ask(self, ask: Callable[[Callable[[_Answer], None]], None]) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._wait(ask)
        except TimeoutError:
            raise errors.Unavailable from None

    async def _wait(self, ask: Callable[[Callable[[_Answer], None]], None]) -> _Answer:
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

        def done(value: _Answer) -> None:
            if not answer.done():
                answer.set_result(value)

        ask(done)
        return await answer


def _sound(answer: _Answer | StoreFault) -> _Answer:
    if isinstance(answer, StoreFault):
        raise errors.by_code()[answer.code](answer.detail)
    return answer


def _fold(log: StoredLog) -> HeadState:
    snapshot = log.snapshot
    state: Json = snapshot.state
    status, active, at = snapshot.status, snapshot.active, snapshot.at
    for entry in log.entries:
        if entry.ops:
            state = apply_patch(state, entry.ops)
        status = entry.status or status
        active = entry.active if entry.active is not None else active
        at = entry.at
    return HeadState(
        snapshot.type,
        snapshot.title,
        snapshot.epoch,
        log.entries[-1].version if log.entries else snapshot.version,
        snapshot.created_at,
        at,
        status,
        active,
        cast(JsonObject, state),
        snapshot.heard,
    )
