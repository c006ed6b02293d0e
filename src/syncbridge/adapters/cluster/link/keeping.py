"""A connection that is there whenever it can be: made anew when it is lost, with waits that grow and spread."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from syncbridge.adapters.cluster.link.dialling import CannotConnect

_log = structlog.get_logger(__name__)

FIRST_WAIT_S = 0.02
LAST_WAIT_S = 1.0  # so that a server is used again within a second or so of its return

Live = TypeVar("Live")


class Keeper(Generic[Live]):
    """Calls ``dial`` until it succeeds, and again after each `lost`.

    Jitter  each wait is between half and all of what is due: many nodes lose the same server at the same moment.
    """

    def __init__(self, name: str, dial: Callable[[], Awaitable[Live]], came: Callable[[Live], None]) -> None:
        self._name = name
        self._dial = dial
        self._came = came
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.fault = ""
        """Why the last attempt failed; "" after one that did not."""

    def start(self) -> None:
        """It dials, from now on and until `stop`."""
        self._wake.set()
        self._task = asyncio.get_running_loop().create_task(self._keep(), name=f"keep {self._name}")

    def lost(self) -> None:
        """The connection is gone: dial."""
        self._wake.set()

    def stop(self) -> asyncio.Task[None] | None:
        """It dials no more, once this task is over."""
        if self._task is not None:
            self._task.cancel()
        return self._task

    async def _keep(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due_s = FIRST_WAIT_S
            while True:
                try:
                    live = await self._dial()
                    break
                except CannotConnect as fault:
                    if not self.fault:
                        _log.warning("redis_unreachable", server=self._name, reason=str(fault))
                    self.fault = str(fault)
                # Not a secret: it only spreads attempts.
                await asyncio.sleep(due_s * (0.5 + random.random() / 2))  # noqa: S311
                due_s = min(LAST_WAIT_S, due_s * 2)
            if self.fault:
                _log.info("redis_reached", server=self._name)
            self.fault = ""
            self._came(live)
