"""A log that came back without its last entries: what a device had acknowledged there is made again, once."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.client.kept import KEPT_MAX
from syncbridge.client.pending import Acked, Phase
from syncbridge.client.replica import Replica
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Position
from syncbridge.core.ids import JsonObject
from syncbridge.core.messages import Ack, Join, Joined

NOW = 1_700_000_000_000


def joined(state: JsonObject, version: int, *, epoch: str = "e1", last_seq: int = 0, ref: str = "") -> Joined:
    return Joined(
        session="s1",
        position=Position(epoch, version),
        mode="snapshot",
        hash=state_hash(state),
        fence=1,
        active="phone",
        status="active",
        kind="custom",
        last_seq=last_seq,
        devices=[],
        server_time=NOW,
        reason="new" if epoch == "e1" else "epoch",
        state=state,
        ref=ref,
    )


def made(count: int) -> Replica:
    """A replica whose edits 1 to ``count`` are acknowledged: n counts them."""
    replica = Replica("s1", "phone")
    replica.receive(joined({"n": 0}, 1, ref=replica.join().ref), NOW)
    for seq in range(1, count + 1):
        replica.edit([{"op": "replace", "path": "/n", "value": seq}], "edit", NOW)
        replica.outgoing(NOW)
        replica.receive(Ack("s1", seq, seq + 1, NOW), NOW)
    replica.take_outcomes()
    return replica


def test_edits_that_a_rebuilt_log_lacks_are_sent_again_before_those_that_wait() -> None:
    replica = made(3)
    replica.disconnected()
    replica.edit([{"op": "add", "path": "/m", "value": 1}], "edit", NOW)
    join = replica.join()
    replica.receive(joined({"n": 1}, 2, epoch="e2", last_seq=1, ref=join.ref), NOW)
    assert replica.state == {"n": 3, "m": 1}
    pushes = replica.outgoing(NOW)
    assert [push.ops[0]["path"] for push in pushes] == ["/n", "/n", "/m"]
    numbers = [push.seq for push in pushes]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert numbers[0] >= (join.seq or 0)
    assert {(push.epoch, push.base) for push in pushes} == {("e2", 2)}


def test_edits_that_the_same_log_lost_are_sent_again_too() -> None:
    replica = made(3)
    replica.disconnected()
    behind = msgspec.structs.replace(joined({"n": 1}, 2, last_seq=1, ref=replica.join().ref), reason="ahead")
    replica.receive(behind, NOW)
    assert replica.state == {"n": 3}
    assert [push.ops[0]["value"] for push in replica.outgoing(NOW)] == [2, 3]


def test_what_was_made_again_ends_again_under_its_own_key() -> None:
    replica = made(2)
    replica.disconnected()
    replica.receive(joined({"n": 1}, 2, epoch="e2", last_seq=1, ref=replica.join().ref), NOW)
    (push,) = replica.outgoing(NOW)
    replica.receive(Ack("s1", push.seq, 3, NOW), NOW)
    assert [(outcome.key, outcome.result) for outcome in replica.take_outcomes()] == [(2, Acked(3))]
    assert replica.confirmed == {"n": 2}


@pytest.mark.parametrize(("epoch", "last_seq"), [("e2", 3), ("e1", 3)])
def test_a_log_that_has_them_gets_nothing_again(epoch: str, last_seq: int) -> None:
    replica = made(3)
    replica.disconnected()
    replica.receive(joined({"n": 3}, 4, epoch=epoch, last_seq=last_seq, ref=replica.join().ref), NOW)
    assert replica.outgoing(NOW) == []


def test_in_the_midst_of_a_connection_the_device_joins_again_for_its_numbers() -> None:
    replica = made(2)
    (join,) = replica.receive(joined({"n": 0}, 1, epoch="e2"), NOW)
    assert isinstance(join, Join)
    assert replica.outgoing(NOW) == []
    assert {one.phase for one in replica.pending} == {Phase.LOOSE}
    replica.receive(joined({"n": 0}, 1, epoch="e2", ref=join.ref), NOW)
    assert [push.ops[0]["value"] for push in replica.outgoing(NOW)] == [1, 2]


def test_what_is_kept_is_bounded() -> None:
    replica = made(KEPT_MAX + 10)
    replica.disconnected()
    replica.receive(joined({"n": 0}, 1, epoch="e2", ref=replica.join().ref), NOW)
    assert len(replica.pending) == KEPT_MAX
    assert replica.state == {"n": KEPT_MAX + 10}
