"""A device that changes nodes: what it pushed at the old one lands before its new `joined`, or never."""

from __future__ import annotations

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.ids import ConnectionId, DeviceId
from tests.unit.core.stage import Stage, conflict

SET = [{"op": "add", "path": "/n", "value": 1}]


@pytest.fixture
def stage() -> Stage:
    return Stage(is_shared=True)


def fenced(stage: Stage, *devices: str) -> None:
    """The store answers the held transaction: these devices claimed another connection."""
    stage.happens(on.Fenced(stage.held.pop(0).id, [DeviceId(device) for device in devices]))


def test_a_join_claims_and_is_answered_when_the_claim_is_in_the_store(stage: Stage) -> None:
    stage.holds = True
    with pytest.raises(AssertionError, match="phone got no Joined"):
        stage.joins("phone")
    (txn,) = stage.held
    assert (txn.entries, txn.claims, txn.held) == ([], {"phone": "phone"}, {})
    stage.commits()
    assert stage.last("phone", m.Joined).position.version == 1


def test_a_push_names_the_connection_it_came_through(stage: Stage) -> None:
    stage.joins("phone")
    stage.pushes("phone", SET, base=1)
    assert (stage.txns[-1].claims, stage.txns[-1].held) == ({}, {"phone": "phone"})


def test_where_one_node_writes_a_join_asks_the_store_nothing_and_nothing_is_claimed() -> None:
    stage = Stage()
    stage.joins("phone")
    assert not [effect for effect in stage.effects if isinstance(effect, do.Commit)]
    stage.pushes("phone", SET, base=1)
    assert (stage.txns[-1].claims, stage.txns[-1].held) == ({}, {})


def test_a_join_that_raced_with_a_push_elsewhere_says_the_number_that_landed(stage: Stage) -> None:
    stage.joins("tv")
    stage.holds = True
    with pytest.raises(AssertionError):
        stage.joins("phone")
    push = stage.entry(2, device="phone", seq=1)
    conflict(stage, [push])
    stage.commits()
    assert stage.last("phone", m.Joined).last_seq == 1


def test_a_fenced_device_is_let_go_and_the_rest_of_the_batch_is_committed(stage: Stage) -> None:
    stage.joins("phone")
    stage.joins("tv")
    stage.holds = True
    stage.pushes("watch", SET, base=1, seq=9)  # no member: its commit never begins
    stage.pushes("phone", SET, base=1, seq=1)
    first = stage.held[0]
    stage.pushes("tv", SET, base=1, seq=1)
    stage.commits()
    assert [entry.device for entry in first.entries] == ["phone"]
    stage.pushes("phone", SET, base=2, seq=2)
    fenced(stage, "tv")
    (txn,) = stage.held
    assert [(entry.device, entry.seq) for entry in txn.entries] == [("phone", 2)]
    stage.commits()
    assert stage.last("phone", m.Ack).seq == 2
    assert stage.last("tv", m.Left).reason == "unavailable"
    assert not stage.all("tv", m.Ack)
    assert do.DropMember(ConnectionId("tv")) in stage.effects


def test_what_else_a_fenced_connection_asked_is_not_worked(stage: Stage) -> None:
    stage.joins("phone")
    stage.joins("tv")
    stage.holds = True
    stage.pushes("tv", SET, base=1, seq=1)
    stage.takes("tv")
    fenced(stage, "tv")
    assert not stage.held
    assert stage.active == "phone"


def test_a_push_that_does_not_wait_for_joined_is_to_be_sent_again(stage: Stage) -> None:
    stage.holds = True
    with pytest.raises(AssertionError):
        stage.joins("phone")
    stage.pushes("phone", SET, base=1, seq=1)
    reject = stage.last("phone", m.Reject)
    assert (reject.seq, reject.code, reject.retry) == (1, "unavailable", "same")
    stage.commits()
    stage.holds = False
    assert isinstance(stage.pushes("phone", SET, base=1, seq=1), m.Ack)


def test_a_join_whose_claim_is_unknown_is_asked_again_by_the_same_transaction(stage: Stage) -> None:
    stage.holds = True
    with pytest.raises(AssertionError):
        stage.joins("phone")
    txn = stage.held.pop(0)
    stage.happens(on.OutcomeUnknown(txn.id))
    stage.passes(100)
    assert stage.held == [txn]
