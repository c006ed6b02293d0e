"""The replica's named cases; the laws are in tests/property/test_replica.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from syncbridge.client.pending import Acked, Phase, QueueFull, Rejected
from syncbridge.client.replica import PENDING_MAX, Replica
from syncbridge.core.digest import state_hash
from syncbridge.core.entry import Entry, Position
from syncbridge.core.messages import Ack, EntriesMessage, EntryMessage, Join, Joined, Push, Reject
from syncbridge.errors import MessageTooLarge, NotJoined

FIRST: dict[str, Any] = {"notes": "", "list": ["a"]}


def joined_of(replica: Replica, **changes: Any) -> Joined:
    values: dict[str, Any] = {
        "session": "s",
        "position": Position("e", 1),
        "mode": "snapshot",
        "hash": state_hash(FIRST),
        "fence": 1,
        "active": "phone",
        "status": "active",
        "kind": "custom",
        "last_seq": 0,
        "devices": [],
        "server_time": 0,
        "state": FIRST,
        "ref": f"j{replica._joins}",
    }
    return Joined(**{**values, **changes})


def replica_here() -> Replica:
    replica = Replica("s", "phone")
    replica.join()
    assert replica.receive(joined_of(replica), 0) == []
    return replica


def write(replica: Replica, value: str, intent: Any = "edit") -> Push:
    """An edit of the notes, sent."""
    replica.edit([{"op": "replace", "path": "/notes", "value": value}], intent, 10)
    return replica.outgoing(10)[-1]


def entry_of(version: int, value: str, device: str = "tv", seq: int = 1) -> EntryMessage:
    ops = [{"op": "replace", "path": "/notes", "value": value}]
    return EntryMessage("s", version, "patch", 0, device, seq, ops)


def reject_of(push: Push, code: str, retry: str = "never", **more: Any) -> Reject:
    return Reject("s", push.seq, code, retry, "no", 1, **more)


def test_an_edit_before_the_first_state_is_refused() -> None:
    with pytest.raises(NotJoined):
        Replica("s", "phone").edit([], "edit", 0)


def test_a_gap_joins_again_with_the_position_held() -> None:
    replica = replica_here()
    assert replica.receive(entry_of(3, "x"), 0) == [Join("s", Position("e", 1), 1, "j2")]
    assert replica.receive(entry_of(4, "y"), 0) == []  # one join is enough
    assert replica.outgoing(0) == []


def test_an_entry_heard_twice_is_applied_once() -> None:
    replica = replica_here()
    ops = [{"op": "add", "path": "/list/-", "value": "b"}]
    for _ in range(2):
        assert replica.receive(EntryMessage("s", 2, "patch", 0, "tv", 1, ops), 0) == []
    assert replica.state["list"] == ["a", "b"]


def test_a_resumed_state_with_another_hash_is_fetched_whole() -> None:
    replica = replica_here()
    replica.disconnected()
    replica.join()
    entries = [Entry(2, "patch", 0, "tv", 1, [{"op": "replace", "path": "/notes", "value": "x"}])]
    wrong = joined_of(replica, mode="resumed", position=Position("e", 2), state=None, entries=entries, hash="0" * 32)
    assert replica.receive(wrong, 0) == [Join("s", None, 1, "j3")]
    assert replica.confirmed == FIRST


def test_a_lost_ack_is_found_among_the_entries() -> None:
    replica = replica_here()
    push = write(replica, "mine")
    replica.disconnected()
    assert replica.join().seq == 1
    entries = [Entry(2, "patch", 0, "phone", 1, push.ops)]
    state = {**FIRST, "notes": "mine"}
    resumed = joined_of(
        replica, mode="resumed", position=Position("e", 2), entries=entries, last_seq=1, hash=state_hash(state)
    )
    assert replica.receive(resumed, 0) == []
    assert [outcome.result for outcome in replica.take_outcomes()] == [Acked(2)]
    assert (replica.state, replica.pending) == (state, ())


def test_a_push_that_a_snapshot_holds_is_sent_again_unchanged_and_not_shown_twice() -> None:
    replica = replica_here()
    replica.edit([{"op": "add", "path": "/list/-", "value": "mine"}], "edit", 10)
    push = replica.outgoing(10)[0]
    replica.disconnected()
    replica.join()
    state = {"notes": "", "list": ["a", "mine"]}
    replica.receive(joined_of(replica, position=Position("e", 9), state=state, last_seq=1, reason="behind"), 20)
    assert replica.state == state
    assert replica.outgoing(20) == [push]
    replica.receive(Ack("s", 1, 4, 0), 20)
    assert [outcome.result for outcome in replica.take_outcomes()] == [Acked(4)]
    assert replica.state == state


def test_a_catch_up_that_nobody_asked_for_leaves_bodies_as_they_are() -> None:
    replica = replica_here()
    push = write(replica, "mine")
    replica.receive(joined_of(replica, position=Position("e", 5), reason="slow", ref=""), 20)
    assert replica.outgoing(20) == [push]


def test_the_answer_to_an_older_join_is_passed_over() -> None:
    replica = Replica("s", "phone")
    replica.join()
    replica.join()
    assert replica.receive(joined_of(replica, ref="j1"), 0) == []
    assert not replica.is_joined


def test_a_refused_edit_is_undone_and_its_value_listed() -> None:
    replica = replica_here()
    push = write(replica, "mine")
    assert replica.receive(reject_of(push, "session_ended"), 30) == []
    assert replica.state == FIRST
    assert [outcome.result for outcome in replica.take_outcomes()] == [Rejected("session_ended", "no", "never")]
    assert [(record.code, record.row["path"], record.row["ours"]) for record in replica.conflicts] == [
        ("session_ended", "/notes", "mine")
    ]


def test_what_was_made_on_top_of_a_refused_edit_is_made_anew() -> None:
    replica = replica_here()
    replica.inflight_max = 1
    replica.edit([{"op": "add", "path": "/list/0", "value": "refused"}], "edit", 10)
    replica.edit([{"op": "replace", "path": "/list/1", "value": "kept"}], "edit", 11)
    (push,) = replica.outgoing(11)
    replica.receive(reject_of(push, "session_ended"), 12)
    assert replica.state["list"] == ["kept"]
    assert [push.ops for push in replica.outgoing(12)] == [[{"op": "replace", "path": "/list/0", "value": "kept"}]]


def test_unavailable_sends_the_same_body_later_and_in_order() -> None:
    replica = replica_here()
    first, second = write(replica, "one"), write(replica, "two")
    replica.receive(reject_of(first, "unavailable", "later", retry_after_ms=1_000), 100)
    assert replica.receive(reject_of(second, "seq_gap", "resync", expected_seq=1), 100) == []
    assert replica.outgoing(1_099) == []
    assert replica.retry_at() == 1_100
    assert replica.outgoing(1_100) == [first, second]


def test_time_of_the_next_try_is_that_of_the_push_that_holds_up_the_others() -> None:
    replica = replica_here()
    first, second = write(replica, "one"), write(replica, "two")
    replica.receive(reject_of(second, "unavailable", "later", retry_after_ms=300), 100)
    replica.receive(reject_of(first, "unavailable", "later", retry_after_ms=1_000), 100)
    assert replica.outgoing(500) == []
    assert replica.retry_at() == 1_100


def test_after_rate_limited_the_same_bodies_go_out_one_by_one() -> None:
    replica = replica_here()
    first, second, third = (write(replica, text) for text in ("one", "two", "three"))
    for push in (first, second, third):
        replica.receive(reject_of(push, "rate_limited", "later", retry_after_ms=1_000), 100)
    assert replica.outgoing(1_099) == []
    assert replica.outgoing(1_100) == [first]
    assert replica.outgoing(1_101) == []
    replica.receive(Ack("s", 1, 2, 1_102), 1_102)
    assert [push.ops for push in replica.outgoing(1_102)] == [second.ops, third.ops]
    assert [outcome.result for outcome in replica.take_outcomes()] == [Acked(2)]
    assert replica.conflicts == []


def test_a_base_too_old_is_mended_by_a_join_and_a_new_number() -> None:
    replica = replica_here()
    push = write(replica, "mine")
    assert replica.receive(reject_of(push, "base_too_old", "resync"), 20) == [Join("s", Position("e", 1), 2, "j2")]
    assert replica.state["notes"] == "mine"
    state = {**FIRST, "notes": "theirs"}
    replica.receive(joined_of(replica, position=Position("e", 9), state=state, reason="behind"), 30)
    (again,) = replica.outgoing(30)
    assert (again.seq, again.base, again.ops) == (2, 9, push.ops)
    assert [record.row["theirs"] for record in replica.conflicts] == ["theirs"]


def test_an_edit_that_others_contest_keeps_its_base_so_that_the_server_lists_the_loser() -> None:
    replica = replica_here()
    replica.disconnected()
    replica.edit([{"op": "replace", "path": "/notes", "value": "mine"}], "edit", 10)
    replica.edit([{"op": "add", "path": "/list/-", "value": "free"}], "edit", 11)
    replica.join()
    theirs = {**FIRST, "notes": "theirs"}
    entries = [Entry(2, "patch", 0, "tv", 1, [{"op": "replace", "path": "/notes", "value": "theirs"}])]
    replica.receive(
        joined_of(replica, mode="resumed", position=Position("e", 2), entries=entries, hash=state_hash(theirs)), 20
    )
    assert [push.base for push in replica.outgoing(20)] == [1, 2]


def test_stale_progress_is_dropped_and_the_true_position_shows() -> None:
    replica = replica_here()
    push = write(replica, "5:00", "progress")
    replica.receive(reject_of(push, "stale_owner", "resync", playhead={"position": 9}), 20)
    assert (replica.state, replica.pending) == (FIRST, ())


def test_progress_reports_made_offline_are_one_report() -> None:
    replica = replica_here()
    replica.disconnected()
    for minute in range(100):
        ops = [{"op": "replace", "path": "/notes", "value": str(minute)}]
        replica.edit(ops, "progress", minute, fence=1)
    (one,) = replica.pending
    assert (one.ops, one.at, one.phase) == ([{"op": "replace", "path": "/notes", "value": "99"}], 99, Phase.FREE)


def test_handoff_status_and_offer_follow_the_entries() -> None:
    replica = replica_here()
    entries = [
        Entry(2, "status", 0, status="paused"),
        Entry(3, "handoff", 0, fence=2, active="tv"),
    ]
    replica.receive(EntriesMessage("s", entries), 0)
    assert (replica.status, replica.fence, replica.active, replica.is_active) == ("paused", 2, "tv", False)


def test_at_most_the_window_is_on_the_wire() -> None:
    replica = replica_here()
    replica.inflight_max = 2
    for number in range(5):
        replica.edit([{"op": "replace", "path": "/notes", "value": str(number)}], "edit", number)
    assert [push.seq for push in replica.outgoing(9)] == [1, 2]
    assert replica.outgoing(9) == []
    replica.receive(Ack("s", 1, 2, 0), 9)
    assert [push.seq for push in replica.outgoing(9)] == [3]


def test_only_what_was_saved_is_sent() -> None:
    replica = replica_here()
    first = replica.edit([{"op": "replace", "path": "/notes", "value": "saved"}], "edit", 1)
    assert first is not None
    through = first.revision
    replica.edit([{"op": "replace", "path": "/notes", "value": "not yet"}], "edit", 2)
    assert [push.seq for push in replica.outgoing(3, through=through)] == [1]


def test_an_edit_larger_than_a_message_is_refused_here() -> None:
    replica = replica_here()
    with pytest.raises(MessageTooLarge):
        replica.edit([{"op": "replace", "path": "/notes", "value": "x" * 70_000}], "edit", 1)
    assert replica.state == FIRST


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PENDING_MAX == 10_000
    monkeypatch.setattr("syncbridge.client.replica.PENDING_MAX", 1)
    replica = replica_here()
    write(replica, "one")
    with pytest.raises(QueueFull):
        write(replica, "two")


def test_an_answered_open_stands_for_no_entry() -> None:
    replica = replica_here()
    replica.edit([], "open", 10)
    push = replica.outgoing(10)[-1]
    # The device reads slowly: entry 2 is held back, and the answer names the head.
    replica.receive(Ack("s", push.seq, 2, 0), 0)
    assert replica.position == Position("e", 1)
    assert replica.pending == ()
    assert [outcome.result for outcome in replica.take_outcomes()] == [Acked(2)]
    assert replica.receive(entry_of(2, "theirs"), 0) == []
    assert replica.state["notes"] == "theirs"


def test_an_entry_that_a_copy_of_this_device_made_under_the_same_number_settles_nothing() -> None:
    replica = replica_here()
    push = write(replica, "mine")
    replica.disconnected()
    join = replica.join()
    ops = [{"op": "add", "path": "/list/-", "value": "the copy's"}]
    entry = Entry(2, "patch", 9_000, "phone", push.seq, ops, made_at=5)
    state = {"notes": "", "list": ["a", "the copy's"]}
    resumed = joined_of(
        replica,
        position=Position("e", 2),
        mode="resumed",
        entries=[entry],
        state=None,
        hash=state_hash(state),
        last_seq=1,
        ref=join.ref,
    )
    assert replica.receive(resumed, 10_000) == []
    assert replica.take_outcomes() == []
    assert replica.state == {**state, "notes": "mine"}
    assert replica.outgoing(10_000) == [push]  # the service tells the two apart, and gives it another number
    assert replica.receive(reject_of(push, "seq_conflict"), 10_000)
    replica.receive(joined_of(replica, position=Position("e", 2), state=state, hash=state_hash(state), last_seq=1), 0)
    again = replica.outgoing(20_000)
    assert [(one.seq, one.ops) for one in again] == [(2, push.ops)]


@pytest.mark.parametrize("is_resumed", [False, True], ids=["snapshot", "resumed"])
def test_an_edit_that_the_state_holds_already_is_not_shown_twice_after_a_crash(is_resumed: bool) -> None:
    replica = replica_here()
    write(replica, "mine")
    replica.disconnected()
    replica.join()
    newer = {**FIRST, "notes": "theirs, later"}
    assert replica.receive(joined_of(replica, position=Position("e", 3), state=newer, last_seq=1), 20) == []
    for _ in range(2):  # killed and started again, twice
        dump = replica.dump()
        assert dump is not None
        replica = Replica("s", "phone")
        replica.load(dump)
        assert replica.state["notes"] == "theirs, later"
        if is_resumed:
            replica.join()
            resumed = joined_of(
                replica,
                position=Position("e", 3),
                mode="resumed",
                state=None,
                entries=[],
                hash=state_hash(newer),
                last_seq=1,
            )
            assert replica.receive(resumed, 30) == []
            assert replica.state["notes"] == "theirs, later"
    assert [one.seq for one in replica.pending] == [1], "its answer is still missing"


# -- a log that went another way under its old name ---------------------------------------------------------------

GONE: dict[str, Any] = {"totals": {"breaths": 5}}
"""What the device holds at version 1 where its log lost that: it stands in no log any more."""
OURS: dict[str, Any] = {"totals": {"breaths": 7}}


def replica_with_edit(*, is_sent: bool = False) -> Replica:
    """It counts from 5 to 6."""
    replica = Replica("s", "phone")
    replica.join()
    replica.receive(joined_of(replica, hash=state_hash(GONE), state=GONE), 0)
    replica.edit([{"op": "replace", "path": "/totals/breaths", "value": 6}], "edit", 10)
    if is_sent:
        replica.outgoing(10)
    return replica


@pytest.mark.parametrize("base", [GONE, FIRST], ids=["the same log", "another log"])
def test_an_edit_is_made_anew_where_its_base_is_of_another_log(base: dict[str, Any]) -> None:
    replica = replica_with_edit(is_sent=True)
    replica.disconnected()
    replica.join()
    joined = joined_of(
        replica,
        position=Position("e", 9),
        hash=state_hash(OURS),
        state=OURS,
        reason="smaller",
        base_hash=state_hash(base),
    )
    replica.receive(joined, 20)
    (push,) = replica.outgoing(20)
    assert (push.base, push.ops[0]["value"]) == ((1, 6) if base is GONE else (9, 8))


def test_after_the_log_went_another_way_the_device_joins_again_before_it_pushes_anew() -> None:
    replica = replica_with_edit(is_sent=True)
    unasked = joined_of(replica, position=Position("e", 3), hash=state_hash(OURS), state=OURS, reason="epoch", ref="")
    (join,) = replica.receive(unasked, 20)
    assert isinstance(join, Join)
    assert replica.outgoing(20) == []
    replica.receive(
        msgspec.structs.replace(unasked, mode="resumed", reason="", state=None, entries=[], ref=join.ref), 20
    )
    (push,) = replica.outgoing(20)
    assert (push.base, push.ops[0]["value"]) == (3, 8)


def test_what_is_made_on_top_of_edits_that_a_snapshot_overtook_waits_for_their_answers() -> None:
    """A snapshot tells no way: only the service can say where the edit that waited ends up, and what is on it too."""
    replica = replica_here()
    replica.edit([{"op": "remove", "path": "/list/0"}], "edit", 10)
    (sent,) = replica.outgoing(10)
    replica.disconnected()
    replica.join()
    state = {"notes": "", "list": ["b", "a"]}
    snapshot = joined_of(replica, position=Position("e", 3), hash=state_hash(state), state=state, reason="smaller")
    replica.receive(msgspec.structs.replace(snapshot, base_hash=state_hash(FIRST)), 20)
    replica.edit([{"op": "add", "path": "/list/0", "value": "c"}], "edit", 20)
    assert replica.outgoing(20) == [msgspec.structs.replace(sent)]  # as it was made, and alone
    kept = replica.dump()
    assert kept is not None
    replica.receive(Ack("s", 1, 4, 30, [{"op": "remove", "path": "/list/1"}]), 30)
    (held,) = replica.outgoing(30)
    assert (held.base, held.ops) == (4, [{"op": "add", "path": "/list/0", "value": "c"}])
    assert replica.state["list"] == ["c", "b"]
    again = Replica("s", "phone")
    again.load(kept)
    again.join()
    again.receive(
        joined_of(again, mode="resumed", position=Position("e", 3), hash=state_hash(state), state=None, entries=[]), 40
    )
    assert [push.seq for push in again.outgoing(40)] == [1]
