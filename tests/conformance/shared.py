"""The smallest store that several nodes could share: the memory store, with claims; and its harness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from syncbridge.adapters.embedded import MemoryStore
from syncbridge.core.ids import ConnectionId, DeviceId, SessionId
from syncbridge.limits import Limits
from syncbridge.ports import (
    Outcome,
    StateStore,
    StoredLog,
    StoreFault,
    Submission,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
)
from tests.conformance.clocks import SetClock
from tests.conformance.harness import SERVER_HARNESSES, Harness


class SharedMemoryStore(MemoryStore):
    """Of a device's connections only the one that claimed last gets anything committed (see `core.entry.Txn`)."""

    _claims: dict[tuple[SessionId, DeviceId], ConnectionId]

    @property
    def is_shared(self) -> bool:
        """Several machines write it, as nodes would."""
        return True

    def submit(self, batch: Sequence[Submission], done: Callable[[Outcome], None]) -> None:
        for submission in batch:
            self._submit_one(submission, done)

    def _submit_one(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        txn, claims = submission.txn, self.__dict__.setdefault("_claims", {})

        def judged(outcome: Outcome) -> None:
            if isinstance(outcome, WasCommitted):
                claims.update({(txn.session, device): holder for device, holder in txn.claims.items()})
            done(outcome)

        fenced = [device for device, held in txn.held.items() if claims.get((txn.session, device), held) != held]
        if fenced and not self._stands(submission):
            done(WasFenced(txn.id, fenced))
        elif txn.entries:
            super().submit([submission], judged)
        else:
            self._compare(submission, judged)

    def _stands(self, submission: Submission) -> bool:
        log = self._logs.get(submission.txn.session)
        return log is not None and log.tail.judge(submission.txn).name == "STANDS"

    def _compare(self, submission: Submission, done: Callable[[Outcome], None]) -> None:
        """A transaction without entries: the head is compared, and nothing is appended."""
        txn = submission.txn

        def read(log: StoredLog | StoreFault) -> None:
            if isinstance(log, StoreFault) or log.snapshot.epoch != txn.epoch:
                done(WasForeign(txn.id))
                return
            past = [pair for pair in zip(log.entries, log.digests, strict=True) if pair[0].version > txn.expected]
            if past:
                done(WasConflict(txn.id, [entry for entry, _ in past], [digest for _, digest in past]))
            else:
                done(WasCommitted(txn.id))

        self.load(txn.session, 1 << 30, read)


class SharedMemoryHarness:
    def __init__(self, path: Path, limits: Limits, history_entries_max: int) -> None:
        self.clock = SetClock()
        self.store: StateStore = SharedMemoryStore(self.clock, limits=limits, history_entries_max=history_entries_max)

    def wait(self, condition: Callable[[], bool]) -> None:
        """It answers before the call returns."""
        assert condition()

    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms

    def settle_age(self) -> None: ...

    def reopen(self) -> None:
        """Its memory is all there is."""

    def close(self) -> None: ...


SHARED_HARNESSES: dict[str, Callable[[Path, Limits, int], Harness]] = {
    "shared-memory": SharedMemoryHarness,
    **SERVER_HARNESSES,
}
"""The stores that several nodes share; what only these promise is tested on them (`test_claims`)."""
