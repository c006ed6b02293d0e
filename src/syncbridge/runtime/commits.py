"""Transactions on their way to the store and back: those of one turn of the loop go as one batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter

from syncbridge.core.entry import Txn
from syncbridge.core.events import AnyEvent, Committed, Conflicted, EpochChanged, FellBehind, Fenced, OutcomeUnknown
from syncbridge.core.ids import TxnId
from syncbridge.ports import (
    Outcome,
    SessionDirectory,
    StateStore,
    Submission,
    Telemetry,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
    WasRefused,
    WasUnknown,
)
from syncbridge.runtime.sessions import LiveSession
from syncbridge.runtime.timers import CallSoon

_logger = logging.getLogger("syncbridge.runtime")


class _Trip:
    """One batch on its way to the store and back; ``waiting`` of it are not answered, ``entries`` are committed."""

    __slots__ = ("began_at", "entries", "waiting")

    def __init__(self) -> None:
        self.began_at = 0.0
        self.entries = 0
        self.waiting = 0


class Commits:
    """The commits of this node's sessions.

    The first one of a turn asks for a call after this turn, which takes all that came until then. Each outcome is
    told to the session's machine that ordered it, once, by ``tell``.
    """

    __slots__ = ("_batch", "_call_soon", "_directory", "_in_flight", "_store", "_telemetry", "_tell", "_trip")

    def __init__(
        self,
        store: StateStore,
        call_soon: CallSoon,
        directory: SessionDirectory,
        telemetry: Telemetry,
        tell: Callable[[LiveSession, AnyEvent], None],
    ) -> None:
        self._store = store
        self._call_soon = call_soon
        self._directory = directory
        self._telemetry = telemetry
        self._tell = tell
        self._batch: list[Submission] = []
        self._trip = _Trip()
        self._in_flight: dict[TxnId, tuple[LiveSession, _Trip, int]] = {}

    @property
    def in_flight(self) -> int:
        """Transactions whose outcome is not known yet, submitted or about to be."""
        return len(self._in_flight)

    def add(self, live: LiveSession, txn: Txn) -> None:
        """The transaction goes out with this turn's batch."""
        self._in_flight[txn.id] = (live, self._trip, len(txn.entries))
        self._batch.append(Submission(txn, live.fanout.journal(txn.entries)))
        if len(self._batch) == 1:
            self._trip.began_at = perf_counter()
            self._call_soon(self.submit)

    def submit(self) -> None:
        """What was added so far is on its way."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        trip, self._trip = self._trip, _Trip()
        trip.waiting = len(batch)
        try:
            self._store.submit(batch, self._on_outcome)
        except Exception:
            # The port promises not to raise; what it did before it raised is not known.
            _logger.exception("the store failed on a batch of %d", len(batch))
            for submission in batch:
                if submission.txn.id in self._in_flight:
                    self._on_outcome(WasUnknown(submission.txn.id))

    def _on_outcome(self, outcome: Outcome) -> None:
        known = self._in_flight.pop(outcome.txn, None)
        if known is None:
            return
        live, trip, count = known
        event: AnyEvent
        if type(outcome) is WasCommitted:
            event = Committed(outcome.txn)
            trip.entries += count
            self._note(live)
        elif isinstance(outcome, WasConflict):
            event = Conflicted(outcome.txn, outcome.entries, outcome.digests, outcome.txns)
        elif isinstance(outcome, WasForeign):
            event = EpochChanged(outcome.txn)
        elif isinstance(outcome, WasFenced):
            event = Fenced(outcome.txn, outcome.devices)
        elif isinstance(outcome, WasBehind):
            event = FellBehind(outcome.txn)
        elif isinstance(outcome, WasRefused) and outcome.code == "state_damaged":
            event = EpochChanged(outcome.txn)  # loading it says what is wrong with it, to everybody who follows
        else:
            event = OutcomeUnknown(outcome.txn)
        self._tell(live, event)
        trip.waiting -= 1
        if not trip.waiting:
            self._telemetry.measured("commit_ms", (perf_counter() - trip.began_at) * 1000)
            if trip.entries:
                self._telemetry.measured("commit_entries", trip.entries)

    def _note(self, live: LiveSession) -> None:
        """The directory hears what is committed now: here the log has not run ahead again."""
        log = live.machine.log
        if log is not None:
            self._directory.note(
                live.session, status=log.status, version=log.version, updated_at=log.updated_at, active=log.active
            )
