"""The stores under test, each behind the same few verbs; a new adapter joins by one row in `HARNESSES`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import pytest
from _pytest.mark import ParameterSet

from syncbridge.adapters.embedded import MemoryStore, SqliteStore
from syncbridge.limits import Limits
from syncbridge.ports import StateStore
from tests.conformance.clocks import DEADLINE_S, SetClock
from tests.conformance.redis_harness import SERVERS, RedisHarness


class Harness(Protocol):
    """A store, and the loop that its answers come through."""

    store: StateStore
    clock: SetClock

    def wait(self, condition: Callable[[], bool]) -> None:
        """Answers have been delivered until `condition` holds; AssertionError past the deadline."""

    def pass_time(self, ms: int) -> None:
        """So much later, by every clock that the store goes by."""

    def settle_age(self) -> None:
        """Every log is as old as its entries say, by whatever else the store goes by."""

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

    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms

    def settle_age(self) -> None: ...

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

    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms

    def settle_age(self) -> None: ...

    def reopen(self) -> None:
        self.close()
        self.store = self.sqlite = self._open()

    def close(self) -> None:
        self.sqlite.close()
        while not self._posted.empty():
            self._posted.get()()


def _redis(_path: Path, limits: Limits, history_entries_max: int) -> Harness:
    return RedisHarness(SERVERS.pair(), limits, history_entries_max)


def _redis_cluster(_path: Path, limits: Limits, history_entries_max: int) -> Harness:
    return RedisHarness(SERVERS.cluster(), limits, history_entries_max)


SERVER_HARNESSES: dict[str, Callable[[Path, Limits, int], Harness]] = {
    "redis": _redis,
    "redis-cluster": _redis_cluster,
}
"""Stores behind real servers, which several nodes write."""

HARNESSES: dict[str, Callable[[Path, Limits, int], Harness]] = {
    "memory": MemoryHarness,
    "sqlite": SqliteHarness,
    **SERVER_HARNESSES,
}


def adapters(harnesses: Mapping[str, object]) -> list[ParameterSet]:
    """One parameter an adapter; those with servers of their own run by themselves."""
    return [
        pytest.param(name, marks=pytest.mark.serial if name in SERVER_HARNESSES else ()) for name in sorted(harnesses)
    ]
