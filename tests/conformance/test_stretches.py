"""The part of the contract of `StateStore` that history is read by: stretches of a log, and the version of a time."""

from __future__ import annotations

import pytest

from syncbridge.limits import Limits
from syncbridge.ports import StoreFault, Stretch
from tests.conformance.conftest import HarnessMaker
from tests.conformance.harness import Harness, SqliteHarness
from tests.conformance.logs import (
    STARTED_AT,
    change,
    create,
    delete,
    entries,
    session_named,
    snapshot_of,
    stretch,
    submit,
    version_at,
)

SESSION = session_named("a")
OTHER = session_named("b")
TIGHT = Limits(log_entries_kept_max=20, resume_entries_max=20, snapshot_entries_max=10)


def versions_of(read: Stretch) -> list[int]:
    return [entry.version for entry in read.entries]


def a_log_of_30(harness: Harness) -> None:
    """Transactions of one to three entries, two sessions by turns, snapshots at 10 and 21, also within one."""
    create(harness, SESSION)
    create(harness, OTHER)
    version = 1
    for count in (1, 3, 2, 3, 1, 2, 3, 3, 3, 3, 3, 2):
        submit(harness, change(SESSION, version, count), change(OTHER, version, count))
        version += count
    for at in (10, 21):
        harness.store.write_snapshot(snapshot_of(SESSION, at))


@pytest.mark.parametrize("count_max", [1, 2, 5, 100])
def test_a_stretch_is_the_entries_after_a_version_in_order(harness: Harness, count_max: int) -> None:
    a_log_of_30(harness)
    for after in (0, 1, 4, 9, 10, 11, 20, 21, 28, 29):
        read = stretch(harness, SESSION, after, count_max)
        assert (read.epoch, read.oldest, read.head) == ("epoch-1", 1, 30)
        assert versions_of(read) == list(range(after + 1, 31))[:count_max]
        assert all(entry.ops[-1]["path"] in ("/mark", "") for entry in read.entries)


@pytest.mark.parametrize("after", [30, 31, 2**53])
def test_past_the_head_there_are_no_entries(harness: Harness, after: int) -> None:
    a_log_of_30(harness)
    assert stretch(harness, SESSION, after) == Stretch("epoch-1", 1, 30, [])


def test_a_walk_from_the_first_entry_on_meets_each_once_though_the_log_grows(harness: Harness) -> None:
    a_log_of_30(harness)
    met: list[int] = []
    head = 30
    while True:
        read = stretch(harness, SESSION, met[-1] if met else 0, 4)
        if not read.entries:
            break
        met += versions_of(read)
        if head < 40:
            submit(harness, change(SESSION, head))
            head += 1
    assert met == list(range(1, 41))


def test_what_was_submitted_before_is_in_the_stretch(harness: Harness) -> None:
    create(harness, SESSION)
    harness.store.submit([change(SESSION, 1, 2)], lambda outcome: None)
    assert versions_of(stretch(harness, SESSION, 1)) == [2, 3]


def test_a_stretch_of_large_entries_is_short_and_never_empty(harness: Harness) -> None:
    create(harness, SESSION)
    for version in range(1, 7):
        submit(harness, change(SESSION, version, mark="x" * 600_000))
    met: list[int] = []
    reads = 0
    while not met or met[-1] < 7:
        met += versions_of(stretch(harness, SESSION, met[-1] if met else 0))
        reads += 1
    assert met == list(range(1, 8))
    if isinstance(harness, SqliteHarness):
        assert reads >= 6


def test_entries_that_were_let_go_are_passed_over_and_the_oldest_state_is_said(make_harness: HarnessMaker) -> None:
    harness = make_harness(TIGHT, 50)
    create(harness, SESSION)
    for start in range(1, 200, 5):
        submit(harness, change(SESSION, start, 5, snapshot=snapshot_of(SESSION, start + 5)))
    for _ in range(2):
        read = stretch(harness, SESSION, 0, 7)
        assert 201 - 50 - 10 <= read.oldest <= 201 - 50
        assert versions_of(read) == list(range(read.oldest + 1, read.oldest + 8))
        assert versions_of(stretch(harness, SESSION, read.oldest - 3, 3)) == versions_of(read)[:3]
        assert version_at(harness, SESSION, STARTED_AT + read.oldest - 1) == 0
        assert version_at(harness, SESSION, STARTED_AT + read.oldest) == read.oldest
        harness.reopen()


def test_the_version_of_a_time_is_the_head_of_that_time(harness: Harness) -> None:
    a_log_of_30(harness)
    assert [version_at(harness, SESSION, STARTED_AT + at) for at in range(-1, 34)] == [
        *(min(max(at, 0), 30) for at in range(-1, 34))
    ]


def test_the_last_of_several_entries_of_one_moment_is_the_version_of_that_moment(harness: Harness) -> None:
    create(harness, SESSION)
    submit(harness, change(SESSION, 1, 3, at=STARTED_AT + 50), change(SESSION, 4, at=STARTED_AT + 50))
    submit(harness, change(SESSION, 5, at=STARTED_AT + 60))
    assert [version_at(harness, SESSION, STARTED_AT + at) for at in (49, 50, 59, 60)] == [1, 5, 5, 6]


def test_a_session_that_is_not_there_has_no_history(harness: Harness) -> None:
    create(harness, OTHER)
    delete(harness, OTHER)
    for session in (SESSION, OTHER):
        for answer in (entries(harness, session, 0), version_at(harness, session, STARTED_AT)):
            assert isinstance(answer, StoreFault)
            assert answer.code == "not_found"
