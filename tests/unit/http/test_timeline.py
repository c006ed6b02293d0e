"""The owner's answer to "why was my progress lost?": the same verdict as the operator's, in pages, without content."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.http import timeline as resource
from syncbridge.ports import Incident
from syncbridge.story import Story, judge, timeline
from tests.unit.http.conftest import World
from tests.unit.http.test_past import NOW_MS, pages, patch


def refused(session: str, at: int) -> Incident:
    detail: dict[str, int | str] = {
        "about": "push",
        "seq": 3,
        "base": 1,
        "version": 4,
        "intent": "progress",
        "made_at": at,
    }
    return Incident(SessionId(session), at, "phone", "refused", "stale_owner", detail)


async def keep(world: World, *incidents: Incident) -> None:
    for incident in incidents:
        world.context.records.incidents.note(incident)
    await world.context.records.incidents.flush()


async def test_the_owner_is_told_the_doctor_s_verdict(world: World, ann: httpx.AsyncClient, session: str) -> None:
    log = world.service.past.log = [patch(version, at=NOW_MS + version) for version in range(1, 6)]
    incident = refused(session, NOW_MS + 3)
    await keep(world, incident)
    told = (await ann.get(f"/v1/sessions/{session}/timeline?limit=100")).json()
    story = Story(SessionId(session), log, [incident])
    assert told["verdict"]["is_lost"] is True
    assert told["verdict"]["sentence"] == judge(story).sentence
    assert [one["code"] for one in told["verdict"]["causes"]] == ["stale_owner"]
    assert [one["text"] for one in told["timeline"]] == [one.text for one in timeline(story)[::-1]]
    assert told["timeline"][0] == {
        "at": NOW_MS + 5,
        "what": "entry",
        "device": {"id": "phone", "name": None},
        "code": "edit",
        "text": "edit, 1 change",
        "version": 5,
    }
    assert told["next_cursor"] is None


@pytest.mark.parametrize("limit", [1, 2, 5, 7])
async def test_the_pages_meet_each_thing_once_though_many_happened_at_one_time(
    world: World, ann: httpx.AsyncClient, session: str, limit: int
) -> None:
    world.service.past.log = [patch(version, at=NOW_MS + version // 4, rows=version % 2) for version in range(1, 8)]
    await keep(world, refused(session, NOW_MS + 1))
    whole = (await ann.get(f"/v1/sessions/{session}/timeline?limit=100")).json()["timeline"]
    assert len(whole) == 12
    found = await pages(ann, f"/v1/sessions/{session}/timeline?limit={limit}", "timeline")
    assert [one for page in found for one in page] == whole
    assert all(found)


async def test_what_happens_between_two_pages_moves_no_page(world: World, ann: httpx.AsyncClient, session: str) -> None:
    log = world.service.past.log = [patch(version, at=NOW_MS + version) for version in range(1, 6)]
    first = (await ann.get(f"/v1/sessions/{session}/timeline?limit=2")).json()
    log += [patch(6, at=NOW_MS + 6), patch(7, at=NOW_MS + 7)]
    second = await ann.get(f"/v1/sessions/{session}/timeline?limit=2&cursor={first['next_cursor']}")
    assert [one["version"] for one in (*first["timeline"], *second.json()["timeline"])] == [5, 4, 3, 2]


async def test_the_newest_entries_are_judged_and_the_verdict_says_from_where(
    world: World, ann: httpx.AsyncClient, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "ENTRIES_MAX", 3)
    world.service.past.log = [patch(version) for version in range(1, 11)]
    told = (await ann.get(f"/v1/sessions/{session}/timeline")).json()
    assert [one["version"] for one in told["timeline"]] == [10, 9, 8]
    assert "told from version 8 of" in told["verdict"]["sentence"]


async def test_no_content_is_told(world: World, ann: httpx.AsyncClient, session: str) -> None:
    secret: list[dict[str, Any]] = [{"op": "add", "path": "/note", "value": "canary"}]
    row: dict[str, Any] = {"path": "/note", "policy": "last", "winner": "ours", "ours": "canary", "theirs": "canary"}
    world.service.past.log = [Entry(1, "patch", NOW_MS, "phone", ops=secret, conflicts=[row])]
    answer = await ann.get(f"/v1/sessions/{session}/timeline")
    assert len(answer.json()["timeline"]) == 2
    assert "canary" not in answer.text


async def test_a_stranger_and_a_session_that_never_was_are_told_the_same(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    async with await world.person("bob@example.com") as bob:
        answers = [await bob.get(f"/v1/sessions/{one}/timeline") for one in (session, "ses_none")]
    assert [one.status_code for one in answers] == [404, 404]
    assert len({one.json()["detail"] for one in answers}) == 1
