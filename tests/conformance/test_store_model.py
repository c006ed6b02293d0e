"""Any history of calls, against a model that a reader can check by eye."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from syncbridge.core.entry import Entry
from syncbridge.limits import Limits
from syncbridge.ports import (
    Outcome,
    StateStore,
    StoredLog,
    StoreFault,
    Stretch,
    Submission,
    WasCommitted,
    WasConflict,
    WasForeign,
)
from tests.conformance.harness import HARNESSES, SERVER_HARNESSES, Harness, adapters
from tests.conformance.logs import (
    EPOCH,
    STARTED_AT,
    ahead,
    change,
    create,
    delete,
    entries,
    load,
    session_named,
    snapshot_of,
    state_at,
    submit,
    version_at,
)

SESSIONS = [session_named(name) for name in "abc"]
LIMITS = Limits(log_entries_kept_max=6, resume_entries_max=6, snapshot_entries_max=6)


class ModelLog:
    """The log as a list: transaction n stands at ``txns[n]``, entry v at ``entries[v]``."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.entries: dict[int, Entry] = {}
        self.digests: dict[int, int] = {}
        self.starts: dict[int, Submission] = {}
        self.head = 1

    def answer(self, submission: Submission, store: StateStore) -> Outcome:
        txn = submission.txn
        if txn.epoch != self.epoch:
            return WasForeign(txn.id)
        if txn.expected > self.head:
            return ahead(store, txn.id, self.head)
        stands = self.starts.get(txn.expected + 1)
        if stands is not None and stands.txn.id == txn.id:
            return WasCommitted(txn.id)
        if txn.expected < self.head:
            since = range(txn.expected + 1, self.head + 1)
            return WasConflict(txn.id, [self.entries[v] for v in since], [self.digests[v] for v in since])
        for entry, digest in zip(txn.entries, txn.digests, strict=True):
            self.entries[entry.version], self.digests[entry.version] = entry, digest
        self.starts[txn.expected + 1] = submission
        self.head = txn.entries[-1].version
        return WasCommitted(txn.id)


class StoreModel(RuleBasedStateMachine):
    """History is long enough here to leave memory, and short enough to stay inside the window that is kept."""

    adapter: str

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.harness: Harness = HARNESSES[self.adapter](Path(self._directory.name) / "data", LIMITS, 20_000)
        self.logs: dict[str, ModelLog] = {}
        self.deleted: set[str] = set()
        self.count = 0

    def teardown(self) -> None:
        self.harness.close()
        self._directory.cleanup()

    def expected_of(self, submission: Submission) -> Outcome:
        txn = submission.txn
        log = self.logs.get(txn.session)
        if log is None:
            return WasForeign(txn.id) if txn.session in self.deleted else ahead(self.harness.store, txn.id, 0)
        return log.answer(submission, self.harness.store)

    @rule(session=st.sampled_from(SESSIONS), epoch=st.sampled_from([EPOCH, EPOCH, "epoch-2"]))
    def create_session(self, session: Any, epoch: str) -> None:
        outcome = create(self.harness, session, epoch=epoch)
        log = self.logs.setdefault(session, ModelLog(epoch))
        assert isinstance(outcome, WasCommitted if log.epoch == epoch else WasForeign)
        self.deleted.discard(session)

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(SESSIONS),
                st.sampled_from(["head", "head", "head", "repeat", "behind", "ahead", "foreign"]),
                st.integers(1, 3),
                st.integers(0, 40),
            ),
            min_size=1,
            max_size=12,
        )
    )
    def submit_batch(self, batch: list[tuple[Any, str, int, int]]) -> None:
        submissions: list[Submission] = []
        expected: list[Outcome] = []
        for session, kind, count, back in batch:
            log = self.logs.get(session)
            head, epoch = (1, EPOCH) if log is None else (log.head, log.epoch)
            self.count += 1
            if kind == "repeat" and log is not None and log.starts:
                starts = sorted(log.starts)
                submission = log.starts[starts[back % len(starts)]]
            else:
                at = {"behind": max(1, head - 1 - back), "ahead": head + 1 + back}.get(kind, head)
                which = "epoch-0" if kind == "foreign" else epoch
                submission = change(session, at, count, name=f"t{self.count}", epoch=which)
            submissions.append(submission)
            expected.append(self.expected_of(submission))
        outcomes = submit(self.harness, *submissions)
        for session in SESSIONS:
            ours = {submission.txn.id for submission in submissions if submission.txn.session == session}
            got = [outcome for outcome in outcomes if outcome.txn in ours]
            want = [outcome for outcome in expected if outcome.txn in ours]
            assert [type(outcome) for outcome in got] == [type(outcome) for outcome in want]
            for one, other in zip(got, want, strict=True):
                if isinstance(one, WasConflict) and isinstance(other, WasConflict):
                    # "All that came since" may hold what the same batch added after the question.
                    assert one.entries[: len(other.entries)] == other.entries
                    assert one.digests[: len(other.digests)] == other.digests
                else:
                    assert one == other

    @rule(session=st.sampled_from(SESSIONS), back=st.integers(0, 10))
    def write_snapshot(self, session: Any, back: int) -> None:
        log = self.logs.get(session)
        if log is not None:
            self.harness.store.write_snapshot(snapshot_of(session, max(1, log.head - back), epoch=log.epoch))

    @rule(session=st.sampled_from(SESSIONS))
    def delete_session(self, session: Any) -> None:
        assert delete(self.harness, session) is None
        self.logs.pop(session, None)
        self.deleted.add(session)

    @precondition(lambda self: self.logs)
    @rule()
    def reopen(self) -> None:
        self.harness.reopen()

    @rule(session=st.sampled_from(SESSIONS), reach=st.integers(0, 60))
    def load_session(self, session: Any, reach: int) -> None:
        answer, log = load(self.harness, session, reach), self.logs.get(session)
        if log is None:
            assert isinstance(answer, StoreFault)
            assert answer.code == "not_found"
        else:
            self.check(answer, log, log.head)
            assert isinstance(answer, StoredLog)
            assert answer.snapshot.version <= max(1, log.head - reach)

    @rule(session=st.sampled_from(SESSIONS), version=st.integers(1, 60))
    def read_history(self, session: Any, version: int) -> None:
        answer, log = state_at(self.harness, session, version), self.logs.get(session)
        if log is not None and version <= log.head:
            self.check(answer, log, version)
        else:
            assert isinstance(answer, StoreFault)

    @rule(session=st.sampled_from(SESSIONS), after=st.integers(0, 60), count_max=st.integers(1, 20))
    def read_entries(self, session: Any, after: int, count_max: int) -> None:
        answer, log = entries(self.harness, session, after, count_max), self.logs.get(session)
        if log is None:
            assert isinstance(answer, StoreFault)
            return
        assert isinstance(answer, Stretch)
        assert (answer.epoch, answer.oldest, answer.head) == (log.epoch, 1, log.head)
        told = list(range(after + 1, log.head + 1))[:count_max]
        assert [entry.version for entry in answer.entries] == told
        assert all(entry == log.entries[entry.version] for entry in answer.entries if entry.version > 1)

    @rule(session=st.sampled_from(SESSIONS), version=st.integers(0, 60))
    def read_version_at(self, session: Any, version: int) -> None:
        answer, log = version_at(self.harness, session, STARTED_AT + version), self.logs.get(session)
        assert answer == min(version, log.head) if log is not None else isinstance(answer, StoreFault)

    def check(self, answer: StoredLog | StoreFault, log: ModelLog, until: int) -> None:
        assert isinstance(answer, StoredLog), answer
        assert answer.snapshot.epoch == log.epoch
        assert answer.snapshot.state == {"version": answer.snapshot.version}
        after = range(answer.snapshot.version + 1, until + 1)
        assert answer.entries == [log.entries[version] for version in after]
        assert answer.digests == [log.digests[version] for version in after]

    @invariant()
    def stays_healthy(self) -> None:
        assert self.harness.store.is_healthy()


@pytest.mark.parametrize("adapter", adapters(HARNESSES))
def test_any_history_answers_as_the_model_does(adapter: str) -> None:
    machine = type("StoreModelOf" + adapter, (StoreModel,), {"adapter": adapter})
    examples = 12 if adapter in SERVER_HARNESSES else 60  # a server's answers take longer
    bounds = settings(max_examples=examples, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow])
    run_state_machine_as_test(machine, settings=bounds)
