"""A conflict taken back, policy by policy, and the playhead, which is never taken back to a clock that ran."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.entry import Side, Undoing
from tests.unit.core.looking_back import clash, done, last_entry, op, opened, past, undo
from tests.unit.core.stage import Stage, request


@pytest.fixture
def stage() -> Stage:
    return opened()


# -- policies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chosen", "total"), [("ours", 14), ("theirs", 13)])
def test_a_counter_loses_one_sides_share_and_keeps_what_was_counted_since(
    stage: Stage, chosen: Any, total: int
) -> None:
    version = clash(stage, [op("/totals/breaths", 13)], [op("/totals/breaths", 14)])
    assert stage.state["totals"]["breaths"] == 17
    stage.pushes("tv", [op("/totals/breaths", 117)], base=stage.machine.version)
    assert undo(stage, version).code == "validation_failed"
    by = done(undo(stage, version, chosen=chosen))
    assert stage.state["totals"]["breaths"] == total + 100
    stage.pushes("tv", [op("/totals/breaths", total + 101)], base=stage.machine.version)
    done(undo(stage, by))
    assert stage.state["totals"]["breaths"] == 118


@pytest.mark.parametrize(("chosen", "tags"), [("ours", ["calm", "ours"]), ("theirs", ["calm", "theirs"])])
def test_of_a_merged_set_one_side_can_be_chosen(stage: Stage, chosen: Any, tags: list[str]) -> None:
    version = clash(stage, [op("/tags/-", "theirs", "add")], [op("/tags/-", "ours", "add")])
    assert stage.state["tags"] == ["calm", "theirs", "ours"]
    by = done(undo(stage, version, chosen=chosen))
    assert stage.state["tags"] == tags
    done(undo(stage, by))
    assert stage.state["tags"] == ["calm", "theirs", "ours"]


def test_an_item_kept_against_its_removal_can_be_removed_after_all(stage: Stage) -> None:
    base = stage.machine.version
    stage.pushes("tv", [op("/marks/-", {"id": "m2"}, "add")], base=base)
    answer = stage.pushes("phone", [op("/marks/0", kind="remove")], base=base)
    assert isinstance(answer, m.Ack)
    index = next(i for i, row in enumerate(answer.conflicts) if row["winner"] == "theirs")
    assert [mark["id"] for mark in stage.state["marks"]] == ["m1", "m2"]
    by = done(undo(stage, answer.version, index))
    assert [mark["id"] for mark in stage.state["marks"]] == ["m2"]
    done(undo(stage, by))
    assert [mark["id"] for mark in stage.state["marks"]] == ["m1", "m2"]


def test_only_the_owner_brings_back_what_only_the_owner_writes(stage: Stage) -> None:
    answer = stage.pushes("tv", [op("/device/volume", 90)], base=stage.machine.version)
    assert isinstance(answer, m.Ack)
    assert answer.conflicts[0]["policy"] == "owner"
    for device in ("tv", ""):
        assert undo(stage, answer.version, device=device, force=True).code == "stale_owner"
    done(undo(stage, answer.version, device="phone"))
    assert stage.state["device"]["volume"] == 90


@pytest.mark.parametrize(("chosen", "stands"), [(None, "ours"), ("ours", "ours"), ("theirs", "theirs")])
def test_a_conflict_left_to_a_person_is_settled_either_way(stage: Stage, chosen: Any, stands: str) -> None:
    version = clash(stage, [op("/sequence", "theirs")], [op("/sequence", "ours")])
    by = done(undo(stage, version, chosen=chosen))
    assert stage.state["sequence"] == stands
    assert last_entry(stage).undoes == Undoing(version, 0, "ours" if stands == "ours" else "theirs")
    assert done(undo(stage, version, chosen=chosen)) == by


def test_whoever_chose_may_choose_the_other_side(stage: Stage) -> None:
    manual = clash(stage, [op("/sequence", "theirs")], [op("/sequence", "ours")])
    merged = clash(stage, [op("/tags/-", "theirs", "add")], [op("/tags/-", "ours", "add")])
    counted = clash(stage, [op("/totals/breaths", 13)], [op("/totals/breaths", 14)])
    for chosen, tags, breaths in (
        ("ours", ["calm", "ours"], 14),
        ("theirs", ["calm", "theirs"], 13),
        ("ours", ["calm", "ours"], 14),
    ):
        side: Side = "ours" if chosen == "ours" else "theirs"
        for version in (manual, merged, counted):
            done(undo(stage, version, chosen=side))
        assert stage.state["sequence"] == chosen
        assert (stage.state["tags"], stage.state["totals"]["breaths"]) == (tags, breaths)
    stage.pushes("tv", [op("/sequence", "newer")], base=stage.machine.version)
    assert undo(stage, manual, chosen="theirs").code == "conflict_moved_on"


def test_the_side_that_won_is_no_choice(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    assert undo(stage, version, chosen="ours").code == "validation_failed"


def test_what_makes_no_sense_any_more_is_refused_like_any_edit() -> None:
    stage = opened("breathing")
    version = clash(stage, [op("/settings/volume", 10)], [op("/settings/volume", 20)])
    forged = past(stage, version)
    forged.row["theirs"] = 1_000
    assert stage.asks(on.UndoRequested(request("r2"), "", forged)).code == "validation_failed"
    assert stage.state["settings"]["volume"] == 20


# -- the playhead -----------------------------------------------------------------------------------------------


def overtaken(stage: Stage) -> int:
    """The TV sought to 300 s while offline; the phone had taken the session on meanwhile, to 900 s and running."""
    base = stage.machine.version
    made_at = stage.now_ms
    stage.passes(60_000)
    stage.moves("phone", 900, intent="seek")
    answer = stage.moves("tv", 300, intent="seek", base=base, at=made_at)
    assert isinstance(answer, m.Ack)
    assert answer.conflicts[0]["policy"] == "playhead"
    return answer.version


def test_a_lost_seek_comes_back_as_a_seek_of_now(stage: Stage) -> None:
    version = overtaken(stage)
    stage.passes(30_000)
    by = done(undo(stage, version))
    assert stage.playhead == {"position": 300, "rate": 1, "at": stage.now_ms}
    assert (last_entry(stage).intent, last_entry(stage).status) == ("seek", None)
    stage.passes(5_000)
    done(undo(stage, by))
    assert stage.playhead == {"position": 930, "rate": 1, "at": stage.now_ms}


def test_a_seek_that_comes_back_starts_no_clock_that_was_stopped(stage: Stage) -> None:
    version = overtaken(stage)
    stage.asks(on.StatusRequested(request("pause"), "phone", "paused"))
    assert undo(stage, version).code == "conflict_moved_on"
    done(undo(stage, version, force=True))
    assert stage.playhead == {"position": 300, "rate": 0, "at": stage.now_ms}
    log = stage.machine.log
    assert log is not None
    assert log.status == "paused"


def test_a_seek_never_comes_back_over_a_playhead_that_moved_on_unseen(stage: Stage) -> None:
    version = overtaken(stage)
    stage.passes(20_000)
    assert isinstance(stage.moves("phone", 920, intent="progress"), m.Ack)
    before = stage.playhead
    assert undo(stage, version).members["present"] == before
    assert stage.playhead == before


def test_progress_of_before_the_undo_is_stale_after_it(stage: Stage) -> None:
    version = overtaken(stage)
    base = stage.machine.version
    done(undo(stage, version))
    answer = stage.moves("phone", 901, intent="progress", base=base)
    assert isinstance(answer, m.Reject)
    assert answer.code == "stale_position"


@pytest.mark.parametrize(("status", "edit"), [("completed", None), ("archived", "session_ended")])
def test_a_session_that_is_over_keeps_its_playhead_and_one_that_is_closed_everything(
    stage: Stage, status: Any, edit: str | None
) -> None:
    title = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    seek = overtaken(stage)
    stage.asks(on.StatusRequested(request("end"), "phone", status))
    before = stage.playhead
    assert undo(stage, seek, force=True).code == "session_ended"
    assert stage.playhead == before
    reply = undo(stage, title)
    assert (reply.code or None) == edit
