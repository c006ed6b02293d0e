"""What the store holds: every log from its first entry on, and the rules of compare and set.

This is the record that the checkers trust. It is written in the plainest way, apart from the adapters on purpose:
an adapter's mistake must not hide a machine's.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from syncbridge._ext import apply_patch
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, JsonObject, SessionId, TxnId
from syncbridge.core.log import ANY_SIZE
from syncbridge.ports import Outcome, StoredLog, StoreFault, Stretch, WasCommitted, WasConflict, WasFenced, WasForeign
from tests.sim.world import World

SNAPSHOTS_KEPT_MAX = 8


class CommitWatcher(Protocol):
    """Who sees each transaction at the moment in which it is durable."""

    def on_commit(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None: ...

    def on_rebuilt(self, log: TrueLog) -> None: ...


class TrueLog:
    """One session's log; ``states[version]`` is the state after that entry."""

    def __init__(self, snapshot: Snapshot, first: Entry) -> None:
        self.session = snapshot.session
        self.account = snapshot.account
        self.epoch = snapshot.epoch
        self.entries: list[Entry] = [first]
        self.digests: list[int] = [0]
        self.states: list[JsonObject] = [{}, snapshot.state]
        self.snapshots: list[Snapshot] = [snapshot]
        self.starts: dict[int, str] = {}
        self.waiting_for: DeviceId | None = None
        self.waiting_until = 0
        self.floor = 0
        self.claims: dict[DeviceId, ConnectionId] = {}

    @property
    def version(self) -> int:
        return len(self.entries)

    @property
    def state(self) -> JsonObject:
        return self.states[-1]

    def entry(self, version: int) -> Entry:
        return self.entries[version - 1]


class Truth:
    """Every log. Answers at once; `tests.sim.store` makes it late, lost or silent."""

    def __init__(self, world: World, watcher: CommitWatcher) -> None:
        self._world = world
        self._watcher = watcher
        self.logs: dict[SessionId, TrueLog] = {}

    def create(self, snapshot: Snapshot, first: Entry) -> TrueLog:
        log = self.logs[snapshot.session] = TrueLog(snapshot, first)
        self._watcher.on_commit(log, [first], TxnId("create"))
        return log

    def commit(self, txn: Txn) -> Outcome:
        """Compare and set."""
        log = self.logs.get(txn.session)
        if log is None or txn.epoch != log.epoch or txn.expected > log.version or txn.expected < log.floor:
            return WasForeign(txn.id)
        if log.starts.get(txn.expected + 1) == txn.id:
            return WasCommitted(txn.id)
        if txn.expected < log.version:
            since = txn.expected
            return WasConflict(txn.id, log.entries[since:], log.digests[since:])
        fenced = [device for device, held in txn.held.items() if log.claims.get(device, held) != held]
        if fenced:
            return WasFenced(txn.id, fenced)
        log.claims.update(txn.claims)
        if not txn.entries:
            return WasCommitted(txn.id)
        log.starts[txn.expected + 1] = txn.id
        log.entries += txn.entries
        log.digests += txn.digests
        for entry in txn.entries:
            state = apply_patch(log.state, entry.ops) if entry.ops else log.state
            assert isinstance(state, dict)
            log.states.append(state)
        log.waiting_for, log.waiting_until = txn.waiting_for, txn.waiting_until
        if txn.snapshot is not None:
            self.keep(txn.snapshot)
        self._world.note(f"commit {txn.id} {txn.expected + 1}..{log.version}")
        self._watcher.on_commit(log, txn.entries, txn.id)
        return WasCommitted(txn.id)

    def keep(self, snapshot: Snapshot) -> None:
        """A snapshot is kept beside the log, newest last."""
        log = self.logs[snapshot.session]
        if snapshot.epoch == log.epoch and log.snapshots[-1].version < snapshot.version <= log.version:
            log.snapshots.append(snapshot)
            del log.snapshots[:-SNAPSHOTS_KEPT_MAX]

    def load(self, session: SessionId, reach: int) -> StoredLog | StoreFault:
        """The newest kept snapshot at least ``reach`` before the head, or the oldest, and what follows it."""
        log = self.logs.get(session)
        if log is None:
            return StoreFault("not_found")
        chosen = log.snapshots[0]
        for snapshot in log.snapshots:
            if snapshot.version <= log.version - reach:
                chosen = snapshot
        return StoredLog(chosen, log.entries[chosen.version :], log.digests[chosen.version :])

    def entries(self, session: SessionId, after: int, count_max: int) -> Stretch | StoreFault:
        """What stands after ``after``, as far as this log knows."""
        log = self.logs.get(session)
        if log is None:
            return StoreFault("not_found")
        start = max(after, log.floor)
        return Stretch(log.epoch, max(log.floor, 1), log.version, log.entries[start : start + count_max])

    def version_at(self, session: SessionId, at_ms: int) -> int | StoreFault:
        """The version that was the head then."""
        log = self.logs.get(session)
        if log is None:
            return StoreFault("not_found")
        return max(
            (entry.version for entry in log.entries if log.floor <= entry.version and entry.at <= at_ms), default=0
        )

    def waiting_offers(self, account: AccountId, device: DeviceId) -> list[SessionId]:
        return [
            session
            for session, log in self.logs.items()
            if log.account == account and log.waiting_for == device and log.waiting_until > self._world.time_ms
        ]

    def rebuild(self, session: SessionId, snapshot: Snapshot) -> None:
        """The log was rebuilt from ``snapshot`` (of its head): another epoch, and nothing before it is known."""
        log = self.logs[session]
        assert snapshot.version == log.version
        assert snapshot.size < ANY_SIZE
        log.epoch = f"{log.epoch}+"
        log.floor = log.version
        log.starts.clear()
        log.snapshots = [msgspec.structs.replace(snapshot, epoch=log.epoch)]
        self._world.note(f"rebuilt as {log.epoch} at {log.version}")
        self._watcher.on_rebuilt(log)
