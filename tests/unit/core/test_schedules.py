"""Schedules in which a device would be left behind, told wrongly, or told of what is not its own."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from syncbridge import errors
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.digest import push_digest
from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId
from syncbridge.core.playhead import of_state
from syncbridge.core.session import SessionMachine
from syncbridge.core.session_state import SessionState
from syncbridge.limits import Limits
from tests.unit.core.stage import ACCOUNT, NOW_MS, ROSTER, Stage, conflict, request

TV = ConnectionId("tv")


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    return stage


def breaths(value: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/totals/breaths", "value": value}]


# -- a slow reader that has drained -----------------------------------------------------------------------------


def test_reader_that_drains_while_the_store_is_silent_is_caught_up_when_it_answers(stage: Stage) -> None:
    stage.happens(on.MemberLagging(TV))
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.happens(on.MemberDrained(TV))
    stage.passes(stage.limits.store_timeout_ms)
    stage.commits()
    joined = stage.last("tv", m.Joined)
    assert (joined.reason, joined.position.version) == ("slow", 2)


def test_reader_that_drains_while_the_queue_is_full_is_caught_up_afterwards() -> None:
    stage = Stage(limits=Limits(queue_entries_max=64))
    stage.joins("phone")
    stage.joins("tv")
    stage.happens(on.MemberLagging(TV))
    stage.holds = True
    for seq in range(1, 70):
        stage.pushes("phone", breaths(seq), base=1, seq=seq)
    assert stage.last("phone", m.Reject).code == "busy"
    for _ in range(100):
        stage.happens(on.MemberDrained(TV))
    assert len(stage.machine.queue) <= 65
    while stage.held:
        stage.commits()
    assert stage.last("tv", m.Joined).position.version == stage.machine.version


def test_offer_that_runs_out_while_the_store_is_silent_is_withdrawn_when_it_answers(stage: Stage) -> None:
    stage.offers("phone", "tv")
    stage.passes(stage.limits.handoff_ready_ms - 100)
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.passes(stage.limits.store_timeout_ms)
    stage.holds = False
    stage.commits()
    assert stage.last("tv", m.HandoffFailed).reason == "expired"


def test_session_that_lost_too_many_races_leaves_memory_when_nobody_follows() -> None:
    stage = Stage(limits=Limits(retry_conflicts_max=1))
    stage.holds = True
    stage.happens(on.EditRequested(request(), "", "patch", breaths(1), None, "edit"))
    for version in (2, 3):
        conflict(stage, [Entry(version=version, kind="patch", at=stage.now_ms)])
    assert stage.replies["r1"].code == "unavailable"
    stage.passes(stage.limits.session_idle_unload_ms)
    assert stage.machine.state is SessionState.GONE


# -- who is there -----------------------------------------------------------------------------------------------


def test_device_that_left_while_its_join_was_in_flight_is_not_shown_online(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", breaths(2), base=1, seq=2)
    laptop = ConnectionId("laptop")
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1")))
    stage.commits()  # the second push and the join are one transaction now
    stage.leaves("laptop")
    stage.commits()
    assert stage.last("tv", m.PresenceMessage).online is False


def test_join_that_waited_does_not_bring_back_a_roster_that_has_changed(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    laptop = ConnectionId("laptop")
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1")))
    without_watch = tuple(info for info in ROSTER if info.id != "watch")
    stage.happens(on.RosterChanged(ACCOUNT, without_watch))
    stage.holds = False
    stage.commits()
    assert "watch" not in {device.id for device in stage.last("laptop", m.Joined).devices}
    stage.offers("phone", "watch")
    assert stage.last("phone", m.ErrorMessage).code == errors.DeviceUnknown.code


# -- what is not yours ------------------------------------------------------------------------------------------


def asked_at_once() -> list[Any]:
    """Everything that may follow a join on the wire before the join is answered."""
    eve, x = DeviceId("x"), ConnectionId("x")
    push = m.Push("s1", 1, 1, breaths(1))
    return [
        on.PushReceived(x, eve, push, push_digest(push)),
        on.OfferReceived(x, eve, m.HandoffOffer("s1", "tv", ref="o"), "h1"),
        on.TakeReceived(x, eve, m.HandoffTake("s1", ref="t"), "h1", None),
        on.ReadyReceived(x, eve, m.HandoffReady("s1", "h1"), None),
        on.CancelReceived(x, eve, m.HandoffCancel("s1", "h1")),
        on.ConfirmReceived(x, eve, m.HandoffConfirm("s1", "h1")),
        on.DeclineReceived(AccountId("eve"), x, eve, m.HandoffDecline("s1", "h1")),
    ]


@pytest.mark.parametrize("event", asked_at_once(), ids=lambda event: type(event).__name__)
def test_what_follows_a_foreign_join_is_answered_as_if_there_were_no_such_session(event: Any) -> None:
    join = on.MemberJoined(ConnectionId("x"), AccountId("eve"), DeviceId("x"), (), m.Join("s1"))

    def answers(loaded: Any) -> list[do.Send]:
        machine = SessionMachine(SessionId("s1"), Limits(), lambda: "t")
        machine.receive(join, NOW_MS)
        machine.receive(event, NOW_MS)
        return [effect for effect in machine.receive(loaded, NOW_MS) if isinstance(effect, do.Send)]

    assert answers(on.Loaded(Stage().snapshot, [], [])) == answers(on.LoadFailed("not_found"))


# -- the playhead -----------------------------------------------------------------------------------------------


def test_restored_state_goes_on_where_the_playhead_stood_when_it_was_kept(stage: Stage) -> None:
    stage.moves("phone", 600, intent="seek")
    kept = stage.state
    stage.passes(2 * 86_400_000)
    stage.asks(on.RestoreRequested(request(), "phone", kept))
    anchor = of_state(stage.state)
    assert anchor is not None
    assert anchor.position_at(stage.now_ms) <= 600
    assert stage.machine.log is not None
    assert (stage.machine.log.status == "active") == (anchor.rate > 0)


def test_anchor_from_a_clock_of_1970_never_makes_a_playhead_that_nobody_can_read(stage: Stage) -> None:
    stage.moves("phone", 600, intent="seek", rate=4, at=1)
    reply = stage.asks(on.StatusRequested(request(), "", "paused", None))
    assert reply.code == ""
    assert of_state(stage.state) is not None


def test_device_that_comes_again_and_again_while_the_store_is_silent_waits_once_and_is_told(stage: Stage) -> None:
    stage.offers("phone", "watch", expires_ms=600_000)
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    for number in range(1000):
        stage.happens(on.DeviceArrived(ConnectionId(f"w{number}"), DeviceId("watch")))
    stage.passes(stage.limits.store_timeout_ms)
    assert len(stage.machine.queue) == 1
    stage.commits()
    assert stage.last("w999", m.HandoffPrepare).handoff == "h1"


def test_roster_of_another_account_that_asked_to_join_does_not_become_this_sessions(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    x = ConnectionId("x")
    stage.happens(on.MemberJoined(x, AccountId("eve"), DeviceId("x"), (), m.Join("s1")))
    stage.happens(on.RosterChanged(AccountId("eve"), (m.DeviceInfo("x", "Eve's"),)))
    stage.holds = False
    stage.commits()
    assert stage.joins("laptop").devices  # another connection brings its own roster
    stage.happens(on.RosterChanged(AccountId("eve"), (m.DeviceInfo("x", "Eve's"),)))
    stage.offers("phone", "x")
    assert stage.last("phone", m.ErrorMessage).code == errors.DeviceUnknown.code
    stage.offers("phone", "watch")
    assert stage.last("phone", m.HandoffOffered).to == "watch"


def test_left_is_the_last_word_to_a_device_that_left_while_its_join_was_in_flight(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", breaths(2), base=1, seq=2)
    laptop = ConnectionId("laptop")
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1")))
    stage.commits()
    stage.happens(on.MemberLeft(laptop, stage.now_ms, is_gone=False))
    stage.commits()
    assert stage.all("laptop", m.Joined) == []


def test_join_refused_while_an_earlier_one_is_in_flight_leaves_no_joined_that_follows_nothing(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", breaths(2), base=1, seq=2)
    laptop = ConnectionId("laptop")
    join = on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1", ref="a"))
    stage.happens(join)
    stage.commits()
    stage.happens(on.MemberJoined(laptop, ACCOUNT, DeviceId("laptop"), ROSTER, m.Join("s1", ref="b")))
    stage.passes(stage.limits.store_timeout_ms)
    assert stage.last("laptop", m.ErrorMessage).ref == "b"
    stage.commits()
    assert stage.all("laptop", m.Joined) == []


def test_others_are_told_the_new_name_of_a_device_and_nothing_of_the_rest(stage: Stage) -> None:
    stage.inbox = {"phone": [], "tv": []}
    renamed = tuple(structs.replace(info, name="Living room") if info.id == "tv" else info for info in ROSTER)
    stage.happens(on.RosterChanged(ACCOUNT, renamed))
    assert [(news.device, news.name, news.online) for news in stage.all("phone", m.PresenceMessage)] == [
        ("tv", "Living room", True)
    ]
    assert stage.all("tv", m.PresenceMessage) == []  # it knows
