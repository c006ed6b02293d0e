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
from syncbridge.ports import (
    Forked,
    Held,
    Outcome,
    PutBack,
    StoredLog,
    StoreFault,
    Stretch,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
)
from tests.sim.world import World

SNAPSHOTS_KEPT_MAX = 8


class CommitWatcher(Protocol):
    """Who sees each transaction at the moment in which it is durable."""

    def on_commit(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None: ...

    def on_moved(self, log: TrueLog) -> None:
        """The log's end was lost, or put back."""

    def on_rebuilt(self, log: TrueLog) -> None: ...


class TrueLog:
    """One session's log; ``states[version]`` is the state after that entry.

    ``acked`` is how far somebody was told that it is committed: so far it is on every replica. ``lost`` are entries,
    by version, that a failover took, with the states that they led to: nodes may hold them, and tell of them.
    """

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
        self.acked = 1
        self.claims_acked: dict[DeviceId, ConnectionId] = {}
        self.lost: dict[int, list[tuple[Entry, JsonObject]]] = {}
        self.highest = 1

    @property
    def version(self) -> int:
        return len(self.entries)

    @property
    def state(self) -> JsonObject:
        return self.states[-1]

    def entry(self, version: int) -> Entry:
        return self.entries[version - 1]

    def ever(self, version: int) -> list[tuple[Entry, JsonObject]]:
        """What stood at ``version`` at any time, and the states that it led to."""
        now = [(self.entries[version - 1], self.states[version])] if version <= self.version else []
        return now + self.lost.get(version, [])


class Truth:
    """Every log. Answers at once; `tests.sim.store` makes it late, lost or silent."""

    def __init__(self, world: World, watcher: CommitWatcher, *, is_shared: bool) -> None:
        self._world = world
        self._watcher = watcher
        self.logs: dict[SessionId, TrueLog] = {}
        self.is_shared = is_shared
        self.terms = 0  # of primaries: an answer of an earlier one says nothing any more
        self.losses = 0
        self.returns = 0

    def create(self, snapshot: Snapshot, first: Entry) -> TrueLog:
        log = self.logs[snapshot.session] = TrueLog(snapshot, first)
        self._watcher.on_commit(log, [first], TxnId("create"))
        return log

    def commit(self, txn: Txn) -> Outcome:
        """Compare and set."""
        log = self.logs.get(txn.session)
        if log is None or txn.epoch != log.epoch or txn.expected < log.floor:
            return WasForeign(txn.id)
        if txn.expected > log.version:
            return WasBehind(txn.id, log.version) if self.is_shared else WasForeign(txn.id)
        if txn.expected_at not in (0, log.entry(txn.expected).at):
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
        self._append(log, txn.entries, txn.digests)
        log.waiting_for, log.waiting_until = txn.waiting_for, txn.waiting_until
        if txn.snapshot is not None:
            self.keep(txn.snapshot)
        self._world.note(f"commit {txn.id} {txn.expected + 1}..{log.version}")
        self._watcher.on_commit(log, txn.entries, txn.id)
        return WasCommitted(txn.id)

    def _append(self, log: TrueLog, entries: list[Entry], digests: list[int]) -> None:
        log.entries += entries
        log.digests += digests
        for entry in entries:
            state = apply_patch(log.state, entry.ops) if entry.ops else log.state
            assert isinstance(state, dict)
            log.states.append(state)
        log.highest = max(log.highest, log.version)

    def acked(self, txn: Txn) -> None:
        """Somebody is told that it is committed: no failover takes it any more."""
        log = self.logs[txn.session]
        if txn.epoch == log.epoch:
            log.acked = max(log.acked, txn.expected + len(txn.entries))
            log.claims_acked.update(txn.claims)

    def fail_over(self, session: SessionId) -> None:
        """The primary is gone, and what no replica had yet is gone with it: none of it was acknowledged."""
        log = self.logs[session]
        self.terms += 1
        least = max(log.acked, log.snapshots[0].version)
        # A transaction is on a replica whole or not at all.
        keep = self._world.random.choice([log.version, *(at - 1 for at in sorted(log.starts) if at > least)])
        log.claims = dict(log.claims_acked)
        if keep == log.version:
            return
        for version in range(keep + 1, log.version + 1):
            log.lost.setdefault(version, []).append((log.entry(version), log.states[version]))
        del log.entries[keep:], log.digests[keep:], log.states[keep + 1 :]
        log.starts = {version: txn for version, txn in log.starts.items() if version <= keep}
        log.snapshots = [snapshot for snapshot in log.snapshots if snapshot.version <= keep]
        log.waiting_for, log.waiting_until = None, 0
        self.losses += 1
        self._world.note(f"failed over to {keep}")
        self._watcher.on_moved(log)

    def put_back(self, held: Held) -> PutBack | Forked:
        """What of ``held`` is past the log stands there again, where the log is a prefix of it."""
        log, snapshot = self.logs[held.snapshot.session], held.snapshot
        first = held.entries[0].version if held.entries else snapshot.version + 1
        at = min(log.version, snapshot.version)
        known = held.entries[at - first] if first <= at else None
        if snapshot.epoch != log.epoch or first > log.version + 1 or (known is not None and known != log.entry(at)):
            return Forked()
        later = held.entries[log.version + 1 - first :]
        if later:
            for entry, txn in zip(later, held.txns[log.version + 1 - first :], strict=True):
                if txn and txn not in log.starts.values():
                    log.starts[entry.version] = TxnId(txn)
            self._append(log, later, held.digests[log.version + 1 - first :])
            log.waiting_for = None if snapshot.offer is None else snapshot.offer.target
            log.waiting_until = 0 if snapshot.offer is None else snapshot.offer.expires_at
            self.returns += 1
            self._world.note(f"put back up to {log.version}")
            self._watcher.on_moved(log)
        return PutBack(log.version)

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
        """The log was rebuilt from ``snapshot``: another epoch, nothing before it, what came after is gone."""
        log = self.logs[session]
        assert snapshot.size < ANY_SIZE
        del log.entries[snapshot.version :], log.digests[snapshot.version :], log.states[snapshot.version + 1 :]
        log.acked = log.highest = log.version
        log.lost.clear()
        log.epoch = f"{log.epoch}+"
        log.floor = log.version
        log.starts.clear()
        log.snapshots = [msgspec.structs.replace(snapshot, epoch=log.epoch)]
        self._world.note(f"rebuilt as {log.epoch} at {log.version}")
        self._watcher.on_rebuilt(log)
