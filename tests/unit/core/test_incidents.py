"""What a session notes for the flight recorder, beside its log: ids, codes and numbers, each thing once."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.ids import ConnectionId
from tests.unit.core.stage import Stage, request

HOUR_MS = 3_600_000


@pytest.fixture
def stage() -> Stage:
    """A session that the phone plays; the TV follows."""
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    stage.moves("phone", 600, intent="seek")
    stage.effects.clear()
    return stage


def notes(stage: Stage, *kinds: str) -> list[do.Noted]:
    return [effect for effect in stage.effects if isinstance(effect, do.Noted) and effect.kind in kinds]


def only(stage: Stage, kind: str) -> do.Noted:
    (note,) = notes(stage, kind)
    return note


def test_a_stale_owner_s_report_is_noted_with_its_place(stage: Stage) -> None:
    stage.takes("tv")
    made_at, base = stage.now_ms, stage.machine.version
    stage.moves("phone", 700, intent="progress", base=base, at=made_at)
    note = only(stage, "refused")
    assert (note.device, note.code) == ("phone", "stale_owner")
    assert note.detail == {
        "about": "push",
        "seq": 2,
        "base": base,
        "version": base,
        "intent": "progress",
        "made_at": made_at,
    }


def test_what_is_accepted_leaves_no_note(stage: Stage) -> None:
    stage.moves("phone", 601, intent="progress")
    stage.pushes("tv", [{"op": "add", "path": "/mood", "value": "calm"}], base=1)
    stage.takes("tv")
    assert notes(stage, "refused", "handoff", "clock", "joined", "left", "caught_up", "broken") == []


def test_no_note_holds_what_a_person_wrote(stage: Stage) -> None:
    bad = [{"op": "replace", "path": "/canary/canary", "value": "canary"}]
    stage.pushes("tv", bad, base=stage.machine.version)
    assert only(stage, "refused").code == "bad_patch"
    assert "canary" not in str(notes(stage, "refused"))


@pytest.mark.parametrize(
    ("position", "code", "detail"),
    [
        ({"version": 1}, "resumed", {"version": 2, "from": 1}),
        ({}, "new", {"version": 2}),
        ({"version": 9}, "ahead", {"version": 2, "from": 9}),
        ({"version": 1, "epoch": "e0"}, "epoch", {"version": 2, "from": 1, "epoch": "e0"}),
    ],
)
def test_a_join_is_noted_with_where_it_came_from_and_how(
    stage: Stage, position: dict[str, Any], code: str, detail: dict[str, Any]
) -> None:
    stage.joins("laptop", **position)
    note = only(stage, "joined")
    assert (note.device, note.code, note.detail) == ("laptop", code, detail)


def test_leaving_is_noted_with_its_cause(stage: Stage) -> None:
    stage.happens(on.MemberLeft(ConnectionId("tv"), stage.now_ms, is_gone=True, cause="too_slow"))
    stage.happens(on.MemberLeft(ConnectionId("tv"), stage.now_ms, is_gone=True))
    assert only(stage, "left") == do.Noted("left", "tv", "too_slow", {"heard_at": stage.now_ms})


def test_a_slow_reader_s_catch_up_is_noted(stage: Stage) -> None:
    stage.happens(on.MemberLagging(ConnectionId("tv")))
    stage.moves("phone", 601, intent="progress")
    stage.happens(on.MemberDrained(ConnectionId("tv")))
    assert only(stage, "caught_up") == do.Noted("caught_up", "tv", "slow", {"from": 2, "version": 3})


def test_an_offer_that_another_handoff_overtook_is_noted(stage: Stage) -> None:
    stage.offers("phone", "laptop", "h1")
    stage.takes("tv", "h2")
    assert only(stage, "handoff") == do.Noted("handoff", "laptop", "superseded", {"handoff": "h1"})


def test_an_offer_that_an_entry_withdrew_needs_no_note(stage: Stage) -> None:
    stage.offers("phone", "tv", "h1")
    stage.declines("tv", "h1")
    assert notes(stage, "handoff", "refused") == []


def test_a_refused_handoff_is_noted(stage: Stage) -> None:
    stage.readies("tv", "h9")
    note = only(stage, "refused")
    assert (note.device, note.code, note.detail["about"]) == ("tv", "handoff_unknown", "handoff.ready")


def test_a_refused_request_is_noted(stage: Stage) -> None:
    stage.asks(on.EditRequested(request(), "tv", "merge", {"a": 1}, 1))
    note = only(stage, "refused")
    assert (note.device, note.code, note.detail) == ("tv", "precondition_failed", {"about": "request", "version": 2})


def test_a_device_that_stamps_the_future_is_noted_once_while_it_follows(stage: Stage) -> None:
    for _ in range(3):
        stage.moves("phone", 601, intent="seek", at=stage.now_ms + 3 * HOUR_MS)
    assert only(stage, "clock") == do.Noted("clock", "phone", "ahead", {"off_ms": 3 * HOUR_MS})


def test_a_device_that_was_here_and_yet_is_late_has_a_slow_clock(stage: Stage) -> None:
    stage.passes(10 * 60_000)
    stage.moves("phone", 601, intent="seek", at=stage.now_ms - 5 * 60_000)
    assert only(stage, "clock") == do.Noted("clock", "phone", "behind", {"off_ms": -5 * 60_000})


def test_an_edit_made_while_the_device_was_away_says_nothing_of_its_clock(stage: Stage) -> None:
    stage.leaves("tv")
    stage.passes(10 * 60_000)
    stage.joins("tv", version=2)
    stage.effects.clear()
    stage.pushes("tv", [{"op": "add", "path": "/x", "value": 1}], base=2, at=stage.now_ms - 5 * 60_000)
    assert notes(stage, "clock") == []
