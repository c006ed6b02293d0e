"""What a push was made on: the device's unanswered pushes as it showed them, seen or looked back for."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import context
from syncbridge.core import messages as m
from syncbridge.core.ids import Op
from syncbridge.limits import Limits
from tests.unit.core.stage import Stage

FIRST: dict[str, Any] = {"items": ["a", "b", "c", "d"], "title": ""}


@pytest.fixture
def stage() -> Stage:
    stage = Stage("custom", state=FIRST)
    for device in ("phone", "tv"):
        stage.joins(device)
    return stage


def add(index: int, value: str) -> list[Op]:
    return [{"op": "add", "path": f"/items/{index}", "value": value}]


def remove(index: int) -> list[Op]:
    return [{"op": "remove", "path": f"/items/{index}"}]


def change(index: int, value: str) -> list[Op]:
    return [{"op": "replace", "path": f"/items/{index}", "value": value}]


def title(value: str) -> list[Op]:
    return [{"op": "replace", "path": "/title", "value": value}]


def test_an_index_counts_on_own_pushes_that_have_no_answer_yet(stage: Stage) -> None:
    stage.pushes("tv", add(0, "tv"), base=1)
    stage.pushes("phone", add(0, "first"), base=1)
    stage.pushes("tv", remove(1), base=2)  # "a", before the phone's is heard
    stage.pushes("phone", change(2, "B"), base=1)  # "b", behind "first" and "a"
    assert stage.state["items"] == ["tv", "first", "B", "c", "d"]


def test_a_push_that_came_to_nothing_counts_as_the_device_shows_it(stage: Stage) -> None:
    stage.pushes("tv", remove(0), base=1)
    assert stage.pushes("phone", remove(0), base=1).ops == []  # type: ignore[union-attr]
    stage.pushes("tv", add(0, "tv"), base=2)
    stage.pushes("phone", change(0, "B"), base=1)
    assert stage.state["items"] == ["tv", "B", "c", "d"]


def test_pushes_are_carried_on_from_the_last_base_however_long_a_device_writes(stage: Stage) -> None:
    """It hears what was written up to the push before, every time, and never all of it."""
    for count in range(40):
        heard = max(1, 2 * count - 1)
        stage.pushes("tv", add(0, f"tv{count}"), base=1 + 2 * count)
        shown = max(0, count - 1)  # of the television's, in front of the phone's own
        answer = stage.pushes("phone", add(shown + count, f"phone{count}"), base=heard)
        assert isinstance(answer, m.Ack)
    items = stage.state["items"]
    assert [item for item in items if item.startswith("tv")] == [f"tv{count}" for count in reversed(range(40))]
    assert [item for item in items if item.startswith("phone")] == [f"phone{count}" for count in range(40)]
    log = stage.machine.log
    assert log is not None
    assert max(len(work.carried or ()) for work in log.works["phone"]) <= 2


def test_who_met_two_others_in_one_place_is_told_of_the_last_and_of_what_was_sent(stage: Stage) -> None:
    stage.pushes("tv", title("one"), base=1)
    stage.pushes("phone", add(0, "p"), base=1)
    stage.pushes("tv", title("two"), base=3)
    answer = stage.pushes("phone", title("ours"), base=1)
    assert isinstance(answer, m.Ack)
    (row,) = answer.conflicts
    assert (row["ours"], row["theirs"], row["theirs_version"], row["theirs_device"]) == ("ours", "two", 4, "tv")


@pytest.fixture
def restarted(stage: Stage) -> Stage:
    """The phone's second removal came to nothing, and the service that saw it is gone; the phone has no answers yet."""
    stage.pushes("tv", remove(1), base=1)
    stage.pushes("phone", remove(0), base=1)
    stage.pushes("phone", remove(0), base=1)  # "b", which the television was first to remove
    stage.crash()
    for device in ("phone", "tv"):
        stage.joins(device)
    return stage


def test_an_index_that_counts_on_pushes_nobody_saw_made_is_refused(restarted: Stage) -> None:
    answer = restarted.pushes("phone", change(0, "C"), base=1)
    assert isinstance(answer, m.Reject)
    assert (answer.code, answer.retry) == ("context_refused", "resync")
    assert restarted.state["items"] == ["c", "d"]


def test_made_anew_on_what_is_there_it_is_taken(restarted: Stage) -> None:
    restarted.pushes("phone", change(0, "C"), base=1)
    assert isinstance(restarted.pushes("phone", change(0, "C"), base=4), m.Ack)
    assert restarted.state["items"] == ["C", "d"]


def test_a_name_and_the_end_of_a_list_are_not_harmed_by_a_restart(restarted: Stage) -> None:
    at_the_end = [{"op": "add", "path": "/items/-", "value": "e"}]
    assert isinstance(restarted.pushes("phone", title("x"), base=1), m.Ack)
    assert isinstance(restarted.pushes("phone", at_the_end, base=1), m.Ack)
    assert (restarted.state["title"], restarted.state["items"]) == ("x", ["c", "d", "e"])


def test_alone_in_its_list_a_device_is_not_harmed_by_a_restart(stage: Stage) -> None:
    stage.pushes("tv", title("x"), base=1)
    stage.pushes("phone", remove(0), base=1)
    stage.crash()
    stage.joins("phone")
    assert isinstance(stage.pushes("phone", change(0, "B"), base=1), m.Ack)
    assert stage.state["items"] == ["B", "c", "d"]


def test_what_a_device_made_on_a_base_that_is_forgotten_meanwhile_still_counts() -> None:
    limits = Limits(
        log_entries_kept_max=8, checkpoint_entries=2, resume_entries_max=8, snapshot_entries_max=8, inflight_max=8
    )
    stage = Stage("custom", state=FIRST, limits=limits)
    for device in ("phone", "tv"):
        stage.joins(device)
    for count in range(6):
        stage.pushes("tv", add(0, f"tv{count}"), base=1 + count)
    stage.pushes("phone", remove(0), base=1)  # "a"
    for count in range(6, 9):
        stage.pushes("tv", add(0, f"tv{count}"), base=2 + count)
    log = stage.machine.log
    assert log is not None
    assert log.floor > 1
    heard = 6  # the television's first five
    stage.pushes("phone", change(5, "B"), base=heard)  # "b", with "a" gone from the screen
    assert stage.state["items"][-3:] == ["B", "c", "d"]


def test_what_costs_too_much_to_carry_is_refused_by_index_and_merged_by_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "STEPS_MAX", 10)
    stage.pushes("tv", title("tv"), base=1)
    stage.pushes("phone", remove(0), base=1)
    for count in range(3):
        stage.pushes("tv", add(0, f"tv{count}"), base=3 + 2 * count)
        assert isinstance(stage.pushes("phone", [{"op": "add", "path": "/n", "value": count}], base=1), m.Ack)
    answer = stage.pushes("phone", change(0, "B"), base=1)
    assert isinstance(answer, m.Reject)
    assert answer.code == "context_refused"
    answer = stage.pushes("phone", title("phone"), base=1)
    assert isinstance(answer, m.Ack)
    (row,) = answer.conflicts
    assert (row["ours"], row["theirs"], row["theirs_device"]) == ("phone", "tv", "tv")
