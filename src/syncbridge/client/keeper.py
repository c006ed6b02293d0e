"""What a session owes its device's disk, and what it may send: nothing goes out that a crash would forget.

A push is sent only after the dump that holds it was saved. Else a process that is killed could send, or count as
sent, another edit under a number that is on the wire. Nor is one sent that lies a window past the first that was
saved as waiting: after a crash all of those are sent again, and the service remembers a window of them; older ones
would be taken for new edits. Edits are saved at once, the news of others soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from syncbridge.client.cache import Cache, CacheFault
from syncbridge.client.replica import Replica
from syncbridge.core.messages import ClientMessage

LAZY_MS = 200
"""How long the news of others may wait for the disk; losing it costs a few entries at the next join."""


class Outlet(Protocol):
    """The part of a connection that is needed here."""

    cache: Cache | None

    def send(self, message: ClientMessage) -> None: ...
    def now_ms(self) -> int: ...


class Keeper:
    """Saves one replica and sends its pushes, in this order."""

    def __init__(self, link: Outlet, replica: Replica) -> None:
        self._link = link
        self._replica = replica
        self._saved = 0
        self._below = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._dirty = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._lock = asyncio.Lock()
        self._task = None if link.cache is None else asyncio.get_running_loop().create_task(self._keep())

    async def edited(self, revision: int) -> None:
        """The edit is on its way; with a cache this returns when it is saved. Raises CacheFault."""
        if self._task is None:
            self.send()
            return
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, saved))
        self._dirty.set()
        await saved

    def changed(self) -> None:
        """News came: what may go out goes out, and the news is saved soon."""
        self.send()
        if self._task is None:
            return
        if self._replica.pending:
            self._dirty.set()
        elif "save" not in self._timers:
            self._timer("save", LAZY_MS, self._dirty.set)

    def send(self) -> None:
        """Every push that may go out now is sent; for one that has to wait a timer is set."""
        now_ms = self._link.now_ms()
        through, below = (None, None) if self._task is None else (self._saved, self._below)
        for push in self._replica.outgoing(now_ms, through=through, below=below):
            self._link.send(push)
        retry_at = self._replica.retry_at()
        if retry_at is not None and self._replica.is_joined and retry_at > now_ms:
            self._timer("retry", retry_at - now_ms, self.send)

    def later(self, work: Callable[[], None], delay_ms: int) -> None:
        """``work`` is done after the delay, unless the connection goes before."""
        self._timer("later", delay_ms, work)

    @property
    def is_waiting(self) -> bool:
        """Whether `later` has something that is still to be done."""
        return "later" in self._timers

    def stop_retrying(self) -> None:
        """The connection is gone; the next join sends everything anew."""
        for name in ("retry", "later"):
            timer = self._timers.pop(name, None)
            if timer is not None:
                timer.cancel()

    async def flush(self) -> None:
        """Everything known now is saved. Raises CacheFault."""
        cache, dump = self._link.cache, self._replica.dump()
        if cache is None or dump is None:
            return
        async with self._lock:
            await cache.save(dump)
            self._saved = max(self._saved, dump.revision)
            # After a crash the whole of what waits in it is sent again, whatever was answered meanwhile.
            self._below = min((row.seq for row in dump.pending), default=dump.next_seq) + self._replica.inflight_max

    async def close(self) -> None:
        """All is saved, as far as the disk takes it, and nothing runs any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            try:
                await self.flush()
            except CacheFault as fault:
                self._release(fault)
            else:
                self._release(None)

    async def _keep(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            timer = self._timers.pop("save", None)
            if timer is not None:
                timer.cancel()
            try:
                await self.flush()
            except CacheFault as fault:
                self._release(fault)
                self._timer("save", LAZY_MS * 5, self._dirty.set)
                continue
            self._release(None)
            self.send()

    def _release(self, fault: CacheFault | None) -> None:
        waiting, self._waiting = self._waiting, []
        for revision, future in waiting:
            if future.done():
                continue
            if fault is not None:
                future.set_exception(fault)
            elif revision <= self._saved:
                future.set_result(None)
            else:
                self._waiting.append((revision, future))

    def _timer(self, name: str, delay_ms: int, work: Callable[[], None]) -> None:
        before = self._timers.pop(name, None)
        if before is not None:
            before.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay_ms / 1000, self._ring, name, work)

    def _ring(self, name: str, work: Callable[[], None]) -> None:
        self._timers.pop(name, None)
        work()
