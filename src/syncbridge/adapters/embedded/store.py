"""The state store of one process: compare and set in memory, SQLite for everything that must last.

A transaction is decided when it is submitted, against the tail of its session in memory, so that the next one of the
same tick sees the new head; it is answered when its group is on disk. Where the disk refuses a group, the memory of
every session it touched is dropped and read anew: what was decided on top of it is refused too, in the order submitted.
A session that is not in memory is read first; what is asked of it meanwhile waits in line.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from syncbridge.adapters.embedded.ageing import Due, Found, find_due, walk
from syncbridge.adapters.embedded.answers import judged_by_tail, unwritten
from syncbridge.adapters.embedded.directory import CannotOpen, DataDirectory
from syncbridge.adapters.embedded.journal import Journal, LogRead
from syncbridge.adapters.embedded.memory import CREATE, Post
from syncbridge.adapters.embedded.records import JournalRow, encode_snapshot
from syncbridge.adapters.embedded.salvage import salvage
from syncbridge.adapters.embedded.scrub import check, require_database, unreadable
from syncbridge.adapters.embedded.sole import SoleWriter
from syncbridge.adapters.embedded.stretches import read_entries, read_version_at
from syncbridge.adapters.embedded.tail import SessionTail, Verdict
from syncbridge.adapters.embedded.worker import Ask, Fate, JournalWorker, Keep, Write
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.retention import HISTORY_ENTRIES_MAX
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
    WasRefused,
)

TAILS_BYTES_MAX = 64 * 1024 * 1024
"""Bodies of the entries held in memory, over all sessions; decoded they take about five times that."""
TAIL_BYTES_MAX = 1024 * 1024
"""The same of one session."""
TAILS_MAX = 20_000

_HELD = StoreFault("unavailable", "another process reads the journal; its write-ahead log is still there")

_log = structlog.get_logger(__name__)

_Read = TypeVar("_Read")


class SqliteStore(SoleWriter):
    """`StateStore` over the directory `path`.

    Durability  an answer `WasCommitted` follows the sync of the group's write-ahead log (synchronous=FULL): it
                survives `kill -9`, and the loss of power as far as the disk keeps its word.
    Blocking    opening and `close` block; nothing else does.
    Thread      every call, and all that goes through ``post``, in one thread: the event loop's.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        post: Post,
        *,
        limits: Limits | None = None,
        retention: Retention | None = None,
        history_entries_max: int = HISTORY_ENTRIES_MAX,
        tails_max: int = TAILS_MAX,
        tails_bytes_max: int = TAILS_BYTES_MAX,
        accept_loss: bool = False,
    ) -> None:
        """The journal is open and verified. Raises CannotOpen, with the sentence for the operator."""
        self._clock = clock
        self._limits = limits or Limits()
        self._retention = retention or Retention()
        self._history_entries_max = history_entries_max
        self._tails_max = tails_max
        self._tails_bytes_max = tails_bytes_max
        self._directory = DataDirectory(path)
        try:
            journal = self._open_verified(accept_loss)
        except BaseException:
            self._directory.close()
            raise
        self._last_id = journal.counter()
        self._set_aside = set(journal.set_aside)
        self._directory_mark(journal)
        # Least recently written first: that is the order of eviction.
        self._tails: dict[SessionId, SessionTail] = {}
        self._tails_bytes = 0
        self._readings: dict[SessionId, list[Callable[[StoreFault | None], None]]] = {}
        self._erasing: set[SessionId] = set()
        self._generation = 0
        self.commits_waiting = 0  # for the disk
        self._heard_at = 0.0
        self.worker = JournalWorker(
            self._directory, journal, partial(self._open_journal, self._directory.database), post, self._settle
        )
        self.worker.start()

    def _open_journal(self, path: Path) -> Journal:
        return Journal(path, self._limits, self._retention, self._history_entries_max)

    def _open_verified(self, accept_loss: bool) -> Journal:
        try:
            return self._open_checked()
        except CannotOpen as refusal:
            if not accept_loss:
                raise
            _log.error("store_loss_accepted", reason=str(refusal))
            salvage(self._directory, self._open_journal)
        return self._open_checked()

    def _open_checked(self) -> Journal:
        require_database(self._directory)
        try:
            journal = self._open_journal(self._directory.database)
        except sqlite3.Error as error:
            raise unreadable(self._directory, error) from error
        try:
            check(self._directory, journal)
        except sqlite3.Error as error:
            journal.close()
            raise unreadable(self._directory, error) from error
        except BaseException:
            journal.close()
            raise
        return journal

    def _directory_mark(self, journal: Journal) -> None:
        self._directory.write_mark(journal.store_id(), self._last_id)

    def close(self) -> None:
        """Everything submitted is on disk, its answers are posted, and another process may open the directory."""
        self.worker.stop()
        self._directory.close()

    def is_healthy(self) -> bool:
        is_late = self.commits_waiting > 0 and time.monotonic() - self._heard_at > self._limits.store_timeout_ms / 1000
        return self.worker.is_alive() and not self.worker.is_failing and not is_late

    def watch_groups(self, told: Callable[[float], None]) -> None:
        """``told`` is called with how long each group of commits took to reach the disk, in ms."""
        self.worker.on_group = told

    def memory_held(self) -> tuple[int, int]:
        """How many sessions' tails are in memory, and the bytes of their entries' bodies."""
        return len(self._tails), self._tails_bytes

    # -- commits ------------------------------------------------------------------------------------------------

    def create(self, snapshot: Snapshot, first: Entry, body: bytes, done: Callable[[Outcome], None]) -> None:
        session = snapshot.session
        if session in self._readings:
            self._readings[session].append(lambda fault: self.create(snapshot, first, body, done))
            return
        tail = self._tails.get(session)
        if tail is not None:
            done(WasCommitted(CREATE) if tail.epoch == snapshot.epoch else WasForeign(CREATE))
            return
        if session in self._set_aside:
            done(WasForeign(CREATE))
            return
        encode_snapshot(snapshot)  # raises here, to the caller, rather than leave a log without a snapshot
        txn = Txn(
            id=CREATE,
            session=session,
            account=snapshot.account,
            epoch=snapshot.epoch,
            expected=0,
            entries=[first],
            digests=[0],
            status=snapshot.status,
            snapshot=snapshot,
        )
        tail = self._new_tail(session, snapshot.epoch, 0)
        tail.judge(txn)
        self._readings[session] = []
        self._put([self._write(tail, Submission(txn, [body]), done, is_new=True)])

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        """As the port says.

        Cost  in the loop's thread, in batches of 50: 1.3 microseconds a transaction, 0.3 its answer.
        """
        writes: list[Write] = []
        for submission in batch:
            tail = self._tails.get(submission.txn.session)
            if tail is None:
                self._submit_unread(submission, done)
                continue
            verdict = tail.judge(submission.txn)
            if verdict is Verdict.APPEND:
                writes.append(self._write(tail, submission, done))
            elif tail.unanswered or verdict is Verdict.TOO_OLD:
                # What is in memory may not be on disk yet, and answers keep their order: the journal judges this
                # one when all before it are done.
                tail.unanswered += 1
                is_foreign = verdict is Verdict.FOREIGN
                writes.append(Write(submission, done, tail, self._generation, is_foreign=is_foreign))
            else:
                done(judged_by_tail(submission.txn, tail, verdict))
        if writes:
            self._put(writes)

    def _write(
        self, tail: SessionTail, submission: Submission, done: Callable[[Outcome], None], is_new: bool = False
    ) -> Write:
        """The tail has the transaction's entries; the order to put them on disk."""
        txn = submission.txn
        self._last_id = row_id = self._last_id + 1
        previous, tail.row_id = tail.row_id, row_id
        tail.unanswered += 1
        before = tail.size
        size = sum(map(len, submission.bodies))
        tail.append((txn.id, txn.expected + 1, txn.entries[-1].version, size), txn.entries, txn.digests)
        if not is_new:
            self._tails_bytes += tail.size - before
            self._tails[tail.session] = self._tails.pop(tail.session)
        return Write(submission, done, tail, self._generation, row_id, previous, is_new)

    def _submit_unread(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        txn = submission.txn
        if txn.session in self._set_aside:
            done(WasRefused(txn.id, "state_damaged"))
            return

        def go_on(fault: StoreFault | None) -> None:
            if fault is None or txn.session in self._tails:
                self.submit([submission], done)
            elif fault.code == "not_found":
                done(WasForeign(txn.id))
            else:
                done(WasRefused(txn.id, fault.code))

        self._when_read(txn.session, go_on)

    def _judged_by_journal(self, txn: Txn, rows: list[JournalRow] | StoreFault) -> Outcome:
        if isinstance(rows, StoreFault):
            self._note_fault(txn.session, rows)
            return WasForeign(txn.id) if rows.code == "not_found" else WasRefused(txn.id, rows.code)
        if rows[0].epoch != txn.epoch:
            return WasForeign(txn.id)
        if (rows[0].first, rows[0].txn) == (txn.expected + 1, txn.id):
            return WasCommitted(txn.id)
        entries = [entry for row in rows for entry in row.entries()]
        digests = [digest for row in rows for digest in row.digests]
        skipped = txn.expected + 1 - rows[0].first
        return WasConflict(txn.id, entries[skipped:], digests[skipped:])

    def _settle(self, group: tuple[list[Write], Fate]) -> None:
        """The group's fate is known: everyone in it is answered, in order."""
        writes, fate = group
        self.commits_waiting -= len(writes)
        self._heard_at = time.monotonic()
        if fate is not Fate.ON_DISK and writes[-1].generation == self._generation:
            self._generation += 1
            for tail in [tail for tail in self._tails.values() if tail.version != tail.durable]:
                self._drop(tail.session)
        for write in writes:
            tail, txn = write.tail, write.submission.txn
            tail.unanswered -= 1
            if write.is_new:
                self._settle_new(write, fate)
            elif write.is_foreign and fate is Fate.ON_DISK:
                # Also if the log caught up with it since: it was ahead when it was submitted.
                write.done(WasForeign(txn.id))
            elif write.found is not None:
                write.done(self._judged_by_journal(txn, write.found))
            elif fate is Fate.ON_DISK:
                tail.durable = txn.entries[-1].version
                write.done(WasCommitted(txn.id))
            else:
                write.done(unwritten(txn, fate if write.row_id else Fate.REFUSED))
        self._evict()

    def _settle_new(self, write: Write, fate: Fate) -> None:
        txn = write.submission.txn
        if fate is not Fate.ON_DISK:
            outcome = unwritten(txn, fate)
        elif write.other_epoch is None:
            write.tail.durable = 1
            self._install(write.tail)
            outcome = WasCommitted(txn.id)
        else:
            outcome = WasCommitted(txn.id) if write.other_epoch == txn.epoch else WasForeign(txn.id)
        write.done(outcome)
        self._go_on(txn.session, None)

    # -- tails in memory ----------------------------------------------------------------------------------------

    def _new_tail(self, session: SessionId, epoch: str, version: int) -> SessionTail:
        entries_max = self._limits.log_entries_kept_max
        return SessionTail(session, epoch, version, entries_max=entries_max, bytes_max=TAIL_BYTES_MAX)

    def _install(self, tail: SessionTail) -> None:
        self._tails[tail.session] = tail
        self._tails_bytes += tail.size

    def _drop(self, session: SessionId) -> None:
        tail = self._tails.pop(session, None)
        if tail is not None:
            self._tails_bytes -= tail.size

    def _evict(self) -> None:
        """Memory is within bounds again: the sessions longest not written to go, unless they await an answer."""
        if len(self._tails) <= self._tails_max and self._tails_bytes <= self._tails_bytes_max:
            return
        count, size = len(self._tails), self._tails_bytes
        victims: list[SessionId] = []
        for session, tail in self._tails.items():
            if count <= self._tails_max and size <= self._tails_bytes_max:
                break
            if not tail.unanswered:
                victims.append(session)
                count -= 1
                size -= tail.size
        for session in victims:
            self._drop(session)

    def _when_read(self, session: SessionId, call: Callable[[StoreFault | None], None]) -> None:
        """`call` is called once the session's tail is in memory, or with why it is not."""
        waiting = self._readings.get(session)
        if waiting is not None:
            waiting.append(call)
            return
        self._readings[session] = [call]

        def take(read: list[JournalRow] | StoreFault) -> None:
            fault = None
            if isinstance(read, StoreFault):
                fault = read
                self._note_fault(session, read)
            else:
                self._install(self._tail_of(read))
            self._go_on(session, fault)
            self._evict()

        self._ask(Ask(lambda journal: journal.last_rows(session), take, session))

    def _go_on(self, session: SessionId, fault: StoreFault | None) -> None:
        """Everything that waited for the session is done, in the order it was asked."""
        for call in self._readings.pop(session):
            call(fault)

    def _tail_of(self, rows: list[JournalRow]) -> SessionTail:
        """The tail that these rows, read from the disk, end in."""
        tail = self._new_tail(rows[0].session, rows[0].epoch, rows[0].first - 1)
        for row in rows:
            tail.append((row.txn, row.first, row.last, len(row.bodies)), row.entries(), row.digests)
        tail.durable = tail.version
        tail.row_id = rows[-1].id
        return tail

    def _note_fault(self, session: SessionId, fault: StoreFault) -> None:
        if fault.code == "state_damaged":
            self._set_aside.add(session)
            self._drop(session)

    # -- reading ------------------------------------------------------------------------------------------------

    def load(self, session: SessionId, reach: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        def take(read: LogRead | StoreFault) -> None:
            if isinstance(read, StoreFault):
                self._note_fault(session, read)
                done(read)
                return
            # A tail in memory may be ahead of what was read; one that is being read, made or erased is not ours.
            if not (session in self._tails or session in self._readings or session in self._erasing):
                self._install(self._tail_of(read.rows))
                self._evict()
            done(read.stored)

        self._ask(Ask(lambda journal: journal.read(session, reach), take, session))

    def state_at(self, session: SessionId, version: int, done: Callable[[StoredLog | StoreFault], None]) -> None:
        self._ask_about(session, lambda journal: journal.state_at(session, version), done)

    def entries(
        self, session: SessionId, after: int, count_max: int, done: Callable[[Stretch | StoreFault], None]
    ) -> None:
        self._ask_about(session, lambda journal: read_entries(journal, session, after, count_max), done)

    def version_at(self, session: SessionId, at_ms: int, done: Callable[[int | StoreFault], None]) -> None:
        self._ask_about(session, lambda journal: read_version_at(journal, session, at_ms), done)

    def _ask_about(
        self, session: SessionId, question: Callable[[Journal], _Read], done: Callable[[_Read | StoreFault], None]
    ) -> None:
        def take(read: _Read | StoreFault) -> None:
            if isinstance(read, StoreFault):
                self._note_fault(session, read)
            done(read)

        self._ask(Ask(question, take, session))

    def waiting_offers(self, account: AccountId, device: DeviceId, done: Callable[[list[SessionId]], None]) -> None:
        """As the port says; none, and a line in the log, where the journal cannot be read."""
        now_ms = self._clock.now_ms()

        def take(sessions: list[SessionId] | StoreFault) -> None:
            done([] if isinstance(sessions, StoreFault) else sessions)

        self._ask(Ask(lambda journal: journal.waiting(account, device, now_ms), take))

    # -- snapshots and the end ----------------------------------------------------------------------------------

    def write_snapshot(self, snapshot: Snapshot) -> None:
        tail = self._tails.get(snapshot.session)
        is_head = tail is not None and tail.version == tail.durable == snapshot.version
        self.worker.put(Keep(snapshot, tail.row_id if tail is not None and is_head else 0))

    def delete(self, session: SessionId, done: Callable[[StoreFault | None], None]) -> None:
        if session in self._readings:
            self._readings[session].append(lambda fault: self.delete(session, done))
            return

        def tell(is_gone: bool | StoreFault) -> None:
            done(is_gone if isinstance(is_gone, StoreFault) else None if is_gone else _HELD)

        self._erase([session], tell)

    def sweep(self, now_ms: int, count_max: int, done: Callable[[Swept], None]) -> None:
        """As the port says. Also what pruning took out of living logs leaves the write-ahead log."""

        def erase(found: Found | StoreFault) -> None:
            if isinstance(found, StoreFault):
                done(Swept(fault=found))
                return
            due = [one for one in found.due if self._is_over(one)]
            swept = [(one.session, one.status) for one in due]

            def tell(is_gone: bool | StoreFault) -> None:
                if isinstance(is_gone, StoreFault):
                    done(Swept(fault=is_gone))
                else:
                    done(Swept(swept, found.has_more, None if is_gone else _HELD))

            self._erase([one.session for one in due], tell)

        self._ask(Ask(lambda journal: find_due(journal, now_ms, self._retention, count_max), erase))

    def _is_over(self, due: Due) -> bool:
        tail = self._tails.get(due.session)
        return due.session not in self._readings and (tail is None or (not tail.unanswered and tail.at <= due.at))

    def walk(
        self,
        after: str,
        count_max: int,
        done: Callable[[list[StoredHead] | StoreFault], None],
        account: AccountId | None = None,
    ) -> None:
        self._ask(Ask(lambda journal: walk(journal, after, count_max, account), done))

    def _erase(self, sessions: list[SessionId], done: Callable[[bool | StoreFault], None]) -> None:
        """The sessions are out of memory now; at `done`, out of the journal, and with True off the disk too."""
        # Also for no session: what an earlier erasure left in the write-ahead log is folded.
        self._last_id = counter = self._last_id + bool(sessions)
        for session in sessions:
            self._drop(session)
        self._erasing.update(sessions)

        def erase(journal: Journal) -> bool:
            is_gone = journal.erase(sessions, counter)
            self.worker.mark(counter)
            return is_gone

        def tell(is_gone: bool | StoreFault) -> None:
            self._erasing.difference_update(sessions)
            if not isinstance(is_gone, StoreFault):
                self._set_aside.difference_update(sessions)
            done(is_gone)

        self._ask(Ask(erase, tell))

    # -- the worker ---------------------------------------------------------------------------------------------

    def _put(self, writes: list[Write]) -> None:
        if not self.commits_waiting:
            self._heard_at = time.monotonic()
        self.commits_waiting += len(writes)
        self.worker.put(writes)

    def _ask(self, ask: Ask) -> None:
        self.worker.put(ask)
