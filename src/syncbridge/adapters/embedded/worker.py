"""The one thread that touches the journal: it takes everything that waits, makes it one group, and posts once.

A group's rows are one SQLite transaction and one sync. Results go to the event loop as one list a group. While
commits fail the thread probes for room by itself, so that readiness comes back without traffic.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import structlog
from msgspec import Struct

from syncbridge.adapters.embedded.directory import CannotOpen, DataDirectory
from syncbridge.adapters.embedded.journal import Journal, NotThere, SnapshotToKeep, is_damage
from syncbridge.adapters.embedded.records import Damage, JournalRow, encode_snapshot, pack_row
from syncbridge.adapters.embedded.tail import SessionTail
from syncbridge.core.entry import Snapshot, Txn
from syncbridge.core.ids import SessionId
from syncbridge.ports import Outcome, StoreFault, Submission

GROUP_JOBS_MAX = 512
PROBE_INTERVAL_S = 0.5

_log = structlog.get_logger(__name__)

Answer = tuple[Callable[[Any], None], Any]
"""What is called in the loop's thread, and with what."""


class Fate(Enum):
    """What became of a group's rows."""

    ON_DISK = auto()
    REFUSED = auto()
    """Not one of them is in the journal, nor will be."""
    UNKNOWN = auto()


class Write(Struct, eq=False):
    """One transaction on its way to disk; without a ``row_id`` it appends nothing, the journal shall judge it.

    ``other_epoch`` is, for a new session, the epoch of the log that is there already; ``found``, for what the journal
    judges, the rows since the version that the transaction expects. ``is_foreign`` was known when it was submitted.
    """

    submission: Submission
    done: Callable[[Outcome], None]
    tail: SessionTail
    generation: int
    row_id: int = 0
    previous: int = 0
    is_new: bool = False
    is_foreign: bool = False
    other_epoch: str | None = None
    found: list[JournalRow] | StoreFault | None = None


class Ask:
    """A question to the journal, answered in its turn; ``session`` is set aside where the answer is damaged."""

    __slots__ = ("answer", "question", "session")

    def __init__(
        self, question: Callable[[Journal], Any], answer: Callable[[Any], None], session: SessionId | None = None
    ) -> None:
        self.question = question
        self.answer = answer
        self.session = session


class Keep:
    """A snapshot of committed entries; ``tail`` is the journal row of its last one, 0 where unknown."""

    __slots__ = ("snapshot", "tail")

    def __init__(self, snapshot: Snapshot, tail: int) -> None:
        self.snapshot = snapshot
        self.tail = tail


Job = list[Write] | Ask | Keep | None


class JournalWorker:
    """Owns the journal from `start` to `stop`.

    Settled  `settled(writes, fate)` and every answer are called by what is given to ``post``.
    Order    jobs are done in the order put.
    """

    def __init__(
        self,
        directory: DataDirectory,
        journal: Journal,
        reopen: Callable[[], Journal],
        post: Callable[[Callable[[], None]], None],
        settled: Callable[[tuple[list[Write], Fate]], None],
    ) -> None:
        self._directory = directory
        self._journal: Journal | None = journal
        self._store_id = journal.store_id()
        self._reopen = reopen
        self._post = post
        self._settled = settled
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._failed_generation = -1
        self.on_group: Callable[[float], None] = _ignore
        """Called, like an answer, with how long each group of commits took, in ms."""
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.is_failing = False

    def start(self) -> None:
        self._thread.start()

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def stop(self) -> None:
        """Everything that was put is done, the journal is closed."""
        self._queue.put(None)
        self._thread.join()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        jobs: list[Job] = []
        try:
            while True:
                try:
                    jobs.append(self._queue.get(timeout=PROBE_INTERVAL_S if self.is_failing else None))
                    while len(jobs) < GROUP_JOBS_MAX:
                        jobs.append(self._queue.get_nowait())
                except Empty:
                    pass
                if not self._do(jobs):
                    return
                jobs = []
        finally:
            if self._journal is not None:
                self._journal.close()

    def _do(self, jobs: list[Job]) -> bool:
        """The jobs are done and posted; False when the last one was the order to stop."""
        if not jobs:
            self._probe()
        answers: list[Answer] = []
        writes: list[Write] = []
        keeps: list[Keep] = []
        for job in jobs:
            if isinstance(job, list):
                writes += job
            elif isinstance(job, Keep):
                keeps.append(job)
            else:
                if writes or keeps:
                    self._commit(writes, keeps)
                    writes, keeps = [], []
                if job is None:
                    self._tell(answers)
                    return False
                answers.append((job.answer, self._ask(job)))
        self._tell(answers)
        if writes or keeps:
            self._commit(writes, keeps)
        return True

    def _tell(self, answers: list[Answer]) -> None:
        if answers:
            try:
                self._post(partial(_call_each, answers))
            except RuntimeError:
                _log.warning("store_answers_dropped", count=len(answers), reason="the event loop is closed")

    def _commit(self, writes: list[Write], keeps: list[Keep]) -> None:
        """The rows and snapshots are on disk, or their fate is said; one post for all of them."""
        is_stale = [write.generation <= self._failed_generation for write in writes]
        refused = [write for write, stale in zip(writes, is_stale, strict=True) if stale]
        live = [write for write, stale in zip(writes, is_stale, strict=True) if not stale]
        fate = Fate.ON_DISK
        snapshots: list[SnapshotToKeep] = []
        last_id = 0
        begin = time.perf_counter()
        try:
            journal = self._opened()
            rows = []
            for write in live:
                txn = write.submission.txn
                if write.is_new:
                    write.other_epoch = self._epoch_there(journal, txn.session)
                if not write.row_id or write.other_epoch is not None:
                    continue
                rows.append(pack_row(write.row_id, write.previous, txn, write.submission.bodies))
                if txn.snapshot is not None:
                    is_last = txn.snapshot.version == txn.entries[-1].version
                    self._encode(snapshots, txn.snapshot, write.row_id if is_last else 0)
            for keep in keeps:
                self._encode(snapshots, keep.snapshot, keep.tail)
            last_id = rows[-1][0] if rows else 0
            journal.commit(rows, snapshots)
        except (sqlite3.Error, CannotOpen, ValueError, OverflowError) as error:
            fate = self._after_failure(error, last_id)
            if live:
                self._failed_generation = live[-1].generation
        else:
            if self.is_failing and (rows or snapshots):
                self._say_recovered()
            for write in live:
                if not write.row_id and not write.is_foreign:
                    write.found = self._rows_since(write.submission.txn)
        answers: list[Answer] = [
            (self._settled, (group, what)) for group, what in ((refused, Fate.REFUSED), (live, fate)) if group
        ]
        self._tell([*answers, (self.on_group, (time.perf_counter() - begin) * 1000)])
        if fate is Fate.ON_DISK:
            # After the answers: a system call gives up the GIL, and they need not wait for it. A crash in between
            # loses nothing; only, a loss of just this group on top of it would not be noticed.
            self.mark(last_id)
            self._prune({snapshot.snapshot.session for snapshot in snapshots})

    def _rows_since(self, txn: Txn) -> list[JournalRow] | StoreFault:
        rows: list[JournalRow] | StoreFault = self._ask(
            Ask(lambda journal: journal.since(txn.session, txn.expected), _ignore, txn.session)
        )
        return rows

    def mark(self, counter: int) -> None:
        """The mark says that the journal went to `counter` (0: no further than before)."""
        if counter:
            try:
                self._directory.write_mark(self._store_id, counter)
            except OSError as error:
                _log.warning("store_mark_not_written", error=str(error))

    def _epoch_there(self, journal: Journal, session: SessionId) -> str | None:
        if session in journal.set_aside:
            return ""
        head = journal.head(session)
        return None if head is None else head.epoch

    def _encode(self, snapshots: list[SnapshotToKeep], snapshot: Snapshot, tail: int) -> None:
        """The snapshot is among `snapshots`; one that is no JSON is left out and said, the entries stand anyway."""
        try:
            snapshots.append(SnapshotToKeep(snapshot, encode_snapshot(snapshot), tail))
        except (TypeError, ValueError, OverflowError) as error:
            _log.error("snapshot_not_kept", session=snapshot.session, version=snapshot.version, error=str(error))

    def _prune(self, sessions: set[SessionId]) -> None:
        for session in sessions:
            try:
                self._opened().prune(session)
            except (sqlite3.Error, CannotOpen) as error:
                _log.error("store_not_pruned", session=session, error=str(error))

    def _opened(self) -> Journal:
        if self._journal is None:
            self._journal = self._reopen()
        return self._journal

    def _after_failure(self, error: Exception, last_id: int) -> Fate:
        """What became of the group whose last row is `last_id`, by the file itself, opened anew.

        A failed sync may leave the group in the write-ahead log: then nobody may be told that it is not there.
        """
        if not self.is_failing:
            _log.error(
                "store_commit_failed",
                error=str(error),
                action="changes are refused as unavailable until a write succeeds; check disk space and disk",
            )
        self.is_failing = True
        if self._journal is None:
            return Fate.REFUSED
        try:
            self._journal.close()
            self._journal = None
            journal = self._opened()
            is_there = journal.db.execute("SELECT 1 FROM journal WHERE id = ?", (last_id,)).fetchone() is not None
            if is_there:
                journal.fold()
        except (sqlite3.Error, CannotOpen) as second:
            _log.error("store_not_reopened", error=str(second))
            return Fate.UNKNOWN
        return Fate.UNKNOWN if is_there else Fate.REFUSED

    def _probe(self) -> None:
        try:
            self._opened().probe()
        except (sqlite3.Error, CannotOpen):
            return
        self._say_recovered()

    def _say_recovered(self) -> None:
        self.is_failing = False
        _log.warning("store_commits_again")

    def _ask(self, ask: Ask) -> Any:
        """The answer, or a StoreFault in its place."""
        try:
            journal = self._opened()
            if ask.session is not None and ask.session in journal.set_aside:
                return StoreFault("state_damaged", "the session was set aside")
            try:
                return ask.question(journal)
            except NotThere as absence:
                return StoreFault("not_found", str(absence))
            except Damage as damage:
                if ask.session is not None:
                    journal.put_aside(ask.session, str(damage))
                return StoreFault("state_damaged", str(damage))
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                if ask.session is not None:
                    journal.put_aside(ask.session, str(error))
                return StoreFault("state_damaged", str(error))
        except (sqlite3.Error, CannotOpen) as error:
            _log.error("store_not_read", error=str(error))
            return StoreFault("unavailable", str(error))


def _ignore(answer: object) -> None:
    """The answer was taken otherwise."""


def _call_each(answers: list[Answer]) -> None:
    """Each is called, whatever became of the one before; the first error is raised at the end."""
    failure: Exception | None = None
    for call, value in answers:
        try:
            call(value)
        except Exception as error:  # noqa: BLE001  (one receiver's fault must not keep the others unanswered)
            failure = failure or error
    if failure is not None:
        raise failure
