"""A log that other nodes append to, and a store that lost the end of it: what a session makes of either."""

from __future__ import annotations

import msgspec
import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.entry import Entry, HandoffNote
from syncbridge.core.ids import ConnectionId, DeviceId, HandoffId, TxnId
from syncbridge.core.session_state import SessionState
from tests.unit.core.stage import ACCOUNT, ROSTER, Stage, conflict, on_disk, orders

SET = [{"op": "add", "path": "/n", "value": 1}]
OTHER = [{"op": "add", "path": "/n", "value": 2}]


@pytest.fixture
def stage() -> Stage:
    stage = Stage(is_shared=True)
    stage.joins("phone")
    stage.joins("tv")
    return stage


def seen(stage: Stage, *entries: Entry, txn: str = "other", previous_at: int = 0, epoch: str = "e1") -> None:
    stage.happens(on.EntriesSeen(epoch, list(entries), [0] * len(entries), txn, previous_at))


# -- what other nodes committed ---------------------------------------------------------------------------------


def test_entries_of_another_node_are_told_once_however_often_they_are_heard(stage: Stage) -> None:
    entry = stage.entry(2, ops=SET)
    seen(stage, entry)
    seen(stage, entry)
    assert stage.versions_told("phone") == [2]


def test_entries_that_overtake_the_answer_to_our_own_commit_follow_it(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", SET, base=1)
    seen(stage, stage.entry(3, ops=OTHER))
    assert stage.versions_told("tv") == []
    stage.commits()
    assert stage.versions_told("tv") == [2, 3]


def test_the_echo_of_our_own_commit_is_no_fork(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    loads = len(orders(stage, do.Load))
    seen(stage, stage.stored[-1], txn=stage.txns[-1].id)
    assert len(orders(stage, do.Load)) == loads


def test_a_transaction_is_held_from_when_it_is_on_its_way_and_another_at_its_place_is_not(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", SET, base=1)
    batch = stage.machine.batch
    assert batch is not None
    assert batch.txn is not None
    own = batch.txn.id
    assert stage.machine.holds(2, own)
    assert not stage.machine.holds(2, TxnId("other"))
    stage.commits()
    assert stage.machine.holds(2, own)
    assert not stage.machine.holds(2, TxnId("other"))
    assert not stage.machine.holds(3, own)
    seen(stage, stage.entry(3, ops=OTHER))
    assert stage.machine.holds(3, TxnId("other"))


@pytest.mark.parametrize("told", ["another entry", "another before it", "another epoch", "a gap"])
def test_a_log_that_went_another_way_is_read_again(stage: Stage, told: str) -> None:
    stage.pushes("phone", SET, base=1)
    loads = len(orders(stage, do.Load))
    match told:
        case "another entry":
            seen(stage, stage.entry(2, ops=OTHER))
        case "another before it":
            seen(stage, stage.entry(3, ops=OTHER), previous_at=stage.now_ms + 1)
        case "another epoch":
            seen(stage, stage.entry(3, ops=OTHER), epoch="e2")
        case _:
            seen(stage, stage.entry(4, ops=OTHER))
    assert len(orders(stage, do.Load)) == loads + 1
    assert stage.machine.state is SessionState.LIVE


def test_members_of_a_log_that_went_another_way_get_a_snapshot(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    lost = stage.txns.pop()
    winner = stage.entry(2, ops=OTHER)
    stage.txns.append(on_disk(lost, winner))
    seen(stage, winner)
    for device in ("phone", "tv"):
        joined = stage.last(device, m.Joined)
        assert (joined.mode, joined.reason, joined.state) == ("snapshot", "epoch", stage.state)
    assert stage.state["n"] == 2


def test_an_entry_that_does_not_apply_here_shows_that_the_log_is_another(stage: Stage) -> None:
    loads = len(orders(stage, do.Load))
    seen(stage, stage.entry(2, ops=[{"op": "remove", "path": "/nowhere"}]))
    assert len(orders(stage, do.Load)) == loads + 1


# -- handoffs of other nodes ------------------------------------------------------------------------------------


def test_an_offer_made_at_another_node_reaches_its_target_here_once(stage: Stage) -> None:
    note = HandoffNote(HandoffId("h1"), "offer", DeviceId("watch"), DeviceId("tv"), expires_at=stage.now_ms + 5_000)
    seen(stage, stage.entry(2, kind="offer", device="watch", handoff=note))
    assert [told.handoff for told in stage.all("tv", m.HandoffPrepare)] == ["h1"]
    assert not stage.all("phone", m.HandoffPrepare)
    assert stage.timers["offer"] == stage.now_ms + 5_000


def test_a_handoff_made_at_another_node_is_told_to_every_member_after_its_entry(stage: Stage) -> None:
    stage.offers("phone", "tv")
    note = HandoffNote(HandoffId("h2"), "take", DeviceId("phone"), DeviceId("watch"))
    entry = stage.entry(3, kind="handoff", device="watch", fence=2, active="watch", handoff=note)
    seen(stage, entry)
    for device in ("phone", "tv"):
        kinds = [type(message) for message in stage.inbox[device][-3:]]
        assert kinds == [m.EntriesMessage, m.HandoffFailed, m.HandoffDone]
        assert stage.last(device, m.HandoffDone).fence == 2
        assert stage.last(device, m.HandoffFailed).reason == "superseded"


@pytest.mark.parametrize("how", ["declined", "ended"])
def test_an_offer_that_ends_at_another_node_is_told_as_failed(stage: Stage, how: str) -> None:
    stage.offers("phone", "tv")
    note = HandoffNote(HandoffId("h1"), "offer", DeviceId("phone"), DeviceId("tv"), reason="declined")
    if how == "declined":
        seen(stage, stage.entry(3, kind="withdraw", device="tv", handoff=note))
    else:
        seen(stage, stage.entry(3, kind="status", status="completed"))
    assert [failed.reason for failed in stage.all("phone", m.HandoffFailed)] == [how]


# -- what the store lost ----------------------------------------------------------------------------------------


def test_a_head_below_ours_is_put_back_and_all_waits_until_it_was(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    stage.happens(on.HeadSeen("e1", 1))
    (held,) = orders(stage, do.PutBack)
    assert (held.snapshot.version, [entry.version for entry in held.entries], held.txns) == (
        2,
        [2],
        [stage.txns[-1].id],
    )
    before = len(stage.txns)
    stage.holds = True
    stage.pushes("tv", OTHER, base=2)
    assert len(stage.txns) == before
    assert not stage.held
    stage.happens(on.PutBackDone(2))
    assert [entry.version for entry in stage.held[0].entries] == [3]
    assert not stage.all("phone", m.Left)


@pytest.mark.parametrize("learned", ["loaded", "read again", "conflict"])
def test_what_was_learned_from_the_store_is_put_back_as_whose_it_was(stage: Stage, learned: str) -> None:
    """Else who committed it, and never heard the outcome, would work it again."""
    if learned == "conflict":
        stage.holds = True
        stage.pushes("phone", SET, base=1)
        conflict(stage, [stage.entry(2, ops=OTHER)])
        stage.commits()
    else:
        stage.txns.append(
            msgspec.structs.replace(on_disk(stage.txns[-1], stage.entry(2, ops=OTHER)), id=TxnId("other"))
        )
        if learned == "loaded":
            stage.crash()
            stage.joins("phone")
        else:
            stage.happens(on.HeadSeen("e1", 2))
    stage.happens(on.HeadSeen("e1", 1))
    held = orders(stage, do.PutBack)[-1]
    said = dict(zip([entry.version for entry in held.entries], held.txns, strict=True))
    assert said[2] == "other"


def test_a_commit_on_what_the_store_lost_is_submitted_again_as_it_was(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", SET, base=1)
    txn = stage.held.pop(0)
    stage.happens(on.FellBehind(txn.id))
    (held,) = orders(stage, do.PutBack)
    assert (held.snapshot.version, held.entries) == (1, [])
    assert held.snapshot.state == stage.snapshot.state
    stage.happens(on.PutBackDone(1))
    assert stage.held == [txn]
    stage.commits()
    assert stage.last("phone", m.Ack).version == 2


def test_what_cannot_be_put_back_for_now_is_tried_again(stage: Stage) -> None:
    stage.happens(on.HeadSeen("e1", 0))
    stage.happens(on.PutBackFailed("unavailable"))
    stage.passes(100)
    assert len(orders(stage, do.PutBack)) == 2


def test_what_went_another_way_meanwhile_is_read_again(stage: Stage) -> None:
    stage.happens(on.HeadSeen("e1", 0))
    loads = len(orders(stage, do.Load))
    stage.happens(on.PutBackFailed("forked"))
    assert len(orders(stage, do.Load)) == loads + 1
    assert stage.machine.state is SessionState.LIVE


def test_while_nothing_can_be_read_what_is_held_is_offered_before_it_is_read_again(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    machine = stage.machine
    gap = on.EntriesSeen("e1", [stage.entry(4, ops=OTHER)], [0], "other")
    assert [type(effect) for effect in machine.receive(gap, stage.now_ms)] == [do.Load]
    stage.happens(on.LoadFailed("unavailable"))  # it is away, or has lost the log and waits for whoever holds it
    stage.passes(100)
    (held,) = orders(stage, do.PutBack)
    assert held.snapshot.version == 2
    stage.txns += [on_disk(stage.txns[-1], stage.entry(version, ops=OTHER)) for version in (3, 4)]
    stage.happens(on.PutBackDone(4))
    assert stage.versions_told("tv") == [2, 3, 4]


@pytest.mark.parametrize("is_in_flight", [False, True])
def test_a_shorter_log_that_went_another_way_takes_the_place_of_ours(stage: Stage, *, is_in_flight: bool) -> None:
    stage.pushes("phone", SET, base=1)
    stage.pushes("phone", OTHER, base=2)
    lost = stage.txns[-2:]
    stage.txns[-2:] = [on_disk(lost[0], stage.entry(2, ops=[{"op": "add", "path": "/n", "value": 3}]))]
    if is_in_flight:
        stage.holds = True
        stage.pushes("tv", SET, base=3)
        stage.happens(on.FellBehind(stage.held.pop().id))
        stage.holds = False
    else:
        stage.happens(on.HeadSeen("e1", 2))
    stage.happens(on.PutBackFailed("forked"))
    assert len(orders(stage, do.PutBack)) == 1, "what was refused once would be refused again and again"
    assert stage.machine.state is SessionState.LIVE
    joined = stage.all("phone", m.Joined)[-1]
    assert (joined.mode, joined.reason, joined.position.version) == ("snapshot", "epoch", 2)


def test_what_is_pushed_on_a_log_that_went_another_way_is_taken_after_a_join(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    stage.txns[-1] = on_disk(stage.txns[-1], stage.entry(2, ops=OTHER))
    stage.happens(on.HeadSeen("e1", 1))
    stage.happens(on.PutBackFailed("forked"))
    # Made on version 2 of the log that is gone; it looks as if it had been made on that of ours.
    stage.pushes("tv", SET, base=2)
    assert stage.last("tv", m.Reject).code == "epoch_unknown"
    stage.joins("tv", version=2)
    stage.pushes("tv", SET, base=2, seq=1)
    assert stage.last("tv", m.Ack).version == 3


def test_a_head_above_ours_is_read_and_told_as_entries(stage: Stage) -> None:
    stage.txns.append(on_disk(stage.txns[-1], stage.entry(2, ops=SET)))
    stage.happens(on.HeadSeen("e1", 2))
    assert stage.versions_told("phone") == [2]


def test_a_commit_says_when_what_it_builds_on_was_committed(stage: Stage) -> None:
    stage.pushes("phone", SET, base=1)
    stage.passes(50)
    stage.pushes("phone", OTHER, base=2)
    assert stage.txns[-1].expected_at == stage.stored[-2].at


# -- who is elsewhere -------------------------------------------------------------------------------------------


def elsewhere(stage: Stage, *devices: str) -> None:
    stage.happens(on.SeenElsewhere({DeviceId(device): stage.now_ms for device in devices}))


def online(stage: Stage, device: str) -> list[tuple[str, bool]]:
    return [(told.device, told.online) for told in stage.all(device, m.PresenceMessage)]


def test_who_comes_and_goes_at_another_node_is_told_once(stage: Stage) -> None:
    stage.inbox["phone"].clear()
    elsewhere(stage, "watch")
    elsewhere(stage, "watch")
    elsewhere(stage)
    elsewhere(stage)
    assert online(stage, "phone") == [("watch", True), ("watch", False)]


def named(stage: Stage, device: str) -> list[tuple[str, str, str]]:
    return [(told.device, told.name, told.platform) for told in stage.all(device, m.PresenceMessage)]


CAR = m.DeviceInfo("car", "Ann's car", "auto")
"""Registered at another node, after the roster here was read."""


def test_a_device_elsewhere_that_the_roster_does_not_name_has_it_read_and_is_told_by_name(stage: Stage) -> None:
    stage.inbox["phone"].clear()
    elsewhere(stage, "car")
    elsewhere(stage, "car", "watch")
    assert len(orders(stage, do.ReadRoster)) == 1
    stage.happens(on.RosterChanged(ACCOUNT, (*ROSTER, CAR)))
    stage.happens(on.RosterChanged(ACCOUNT, (*ROSTER, CAR)))
    assert [told for told in named(stage, "phone") if told[0] == "car"] == [("car", "", ""), ("car", CAR.name, "auto")]


def test_a_device_that_is_in_no_roster_is_asked_for_once(stage: Stage) -> None:
    elsewhere(stage, "car")
    stage.happens(on.RosterChanged(ACCOUNT, ROSTER))
    elsewhere(stage, "car")
    assert len(orders(stage, do.ReadRoster)) == 1


def test_a_join_that_cannot_name_who_is_elsewhere_has_the_roster_read(stage: Stage) -> None:
    elsewhere(stage, "car")
    before = len(orders(stage, do.ReadRoster))
    stage.joins("laptop")
    assert len(orders(stage, do.ReadRoster)) == before + 1
    stage.happens(on.RosterChanged(ACCOUNT, (*ROSTER, CAR)))
    assert ("car", CAR.name, "auto") in named(stage, "laptop")


def test_where_nobody_follows_no_roster_is_read_until_somebody_joins(stage: Stage) -> None:
    for device in ("phone", "tv"):
        stage.leaves(device)
    elsewhere(stage, "car")
    assert not orders(stage, do.ReadRoster)
    stage.joins("phone")
    assert orders(stage, do.ReadRoster)


def test_a_device_that_changes_nodes_was_never_away(stage: Stage) -> None:
    stage.inbox["phone"].clear()
    elsewhere(stage, "tv")
    stage.leaves("tv")
    assert online(stage, "phone") == []
    stage.joins("tv")
    elsewhere(stage)
    assert online(stage, "phone") == []


def test_joined_shows_who_is_elsewhere(stage: Stage) -> None:
    elsewhere(stage, "watch")
    assert {one.id for one in stage.joins("tv").devices if one.online} == {"phone", "tv", "watch"}


def test_other_nodes_hear_who_follows_here_once_it_is_told_itself(stage: Stage) -> None:
    assert [one.device for one in orders(stage, do.Present)] == ["phone", "tv"]
    stage.leaves("tv", heard_at=stage.now_ms - 7)
    assert orders(stage, do.Absent) == [do.Absent(DeviceId("tv"), stage.now_ms - 7)]


def test_other_nodes_hear_often_that_the_active_device_is_alive(stage: Stage) -> None:
    elsewhere(stage, "watch")
    before = len(orders(stage, do.Present))
    stage.passes(stage.limits.heartbeat_ms)
    assert {one.device for one in orders(stage, do.Present)[before:]} == {"phone"}
    assert len(orders(stage, do.Present)) - before >= 2
    elsewhere(stage)
    stage.passes(stage.limits.heartbeat_ms)
    assert "heard" not in stage.timers


def test_a_take_from_a_device_at_another_node_reckons_with_when_it_was_heard_there(stage: Stage) -> None:
    stage.moves("phone", 10, intent="seek", rate=1)
    stage.leaves("phone")
    elsewhere(stage, "phone")
    stage.passes(stage.limits.heartbeat_ms + 1_000)
    stage.takes("tv")
    done = stage.last("tv", m.HandoffDone)
    assert (done.uncertainty_ms, done.active) == (0, "tv")


def test_signals_go_to_other_nodes_where_somebody_is(stage: Stage) -> None:
    signal = on.SignalReceived(ConnectionId("phone"), DeviceId("phone"), m.Signal("s1", 7))
    stage.happens(signal)
    assert not orders(stage, do.Relay)
    elsewhere(stage, "watch")
    stage.happens(signal)
    assert [relay.message.data for relay in orders(stage, do.Relay)] == [7]
