"""One engine's connections as long as they are good: handed out in time, closed when the last user is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class Pool:
    """Connections of one log-in.

    Bounded   by the engine's size. Who waits longer than ``within_s`` for a connection that works gets TimeoutError;
              what was begun for them goes on alone, and its connection goes back to the pool.
    Retired   nobody new comes after `retire`; who works finishes, then everything is closed.
    """

    def __init__(self, engine: AsyncEngine, *, within_s: float | None) -> None:
        self.engine = engine
        self._within_s = within_s
        self._users = 0
        self._is_retired = False
        self._abandoned: set[asyncio.Task[None]] = set()

    @property
    def in_use(self) -> int:
        """Connections that somebody works with now."""
        return int(self.engine.pool.checkedout())  # type: ignore[attr-defined]  # of the pool that is in use here

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection that works. It is given back whole, also where its user is cancelled."""
        self._users += 1
        try:
            # Left as `async with` leaves it: to the end, whoever is cancelled. `close` would be cut off.
            async with AsyncExitStack() as stack:
                connection = await self._connect()
                stack.push_async_exit(connection.__aexit__)
                yield connection
        finally:
            self._users -= 1
            await self._close_if_done()

    async def retire(self) -> None:
        """Nobody new comes; everything is closed now, or when the last user is done."""
        self._is_retired = True
        await self._close_if_done()

    async def close(self) -> None:
        """Every connection is closed."""
        for task in self._abandoned:
            task.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self.engine.dispose()

    async def _close_if_done(self) -> None:
        if self._is_retired and not self._users:
            await self.close()

    async def _connect(self) -> AsyncConnection:
        if self._within_s is None:
            return await self.engine.connect()
        # Not cancelled when its time is over: a connection in the middle of its handshake must be closed in order.
        connecting = asyncio.create_task(self._started())
        try:
            done, _ = await asyncio.wait({connecting}, timeout=self._within_s)
        except asyncio.CancelledError:
            self._abandon(connecting)
            raise
        if not done:
            self._abandon(connecting)
            raise TimeoutError("the database took the question and did not answer in time")
        return connecting.result()

    async def _started(self) -> AsyncConnection:
        return await self.engine.connect()

    def _abandon(self, connecting: asyncio.Task[AsyncConnection]) -> None:
        async def give_back() -> None:
            try:
                connection = await connecting
            except Exception:  # noqa: BLE001 - whoever wanted it was told long ago
                return
            await connection.close()

        task = asyncio.create_task(give_back())
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
