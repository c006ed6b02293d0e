"""Answers that append nothing, where others write the same log: they hold all that was acknowledged before."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.entry import HandoffNote
from syncbridge.core.ids import ConnectionId, DeviceId, HandoffId
from tests.unit.core.stage import Stage, conflict, on_disk, orders, request

SET = [{"op": "add", "path": "/n", "value": 1}]
OTHER = [{"op": "add", "path": "/n", "value": 2}]


@pytest.fixture
def stage() -> Stage:
    stage = Stage(is_shared=True)
    stage.joins("phone")
    stage.joins("tv")
    return stage


def asked(stage: Stage, event: Any) -> None:
    stage.holds = True
    stage.happens(event)
    (compared,) = stage.held
    assert (compared.entries, compared.expected) == ([], stage.machine.version)


def test_a_read_is_answered_once_the_store_says_that_nobody_was_faster(stage: Stage) -> None:
    asked(stage, on.ReadRequested(request()))
    assert stage.replies == {}
    stage.commits()
    assert stage.replies["r1"].result is not None
    assert stage.replies["r1"].result.version == 1


@pytest.mark.parametrize(
    "event",
    [
        on.ReadRequested(request()),
        on.EditRequested(request(), "", "merge", {}, 2),
        on.StatusRequested(request(), "", "active", 2),
    ],
    ids=["read", "edit", "status"],
)
def test_what_is_asked_of_a_node_that_heard_nothing_yet_is_judged_by_what_others_committed(
    stage: Stage, event: Any
) -> None:
    asked(stage, event)
    stage.holds = False
    conflict(stage, [stage.entry(2, ops=SET)])
    result = stage.replies["r1"].result
    assert result is not None
    assert (result.version, result.state["n"]) == (2, 1)


def test_a_take_by_whoever_was_active_here_is_judged_by_what_others_committed(stage: Stage) -> None:
    asked(stage, on.TakeReceived(ConnectionId("phone"), DeviceId("phone"), m.HandoffTake(stage.session), "h9", None))
    stage.holds = False
    note = HandoffNote(HandoffId("h2"), "take", DeviceId("phone"), DeviceId("watch"))
    conflict(stage, [stage.entry(2, kind="handoff", device="watch", fence=2, active="watch", handoff=note)])
    assert (stage.active, stage.last("phone", m.HandoffDone).fence) == ("phone", 3)


def test_a_read_is_answered_by_the_first_word_of_the_store_however_fast_others_are(stage: Stage) -> None:
    for version in range(2, 2 + 2 * stage.limits.retry_conflicts_max):
        asked(stage, on.ReadRequested(request(f"r{version}")))
        conflict(stage, [stage.entry(version, ops=SET if version == 2 else [])])
        result = stage.replies[f"r{version}"].result
        assert result is not None
        assert (result.version, result.state["n"]) == (version, 1)
        assert not stage.held, "it is asked no more"


def test_a_read_that_was_asked_after_the_store_was_is_not_judged_by_that_answer(stage: Stage) -> None:
    asked(stage, on.ReadRequested(request("early")))
    stage.happens(on.ReadRequested(request("late")))
    conflict(stage, [stage.entry(2, ops=SET)])
    assert list(stage.replies) == ["early"]
    conflict(stage, [stage.entry(3, ops=OTHER)])
    assert stage.replies["late"].result is not None
    assert stage.replies["late"].result.version == 3


def test_a_refusal_needs_no_more_than_the_first_word_of_the_store(stage: Stage) -> None:
    asked(stage, on.EditRequested(request(), "", "patch", SET, 0))
    conflict(stage, [stage.entry(2, ops=OTHER)])
    assert stage.replies["r1"].code == "precondition_failed"
    assert "version 2" in stage.replies["r1"].message


def test_an_edit_that_the_first_word_of_the_store_allows_is_committed_on_it(stage: Stage) -> None:
    asked(stage, on.EditRequested(request(), "", "patch", SET, 2))
    conflict(stage, [stage.entry(2, ops=OTHER)])
    assert not stage.replies
    assert [(txn.expected, len(txn.entries)) for txn in stage.held] == [(2, 1)]
    stage.commits()
    assert stage.replies["r1"].result is not None
    assert stage.replies["r1"].result.version == 3


@pytest.mark.parametrize("is_beside", [True, False], ids=["beside", "while it is on its way"])
def test_a_read_does_not_lose_the_races_of_a_push(stage: Stage, *, is_beside: bool) -> None:
    stage.holds = True
    if is_beside:
        stage.happens(on.ReadRequested(request("before")))
        stage.pushes("phone", SET, base=1)
        stage.happens(on.ReadRequested(request("beside")))
        conflict(stage, [stage.entry(2)])
        conflict(stage, [stage.entry(3)])
        assert stage.replies["beside"].result is not None
        assert [len(txn.entries) for txn in stage.held] == [1], "and the push races on"
        return
    stage.pushes("phone", SET, base=1)
    for version in range(2, 3 + stage.limits.retry_conflicts_max):
        stage.happens(on.ReadRequested(request(f"r{version}")))
        conflict(stage, [stage.entry(version)])
    assert stage.last("phone", m.Reject).code == "unavailable"
    conflict(stage, [stage.entry(version + 1)])
    assert {reply.code for reply in stage.replies.values()} == {""}
    assert len(stage.replies) == stage.limits.retry_conflicts_max + 1


def test_a_read_waits_for_what_the_first_word_of_the_store_left_out(stage: Stage) -> None:
    asked(stage, on.ReadRequested(request()))
    loads = len(orders(stage, do.Load))
    stage.txns.append(on_disk(stage.txns[-1], stage.entry(2, ops=SET)))
    conflict(stage, [stage.entry(3, ops=OTHER)])
    assert len(orders(stage, do.Load)) == loads + 1
    assert not stage.replies
    stage.commits()
    assert stage.replies["r1"].result is not None
    assert stage.replies["r1"].result.version == 3
