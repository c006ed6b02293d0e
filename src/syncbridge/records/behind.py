"""Writing behind: what is noted in a call that must not wait is written soon after, in batches, until it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from syncbridge.errors import Internal, Unavailable

AGAIN_MS_MAX: Final = 5_000
"""While the records are away they are asked this often at the least: what waits lands this soon after they are back."""

_log = structlog.get_logger("syncbridge.records")


class WriteBehind:
    """Calls ``write`` a while after `wake`, and again until ``has_more`` says that nothing waits.

    Blocking   `wake` starts a task at most.
    Failing    a database that is away is asked again after a pause that doubles, up to `AGAIN_MS_MAX`; the log says
               once that it is, and once that it is over. Whatever else breaks is logged, and ends nothing.
    """

    def __init__(
        self, name: str, write: Callable[[], Awaitable[None]], has_more: Callable[[], bool], *, delay_ms: int
    ) -> None:
        self._name = name
        self._write = write
        self._has_more = has_more
        self.delay_ms = delay_ms
        self._task: asyncio.Task[None] | None = None
        self._is_behind = False
        self.is_closed = False

    def wake(self) -> None:
        """What waits is written soon."""
        if self._task is None and not self.is_closed:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> bool:
        """What waited is written, where the database answers: whether it did. Nothing is written after it."""
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        try:
            await self._write()
        except Unavailable:
            _log.warning("what was written behind is not written", what=self._name)
            return False
        return True

    async def _follow(self) -> None:
        pause_ms = self.delay_ms
        while self._has_more():
            await asyncio.sleep(pause_ms / 1000)
            pause_ms = self.delay_ms if await self._try() else min(AGAIN_MS_MAX, max(1, pause_ms) * 2)
        self._task = None

    async def _try(self) -> bool:
        try:
            await self._write()
        except Unavailable:
            if not self._is_behind:
                self._is_behind = True
                _log.warning("the records are behind; what waits is tried on", what=self._name)
            return False
        except Exception:  # noqa: BLE001 - whatever broke was taken out: what comes after it is written
            _log.exception("write-behind error", what=self._name, code=Internal.code)
            return False
        if self._is_behind:
            self._is_behind = False
            _log.info("the records have caught up", what=self._name)
        return True
