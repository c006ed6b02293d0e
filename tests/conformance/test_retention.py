"""How long each adapter keeps a log, and the walk over what it keeps."""

from __future__ import annotations

import pytest

from syncbridge.core.entry import Status
from syncbridge.core.ids import AccountId
from syncbridge.limits import Retention
from syncbridge.ports import StoredHead, StoreFault, Submission
from tests.conformance.harness import Harness
from tests.conformance.logs import (
    ACCOUNT,
    STARTED_AT,
    change,
    create,
    delete,
    load,
    loaded,
    session_named,
    submit,
    sweep,
    walk,
)

SESSION = session_named("a")
OTHER = session_named("b")
KEPT = Retention()
AT = STARTED_AT + 5


def ended(status: Status) -> Submission:
    return change(SESSION, 1, at=AT, status=status)


@pytest.mark.parametrize(
    ("status", "kept_ms"),
    [
        ("active", KEPT.live_ms),
        ("paused", KEPT.live_ms),
        ("completed", KEPT.completed_ms),
        ("archived", KEPT.archived_ms),
    ],
)
def test_a_log_lives_as_long_after_its_last_commit_as_its_status_says(
    harness: Harness, status: Status, kept_ms: int
) -> None:
    create(harness, SESSION)
    submit(harness, ended(status))
    harness.reopen()
    assert sweep(harness, AT + kept_ms - 1).sessions == []
    assert sweep(harness, AT + kept_ms).sessions == [(SESSION, status)]
    assert isinstance(load(harness, SESSION), StoreFault)


def test_a_store_that_holds_nothing_may_be_swept_and_closed_and_opened_again(harness: Harness) -> None:
    assert sweep(harness, AT).sessions == []
    harness.reopen()
    delete(harness, SESSION)
    harness.reopen()
    create(harness, OTHER)
    harness.reopen()
    assert [head.session for head in walk(harness)] == [OTHER]


def test_a_new_log_has_the_status_that_it_was_made_with(harness: Harness) -> None:
    create(harness, SESSION)
    assert sweep(harness, STARTED_AT + KEPT.live_ms).sessions == []
    assert sweep(harness, STARTED_AT + 1 + KEPT.live_ms).sessions == [(SESSION, "active")]


def test_each_commit_gives_a_live_log_its_whole_time_again(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1, at=STARTED_AT + KEPT.live_ms))
    assert sweep(harness, STARTED_AT + 2 * KEPT.live_ms - 1).sessions == []
    assert sweep(harness, STARTED_AT + 2 * KEPT.live_ms).sessions == [(SESSION, "active")]


def test_a_completed_session_that_is_taken_up_again_lives_like_a_live_one(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, ended("completed"), change(SESSION, 2, at=AT, name="again"))
    assert sweep(harness, AT + KEPT.live_ms).sessions == [(SESSION, "active")]


def test_a_sweep_is_bounded_and_says_that_there_is_more(harness: Harness) -> None:
    sessions = [session_named(str(number)) for number in range(5)]
    for session in sessions:
        create(harness, session)
    create(harness, SESSION)
    submit(harness, ended("archived"))
    later = STARTED_AT + KEPT.live_ms + 10
    swept = [sweep(harness, later, 2) for _ in range(3)]
    assert [len(one.sessions) for one in swept] == [2, 2, 1]
    assert [one.has_more for one in swept] == [True, True, False]
    assert {session for one in swept for session, _ in one.sessions} == set(sessions)
    assert len(loaded(harness, SESSION).entries) == 1


def test_a_sweep_leaves_what_was_written_since_the_journal_was_asked(harness: Harness) -> None:
    create(harness, SESSION)
    later = STARTED_AT + KEPT.live_ms + 10
    answers: list[object] = []
    harness.store.submit([change(SESSION, 1, at=later)], answers.append)
    assert sweep(harness, later).sessions == []
    harness.wait(lambda: bool(answers))
    assert len(loaded(harness, SESSION).entries) == 1


def test_a_walk_meets_every_log_once_in_the_order_of_their_ids(harness: Harness) -> None:
    for session in (OTHER, SESSION):
        create(harness, session)
    submit(harness, change(OTHER, 1, 3, at=AT))
    first, second = StoredHead(SESSION, ACCOUNT, 1, STARTED_AT + 1), StoredHead(OTHER, ACCOUNT, 4, AT)
    assert walk(harness) == [first, second]
    assert walk(harness, count_max=1) == [first]
    assert walk(harness, SESSION, 1) == [second]
    assert walk(harness, OTHER) == []


def test_a_walk_over_an_account_meets_no_other_s(harness: Harness) -> None:
    create(harness, SESSION)
    create(harness, OTHER, account=AccountId("eve"))
    assert [head.session for head in walk(harness, account=AccountId("eve"))] == [OTHER]
    assert walk(harness, account=AccountId("nobody")) == []
