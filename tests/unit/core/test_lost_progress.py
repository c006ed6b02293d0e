"""What people complain of: a stale, paused or just-opened device overwrote newer progress. Each case by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.playhead import of_state
from syncbridge.limits import Limits
from tests.unit.core.stage import Stage, request

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def position(stage: Stage) -> float:
    anchor = of_state(stage.state)
    assert anchor is not None
    return anchor.position_at(stage.now_ms)


@pytest.fixture
def stage() -> Stage:
    """A session that the phone has played to 600 s and goes on playing; TV and laptop follow."""
    stage = Stage()
    for device in ("phone", "tv", "laptop"):
        stage.joins(device)
    stage.moves("phone", 600, intent="seek")
    return stage


def test_paused_stale_device_that_keeps_reporting_changes_nothing(stage: Stage) -> None:
    stage.moves("phone", 600, rate=0, intent="seek")
    stage.takes("tv")
    stage.moves("tv", 600, intent="seek")
    stage.passes(60_000)
    stale_base = 3
    for _ in range(5):
        answer = stage.moves("phone", 600, rate=0, intent="progress", base=stale_base)
        assert isinstance(answer, m.Reject)
        assert answer.code == "stale_owner"
        assert answer.playhead == stage.playhead
        assert answer.active == "tv"
        stage.passes(1_000)
    assert position(stage) == pytest.approx(665, abs=0.01)


def test_device_that_was_owner_before_reports_from_its_first_time(stage: Stage) -> None:
    old_base = stage.machine.version
    stage.takes("tv")
    stage.moves("tv", 900, intent="progress")
    stage.takes("phone", "h3")
    answer = stage.moves("phone", 601, intent="progress", base=old_base)
    assert isinstance(answer, m.Reject)
    assert answer.code == "stale_owner"
    assert position(stage) == pytest.approx(900)


def test_device_just_opened_reports_position_0_and_nothing_moves(stage: Stage) -> None:
    stage.joins("watch")
    before = stage.playhead
    opened = stage.moves("watch", 0, rate=0, intent="open")
    assert isinstance(opened, m.Reject)
    assert opened.code == "open_readonly"
    progressed = stage.moves("watch", 0, rate=0, intent="progress")
    assert isinstance(progressed, m.Reject)
    assert progressed.code == "stale_owner"
    edited = stage.moves("watch", 0, rate=0, intent="edit")
    assert isinstance(edited, m.Reject)
    assert edited.code == "playhead_intent"
    assert stage.playhead == before


def test_opening_without_ops_is_answered_and_writes_nothing(stage: Stage) -> None:
    before = len(stage.stored)
    answer = stage.pushes("tv", [], base=stage.machine.version, intent="open")
    assert isinstance(answer, m.Ack)
    assert answer.version == stage.machine.version
    assert len(stage.stored) == before


def test_owner_that_reopened_and_reports_0_is_refused(stage: Stage) -> None:
    answer = stage.moves("phone", 0, rate=0, intent="progress")
    assert isinstance(answer, m.Reject)
    assert answer.code == "stale_position"
    assert answer.playhead is not None
    assert answer.playhead["position"] == 600


def test_owner_that_reopened_reports_0_before_it_ever_reported_and_is_refused() -> None:
    stage = Stage()
    stage.joins("phone")
    stage.moves("phone", 0, intent="seek")
    stage.passes(600_000)
    at_once = stage.moves("phone", 0, rate=0, intent="progress")
    stage.leaves("phone")
    stage.joins("phone", version=stage.machine.version, seq=3)
    reopened = stage.moves("phone", 0, rate=0, intent="progress")
    for answer in (at_once, reopened):
        assert isinstance(answer, m.Reject)
        assert answer.code == "stale_position"
    assert position(stage) == pytest.approx(600)


def test_new_owner_whose_stream_never_started_keeps_what_was_only_reckoned() -> None:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    stage.moves("phone", 0, intent="seek")
    stage.passes(600_000)
    stage.takes("tv", heard_at=stage.now_ms)
    answer = stage.moves("tv", 0, rate=0, intent="finish")
    assert isinstance(answer, m.Reject)
    assert answer.code == "stale_position"
    assert position(stage) == pytest.approx(600)


def test_player_that_stalled_says_so_and_is_believed(stage: Stage) -> None:
    stage.passes(60_000)
    answer = stage.moves("phone", 640, rate=0, intent="progress")
    assert isinstance(answer, m.Ack)
    assert position(stage) == 640


def test_phone_whose_battery_died_is_believed_when_it_comes_back(stage: Stage) -> None:
    stage.passes(100_000)
    stage.leaves("phone")
    stage.passes(10 * HOUR_MS)
    stage.joins("phone", version=stage.machine.version)
    far_behind = stage.moves("phone", 650, rate=0, intent="progress")
    assert isinstance(far_behind, m.Reject)
    answer = stage.moves("phone", 699, rate=0, intent="progress")
    assert isinstance(answer, m.Ack)
    assert position(stage) == 699


def test_stream_that_never_started_says_stop_at_0(stage: Stage) -> None:
    from_other = stage.moves("tv", 0, rate=0, intent="finish")
    assert isinstance(from_other, m.Reject)
    assert from_other.code == "stale_owner"
    from_owner = stage.moves("phone", 0, rate=0, intent="finish")
    assert isinstance(from_owner, m.Reject)
    assert from_owner.code == "stale_position"
    log = stage.machine.log
    assert log is not None
    assert log.status == "active"
    assert position(stage) == pytest.approx(600)


def test_two_devices_edit_offline_for_a_day_and_both_keep_their_work(stage: Stage) -> None:
    base = stage.machine.version
    stage.leaves("tv")
    stage.leaves("laptop")
    made_at = stage.now_ms
    stage.passes(DAY_MS)
    stage.joins("tv", version=base)
    stage.joins("laptop", version=base)
    stage.pushes("tv", [{"op": "add", "path": "/marks/-", "value": {"id": "t1"}}], base=base, at=made_at + HOUR_MS)
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 40}], base=base, at=made_at + HOUR_MS)
    stage.pushes("laptop", [{"op": "add", "path": "/marks/-", "value": {"id": "l1"}}], base=base, at=made_at)
    stage.pushes("laptop", [{"op": "replace", "path": "/totals/breaths", "value": 2}], base=base, at=made_at)
    assert [mark["id"] for mark in stage.state["marks"]] == ["t1", "l1"]
    assert stage.state["totals"]["breaths"] == 42


def test_notes_written_offline_later_win_whoever_reconnects_first(stage: Stage) -> None:
    base, early, late = stage.machine.version, stage.now_ms, stage.now_ms + HOUR_MS
    stage.passes(DAY_MS)
    stage.pushes("tv", [{"op": "add", "path": "/notes", "value": "later"}], base=base, at=late)
    answer = stage.pushes("laptop", [{"op": "add", "path": "/notes", "value": "earlier"}], base=base, at=early)
    assert isinstance(answer, m.Ack)
    assert stage.state["notes"] == "later"
    assert [(row["path"], row["winner"], row["ours"]) for row in answer.conflicts] == [("/notes", "theirs", "earlier")]


def test_two_devices_seek_offline_and_the_newer_knowledge_stays(stage: Stage) -> None:
    base = stage.machine.version
    made_at = stage.now_ms + HOUR_MS
    stage.passes(2 * HOUR_MS)
    stage.moves("phone", 7_800, intent="progress")
    stage.passes(22 * HOUR_MS)
    answer = stage.moves("tv", 30, rate=0, intent="seek", base=base, at=made_at)
    assert isinstance(answer, m.Ack)
    assert answer.conflicts[0]["policy"] == "playhead"
    assert answer.conflicts[0]["ours"] == {"position": 30, "rate": 0, "at": made_at}
    assert stage.playhead["position"] == 7_800


@pytest.mark.parametrize("skew_ms", [3 * HOUR_MS, -3 * HOUR_MS, 95 * DAY_MS], ids=["ahead", "behind", "far_ahead"])
def test_wrong_device_clock_never_lowers_and_never_runs_ahead(stage: Stage, skew_ms: int) -> None:
    stage.passes(10_000)
    before = position(stage)
    stage.moves("phone", 610, intent="progress", at=stage.now_ms + skew_ms)
    assert position(stage) == pytest.approx(before, abs=0.001)
    stage.passes(5_000)
    assert position(stage) == pytest.approx(before + 5, abs=0.001)


def test_device_clock_that_jumps_between_two_reports(stage: Stage) -> None:
    stage.passes(5_000)
    stage.moves("phone", 605, intent="progress")
    stage.passes(5_000)
    jumped = stage.moves("phone", 610, intent="progress", at=stage.now_ms - 3 * HOUR_MS)
    assert isinstance(jumped, m.Reject)
    assert jumped.code == "stale_position"
    assert position(stage) == pytest.approx(610, abs=0.001)


def test_person_rewinds_on_purpose_after_falling_asleep(stage: Stage) -> None:
    stage.passes(HOUR_MS)
    overtaken_base = stage.machine.version
    answer = stage.moves("laptop", 300, intent="seek")
    assert isinstance(answer, m.Ack)
    assert position(stage) == pytest.approx(300)
    late_report = stage.moves("phone", 4200, intent="progress", base=overtaken_base)
    assert isinstance(late_report, m.Reject)
    assert late_report.code == "stale_position"
    assert position(stage) == pytest.approx(300)


def test_seek_wins_over_progress_that_overtook_it_on_the_way(stage: Stage) -> None:
    base, pressed_at = stage.machine.version, stage.now_ms + 900
    stage.passes(1_000)
    stage.moves("phone", 601, intent="progress")
    stage.passes(200)
    answer = stage.moves("laptop", 30, intent="seek", base=base, at=pressed_at)
    assert isinstance(answer, m.Ack)
    assert not answer.conflicts
    assert stage.playhead["position"] == 30


def _pause(stage: Stage) -> None:
    stage.asks(on.StatusRequested(request(), "phone", "paused"))


def _seek_to_100(stage: Stage) -> None:
    ops = [{"op": "replace", "path": "/playhead", "value": {"position": 100, "rate": 1, "at": stage.now_ms}}]
    stage.asks(on.EditRequested(request(), "phone", "patch", ops, None, "seek"))


def _restore_100(stage: Stage) -> None:
    before = {**stage.state, "playhead": {"position": 100, "rate": 1, "at": stage.now_ms - HOUR_MS}}
    stage.asks(on.RestoreRequested(request(), "phone", before))


@pytest.mark.parametrize(
    ("asked", "rate", "at_s"),
    [(_pause, 0, 601), (_seek_to_100, 1, 100), (_restore_100, 1, 100)],
    ids=["pause", "seek", "restore"],
)
def test_what_a_person_asked_for_over_rest_stands_against_their_own_players_report_under_way(
    stage: Stage, asked: Callable[[Stage], None], rate: int, at_s: float
) -> None:
    """A request has no place among the device's pushes: a report made in ignorance of it is not news of after it."""
    base = stage.machine.version
    stage.passes(1_000)
    asked(stage)
    assert (stage.playhead["rate"], stage.playhead["position"]) == (rate, at_s)
    before = stage.playhead
    stage.passes(50)
    answer = stage.moves("phone", 601.05, intent="progress", base=base)
    assert isinstance(answer, m.Reject)
    assert answer.code == "stale_position"
    assert stage.playhead == before
    if rate:
        stage.passes(1_000)
        assert isinstance(stage.moves("phone", 101.05, intent="progress"), m.Ack)


def test_same_push_three_times_takes_effect_once(stage: Stage) -> None:
    ops = [{"op": "replace", "path": "/totals/breaths", "value": 7}]
    base = stage.machine.version
    first, second, third = (stage.pushes("tv", ops, base=base, seq=1) for _ in range(3))
    assert first == second == third
    assert isinstance(first, m.Ack)
    assert stage.state["totals"]["breaths"] == 7
    assert [entry.seq for entry in stage.stored if entry.device == "tv"] == [1]


def test_push_repeated_after_a_crash_and_on_a_new_connection_takes_effect_once(stage: Stage) -> None:
    ops = [{"op": "replace", "path": "/totals/breaths", "value": 7}]
    base = stage.machine.version
    first = stage.pushes("tv", ops, base=base, seq=1)
    stage.crash()
    stage.joins("tv", version=base, seq=1)
    again = stage.pushes("tv", ops, base=base, seq=1)
    assert isinstance(first, m.Ack)
    assert isinstance(again, m.Ack)
    assert again.version == first.version
    assert stage.state["totals"]["breaths"] == 7


def test_ack_lost_and_the_device_finds_its_own_entry_on_resume(stage: Stage) -> None:
    base = stage.machine.version
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 3}], base=base, seq=1)
    stage.leaves("tv")
    joined = stage.joins("tv", version=base, seq=1)
    assert joined.mode == "resumed"
    assert joined.last_seq == 1
    assert joined.entries is not None
    assert [(entry.device, entry.seq) for entry in joined.entries] == [("tv", 1)]
    again = stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 3}], base=base, seq=1)
    assert isinstance(again, m.Ack)
    assert stage.state["totals"]["breaths"] == 3


@pytest.mark.parametrize("step", ["offered", "prepared", "readying", "committing"])
def test_target_dies_at_every_step_of_a_handoff_and_the_source_still_runs(stage: Stage, step: str) -> None:
    before = stage.playhead
    if step == "readying":
        stage.holds = True  # the offer is on its way to the disk when the target is gone
    stage.offers("phone", "tv")
    if step == "committing":
        stage.holds = True
        stage.readies("tv")
        stage.leaves("tv")
        stage.holds = False
        stage.commits()
        # Its ready was said and is committed: ownership is its, and whoever is there takes it back.
        assert stage.active == "tv"
        stage.takes("phone", "h9")
        assert stage.active == "phone"
        assert stage.playhead == before
        return
    stage.leaves("tv")
    if step == "readying":
        stage.holds = False
        stage.commits()
    assert stage.active == "phone"
    stage.passes(stage.limits.handoff_ready_ms + 1)
    assert stage.last("phone", m.HandoffFailed).reason == "expired"
    assert stage.active == "phone"
    log = stage.machine.log
    assert log is not None
    assert log.fence == 1
    assert stage.playhead == before
    progressed = stage.moves("phone", 620, intent="progress")
    assert isinstance(progressed, m.Ack)


def test_device_resends_after_a_snapshot_and_nothing_doubles() -> None:
    stage = Stage(limits=Limits(log_entries_kept_max=256, resume_entries_max=256, checkpoint_entries=16))
    stage.joins("phone")
    stage.joins("tv")
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 5}], base=1, seq=1)
    stage.leaves("tv")
    for count in range(400):
        stage.pushes("phone", [{"op": "add", "path": "/pace", "value": count}], base=stage.machine.version)
    joined = stage.joins("tv", version=1, seq=1)
    assert (joined.mode, joined.reason, joined.last_seq) == ("snapshot", "behind", 1)
    again = stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 5}], base=1, seq=1)
    assert isinstance(again, m.Ack)
    assert again.version == 2
    too_old = stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 6}], base=1, seq=2)
    assert isinstance(too_old, m.Reject)
    assert too_old.code == "base_too_old"
    assert too_old.state == stage.state
    rebuilt = stage.pushes(
        "tv", [{"op": "replace", "path": "/totals/breaths", "value": 6}], base=joined.position.version, seq=3
    )
    assert isinstance(rebuilt, m.Ack)
    assert stage.state["totals"]["breaths"] == 6


def test_open_and_close_at_once_moves_nothing(stage: Stage) -> None:
    before, version = stage.playhead, stage.machine.version
    stage.joins("watch")
    stage.pushes("watch", [], base=version, intent="open")
    stage.leaves("watch")
    assert stage.playhead == before
    assert stage.machine.version == version
    assert stage.active == "phone"


def test_second_edit_sent_before_the_first_is_acknowledged(stage: Stage) -> None:
    base = stage.machine.version
    stage.holds = True
    stage.pushes("tv", [{"op": "add", "path": "/pattern/name", "value": "box"}], base=base, seq=1)
    stage.pushes("tv", [{"op": "replace", "path": "/pattern/name", "value": "square"}], base=base, seq=2)
    stage.holds = False
    stage.commits()
    assert stage.state["pattern"]["name"] == "square"
    assert [ack.conflicts for ack in stage.all("tv", m.Ack)] == [(), ()]


def test_second_edit_sent_before_the_first_is_acknowledged_while_another_device_writes(stage: Stage) -> None:
    base = stage.machine.version
    stage.pushes("laptop", [{"op": "add", "path": "/marks/-", "value": {"id": "l1"}}], base=base)
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 1}], base=base, seq=1)
    stage.pushes("laptop", [{"op": "replace", "path": "/totals/breaths", "value": 10}], base=base + 1)
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 2}], base=base, seq=2)
    # laptop added 10, the TV 1 and then 1 more: each on top of what it knew.
    assert stage.state["totals"]["breaths"] == 12
    assert [mark["id"] for mark in stage.state["marks"]] == ["l1"]
