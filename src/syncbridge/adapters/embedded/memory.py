"""The state store in memory alone: for tests, simulations and benchmarks. Nothing survives the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from msgspec import structs

from syncbridge.adapters.embedded.sole import SoleWriter
from syncbridge.adapters.embedded.tail import UNBOUNDED, SessionTail, Verdict
from syncbridge.core.entry import Entry, Snapshot
from syncbridge.core.ids import AccountId, DeviceId, SessionId, TxnId
from syncbridge.core.retention import HISTORY_ENTRIES_MAX, Kept, begins_after, plan
from syncbridge.limits import Limits, Retention
from syncbridge.ports import (
    Clock,
    Outcome,
    StoredHead,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    Swept,
    WasCommitted,
    WasConflict,
    WasForeign,
)

Post = Callable[[Callable[[], None]], None]
"""Has a function called in the event loop's thread, in the order posted."""

CREATE = TxnId("create")


def call_at_once(call: Callable[[], None]) -> None:
    """`call` has been called."""
    call()


class _Log:
    """A whole log: its tail without bounds, and its snapshots in order of their versions."""

    __slots__ = ("account", "snapshots", "status", "tail", "waiting_for", "waiting_until")

    def __init__(self, snapshot: Snapshot, tail: SessionTail) -> None:
        self.account = snapshot.account
        self.tail = tail
        self.status: str = snapshot.status
        self.snapshots = [snapshot]
        self.waiting_for: DeviceId | None = None
        self.waiting_until = 0


class MemoryStore(SoleWriter):
    """`StateStore` in plain dictionaries.

    Atomicity   everything is decided within the call.
    Ordering    answers go out through ``post``, by default before the call returns.
    Durability  none beyond the process.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        post: Post = call_at_once,
        limits: Limits | None = None,
        retention: Retention | None = None,
        history_entries_max: int = HISTORY_ENTRIES_MAX,
    ) -> None:
        self._clock = clock
        self._post = post
        self._limits = limits or Limits()
        self._retention = retention or Retention()
        self._history_entries_max = history_entries_max
        self._logs: dict[SessionId, _Log] = {}

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        outcome: Outcome = WasCommitted(CREATE)
        log = self._logs.get(snapshot.session)
        if log is None:
            tail = SessionTail(snapshot.session, snapshot.epoch, 0, entries_max=UNBOUNDED, bytes_max=UNBOUNDED)
            tail.append((CREATE, 1, 1, len(body)), [first], [0])
            self._logs[snapshot.session] = _Log(snapshot, tail)
        elif log.tail.epoch != snapshot.epoch:
            outcome = WasForeign(CREATE)
        self._post(lambda: done(outcome))

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        outcomes = [self._commit(submission) for submission in batch]

        def answer() -> None:
            for outcome in outcomes:
                done(outcome)

        self._post(answer)

    def _commit(self, submission: Submission) -> Outcome:
        txn = submission.txn
        log = self._logs.get(txn.session)
        if log is None:
            return WasForeign(txn.id)
        tail = log.tail
        verdict = tail.judge(txn)
        if verdict is Verdict.APPEND:
            size = sum(map(len, submission.bodies))
            tail.append((txn.id, txn.expected + 1, txn.entries[-1].version, size), txn.entries, txn.digests)
            log.waiting_for, log.waiting_until = txn.waiting_for, txn.waiting_until
            log.status = txn.status
            if txn.snapshot is not None:
                self._keep(log, txn.snapshot)
            return WasCommitted(txn.id)
        if verdict is Verdict.STANDS:
            return WasCommitted(txn.id)
        if verdict is Verdict.BEHIND:
            return WasConflict(txn.id, *tail.since(txn.expected, tail.version))
        return WasForeign(txn.id)

    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        log = self._logs.get(session)
        answer: StoredLog | StoreFault = StoreFault("not_found")
        if log is not None:
            answer = _read(log, max(log.tail.version - reach, log.snapshots[0].version), log.tail.version)
            # It is no fold of entries: the newest word on it counts, wherever the log is read from.
            heard = log.snapshots[-1].heard
            answer = structs.replace(answer, snapshot=structs.replace(answer.snapshot, heard=heard))
        self._post(lambda: done(answer))

    def state_at(self, session: SessionId, version: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        log = self._logs.get(session)
        answer: StoredLog | StoreFault = StoreFault("not_found")
        if log is not None and log.snapshots[0].version <= version <= log.tail.version:
            answer = _read(log, version, version)
        self._post(lambda: done(answer))

    def entries(
        self, session: SessionId, after: int, count_max: int, done: Callable[[Stretch | StoreFault], None]
    ) -> None:
        log = self._logs.get(session)
        answer: Stretch | StoreFault = StoreFault("not_found")
        if log is not None:
            tail, oldest = log.tail, log.snapshots[0].version
            start = max(after, begins_after(oldest), tail.version - len(tail.entries))
            entries, _ = tail.since(start, max(start, min(start + count_max, tail.version)))
            answer = Stretch(tail.epoch, oldest, tail.version, entries)
        self._post(lambda: done(answer))

    def version_at(self, session: SessionId, at_ms: int, done: Callable[[int | StoreFault], None]) -> None:
        log = self._logs.get(session)
        answer: int | StoreFault = StoreFault("not_found")
        if log is not None:
            answer = 0
            for snapshot in log.snapshots:
                answer = snapshot.version if snapshot.at <= at_ms else answer
            for entry in log.tail.since(answer, log.tail.version)[0] if answer else ():
                if entry.at > at_ms:
                    break
                answer = entry.version
        self._post(lambda: done(answer))

    def write_snapshot(self, snapshot: Snapshot) -> None:
        log = self._logs.get(snapshot.session)
        if log is not None and log.tail.epoch == snapshot.epoch and snapshot.version <= log.tail.version:
            self._keep(log, snapshot)

    def _keep(self, log: _Log, snapshot: Snapshot) -> None:
        place = bisect_right(log.snapshots, snapshot.version, key=_version_of)
        if place and log.snapshots[place - 1].version == snapshot.version:
            log.snapshots[place - 1] = snapshot
            return
        log.snapshots.insert(place, snapshot)
        kept = [Kept(one.version, one.at) for one in log.snapshots]
        head, at = log.tail.version, log.tail.at
        base, dropped = plan(kept, head, at, self._limits, self._retention, self._history_entries_max)
        log.tail.forget(base)
        log.snapshots = [one for one in log.snapshots if one.version not in dropped]

    def delete(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        self._logs.pop(session, None)
        self._post(lambda: done(None))

    def waiting_offers(self, account: AccountId, device: DeviceId, done: Callable[[list[SessionId]], None]) -> None:
        now_ms = self._clock.now_ms()
        sessions = [
            session
            for session, log in self._logs.items()
            if log.account == account and log.waiting_for == device and log.waiting_until > now_ms
        ]
        self._post(lambda: done(sessions))

    def sweep(self, now_ms: int, count_max: int, done: Callable[[Swept], None]) -> None:
        due = [
            (session, log.status)
            for session, log in self._logs.items()
            if log.tail.at <= now_ms - self._retention.session_ms(log.status)
        ]
        for session, _ in due[:count_max]:
            del self._logs[session]
        self._post(lambda: done(Swept(due[:count_max], has_more=len(due) > count_max)))

    def walk(
        self,
        after: str,
        count_max: int,
        done: Callable[[list[StoredHead] | StoreFault], None],
        account: AccountId | None = None,
    ) -> None:
        heads = [
            StoredHead(session, log.account, log.tail.version, log.tail.at)
            for session, log in sorted(self._logs.items())
            if session > after and account in (None, log.account)
        ]
        self._post(lambda: done(heads[:count_max]))

    def is_healthy(self) -> bool:
        return True


def _version_of(snapshot: Snapshot) -> int:
    return snapshot.version


def _read(log: _Log, from_version: int, to_version: int) -> StoredLog:
    """The newest snapshot at or before `from_version` and the entries after it up to `to_version`."""
    snapshot = log.snapshots[bisect_right(log.snapshots, from_version, key=_version_of) - 1]
    return StoredLog(snapshot, *log.tail.since(snapshot.version, to_version))
