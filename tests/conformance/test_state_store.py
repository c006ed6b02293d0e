"""The contract of `StateStore`, sentence by sentence, for every adapter."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.core.ids import AccountId, DeviceId, TxnId
from syncbridge.limits import Limits, Retention
from syncbridge.ports import Outcome, StoredLog, StoreFault, Submission, WasCommitted, WasConflict, WasForeign
from tests.conformance.conftest import HarnessMaker
from tests.conformance.harness import Harness
from tests.conformance.logs import (
    STARTED_AT,
    ahead,
    change,
    create,
    delete,
    load,
    loaded,
    session_named,
    snapshot_of,
    state_at,
    submit,
    unsigned,
    waiting,
)

SESSION = session_named("a")
OTHER = session_named("b")
CREATED = WasCommitted(TxnId("create"))


def versions_of(log: StoredLog) -> list[int]:
    return [log.snapshot.version, *(entry.version for entry in log.entries)]


# -- create -----------------------------------------------------------------------------------------------------


def test_a_created_log_is_its_snapshot_with_nothing_after_it(harness: Harness) -> None:
    assert create(harness, SESSION) == CREATED
    assert loaded(harness, SESSION) == StoredLog(snapshot_of(SESSION), [], [])


def test_creating_the_same_log_again_is_committed_and_changes_nothing(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1))
    assert create(harness, SESSION) == CREATED
    harness.reopen()
    assert create(harness, SESSION) == CREATED
    assert versions_of(loaded(harness, SESSION)) == [1, 2]


def test_creating_over_a_log_of_another_epoch_is_foreign_and_changes_nothing(harness: Harness) -> None:
    create(harness, SESSION)
    assert create(harness, SESSION, epoch="epoch-2") == WasForeign(TxnId("create"))
    harness.reopen()
    assert create(harness, SESSION, epoch="epoch-2") == WasForeign(TxnId("create"))
    assert loaded(harness, SESSION).snapshot.epoch == "epoch-1"


def test_what_is_submitted_before_the_creation_is_answered_comes_after_it(harness: Harness) -> None:
    outcomes: list[Outcome] = []
    first = change(SESSION, 0).txn.entries[0]
    harness.store.create(snapshot_of(SESSION), first, msgspec.json.encode(first), outcomes.append)
    harness.store.submit([change(SESSION, 1)], outcomes.append)
    harness.wait(lambda: len(outcomes) == 2)
    assert outcomes == [CREATED, WasCommitted(TxnId("txn-2"))]
    assert versions_of(loaded(harness, SESSION)) == [1, 2]


# -- atomicity --------------------------------------------------------------------------------------------------


def test_a_transaction_at_the_head_appends_all_its_entries_with_their_digests(harness: Harness) -> None:
    create(harness, SESSION)
    submission = change(SESSION, 1, 3)
    assert submit(harness, submission) == [WasCommitted(submission.txn.id)]
    log = loaded(harness, SESSION)
    assert (log.entries, log.digests) == (submission.txn.entries, submission.txn.digests)


def test_a_transaction_behind_the_head_appends_nothing_and_gets_all_that_came_since(harness: Harness) -> None:
    create(harness, SESSION)
    one, two = change(SESSION, 1, 2), change(SESSION, 3, 2)
    submit(harness, one, two)
    late = change(SESSION, 2, 5, name="late")
    came = [*one.txn.entries, *two.txn.entries][1:]
    digests = [*one.txn.digests, *two.txn.digests][1:]
    for _ in range(2):
        assert [unsigned(one) for one in submit(harness, late)] == [WasConflict(late.txn.id, came, digests)]
        harness.reopen()
    assert versions_of(loaded(harness, SESSION)) == [1, 2, 3, 4, 5]


def test_a_conflict_over_more_than_is_kept_in_memory_gets_all_that_came_since(make_harness: HarnessMaker) -> None:
    limits = Limits(log_entries_kept_max=8, resume_entries_max=8, snapshot_entries_max=8)
    harness = make_harness(limits, 20_000)
    create(harness, SESSION)
    submit(harness, *(change(SESSION, version, 2) for version in range(1, 61, 2)))
    (outcome,) = submit(harness, change(SESSION, 4, name="late"))
    assert isinstance(outcome, WasConflict)
    assert [entry.version for entry in outcome.entries] == list(range(5, 62))
    assert [digest >> 40 for digest in outcome.digests] == list(range(5, 62))


def test_a_transaction_of_another_epoch_is_foreign(harness: Harness) -> None:
    create(harness, SESSION)
    assert submit(harness, change(SESSION, 1, epoch="epoch-2")) == [WasForeign(TxnId("txn-2"))]
    assert versions_of(loaded(harness, SESSION)) == [1]


def test_a_transaction_ahead_of_the_log_appends_nothing(harness: Harness) -> None:
    create(harness, SESSION)
    assert submit(harness, change(SESSION, 7)) == [ahead(harness.store, "txn-8", 1)]
    assert versions_of(loaded(harness, SESSION)) == [1]


def test_a_transaction_ahead_of_the_log_stays_refused_when_the_log_catches_up(harness: Harness) -> None:
    create(harness, SESSION)
    outcomes = submit(harness, change(SESSION, 1), change(SESSION, 3, name="ahead"), change(SESSION, 2, 2))
    committed = [WasCommitted(TxnId(f"txn-{version}")) for version in (2, 3)]
    assert outcomes == [committed[0], ahead(harness.store, "ahead-4", 2), committed[1]]


def test_a_transaction_for_a_session_that_is_not_there_makes_none(harness: Harness) -> None:
    assert submit(harness, change(SESSION, 1)) == [ahead(harness.store, "txn-2", 0)]
    assert load(harness, SESSION) == StoreFault("not_found", getattr(load(harness, SESSION), "detail", ""))


def test_a_transaction_whose_entries_leave_a_gap_is_our_own_fault(harness: Harness) -> None:
    create(harness, SESSION)
    good = change(SESSION, 1, 3)
    gapped = msgspec.structs.replace(good.txn, entries=[good.txn.entries[0], good.txn.entries[2]])
    with pytest.raises(ValueError, match="without a gap"):
        harness.store.submit([Submission(gapped, good.bodies[:2])], lambda outcome: None)
    assert versions_of(loaded(harness, SESSION)) == [1]


# -- identity ---------------------------------------------------------------------------------------------------


def test_a_transaction_submitted_again_is_committed_however_often_and_applied_once(harness: Harness) -> None:
    create(harness, SESSION)
    submission = change(SESSION, 1, 2)
    for _ in range(3):
        assert submit(harness, submission, submission) == [WasCommitted(submission.txn.id)] * 2
        harness.reopen()
    assert versions_of(loaded(harness, SESSION)) == [1, 2, 3]


def test_a_repeat_is_known_when_the_log_went_far_past_it(make_harness: HarnessMaker) -> None:
    limits = Limits(log_entries_kept_max=8, resume_entries_max=8, snapshot_entries_max=8)
    harness = make_harness(limits, 20_000)
    create(harness, SESSION)
    submissions = [change(SESSION, version) for version in range(1, 41)]
    submit(harness, *submissions)
    for _ in range(2):
        outcomes = submit(harness, *submissions)
        assert outcomes == [WasCommitted(submission.txn.id) for submission in submissions]
        harness.reopen()
    assert versions_of(loaded(harness, SESSION)) == list(range(1, 42))


def test_another_transaction_with_the_same_expectation_is_no_repeat(harness: Harness) -> None:
    create(harness, SESSION)
    ours, theirs = change(SESSION, 1, name="ours"), change(SESSION, 1, name="theirs")
    assert [unsigned(one) for one in submit(harness, ours, theirs)] == [
        WasCommitted(ours.txn.id),
        WasConflict(theirs.txn.id, ours.txn.entries, ours.txn.digests),
    ]


# -- ordering ---------------------------------------------------------------------------------------------------


def test_transactions_of_one_batch_see_each_other_in_order(harness: Harness) -> None:
    create(harness, SESSION)
    create(harness, OTHER)
    batch = [change(session, version, name=session) for version in range(1, 200) for session in (SESSION, OTHER)]
    outcomes = submit(harness, *batch)
    for session in (SESSION, OTHER):
        theirs = [submission.txn.id for submission in batch if submission.txn.session == session]
        assert [outcome for outcome in outcomes if outcome.txn in theirs] == [WasCommitted(txn) for txn in theirs]
    assert versions_of(loaded(harness, OTHER)) == list(range(1, 201))


def test_answers_of_one_session_come_in_the_order_submitted(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1))
    harness.reopen()
    outcomes: list[Outcome] = []
    batch = [
        change(SESSION, 2, name="a"),
        change(SESSION, 1, name="late"),
        change(SESSION, 3, name="b"),
        change(SESSION, 2, name="a"),
        change(SESSION, 9, name="ahead"),
        change(SESSION, 4, name="c"),
    ]
    for submission in batch:
        harness.store.submit([submission], outcomes.append)
    harness.wait(lambda: len(outcomes) == len(batch))
    assert [outcome.txn for outcome in outcomes] == [submission.txn.id for submission in batch]
    kinds = [type(outcome) for outcome in outcomes]
    refused = type(ahead(harness.store, "", 0))
    assert kinds == [WasCommitted, WasConflict, WasCommitted, WasCommitted, refused, WasCommitted]


# -- durability -------------------------------------------------------------------------------------------------


def test_what_was_committed_is_there_after_a_restart(harness: Harness) -> None:
    create(harness, SESSION)
    submissions = [change(SESSION, version, 2) for version in range(1, 301, 2)]
    submit(harness, *submissions)
    harness.reopen()
    log = loaded(harness, SESSION)
    assert log.entries == [entry for submission in submissions for entry in submission.txn.entries]
    assert submit(harness, change(SESSION, 301)) == [WasCommitted(TxnId("txn-302"))]


def test_values_come_back_in_kind(harness: Harness) -> None:
    create(harness, SESSION)
    mark = {
        "int": 1,
        "float": 1.0,
        "true": True,
        "none": None,
        "big": 2**53 - 1,
        "text": "é\u2028\U0001f600\x00",
        "-0": -0.0,
    }
    submit(harness, change(SESSION, 1, mark=mark))
    harness.reopen()
    value = loaded(harness, SESSION).entries[0].ops[1]["value"]
    assert repr(value) == repr(mark)


# -- load and history -------------------------------------------------------------------------------------------


TIGHT = Limits(log_entries_kept_max=20, resume_entries_max=20, snapshot_entries_max=10)
"""So tight that snapshots ten entries apart are all kept."""


def with_snapshots(harness: Harness, head: int, *versions: int) -> None:
    """A log up to `head`, with a snapshot at each of `versions`."""
    create(harness, SESSION)
    submit(harness, *(change(SESSION, version) for version in range(1, head)))
    for version in versions:
        harness.store.write_snapshot(snapshot_of(SESSION, version))


@pytest.mark.parametrize(
    ("reach", "begins"),
    [(0, 30), (1, 20), (10, 20), (11, 10), (20, 10), (21, 1), (29, 1), (1000, 1)],
)
def test_a_log_is_loaded_from_the_newest_snapshot_with_enough_entries_after_it(
    make_harness: HarnessMaker, reach: int, begins: int
) -> None:
    harness = make_harness(TIGHT, 20_000)
    with_snapshots(harness, 30, 10, 20, 30)
    harness.reopen()
    log = loaded(harness, SESSION, reach)
    assert versions_of(log) == list(range(begins, 31))
    assert log.snapshot == snapshot_of(SESSION, begins)
    assert [digest >> 40 for digest in log.digests] == list(range(begins + 1, 31))


@pytest.mark.parametrize(("version", "begins"), [(1, 1), (9, 1), (10, 10), (19, 10), (20, 20), (25, 20), (30, 30)])
def test_history_is_the_nearest_snapshot_and_the_entries_up_to_the_version(
    make_harness: HarnessMaker, version: int, begins: int
) -> None:
    harness = make_harness(TIGHT, 20_000)
    with_snapshots(harness, 30, 10, 20, 30)
    log = state_at(harness, SESSION, version)
    assert isinstance(log, StoredLog)
    assert versions_of(log) == list(range(begins, version + 1))


@pytest.mark.parametrize("version", [0, -1, 31, 2**53])
def test_history_outside_the_log_is_not_found(harness: Harness, version: int) -> None:
    with_snapshots(harness, 30)
    fault = state_at(harness, SESSION, version)
    assert isinstance(fault, StoreFault)
    assert fault.code == "not_found"


def test_a_snapshot_that_comes_with_a_transaction_is_kept_with_it(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1, 4, snapshot=snapshot_of(SESSION, 5)), change(SESSION, 5))
    harness.reopen()
    assert versions_of(loaded(harness, SESSION)) == [5, 6]


def test_a_snapshot_within_a_transaction_is_replayed_from_its_own_version(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1, 6))
    harness.store.write_snapshot(snapshot_of(SESSION, 4))
    assert versions_of(loaded(harness, SESSION)) == [4, 5, 6, 7]


def test_who_was_heard_when_is_what_the_newest_snapshot_says_wherever_the_log_is_read_from(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1, snapshot=snapshot_of(SESSION, 2)))
    for heard_at in (1, 2):
        harness.store.write_snapshot(snapshot_of(SESSION, 2, heard={"phone": STARTED_AT + heard_at}))
    harness.reopen()
    for reach in (0, 1000):
        assert loaded(harness, SESSION, reach).snapshot.heard == {"phone": STARTED_AT + 2}
    assert versions_of(loaded(harness, SESSION, 1000)) == [1, 2]


@pytest.mark.parametrize(
    "snapshot",
    [snapshot_of(SESSION, 9), snapshot_of(SESSION, 2, epoch="epoch-2"), snapshot_of(OTHER, 2)],
    ids=["past the head", "of another epoch", "of no session"],
)
def test_a_snapshot_that_does_not_fit_the_log_is_not_kept(harness: Harness, snapshot: object) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1))
    assert isinstance(snapshot, type(snapshot_of(SESSION)))
    harness.store.write_snapshot(snapshot)
    assert versions_of(loaded(harness, SESSION)) == [1, 2]
    fault = load(harness, OTHER)
    assert isinstance(fault, StoreFault)
    assert fault.code == "not_found"


def test_a_log_is_bounded_and_still_reaches_far_enough_back(make_harness: HarnessMaker) -> None:
    limits = Limits(log_entries_kept_max=40, resume_entries_max=40, snapshot_entries_max=10)
    harness = make_harness(limits, 100)
    create(harness, SESSION)
    for start in range(1, 1001, 5):
        head = start + 5
        submit(harness, change(SESSION, start, 5, snapshot=snapshot_of(SESSION, head)))
        log = loaded(harness, SESSION, 40)
        assert versions_of(log)[0] <= max(1, head - 40)
        assert versions_of(log)[-1] == head
    oldest = versions_of(loaded(harness, SESSION, 10_000))[0]
    assert 1001 - 100 - 10 <= oldest <= 1001 - 100
    before = state_at(harness, SESSION, oldest - 1)
    assert isinstance(before, StoreFault)
    assert before.code == "not_found"
    harness.reopen()
    for version in range(oldest, 1002):
        log_then = state_at(harness, SESSION, version)
        assert isinstance(log_then, StoredLog)
        assert len(log_then.entries) <= 10, "a replay is bounded, so snapshots inside the window stay"
        assert versions_of(log_then)[-1] == version
    assert submit(harness, change(SESSION, 1, name="ancient")) == [WasForeign(TxnId("ancient-2"))]


def test_a_week_old_history_goes_and_what_devices_resume_from_stays(make_harness: HarnessMaker) -> None:
    harness = make_harness(TIGHT, 20_000)
    create(harness, SESSION)
    submit(harness, *(change(SESSION, version) for version in range(1, 101)))
    for version in range(10, 101, 10):
        harness.store.write_snapshot(snapshot_of(SESSION, version))
    later = STARTED_AT + Retention().live_ms + 1_000
    submit(harness, change(SESSION, 101, at=later))
    harness.store.write_snapshot(snapshot_of(SESSION, 102, at=later))
    assert versions_of(loaded(harness, SESSION, 10_000)) == list(range(80, 103))


# -- delete, offers, time to live -------------------------------------------------------------------------------


def test_a_deleted_session_is_not_there_any_more(harness: Harness) -> None:
    with_snapshots(harness, 30, 10, 20)
    create(harness, OTHER)
    assert delete(harness, SESSION) is None
    harness.store.write_snapshot(snapshot_of(SESSION, 5))
    for _ in range(2):
        fault = load(harness, SESSION)
        assert isinstance(fault, StoreFault)
        assert fault.code == "not_found"
        assert submit(harness, change(SESSION, 30)) == [WasForeign(TxnId("txn-31"))]
        harness.reopen()
    assert versions_of(loaded(harness, OTHER)) == [1]


def test_deleting_what_is_not_there_succeeds(harness: Harness) -> None:
    assert delete(harness, SESSION) is None


def test_a_session_can_be_created_anew_after_it_was_deleted(harness: Harness) -> None:
    with_snapshots(harness, 10, 5)
    delete(harness, SESSION)
    assert create(harness, SESSION, epoch="epoch-2") == CREATED
    assert submit(harness, change(SESSION, 1, epoch="epoch-2")) == [WasCommitted(TxnId("txn-2"))]
    harness.reopen()
    log = loaded(harness, SESSION, 1000)
    assert (log.snapshot.epoch, versions_of(log)) == ("epoch-2", [1, 2])


def test_what_is_submitted_and_deleted_in_one_breath_is_gone(harness: Harness) -> None:
    create(harness, SESSION)
    harness.reopen()
    outcomes: list[Outcome] = []
    deletions: list[StoreFault | None] = []
    harness.store.submit([change(SESSION, 1)], outcomes.append)
    harness.store.delete(SESSION, deletions.append)
    harness.store.submit([change(SESSION, 2)], outcomes.append)
    harness.wait(lambda: len(outcomes) == 2 and len(deletions) == 1)
    assert deletions == [None]
    assert outcomes == [WasCommitted(TxnId("txn-2")), WasForeign(TxnId("txn-3"))]
    assert isinstance(load(harness, SESSION), StoreFault)


def test_a_load_just_before_a_deletion_brings_nothing_back(harness: Harness) -> None:
    create(harness, SESSION)
    harness.reopen()
    answers: list[object] = []
    harness.store.load(SESSION, 0, answers.append)
    harness.store.delete(SESSION, answers.append)
    harness.wait(lambda: len(answers) == 2)
    assert isinstance(answers[0], StoredLog)
    assert submit(harness, change(SESSION, 1)) == [WasForeign(TxnId("txn-2"))]
    harness.reopen()
    assert isinstance(load(harness, SESSION), StoreFault)


def offer(harness: Harness, device: str, until: int) -> Submission:
    now_ms = harness.clock.ms
    return change(SESSION, 1, at=now_ms, waiting_for=DeviceId(device), waiting_until=now_ms + until)


def test_a_waiting_offer_is_found_by_its_device_also_after_a_restart(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, offer(harness, "tv", 600_000))
    for _ in range(2):
        assert waiting(harness, "tv") == [SESSION]
        assert waiting(harness, "phone") == []
        assert waiting(harness, "tv", AccountId("eve")) == []
        harness.reopen()


def test_an_offer_is_found_until_it_expires(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, offer(harness, "tv", 600_000))
    harness.pass_time(540_000)
    assert waiting(harness, "tv") == [SESSION]
    harness.pass_time(60_000)
    assert waiting(harness, "tv") == []


def test_a_store_with_a_clock_of_its_own_says_for_how_long_an_offer_waits_yet(harness: Harness) -> None:
    create(harness, SESSION)
    assert loaded(harness, SESSION).offer_left_ms is None
    first = offer(harness, "tv", 600_000)
    submit(harness, first)
    for passed_ms in (0, 300_000):
        harness.pass_time(passed_ms)
        left_ms = loaded(harness, SESSION).offer_left_ms
        if not harness.store.is_shared:
            assert left_ms is None
        else:
            assert left_ms is not None
            assert 540_000 < left_ms + passed_ms <= 600_000
    # What follows the offer does not make it longer; another one is another one; and then there is none.
    until = first.txn.waiting_until
    submit(harness, change(SESSION, 2, at=harness.clock.ms, waiting_for=DeviceId("tv"), waiting_until=until))
    left_ms = loaded(harness, SESSION).offer_left_ms
    assert left_ms is None or left_ms <= 300_000
    another = harness.clock.ms + 450_000
    submit(harness, change(SESSION, 3, at=harness.clock.ms, waiting_for=DeviceId("tv"), waiting_until=another))
    left_ms = loaded(harness, SESSION).offer_left_ms
    assert left_ms is None or 390_000 < left_ms <= 450_000
    submit(harness, change(SESSION, 4))
    assert loaded(harness, SESSION).offer_left_ms is None


def test_an_offer_waits_no_more_once_the_head_says_so(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, offer(harness, "tv", 1_000), change(SESSION, 2))
    assert waiting(harness, "tv") == []


def test_a_store_that_commits_is_healthy(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1))
    assert harness.store.is_healthy()
