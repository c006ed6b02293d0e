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

CREATE = TxnId("create")
NOBODY: tuple[DeviceId | None, int] = (None, 0)
SNAPSHOTS_KEPT_MAX = 8
GRACE_MS = 1_500
"""How long whoever holds a lost log has to put it back, before the archive takes its place: longer than to a look."""


class CommitWatcher(Protocol):
    """Who sees each transaction at the moment in which it is durable."""

    def on_commit(self, log: TrueLog, entries: list[Entry], txn: TxnId) -> None: ...

    def on_moved(self, log: TrueLog) -> None:
        """The log's end was lost, or put back."""

    def on_rebuilt(self, log: TrueLog) -> None: ...


class TrueLog:
    """One session's log; ``states[version]`` is the state after that entry.

    ``txns`` are the transactions of the entries, ``waiting`` for whom and until when an offer waited after each; both
    in step. ``acked`` is how far somebody was told that it is committed: so far it is on every replica. ``lost`` are
    entries, by version, that a failover took, with the states that they led to: nodes may hold them, and tell of them.
    While it is gone whole (``gone_since`` is not 0) it is here for the checkers only; ``archived`` is what the archive
    has of it then.
    """

    def __init__(self, snapshot: Snapshot, first: Entry) -> None:
        self.session = snapshot.session
        self.account = snapshot.account
        self.epoch = snapshot.epoch
        self.entries: list[Entry] = [first]
        self.digests: list[int] = [0]
        self.states: list[JsonObject] = [{}, snapshot.state]
        self.snapshots: list[Snapshot] = [snapshot]
        self.txns: list[str] = [CREATE]
        self.waiting: list[tuple[DeviceId | None, int]] = [NOBODY]
        self.floor = 0
        self.claims: dict[DeviceId, ConnectionId] = {}
        self.acked = 1
        self.claims_acked: dict[DeviceId, ConnectionId] = {}
        self.lost: dict[int, list[tuple[Entry, JsonObject]]] = {}
        self.highest = 1
        self.gone_since = 0
        self.archived: Snapshot | None = None

    @property
    def version(self) -> int:
        return len(self.entries)

    @property
    def state(self) -> JsonObject:
        return self.states[-1]

    def entry(self, version: int) -> Entry:
        return self.entries[version - 1]

    def ends(self) -> list[int]:
        """Where a transaction ends, and the next one begins: on a replica each is whole or not at all."""
        return [at for at in range(1, self.version) if self.txns[at] != self.txns[at - 1]]

    def lose(self, version: int) -> None:
        """What stood past ``version`` is held elsewhere at most."""
        for later in range(version + 1, self.version + 1):
            self.lost.setdefault(later, []).append((self.entry(later), self.states[later]))
        self.cut(version)

    def bridge(self, version: int) -> None:
        """So far the log is not there any more, and what it was is here for the checkers only."""
        for entry, state in (self.lost[later][-1] for later in range(self.version + 1, version + 1)):
            self.entries.append(entry)
            self.states.append(state)
            self.digests.append(0)
            self.txns.append("")
            self.waiting.append(NOBODY)
        self.floor = version

    def cut(self, version: int) -> None:
        """Nothing stands past ``version``."""
        del self.entries[version:], self.digests[version:], self.states[version + 1 :]
        del self.txns[version:], self.waiting[version:]

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
        self.is_parted = False
        self.losses = 0
        self.wipes = 0
        self.rebuilds = 0
        self.returns = 0

    def create(self, snapshot: Snapshot, first: Entry) -> TrueLog:
        log = self.logs[snapshot.session] = TrueLog(snapshot, first)
        self._watcher.on_commit(log, [first], CREATE)
        return log

    # -- compare and set ----------------------------------------------------------------------------------------

    def commit(self, txn: Txn) -> Outcome:
        """Compare and set, in the order of the real store's steps: a repeat is told before a claim that has moved on,
        and that before a conflict.
        """
        log = self.logs.get(txn.session)
        if log is None:
            return WasForeign(txn.id)
        if log.gone_since:
            return WasBehind(txn.id, 0)
        if txn.epoch != log.epoch:
            return WasForeign(txn.id)
        if txn.expected > log.version:
            return WasBehind(txn.id, log.version) if self.is_shared else WasForeign(txn.id)
        if self.is_repeat(log, txn):
            return WasCommitted(txn.id)
        if not self.follows(log, txn):
            return WasForeign(txn.id)
        fenced = self.fenced(log, txn)
        if fenced:
            return WasFenced(txn.id, fenced)
        if txn.expected < log.version:
            since = txn.expected
            txns = log.txns[since:] if self.is_shared else []
            return WasConflict(txn.id, log.entries[since:], log.digests[since:], txns)
        # Claims that were lost with a server are of whoever pushes first.
        log.claims |= {**txn.held, **txn.claims}
        if not txn.entries:
            return WasCommitted(txn.id)
        waiting = (txn.waiting_for, txn.waiting_until)
        self._append(log, txn.entries, txn.digests, [txn.id] * len(txn.entries), waiting)
        if txn.snapshot is not None:
            self.keep(txn.snapshot)
        self._world.note(f"commit {txn.id} {txn.expected + 1}..{log.version}")
        self._watcher.on_commit(log, txn.entries, txn.id)
        return WasCommitted(txn.id)

    def is_repeat(self, log: TrueLog, txn: Txn) -> bool:
        """The transaction stands where it asked to stand."""
        return bool(txn.entries) and txn.expected < log.version and log.txns[txn.expected] == txn.id

    def follows(self, log: TrueLog, txn: Txn) -> bool:
        """The entry that it was made on is the one that stands there, as far as the log still holds it."""
        if txn.expected < log.floor:
            return False
        return txn.expected_at in (0, log.entry(txn.expected).at)

    def fenced(self, log: TrueLog, txn: Txn) -> list[DeviceId]:
        """Devices that push through another connection by now."""
        return [device for device, held in txn.held.items() if log.claims.get(device, held) != held]

    def _append(
        self,
        log: TrueLog,
        entries: list[Entry],
        digests: list[int],
        txns: list[str],
        waiting: tuple[DeviceId | None, int],
    ) -> None:
        log.entries += entries
        log.digests += digests
        log.txns += txns
        log.waiting += [waiting] * len(entries)
        for entry in entries:
            state = apply_patch(log.state, entry.ops) if entry.ops else log.state
            assert isinstance(state, dict)
            log.states.append(state)
        log.highest = max(log.highest, log.version)

    # -- replicas -----------------------------------------------------------------------------------------------

    def acked(self, txn: Txn) -> None:
        """Somebody is told that it is committed: no failover takes it any more."""
        log = self.logs[txn.session]
        if txn.epoch == log.epoch:
            log.acked = max(log.acked, txn.expected + len(txn.entries))
            log.claims_acked |= {**txn.held, **txn.claims}

    def part(self) -> None:
        """The replicas hear nothing more of the primary: what is written from now on is told to nobody as committed."""
        self.is_parted = True
        self._world.note("the replicas are cut off")

    def fail_over(self, session: SessionId) -> None:
        """The primary is gone, and what no replica had yet is gone with it: none of it was acknowledged."""
        log = self.logs[session]
        self.terms += 1
        self.is_parted = False
        least = max(log.acked, log.snapshots[0].version)
        keep = self._world.random.choice([log.version, *(at for at in log.ends() if at >= least)])
        log.claims = dict(log.claims_acked)
        if keep == log.version:
            return
        log.lose(keep)
        log.snapshots = [snapshot for snapshot in log.snapshots if snapshot.version <= keep]
        self.losses += 1
        self._world.note(f"failed over to {keep}")
        self._watcher.on_moved(log)

    def put_back(self, held: Held) -> PutBack | Forked | StoreFault:
        """What of ``held`` is past the log stands there again, where the log is a prefix of it."""
        log, snapshot = self.logs[held.snapshot.session], held.snapshot
        before = snapshot.version - len(held.entries)
        if log.gone_since:
            return self._made_anew(log, snapshot, before)
        if snapshot.epoch != log.epoch:
            return Forked()
        known = min(log.version, snapshot.version)
        if known > before and not self.is_same(log, held, known):
            return Forked()
        if log.version == before and held.before_at not in (0, log.entry(before).at):
            return Forked()
        if log.version >= snapshot.version:
            return PutBack(log.version)
        if log.version < before:
            log.bridge(before)
            log.snapshots = [snapshot]
        missing = log.version - before
        offer = snapshot.offer
        waiting = NOBODY if offer is None else (offer.target, offer.expires_at)
        self._append(log, held.entries[missing:], held.digests[missing:], held.txns[missing:], waiting)
        self.returns += 1
        self._world.note(f"put back up to {log.version}")
        self._watcher.on_moved(log)
        # Nobody is told that it is there before the replicas have it, too.
        return StoreFault("unavailable") if self.is_parted else PutBack(log.version)

    def wipe(self, session: SessionId, archived: Snapshot) -> None:
        """Nothing of the log is left, though nobody deleted it."""
        log = self.logs[session]
        if not log.gone_since:
            log.gone_since, log.archived = self._world.time_ms, archived
            self.wipes += 1
            self._world.note(f"gone at {log.version}; archived is {archived.version}")

    def _made_anew(self, log: TrueLog, snapshot: Snapshot, before: int) -> PutBack:
        """The log is what is held of it, under its old epoch; what came before that is not there any more."""
        log.lose(snapshot.version)
        log.gone_since, log.archived = 0, None
        log.floor = before
        log.snapshots = [snapshot]
        log.claims.clear()
        self.returns += 1
        self._world.note(f"made anew from {before} to {log.version}")
        self._watcher.on_moved(log)
        return PutBack(log.version)

    def is_same(self, log: TrueLog, held: Held, version: int) -> bool:
        """What is held at ``version`` is what stands there."""
        place = version - held.snapshot.version - 1
        stands, theirs = log.txns[version - 1], held.txns[place]
        return stands == theirs if stands and theirs else held.entries[place] == log.entry(version)

    # -- snapshots and reading ----------------------------------------------------------------------------------

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
        if log.gone_since and not self._is_rebuilt(log):
            return StoreFault("unavailable")
        chosen = log.snapshots[0]
        for snapshot in log.snapshots:
            if snapshot.version <= log.version - reach:
                chosen = snapshot
        at = chosen.version
        return StoredLog(chosen, log.entries[at:], log.digests[at:], log.txns[at:] if self.is_shared else [])

    def entries(self, session: SessionId, after: int, count_max: int) -> Stretch | StoreFault:
        """What stands after ``after``, as far as this log knows."""
        log = self.logs.get(session)
        if log is None:
            return StoreFault("not_found")
        if log.gone_since:
            return StoreFault("unavailable")
        start = max(after, log.floor)
        return Stretch(log.epoch, max(log.floor, 1), log.version, log.entries[start : start + count_max])

    def version_at(self, session: SessionId, at_ms: int) -> int | StoreFault:
        """The version that was the head then."""
        log = self.logs.get(session)
        if log is None:
            return StoreFault("not_found")
        if log.gone_since:
            return StoreFault("unavailable")
        return max(
            (entry.version for entry in log.entries if log.floor <= entry.version and entry.at <= at_ms), default=0
        )

    def waiting_offers(self, account: AccountId, device: DeviceId) -> list[SessionId]:
        found = []
        for session, log in self.logs.items():
            waiting_for, until = log.waiting[-1]
            if log.account == account and waiting_for == device and until > self._world.time_ms:
                found.append(session)
        return found

    def _is_rebuilt(self, log: TrueLog) -> bool:
        """Whoever holds more than the archive comes first; then what it has is the log."""
        assert log.archived is not None
        if self._world.time_ms - log.gone_since < GRACE_MS:
            return False
        self.rebuild(log.session, log.archived)
        log.gone_since, log.archived = 0, None
        return True

    def rebuild(self, session: SessionId, snapshot: Snapshot) -> None:
        """The log was rebuilt from ``snapshot``: another epoch, nothing before it, what came after is gone."""
        log = self.logs[session]
        assert snapshot.size < ANY_SIZE
        log.cut(snapshot.version)
        log.acked = log.highest = log.version
        log.lost.clear()
        log.claims.clear()
        log.epoch = self.epoch_after(log)
        self.rebuilds += 1
        log.floor = log.version
        log.txns[:] = [""] * log.version  # what is archived says no transactions
        log.snapshots = [msgspec.structs.replace(snapshot, epoch=log.epoch)]
        self._world.note(f"rebuilt as {log.epoch} at {log.version}")
        self._watcher.on_rebuilt(log)

    def epoch_after(self, log: TrueLog) -> str:
        """What a log is called that was rebuilt, so that nobody believes a position in the old one."""
        return f"{log.epoch}+"
