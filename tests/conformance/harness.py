"""The stores under test, each behind the same few verbs; a new adapter joins by one row in `HARNESSES`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from syncbridge.adapters.embedded import MemoryStore, SqliteStore
from syncbridge.limits import Limits
from syncbridge.ports import StateStore

DEADLINE_S = 30.0


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms


class Harness(Protocol):
    """A store, and the loop that its answers come through."""

    store: StateStore
    clock: SetClock

    def wait(self, condition: Callable[[], bool]) -> None:
        """Answers have been delivered until `condition` holds; AssertionError past the deadline."""

    def reopen(self) -> None:
        """The node was stopped and started; what a store in memory holds stays, for want of anything else."""

    def close(self) -> None: ...


class MemoryHarness:
    def __init__(self, path: Path, limits: Limits, history_entries_max: int) -> None:
        self.clock = SetClock()
        self._posted: list[Callable[[], None]] = []
        self.store: StateStore = MemoryStore(
            self.clock, post=self._posted.append, limits=limits, history_entries_max=history_entries_max
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self._posted, "nothing is left to be answered"
            self._posted.pop(0)()

    def reopen(self) -> None:
        while self._posted:
            self._posted.pop(0)()

    def close(self) -> None:
        self.reopen()


class SqliteHarness:
    def __init__(self, path: Path, limits: Limits, history_entries_max: int, *, accept_loss: bool = False) -> None:
        self.clock = SetClock()
        self.path = path
        self._limits = limits
        self._history_entries_max = history_entries_max
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.sqlite = self._open(accept_loss)
        self.store: StateStore = self.sqlite

    def _open(self, accept_loss: bool = False) -> SqliteStore:
        return SqliteStore(
            self.path,
            self.clock,
            self._posted.put,
            limits=self._limits,
            history_entries_max=self._history_entries_max,
            accept_loss=accept_loss,
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, "the store did not answer in time"
            try:
                self._posted.get(timeout=left)()
            except Empty:
                continue

    def reopen(self) -> None:
        self.close()
        self.store = self.sqlite = self._open()

    def close(self) -> None:
        self.sqlite.close()
        while not self._posted.empty():
            self._posted.get()()


HARNESSES: dict[str, Callable[[Path, Limits, int], Harness]] = {"memory": MemoryHarness, "sqlite": SqliteHarness}
