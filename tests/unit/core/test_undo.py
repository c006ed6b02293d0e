"""A conflict taken back: each policy, each way its place may have moved, and what is never overwritten unseen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.conflicts import standing_undo
from syncbridge.core.entry import Entry, Undoing
from syncbridge.limits import Limits
from tests.unit.core.looking_back import clash, done, last_entry, op, opened, past, undo
from tests.unit.core.stage import ROSTER, Stage, conflict, request


@pytest.fixture
def stage() -> Stage:
    return opened()


# -- what lost comes back ---------------------------------------------------------------------------------------


def test_the_value_that_lost_comes_back_as_an_entry_that_says_so(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    by = done(undo(stage, version))
    assert stage.state["title"] == "theirs"
    entry = last_entry(stage)
    assert (entry.version, entry.kind, entry.device, entry.seq) == (by, "patch", "laptop", 0)
    assert entry.undoes == Undoing(version, 0, "theirs")
    assert entry.conflicts == [
        {
            "path": "/title",
            "policy": "last",
            "winner": "ours",
            "ours": "theirs",
            "theirs": "ours",
            "theirs_version": version,
            "theirs_device": "phone",
            "device": "laptop",
            "base": version,
        }
    ]
    for device in ("phone", "tv", "laptop"):
        assert stage.last(device, m.EntriesMessage).entries[-1] == entry


@pytest.mark.parametrize(
    ("theirs", "ours", "path", "comes_back"),
    [
        ([op("/best/hold_s", 45)], [op("/best/hold_s", 40)], ("best", "hold_s"), 40),
        ([op("/settings/volume", 1)], [op("/settings/volume", 2)], ("settings", "volume"), 1),
        ([op("/settings/new", 1, "add")], [op("/settings/new", 2, "add")], ("settings", "new"), 1),
    ],
    ids=["max", "last", "both added"],
)
def test_each_side_comes_back_by_the_same_call(
    stage: Stage, theirs: list[Any], ours: list[Any], path: tuple[str, str], comes_back: Any
) -> None:
    version = clash(stage, theirs, ours)
    done(undo(stage, version))
    assert stage.state[path[0]][path[1]] == comes_back


def test_a_member_does_not_come_back_into_what_is_no_object_any_more(stage: Stage) -> None:
    version = clash(stage, [op("/settings/theme/colour", "blue")], [op("/settings/theme", "none")])
    assert undo(stage, version, force=True).code == "conflict_place_gone"
    assert stage.state["settings"]["theme"] == "none"


def test_an_edit_that_was_older_comes_back_over_the_later_one(stage: Stage) -> None:
    base = stage.machine.version
    stage.now_ms += 60_000
    stage.pushes("tv", [op("/notes", "later")], base=base)
    answer = stage.pushes("phone", [op("/notes", "earlier")], base=base, at=stage.now_ms - 30_000)
    assert isinstance(answer, m.Ack)
    assert answer.conflicts[0]["winner"] == "theirs"
    done(undo(stage, answer.version))
    assert stage.state["notes"] == "earlier"
    assert last_entry(stage).conflicts[0]["theirs_device"] == "tv"


def test_what_the_winner_removed_comes_back_and_goes_again(stage: Stage) -> None:
    version = clash(stage, [op("/settings/volume", 5)], [op("/settings/volume", kind="remove")])
    by = done(undo(stage, version))
    assert stage.state["settings"]["volume"] == 5
    done(undo(stage, by))
    assert "volume" not in stage.state["settings"]


def test_an_edit_below_what_the_winner_removed_comes_back_with_what_held_it(stage: Stage) -> None:
    version = clash(stage, [op("/settings/theme/colour", "blue")], [op("/settings/theme", kind="remove")])
    by = done(undo(stage, version))
    assert stage.state["settings"]["theme"] == {"colour": "blue"}
    done(undo(stage, by))
    assert "theme" not in stage.state["settings"]


def test_a_removed_item_comes_back_whole_with_the_edit_that_lost(stage: Stage) -> None:
    version = clash(stage, [op("/items/1/name", "edited")], [op("/items/1", kind="remove")])
    stage.pushes("tv", [op("/items/0", {"id": "new"}, "add")], base=stage.machine.version)
    by = done(undo(stage, version))
    assert [item["id"] for item in stage.state["items"]] == ["new", "a", "b", "c", "d"]
    assert stage.state["items"][2] == {"id": "b", "name": "edited"}
    done(undo(stage, by))
    assert [item["id"] for item in stage.state["items"]] == ["new", "a", "c", "d"]


def test_an_edit_of_an_item_that_another_removed_has_nowhere_to_go(stage: Stage) -> None:
    version = clash(stage, [op("/items/1", kind="remove")], [op("/items/1/name", "lost")])
    before = stage.state
    for force in (False, True):
        assert undo(stage, version, force=force).code == "conflict_place_gone"
    assert stage.state is before


# -- it was undone already --------------------------------------------------------------------------------------


def test_undone_again_is_answered_with_the_same_entry(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    by = done(undo(stage, version))
    stage.pushes("tv", [op("/title", "newer")], base=stage.machine.version)
    count = len(stage.stored)
    assert done(undo(stage, version)) == by
    assert done(undo(stage, version, force=True, device="tv")) == by
    assert (len(stage.stored), stage.state["title"]) == (count, "newer")


def test_an_undo_that_raced_another_reads_the_log_as_it_is_now(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    read_before = past(stage, version)
    by = done(undo(stage, version))
    assert done(stage.asks(on.UndoRequested(request("r2"), "tv", read_before))) == by


def test_an_undo_can_be_undone_and_made_again(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    first = done(undo(stage, version))
    second = done(undo(stage, first))
    assert (second, stage.state["title"]) == (first + 1, "ours")
    third = done(undo(stage, version))
    assert (third, stage.state["title"]) == (second + 1, "theirs")
    fourth = done(undo(stage, version))
    assert fourth == third


def test_whether_a_conflict_is_undone_is_told_along_a_chain_of_any_length() -> None:
    chain = [(version + 1, Undoing(version, 0, "theirs")) for version in range(2, 5_002)]
    assert standing_undo(chain, 2, 0) is None
    assert standing_undo(chain, 3, 0) == (4, Undoing(3, 0, "theirs"))
    assert standing_undo(chain, 2, 1) is None


def test_a_value_that_stands_again_already_is_noted_without_a_change(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    stage.pushes("tv", [op("/title", "theirs")], base=stage.machine.version)
    done(undo(stage, version))
    assert (last_entry(stage).ops, last_entry(stage).conflicts) == ([], ())
    assert last_entry(stage).undoes == Undoing(version, 0, "theirs")


# -- it has moved on --------------------------------------------------------------------------------------------


def test_what_was_written_since_is_not_overwritten_unless_it_was_seen(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    stage.pushes("tv", [op("/title", "newer")], base=stage.machine.version)
    head, before = stage.machine.version, stage.state
    refused = undo(stage, version)
    assert refused.code == "conflict_moved_on"
    assert refused.members == {"version": head, "path": "/title", "present": "newer"}
    assert stage.state is before
    assert undo(stage, version, expected=head - 1).code == "precondition_failed"
    assert stage.state is before
    done(undo(stage, version, expected=head))
    assert stage.state["title"] == "theirs"
    assert last_entry(stage).conflicts[0]["theirs"] == "newer"


def test_force_replaces_what_came_since_and_lists_it(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    stage.pushes("tv", [op("/title", "newer")], base=stage.machine.version)
    by = done(undo(stage, version, force=True))
    assert stage.state["title"] == "theirs"
    done(undo(stage, by))
    assert stage.state["title"] == "newer"


def test_a_member_that_was_removed_since_is_not_brought_back_unseen(stage: Stage) -> None:
    version = clash(stage, [op("/settings/volume", 1)], [op("/settings/volume", 2)])
    stage.pushes("tv", [op("/settings/volume", kind="remove")], base=stage.machine.version)
    refused = undo(stage, version)
    assert (refused.code, "present" in refused.members) == ("conflict_moved_on", False)
    by = done(undo(stage, version, force=True))
    assert stage.state["settings"]["volume"] == 1
    done(undo(stage, by))
    assert "volume" not in stage.state["settings"]


@pytest.mark.parametrize("follows", [True, False], ids=["entry by entry", "by the two states"])
def test_the_value_comes_back_to_its_item_wherever_that_is_now(stage: Stage, follows: bool) -> None:
    version = clash(stage, [op("/items/2/name", "theirs")], [op("/items/2/name", "ours")])
    stage.pushes("tv", [op("/items/0", kind="remove")], base=stage.machine.version)
    stage.pushes("tv", [op("/items/0", {"id": "x", "name": "x"}, "add")], base=stage.machine.version)
    stage.pushes("tv", [op("/items/0", {"id": "y", "name": "y"}, "add")], base=stage.machine.version)
    done(undo(stage, version, follows=follows))
    assert {item["id"]: item["name"] for item in stage.state["items"]} == {
        "y": "y",
        "x": "x",
        "b": "b",
        "c": "theirs",
        "d": "d",
    }


@pytest.mark.parametrize("follows", [True, False], ids=["entry by entry", "by the two states"])
@pytest.mark.parametrize("kept", [1, 3], ids=["one other", "all others"])
def test_an_item_that_is_gone_is_not_taken_for_one_that_looks_like_it(stage: Stage, kept: int, follows: bool) -> None:
    version = clash(stage, [op("/items/0/name", "theirs")], [op("/items/0/name", "ours")])
    for _ in range(4 - kept):
        stage.pushes("tv", [op("/items/0", kind="remove")], base=stage.machine.version)
    for index in range(kept):
        stage.pushes("tv", [op(f"/items/{index}/name", "ours")], base=stage.machine.version)
    before = stage.state
    assert undo(stage, version, force=True, follows=follows).code == "conflict_place_gone"
    assert stage.state is before


@pytest.mark.parametrize("follows", [True, False], ids=["entry by entry", "by the two states"])
def test_an_item_is_found_again_among_others_that_came_and_look_like_it(stage: Stage, follows: bool) -> None:
    version = clash(stage, [op("/items/0/name", "theirs")], [op("/items/0/name", "ours")])
    stage.pushes("tv", [op("/items/1", kind="remove")], base=stage.machine.version)
    stage.pushes("tv", [op("/items/0", {"id": "x", "name": "ours"}, "add")], base=stage.machine.version)
    stage.pushes("tv", [op("/items/2", {"id": "y", "name": "ours"}, "add")], base=stage.machine.version)
    done(undo(stage, version, follows=follows))
    assert {item["id"]: item["name"] for item in stage.state["items"]} == {
        "x": "ours",
        "a": "theirs",
        "y": "ours",
        "c": "c",
        "d": "d",
    }


def test_an_item_without_an_id_is_known_by_its_value_while_that_is_the_only_one(stage: Stage) -> None:
    stage.pushes("tv", [op("/cues", ["one"], "add")], base=stage.machine.version)
    version = clash(stage, [op("/cues/0", "theirs")], [op("/cues/0", "ours")])
    stage.pushes("tv", [op("/cues/0", "ours", "add")], base=stage.machine.version)
    assert undo(stage, version, follows=False).code == "conflict_place_gone"
    stage.pushes("tv", [op("/cues/0", "first")], base=stage.machine.version)
    done(undo(stage, version, follows=False))
    assert stage.state["cues"] == ["first", "theirs"]


def test_an_item_that_is_gone_takes_its_conflict_with_it(stage: Stage) -> None:
    version = clash(stage, [op("/items/2/name", "theirs")], [op("/items/2/name", "ours")])
    stage.pushes("tv", [op("/items/2", kind="remove")], base=stage.machine.version)
    before = stage.state
    assert undo(stage, version, force=True).code == "conflict_place_gone"
    assert stage.state is before


def test_what_another_node_wrote_while_it_was_committed_is_not_overwritten(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    stage.holds = True
    stage.happens(on.UndoRequested(request("r9"), "laptop", past(stage, version)))
    assert "r9" not in stage.replies
    head = stage.txns[-1].entries[-1].version
    conflict(stage, [Entry(head + 1, "patch", stage.now_ms, "tv", ops=[op("/title", "newer")])])
    assert stage.replies["r9"].code == "conflict_moved_on"
    assert stage.state["title"] == "newer"


# -- what was read no longer fits -------------------------------------------------------------------------------


def test_a_conflict_of_another_log_is_refused(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    other = msgspec.structs.replace(past(stage, version), epoch="e0")
    assert stage.asks(on.UndoRequested(request("r2"), "", other)).code == "epoch_unknown"


def test_a_conflict_that_a_failover_took_is_not_undone_in_the_entry_that_stands_in_its_place(stage: Stage) -> None:
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    read = past(stage, version)
    lost = msgspec.structs.replace(read, entry=msgspec.structs.replace(read.entry, device="watch"))
    before = stage.machine.version
    assert stage.asks(on.UndoRequested(request("r2"), "", lost)).code == "epoch_unknown"
    assert stage.machine.version == before


def test_what_was_read_before_the_log_forgot_it_is_to_be_read_again() -> None:
    limits = Limits(log_entries_kept_max=8, resume_entries_max=8, snapshot_entries_max=8, checkpoint_entries=2)
    stage = opened(limits=limits)
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    read = past(stage, version)
    for number in range(30):
        stage.pushes("tv", [op("/settings/volume", number)], base=stage.machine.version)
    assert stage.asks(on.UndoRequested(request("r2"), "", read)).code == "unavailable"
    assert stage.state["title"] == "ours"
    done(undo(stage, version))
    assert stage.state["title"] == "theirs"


def test_the_roster_is_no_part_of_an_undo(stage: Stage) -> None:
    """A device that was removed since leaves its values, and they come back."""
    version = clash(stage, [op("/title", "theirs")], [op("/title", "ours")])
    kept = tuple(info for info in ROSTER if info.id != "tv")
    stage.happens(on.RosterChanged(stage.snapshot.account, kept))
    done(undo(stage, version))
    assert stage.state["title"] == "theirs"
