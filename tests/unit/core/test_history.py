"""Handoffs told from the entries of a log, and the places that an entry writes."""

from __future__ import annotations

from typing import Any

import pytest

from syncbridge.core import events as on
from syncbridge.core.entry import Entry
from syncbridge.core.history import HandoffStory, HandoffWalk, paths_of
from syncbridge.core.ids import DeviceId
from tests.unit.core.stage import NOW_MS, ROSTER, Stage, request


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.joins("phone")
    stage.joins("tv")
    return stage


def told(stage: Stage, *, pages_of: int = 1_000, without: int = 0) -> list[HandoffStory]:
    """The stories, newest first; every ``pages_of`` entries the walk goes on from what a cursor can carry."""
    stories: list[HandoffStory] = []
    walk = HandoffWalk()
    held = [entry for entry in stage.stored if entry.version > without]
    for number, entry in enumerate(reversed(held)):
        if number % pages_of == 0:
            walk = HandoffWalk(walk.closing)
        story = walk.meet(entry, stage.now_ms)
        if story is not None:
            stories.append(story)
    left_over = walk.left_over()
    return stories if left_over is None else [*stories, left_over]


def outcomes(stage: Stage) -> list[tuple[str, str, str]]:
    stories = told(stage)
    assert told(stage, pages_of=1) == stories
    return [(story.id, story.mode, story.outcome) for story in stories]


def test_an_offer_that_was_accepted_is_done_with_the_time_it_took(stage: Stage) -> None:
    stage.offers("phone", "tv", "h1")
    stage.passes(40)
    stage.readies("tv", "h1")
    (story,) = told(stage)
    assert (story.outcome, story.requested_at, story.ended_at) == ("done", NOW_MS, NOW_MS + 40)
    assert (story.source, story.target, story.fence, story.version) == ("phone", "tv", 2, 2)


@pytest.mark.parametrize("ending", ["declined", "cancelled", "expired", "superseded", "ended", "waiting"])
def test_an_offer_ends_as_the_log_says(stage: Stage, ending: str) -> None:
    stage.offers("phone", "tv", "h1", expires_ms=5_000)
    stage.passes(10)
    match ending:
        case "declined":
            stage.declines("tv", "h1")
        case "cancelled":
            stage.cancels("phone", "h1")
        case "expired":
            stage.passes(5_000)
        case "superseded":
            stage.takes("tv", "h2")
        case "ended":
            stage.asks(on.StatusRequested(request(), "", "completed"))
        case _:
            pass
    story = told(stage)[-1]
    assert (story.id, story.mode, story.outcome) == ("h1", "offer", ending)
    assert story.ended_at == {"waiting": None, "expired": NOW_MS + 5_000}.get(ending, NOW_MS + 10)
    assert story.fence == 0


def test_an_offer_whose_time_is_over_is_expired_before_anybody_noted_it(stage: Stage) -> None:
    stage.offers("phone", "tv", "h1", expires_ms=5_000)
    stage.now_ms += 5_000
    assert outcomes(stage) == [("h1", "offer", "expired")]
    stage.offers("phone", "tv", "h2", expires_ms=5_000)
    assert outcomes(stage) == [("h2", "offer", "waiting"), ("h1", "offer", "expired")]


def test_each_handoff_of_a_long_day_is_told_once_on_pages_of_any_size(stage: Stage) -> None:
    stage.takes("tv", "h1")
    stage.offers("tv", "phone", "h2")
    stage.pushes("tv", [{"op": "replace", "path": "/totals/breaths", "value": 1}], base=stage.machine.version)
    stage.readies("phone", "h2")
    stage.offers("phone", "tv", "h3")
    stage.takes("tv", "h4")
    assert outcomes(stage) == [
        ("h4", "take", "done"),
        ("h3", "offer", "superseded"),
        ("h2", "offer", "done"),
        ("h1", "take", "done"),
    ]


def test_a_handoff_whose_offer_was_let_go_is_told_without_its_beginning(stage: Stage) -> None:
    stage.offers("phone", "tv", "h1")
    offered = stage.stored[-1].version
    stage.readies("tv", "h1")
    (story,) = told(stage, without=offered)
    assert (story.id, story.outcome, story.requested_at, story.fence) == ("h1", "done", None, 2)
    stage.offers("tv", "phone", "h2")
    offered = stage.stored[-1].version
    stage.declines("phone", "h2")
    (story,) = told(stage, without=offered)
    assert (story.id, story.outcome, story.requested_at) == ("h2", "declined", None)


def test_a_take_that_had_to_wait_says_since_when(stage: Stage) -> None:
    stage.holds = True
    stage.pushes("phone", [{"op": "replace", "path": "/totals/breaths", "value": 1}], base=1)
    take = on.TakeRequested(request(), "", DeviceId("tv"), "take", "h1", ROSTER, None, NOW_MS, asked_at=stage.now_ms)
    stage.happens(take)
    stage.now_ms += 75
    stage.holds = False
    stage.commits()
    (story,) = told(stage)
    assert (story.requested_at, story.ended_at) == (NOW_MS, NOW_MS + 75)


@pytest.mark.parametrize(
    ("ops", "paths"),
    [
        ([], []),
        ([{"op": "test", "path": "/a", "value": 1}], []),
        ([{"op": "move", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b", "value": 1}], ["/a", "/b"]),
        ([{"op": "remove", "path": f"/{n}"} for n in "abcdef"], ["/a", "/b", "/c"]),
    ],
)
def test_the_places_an_entry_writes_are_told_once_each_and_few(ops: list[Any], paths: list[str]) -> None:
    assert paths_of(Entry(1, "patch", 0, ops=ops), 3) == paths
