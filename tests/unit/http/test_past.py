"""History, conflicts and handoffs as lists: pages that come short, end within an entry, or outlive their log."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from syncbridge.core.entry import Entry, HandoffNote, Undoing
from syncbridge.core.ids import DeviceId, HandoffId
from syncbridge.http import walk as walking
from tests.unit.http.conftest import World
from tests.unit.http.test_resources import problem

NOW_MS = 1_790_000_000_000
ROW: dict[str, Any] = {"path": "/a", "policy": "last", "winner": "ours", "ours": 1, "theirs": 2, "theirs_device": "tv"}


def patch(version: int, *, device: str = "phone", rows: int = 0, at: int = NOW_MS, **fields: Any) -> Entry:
    ops = [{"op": "add", "path": f"/{version}", "value": version}]
    return Entry(version, "patch", at, device, ops=ops, conflicts=[dict(ROW) for _ in range(rows)], **fields)


async def pages(client: httpx.AsyncClient, address: str, name: str) -> list[list[Any]]:
    """Each page of the list, by the Link header."""
    found = []
    while address:
        answer = await client.get(address)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()[name])
        assert ("link" in answer.headers) == (answer.json()["next_cursor"] is not None)
        address = answer.headers.get("link", "").removeprefix("<").removesuffix('>; rel="next"')
    return found


async def test_a_filtered_page_looks_at_so_many_entries_and_then_comes_short(
    world: World, ann: httpx.AsyncClient, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "SCAN_ENTRIES_MAX", 6)
    monkeypatch.setattr(walking, "SCAN_STEP", 3)
    world.service.past.log = [patch(version, device="tv" if version == 2 else "phone") for version in range(1, 21)]
    found = await pages(ann, f"/v1/sessions/{session}/history?device=tv&limit=5", "entries")
    assert [[one["version"] for one in page] for page in found] == [[], [], [], [2]]


@pytest.mark.parametrize("oldest", [1, 2, 7])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_pages_end_where_the_log_does(
    world: World, ann: httpx.AsyncClient, session: str, oldest: int, limit: int
) -> None:
    world.service.past.log = [patch(version) for version in range(1, 11)]
    world.service.past.oldest = oldest
    found = await pages(ann, f"/v1/sessions/{session}/history?limit={limit}", "entries")
    assert [one["version"] for page in found for one in page] == list(range(10, 0 if oldest == 1 else oldest, -1))
    assert all(found), "no page is empty where nothing is filtered"


async def test_a_cursor_does_not_outlive_its_log(world: World, ann: httpx.AsyncClient, session: str) -> None:
    world.service.past.log = [patch(version, rows=1) for version in range(1, 6)]
    for name in ("history", "conflicts"):
        world.service.past.epoch = "e1"
        cursor = (await ann.get(f"/v1/sessions/{session}/{name}?limit=1")).json()["next_cursor"]
        world.service.past.epoch = "e2"
        answer = await ann.get(f"/v1/sessions/{session}/{name}?limit=1&cursor={cursor}")
        assert problem(answer) == (422, "validation_failed")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_every_row_is_met_once_on_pages_of_any_size(
    world: World, ann: httpx.AsyncClient, session: str, limit: int
) -> None:
    world.service.past.log = [patch(1), patch(2, rows=3), patch(3), patch(4, rows=2), patch(5)]
    found = await pages(ann, f"/v1/sessions/{session}/conflicts?limit={limit}", "conflicts")
    assert [one["id"] for page in found for one in page] == ["4.0", "4.1", "2.0", "2.1", "2.2"]


async def test_conflicts_are_listed_as_long_as_they_can_be_undone(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    week = 7 * 86_400_000
    now_ms = world.clock.at_ms
    world.service.past.log = [patch(1, rows=1, at=now_ms - week - 1), patch(2, rows=1, at=now_ms - week)]
    (page,) = await pages(ann, f"/v1/sessions/{session}/conflicts", "conflicts")
    assert [(one["id"], one["undo_until"]) for one in page] == [("2.0", now_ms)]
    assert (await ann.get(f"/v1/sessions/{session}/conflicts/1.0")).json()["undo_until"] == now_ms - 1


async def test_a_conflict_tells_both_sides_and_what_became_of_it(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    await ann.post("/v1/devices", json={"id": "tv", "name": "Living room"})
    removed: dict[str, Any] = {
        "path": "/b",
        "policy": "append",
        "winner": "theirs",
        "theirs": None,
        "device": "",
        "base": 1,
    }
    world.service.past.log = [
        patch(1),
        Entry(2, "patch", NOW_MS, "phone", conflicts=[dict(ROW), removed]),
        patch(3, rows=1, undoes=Undoing(2, 0, "theirs")),
    ]
    first = (await ann.get(f"/v1/sessions/{session}/conflicts/2.0")).json()
    assert first["theirs"]["device"] == {"id": "tv", "name": "Living room"}
    assert first["ours"]["device"] == {"id": "phone", "name": None}
    assert (first["undone"], first["undoes"]) == ({"version": 3, "chosen": "theirs"}, None)
    second = (await ann.get(f"/v1/sessions/{session}/conflicts/2.1")).json()
    assert (second["lost"], second["ours"]["removed"], second["ours"]["device"]) == ("ours", True, None)
    assert (second["theirs"]["removed"], second["theirs"]["value"]) == (False, None)
    assert (await ann.get(f"/v1/sessions/{session}/conflicts/3.0")).json()["undoes"]["conflict"] == "2.0"


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_handoff_whose_offer_is_gone_is_on_the_last_page(
    world: World, ann: httpx.AsyncClient, session: str, limit: int
) -> None:
    def note(name: str, mode: Any) -> HandoffNote:
        return HandoffNote(HandoffId(name), mode, DeviceId("phone"), DeviceId("tv"))

    world.service.past.log = [
        patch(1),
        patch(2),
        Entry(3, "handoff", NOW_MS, "tv", fence=2, active="tv", handoff=note("h1", "offer")),
        Entry(4, "handoff", NOW_MS, "tv", fence=3, active="tv", handoff=note("h2", "take")),
    ]
    world.service.past.oldest = 2
    found = await pages(ann, f"/v1/sessions/{session}/handoffs?limit={limit}", "handoffs")
    told = [(one["handoff"], one["outcome"], one["latency_ms"]) for page in found for one in page]
    assert told == [("h2", "done", 0), ("h1", "done", None)]
    assert (await ann.get(f"/v1/sessions/{session}/handoffs/h1")).json() == found[-1][-1]


async def test_a_difference_with_too_many_changes_is_asked_for_in_parts(
    world: World, ann: httpx.AsyncClient, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncbridge.http.history.CHANGES_MAX", 2)
    first = Entry(1, "create", NOW_MS, ops=[{"op": "replace", "path": "", "value": {}}])
    world.service.past.log = [first, patch(2), patch(3), patch(4)]
    assert (await ann.get(f"/v1/sessions/{session}/history/diff?from=1&to=3")).status_code == 200
    refused = await ann.get(f"/v1/sessions/{session}/history/diff?from=1&to=4")
    assert problem(refused) == (422, "validation_failed")


async def test_what_stands_there_now_comes_with_the_refusal(world: World, ann: httpx.AsyncClient, session: str) -> None:
    world.service.past.log = [patch(1), patch(2, rows=1)]
    refused = await ann.post(f"/v1/sessions/{session}/conflicts/2.0/undo")
    assert (problem(refused), refused.json()["present"]) == ((409, "conflict_moved_on"), 1)


@pytest.mark.parametrize("body", ["[]", '{"force": "maybe"}', '{"choose": "mine"}', "{"])
async def test_an_undo_that_makes_no_sense_is_refused(ann: httpx.AsyncClient, session: str, body: str) -> None:
    answer = await ann.post(
        f"/v1/sessions/{session}/conflicts/2.0/undo", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    wrong = await ann.post(f"/v1/sessions/{session}/conflicts/2.0/undo", content=b"force")
    assert problem(wrong) == (415, "unsupported_media_type")


async def test_devices_and_snapshots_come_in_pages(ann: httpx.AsyncClient, session: str) -> None:
    for number in range(4):
        assert (await ann.post("/v1/devices", json={"id": f"d{number}"})).status_code == 201
        assert (await ann.post(f"/v1/sessions/{session}/snapshots", json={"label": f"s{number}"})).status_code == 201
    devices = await pages(ann, "/v1/devices?limit=3", "devices")
    assert [[one["id"] for one in page] for page in devices] == [["d0", "d1", "d2"], ["d3"]]
    snapshots = await pages(ann, f"/v1/sessions/{session}/snapshots?limit=2", "snapshots")
    assert len({one["id"] for page in snapshots for one in page}) == 4
    assert [len(page) for page in snapshots] == [2, 2]
    held = await ann.get(f"/v1/sessions/{session}/snapshots/{snapshots[0][0]['id']}")
    again = await ann.get(held.request.url, headers={"If-None-Match": held.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_filters_go_along_to_the_next_page(ann: httpx.AsyncClient) -> None:
    for kind in ("custom", "yoga", "custom", "yoga", "custom"):
        assert (await ann.post("/v1/sessions", json={"type": kind})).status_code == 201
    found = await pages(ann, "/v1/sessions?type=custom&limit=2", "sessions")
    assert [[one["type"] for one in page] for page in found] == [["custom", "custom"], ["custom"]]
