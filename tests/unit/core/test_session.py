"""The session machine: what it says when, and what it takes back."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest

from syncbridge import errors
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.conflicts import PastConflict
from syncbridge.core.entry import Entry, Txn
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.core.session import SessionMachine
from syncbridge.core.session_state import SessionState
from syncbridge.limits import Limits
from tests.unit.core.stage import ACCOUNT, NOW_MS, ROSTER, Stage, conflict, fold, request


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    return stage


def breaths(value: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/totals/breaths", "value": value}]


def volume(value: int) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/settings/volume", "value": value}]


PAST = PastConflict(
    epoch="e1",
    index=0,
    before={"title": "a"},
    entry=Entry(1, "patch", NOW_MS, conflicts=[{"path": "/title", "policy": "last", "winner": "manual"}]),
    head=1,
    since=[],
    undoings=[],
)


# -- the whole product ------------------------------------------------------------------------------------------


def every_event() -> list[Any]:
    """One event of each kind the machine knows."""
    phone, connection = DeviceId("phone"), ConnectionId("phone")
    made: dict[type, Any] = {
        on.Loaded: on.Loaded(Stage().snapshot, [], []),
        on.LoadFailed: on.LoadFailed("unavailable"),
        on.Committed: on.Committed(TxnId("t1")),
        on.Conflicted: on.Conflicted(TxnId("t1"), [], []),
        on.OutcomeUnknown: on.OutcomeUnknown(TxnId("t1")),
        on.EpochChanged: on.EpochChanged(TxnId("t1")),
        on.FellBehind: on.FellBehind(TxnId("t1")),
        on.PutBackDone: on.PutBackDone(1),
        on.PutBackFailed: on.PutBackFailed("forked"),
        on.HeadSeen: on.HeadSeen("e1", 1),
        on.SeenElsewhere: on.SeenElsewhere({DeviceId("tv"): NOW_MS}),
        on.Fenced: on.Fenced(TxnId("t1"), [phone]),
        on.EntriesSeen: on.EntriesSeen("e1", [Entry(version=2, kind="patch", at=NOW_MS)], [0]),
        on.MemberJoined: on.MemberJoined(connection, ACCOUNT, phone, ROSTER, m.Join("s1")),
        on.MemberLeft: on.MemberLeft(connection, NOW_MS, True),
        on.MemberLagging: on.MemberLagging(connection),
        on.MemberDrained: on.MemberDrained(connection),
        on.DeviceArrived: on.DeviceArrived(connection, phone),
        on.RosterChanged: on.RosterChanged(ACCOUNT, ROSTER),
        on.PushReceived: on.PushReceived(connection, phone, m.Push("s1", 1, 1, breaths(1)), 1),
        on.OfferReceived: on.OfferReceived(connection, phone, m.HandoffOffer("s1", "tv"), "h1"),
        on.TakeReceived: on.TakeReceived(connection, phone, m.HandoffTake("s1"), "h1", None),
        on.ReadyReceived: on.ReadyReceived(connection, phone, m.HandoffReady("s1", "h1"), None),
        on.DeclineReceived: on.DeclineReceived(ACCOUNT, connection, phone, m.HandoffDecline("s1", "h1")),
        on.CancelReceived: on.CancelReceived(connection, phone, m.HandoffCancel("s1", "h1")),
        on.ConfirmReceived: on.ConfirmReceived(connection, phone, m.HandoffConfirm("s1", "h1")),
        on.SignalReceived: on.SignalReceived(connection, phone, m.Signal("s1", 1)),
        on.ReadRequested: on.ReadRequested(request()),
        on.EditRequested: on.EditRequested(request(), "phone", "merge", {"notes": "x"}, None),
        on.StatusRequested: on.StatusRequested(request(), "phone", "paused"),
        on.TakeRequested: on.TakeRequested(request(), "phone", DeviceId("tv"), "take", "h1", ROSTER, None, None),
        on.RestoreRequested: on.RestoreRequested(request(), "phone", {}),
        on.UndoRequested: on.UndoRequested(request(), "phone", PAST),
        on.Deleted: on.Deleted(),
        on.TimerFired: on.TimerFired("store"),
        on.OfferExpired: on.OfferExpired(),
    }
    assert set(made) == set(typing.get_args(on.AnyEvent))
    return list(made.values())


def machines() -> list[SessionMachine]:
    """A machine in every state, with and without a commit in flight."""
    fresh = Stage().machine
    loading = Stage().machine
    loading.receive(on.ReadRequested(request("first")), NOW_MS)
    live = Stage()
    live.joins("phone")
    busy = Stage()
    busy.joins("phone")
    busy.holds = True
    busy.pushes("phone", breaths(1), base=1)
    mending = Stage(is_shared=True)
    mending.joins("phone")
    mending.happens(on.HeadSeen("e1", 0))
    gone = Stage()
    gone.joins("phone")
    gone.happens(on.Deleted())
    return [fresh, loading, live.machine, busy.machine, mending.machine, gone.machine]


@pytest.mark.parametrize("event", every_event(), ids=lambda event: type(event).__name__)
def test_every_event_in_every_state_gives_effects_and_never_raises(event: Any) -> None:
    for machine in machines():
        effects = machine.receive(event, NOW_MS)
        assert all(isinstance(effect, typing.get_args(do.AnyEffect)) for effect in effects)
        log = machine.log
        if log is not None and machine.state is SessionState.LIVE:
            assert log.version - log.floor == len(log.entries)


@pytest.mark.parametrize(
    "event",
    [event for event in every_event() if type(event).__name__.endswith("Requested")],
    ids=lambda event: type(event).__name__,
)
def test_every_request_to_a_session_that_is_gone_is_answered_not_found(event: Any) -> None:
    stage = Stage()
    stage.joins("phone")
    stage.happens(on.Deleted())
    assert stage.asks(event).code == "not_found"


# -- nothing is said before it is stored ------------------------------------------------------------------------


def test_nothing_that_rests_on_a_commit_is_said_before_it_is_stored(stage: Stage) -> None:
    stage.holds = True
    for inbox in stage.inbox.values():
        inbox.clear()
    stage.pushes("phone", breaths(1), base=1)
    stage.offers("phone", "tv")
    assert stage.inbox["phone"] == []
    assert stage.inbox["tv"] == []
    assert stage.machine.version == 1
    stage.commits()
    assert stage.last("phone", m.Ack).version == 2
    assert stage.versions_told("tv") == [2]


def test_pushes_that_come_while_a_commit_is_in_flight_go_as_one_transaction(stage: Stage) -> None:
    stage.holds = True
    for count in range(1, 6):
        stage.pushes("phone", breaths(count), base=1)
    assert len(stage.held) == 1
    stage.commits()
    assert len(stage.held) == 1
    assert [entry.version for entry in stage.held[0].entries] == [3, 4, 5, 6]
    stage.commits()
    assert [ack.version for ack in stage.all("phone", m.Ack)] == [2, 3, 4, 5, 6]
    assert stage.versions_told("tv") == [2, 3, 4, 5, 6]


def test_lost_race_is_judged_again_on_what_others_committed(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(3), base=1)
    stage.holds = False
    conflict(stage, [Entry(version=2, kind="patch", at=stage.now_ms, device="watch", seq=1, ops=breaths(10))])
    assert stage.state["totals"]["breaths"] == 13
    assert stage.last("phone", m.Ack).version == 3
    assert stage.versions_told("tv") == [2, 3]
    assert stage.versions_told("phone") == [2, 3]
    assert fold(stage.snapshot, stage.stored, stage.limits) == stage.state


def test_push_that_another_node_committed_is_answered_not_repeated(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(3), base=1, seq=1)
    entry = Entry(version=2, kind="patch", at=stage.now_ms, device="phone", seq=1, ops=breaths(3))
    txn = stage.held.pop()
    digest = txn.digests[0]
    stage.holds = False
    stage.happens(on.Conflicted(txn.id, [entry], [digest]))
    assert stage.last("phone", m.Ack).version == 2
    assert stage.state["totals"]["breaths"] == 3


def test_refusal_that_rested_on_a_lost_race_is_judged_again(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("tv", breaths(1), base=1, seq=1)
    stage.commits()
    stage.pushes("tv", breaths(2), base=2, seq=2)
    stage.moves("phone", 5, intent="progress", base=1, seq=1)
    stage.moves("tv", 5, intent="progress", base=2, seq=3)
    stage.holds = False
    took = Entry(version=3, kind="handoff", at=stage.now_ms, device="tv", fence=2, active="tv")
    conflict(stage, [took])
    assert [reject.code for reject in stage.all("phone", m.Reject)] == ["stale_owner"]
    log = stage.machine.log
    assert log is not None
    assert log.active == "tv"
    assert [ack.seq for ack in stage.all("tv", m.Ack)] == [1, 2]


def test_too_many_lost_races_are_answered_unavailable_and_the_push_may_come_again() -> None:
    stage = Stage(limits=Limits(retry_conflicts_max=2))
    stage.joins("phone")
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    for version in range(2, 5):
        conflict(stage, [Entry(version=version, kind="patch", at=stage.now_ms, ops=[])])
    reject = stage.last("phone", m.Reject)
    assert (reject.code, reject.retry) == ("unavailable", "same")
    stage.holds = False
    assert isinstance(stage.pushes("phone", breaths(1), base=1, seq=1), m.Ack)


def test_unknown_outcome_submits_the_very_same_transaction_again(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1)
    txn = stage.held[0]
    for _ in range(3):
        stage.happens(on.OutcomeUnknown(txn.id))
        stage.passes(stage.timers["resubmit"] - stage.now_ms)
        assert stage.held[-1] == txn
    stage.commits(txn)
    assert stage.last("phone", m.Ack).version == 2


def test_another_epoch_gives_every_member_a_snapshot(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(5), base=1, seq=1)
    txn = stage.held.pop()
    stage.holds = False
    stage.snapshot = msgspec.structs.replace(stage.snapshot, epoch="e2")
    stage.happens(on.EpochChanged(txn.id))
    for device in ("phone", "tv"):
        joined = stage.last(device, m.Joined)
        assert (joined.mode, joined.reason) == ("snapshot", "epoch")
    assert stage.last("phone", m.Ack).version == 2


def test_log_read_again_after_a_gap_tells_members_what_was_missed_as_entries(stage: Stage) -> None:
    stage.pushes("phone", breaths(1), base=1)
    entry = Entry(version=3, kind="patch", at=stage.now_ms, ops=breaths(2))
    others = Txn(TxnId("o"), stage.session, ACCOUNT, "e1", 2, [entry], [0], "active")
    stage.txns.append(others)
    stage.happens(on.EntriesSeen("e1", [Entry(version=9, kind="patch", at=stage.now_ms)], [0]))
    assert (stage.versions_told("phone"), stage.versions_told("tv")) == ([2, 3], [2, 3])


# -- exactly once -----------------------------------------------------------------------------------------------


def test_same_number_with_another_body_is_refused_and_changes_nothing(stage: Stage) -> None:
    stage.pushes("phone", breaths(1), base=1, seq=1)
    answer = stage.pushes("phone", breaths(2), base=1, seq=1)
    assert isinstance(answer, m.Reject)
    assert answer.code == "seq_conflict"
    assert stage.state["totals"]["breaths"] == 1


def test_skipped_number_is_a_gap_until_the_missing_one_came(stage: Stage) -> None:
    gap = stage.pushes("phone", breaths(2), base=1, seq=2)
    assert isinstance(gap, m.Reject)
    assert (gap.code, gap.expected_seq) == ("seq_gap", 1)
    assert isinstance(stage.pushes("phone", breaths(1), base=1, seq=1), m.Ack)
    assert isinstance(stage.pushes("phone", breaths(2), base=1, seq=2), m.Ack)


def test_refused_push_gets_the_same_answer_again_and_the_next_number_goes_on(stage: Stage) -> None:
    bad = [{"op": "remove", "path": "/nothing"}]
    first = stage.pushes("phone", bad, base=1, seq=1)
    assert stage.pushes("phone", bad, base=1, seq=1) == first
    assert isinstance(first, m.Reject)
    assert first.code == "bad_patch"
    assert isinstance(stage.pushes("phone", breaths(1), base=1, seq=2), m.Ack)


def test_after_a_crash_a_device_goes_on_past_its_refused_numbers(stage: Stage) -> None:
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", [{"op": "remove", "path": "/nothing"}], base=2, seq=2)
    stage.crash()
    stage.joins("phone", version=2, seq=3)
    assert isinstance(stage.pushes("phone", breaths(2), base=2, seq=3), m.Ack)
    late = stage.pushes("phone", [{"op": "remove", "path": "/nothing"}], base=2, seq=2)
    assert isinstance(late, m.Reject)
    assert late.code == "seq_settled"


def test_push_made_on_top_of_a_refused_one_is_refused_and_the_next_ones_with_it(stage: Stage) -> None:
    stage.pushes("phone", [{"op": "add", "path": "/marks/0", "value": {"id": "a"}}], base=1, seq=1)
    out_of_range = [{"op": "add", "path": "/marks/0", "value": {"id": "b"}}, *volume(1_000)]
    first = stage.pushes("phone", out_of_range, base=2, seq=2, settled=1)
    assert isinstance(first, m.Reject)
    assert first.code == "validation_failed"
    on_top = stage.pushes("phone", [{"op": "remove", "path": "/marks/0"}], base=2, seq=3, settled=1)
    next_one = stage.pushes("phone", breaths(1), base=2, seq=4, settled=1)
    assert [answer.code for answer in (on_top, next_one) if isinstance(answer, m.Reject)] == ["context_refused"] * 2
    assert stage.state["marks"] == [{"id": "a"}]
    assert isinstance(stage.pushes("phone", breaths(1), base=2, seq=5, settled=4), m.Ack)


def test_after_a_join_refused_numbers_are_free_for_other_bodies(stage: Stage) -> None:
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("phone", [{"op": "remove", "path": "/nothing"}], base=2, seq=2)
    joined = stage.joins("phone", version=2, seq=2)
    assert joined.last_seq == 1
    assert isinstance(stage.pushes("phone", breaths(2), base=2, seq=2), m.Ack)


@pytest.mark.parametrize(
    ("base", "epoch", "code"),
    [(99, None, "base_in_future"), (1, "e0", "epoch_unknown")],
)
def test_base_that_cannot_be_is_refused_with_the_way_out(stage: Stage, base: int, epoch: str | None, code: str) -> None:
    answer = stage.pushes("phone", breaths(1), base=base, epoch=epoch)
    assert isinstance(answer, m.Reject)
    assert (answer.code, answer.retry) == (code, "resync")


# -- joining and slow readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "epoch", "mode", "reason"),
    [
        (3, "e1", "resumed", ""),
        (1, "e1", "resumed", ""),
        (None, "e1", "snapshot", "new"),
        (3, "e0", "snapshot", "epoch"),
        (9, "e1", "snapshot", "ahead"),
    ],
)
def test_join_is_all_or_nothing_and_says_which(
    stage: Stage, version: int | None, epoch: str, mode: str, reason: str
) -> None:
    stage.pushes("phone", breaths(1), base=1)
    stage.pushes("phone", breaths(2), base=2)
    joined = stage.joins("laptop", version=version, epoch=epoch)
    assert (joined.mode, joined.reason) == (mode, reason)
    if mode == "resumed":
        assert joined.entries is not None
        assert version is not None
        assert [entry.version for entry in joined.entries] == list(range(version + 1, 4))
        assert joined.state is None
    else:
        assert joined.state == stage.state
        assert joined.entries is None


def test_foreign_session_answers_like_one_that_does_not_exist(stage: Stage) -> None:
    join = m.Join("s1")
    stage.happens(on.MemberJoined(ConnectionId("x"), AccountId("eve"), DeviceId("x"), (), join))
    foreign = stage.last("x", m.ErrorMessage)
    machine = SessionMachine(SessionId("s1"), Limits(), lambda: "t")
    machine.receive(on.MemberJoined(ConnectionId("x"), AccountId("eve"), DeviceId("x"), (), join), NOW_MS)
    effects = machine.receive(on.LoadFailed("not_found"), NOW_MS)
    assert effects[0] == do.Send(ConnectionId("x"), foreign)
    assert ConnectionId("x") not in stage.machine.members.by_connection


def test_slow_reader_is_skipped_and_then_caught_up_once(stage: Stage) -> None:
    stage.pushes("phone", breaths(1), base=1)
    stage.happens(on.MemberLagging(ConnectionId("tv")))
    told = stage.versions_told("tv")
    for count in range(2, 5):
        stage.pushes("phone", breaths(count), base=stage.machine.version)
    assert stage.versions_told("tv") == told == [2]
    stage.happens(on.MemberDrained(ConnectionId("tv")))
    joined = stage.last("tv", m.Joined)
    assert (joined.mode, joined.reason) == ("resumed", "slow")
    assert joined.entries is not None
    assert [entry.version for entry in joined.entries] == [3, 4, 5]
    stage.pushes("phone", breaths(9), base=5)
    assert stage.versions_told("tv") == [2, 6]


def test_catch_up_is_a_snapshot_when_that_is_smaller(stage: Stage) -> None:
    base = stage.last("tv", m.Joined).hash
    stage.happens(on.MemberLagging(ConnectionId("tv")))
    for count in range(1, 60):
        stage.pushes("phone", breaths(count), base=stage.machine.version)
    stage.happens(on.MemberDrained(ConnectionId("tv")))
    assert (stage.last("tv", m.Joined).mode, stage.last("tv", m.Joined).reason) == ("snapshot", "smaller")
    assert stage.last("tv", m.Joined).base_hash == base, "so that a device sees whether this is the log that it held"


def test_pushes_of_a_connection_that_left_are_dropped_before_its_next_join_is_answered(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", breaths(1), base=1, seq=1)
    stage.pushes("tv", breaths(9), base=1, seq=1)
    stage.leaves("tv")
    stage.holds = False
    stage.commits()
    joined = stage.joins("tv", version=1, seq=1)
    assert joined.last_seq == 0
    rewritten = stage.pushes("tv", breaths(2), base=joined.position.version, seq=1)
    assert isinstance(rewritten, m.Ack)


# -- leaving memory ----------------------------------------------------------------------------------------------


def test_session_nobody_follows_leaves_memory_and_says_who_was_heard_when(stage: Stage) -> None:
    stage.leaves("phone", heard_at=stage.now_ms - 5)
    stage.leaves("tv")
    stage.passes(stage.limits.session_idle_unload_ms)
    assert stage.machine.state is SessionState.GONE
    written = [effect for effect in stage.effects if isinstance(effect, do.WriteSnapshot)]
    assert written[0].snapshot.heard["phone"] == NOW_MS - 5
    assert isinstance(stage.effects[-1], do.Unload)


def test_damaged_log_is_set_aside_and_said() -> None:
    stage = Stage()
    machine = stage.machine
    machine.receive(on.MemberJoined(ConnectionId("c"), ACCOUNT, DeviceId("phone"), ROSTER, m.Join("s1")), NOW_MS)
    torn = Entry(version=3, kind="patch", at=NOW_MS)
    effects = machine.receive(on.Loaded(stage.snapshot, [torn], [0]), NOW_MS)
    sent = effects[0]
    assert isinstance(sent, do.Send)
    assert isinstance(sent.message, m.ErrorMessage)
    assert sent.message.code == errors.StateDamaged.code
    assert isinstance(effects[-1], do.Unload)


def test_queue_is_bounded_and_the_push_past_it_is_answered_busy() -> None:
    stage = Stage(limits=Limits(queue_entries_max=64))
    stage.joins("phone")
    stage.holds = True
    for count in range(1, 67):
        stage.pushes("phone", breaths(count), base=1)
    reject = stage.last("phone", m.Reject)
    assert (reject.seq, reject.code, reject.retry) == (66, "busy", "same")
    stage.holds = False
    stage.commits()
    assert isinstance(stage.pushes("phone", breaths(66), base=1, seq=66), m.Ack)


# -- figures -------------------------------------------------------------------------------------------------------


def figures(stage: Stage, name: str) -> list[str]:
    return [effect.label for effect in stage.effects if isinstance(effect, do.Measured) and effect.name == name]


def test_work_made_offline_is_counted_kept_or_lost(stage: Stage) -> None:
    made_at = stage.now_ms
    stage.passes(3_600_000)
    stage.pushes("phone", breaths(1), base=1, at=made_at)
    stage.pushes("phone", [{"op": "remove", "path": "/nothing"}], base=1, at=made_at)
    stage.pushes("phone", breaths(2), base=2, at=stage.now_ms)
    assert figures(stage, "offline_sync") == ["kept", "lost"]


def test_resumes_and_handoffs_are_counted_kept_or_lost(stage: Stage) -> None:
    stage.joins("laptop", version=1)
    stage.joins("laptop", version=9)
    stage.takes("tv")
    assert figures(stage, "continuity") == ["kept", "lost", "kept"]
