"""The judge of logs, against logs in which one thing is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge._ext import apply_patch
from syncbridge.core.entry import Entry
from tests.nemesis.history import Operation
from tests.nemesis.judge import Stored, doubled, lost, overwritten_unseen
from tests.nemesis.moves import Moves, judge
from tests.nemesis.traffic import STATE


def stored(*entries: Entry) -> Stored:
    """The log that begins with an empty session and goes on with these."""
    whole = [Entry(1, "create", 1, ops=[{"op": "add", "path": "", "value": STATE}]), *entries]
    states: list[Any] = [{}]
    for entry in whole:
        states.append(apply_patch(states[-1], entry.ops))
    return Stored("e", whole, states)


def entry(version: int, device: str, value: str, count: int, **more: Any) -> Entry:
    ops: list[dict[str, Any]] = [
        {"op": "replace", "path": "/settings/last", "value": value},
        {"op": "replace", "path": "/totals/n", "value": count},
    ]
    return Entry(version, "patch", version, device, version, ops, **more)


def write(value: str, version: int, *, outcome: str = "ok", epoch: str = "e") -> Operation:
    one = Operation("phone", "write", 0, value)
    if outcome == "ok":
        one.ok(1, epoch, version)
    elif outcome == "fail":
        one.failed(1)
    return one


X, Y = entry(2, "phone", "x", 1), entry(3, "tv", "y", 2)
ROW = {"path": "/settings/last", "policy": "last", "winner": "ours", "theirs": "x"}


def test_a_log_that_holds_what_was_told_has_nothing_wrong() -> None:
    log = stored(X, Y)
    writes = [write("x", 2), write("y", 3), write("z", 0, outcome="unknown"), write("w", 0, outcome="fail")]
    assert [*lost(log, writes), *doubled(log, writes), *overwritten_unseen(log, {("phone", 2): 1, ("tv", 3): 2})] == []


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (stored(X), write("y", 3)),
        (stored(X, Y), write("z", 3)),
        (stored(X, Y), write("y", 3, epoch="another")),
    ],
    ids=["cut off", "another in its place", "of another log"],
)
def test_an_acknowledged_write_that_is_not_there_is_lost(log: Stored, told: Operation) -> None:
    assert len(list(lost(log, [write("x", 2), told]))) == 1


@pytest.mark.parametrize(
    ("log", "writes"),
    [
        (stored(X, entry(3, "phone", "x", 2)), [write("x", 2)]),
        (stored(X), [write("x", 0, outcome="fail")]),
        (stored(X), []),
        (stored(X, entry(3, "tv", "y", 1)), [write("x", 2), write("y", 3)]),
    ],
    ids=["twice", "though refused", "of nobody", "an increment that vanished"],
)
def test_a_write_that_did_not_take_effect_once_is_found(log: Stored, writes: list[Operation]) -> None:
    assert len(list(doubled(log, writes))) == 1


def test_a_value_that_was_overwritten_unseen_needs_a_row() -> None:
    bases = {("phone", 2): 1, ("tv", 3): 1}
    assert len(list(overwritten_unseen(stored(X, Y), bases))) == 1
    assert list(overwritten_unseen(stored(X, entry(3, "tv", "y", 2, conflicts=[ROW])), bases)) == []


TAKEN = (
    Entry(2, "handoff", 2, "phone", fence=1, active="phone"),
    Entry(3, "patch", 3, "phone", 1, []),
    Entry(4, "handoff", 4, "tv", fence=2, active="tv"),
)


def test_what_was_told_of_owners_is_what_the_log_says() -> None:
    assert judge(Moves(done={1: (2, "phone"), 2: (4, "tv")}, acked=[(1, 3)]), stored(*TAKEN)) == []


@pytest.mark.parametrize(
    "moves",
    [
        Moves(done={2: (4, "phone")}),
        Moves(done={3: (5, "phone")}),
        Moves(acked=[(2, 3)]),
        Moves(acked=[(1, 5)]),
    ],
    ids=["another owner", "a fence that never was", "before its reign", "after its reign"],
)
def test_two_owners_at_once_are_found(moves: Moves) -> None:
    assert len(judge(moves, stored(*TAKEN))) == 1


def test_a_fence_that_leaps_is_found() -> None:
    with pytest.raises(AssertionError, match="follows fence 1"):
        judge(Moves(), stored(TAKEN[0], Entry(3, "handoff", 3, "tv", fence=3, active="tv")))
