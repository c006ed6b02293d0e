"""The past of a session over REST, on a whole service with devices: history, conflicts, undo, handoffs, pages."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.digest import state_hash
from tests.integration.service.conftest import Client

JSON_PATCH = {"Content-Type": "application/json-patch+json"}


async def get(ann: Client, path: str, status: int = 200, **params: Any) -> Any:
    answer = await ann.http.get(path, params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


async def walk(ann: Client, path: str, name: str, **params: Any) -> list[Any]:
    """Everything in the list, page by page, by the Link header; the cursor in the body says the same."""
    found: list[Any] = []
    answer = await ann.http.get(path, params=params)
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page[name]
        if page["next_cursor"] is None:
            assert "link" not in answer.headers
            return found
        address = answer.headers["link"].removeprefix("<").removesuffix('>; rel="next"')
        assert httpx.URL(address).params["cursor"] == page["next_cursor"]
        answer = await ann.http.get(address)


async def two_devices_clash(ann: Client, state: dict[str, Any], path: str = "/title") -> tuple[str, str]:
    """The TV and the phone write one place at once; (the session's path, the conflict)."""
    session = await ann.make_session(state)
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    await tv.push(session, 1, path, "from the TV")
    await tv.hear("ack")
    await phone.push(session, 1, path, "from the phone")
    ack = await phone.hear("ack")
    assert ack["conflicts"][0]["winner"] == "ours"
    return f"/v1/sessions/{session}", f"{ack['version']}.0"


async def test_a_conflict_of_two_devices_is_undone_in_one_call_and_every_device_sees_it(ann: Client) -> None:
    path, conflict = await two_devices_clash(ann, {"title": ""})
    watch = await ann.device("watch", path.rpartition("/")[2])
    (told,) = (await get(ann, f"{path}/conflicts"))["conflicts"]
    assert (told["id"], told["path"], told["policy"], told["lost"]) == (conflict, "/title", "last", "theirs")
    assert told["ours"] == {
        "removed": False,
        "value": "from the phone",
        "device": {"id": "phone", "name": "phone"},
        "version": 3,
    }
    assert (told["theirs"]["value"], told["theirs"]["device"]["name"]) == ("from the TV", "tv")
    assert told["undone"] is None
    assert told["undo_until"] == told["at"] + 7 * 86_400_000

    undone = await ann.http.post(f"{path}/conflicts/{conflict}/undo")
    assert undone.status_code == 200, undone.text
    assert undone.json()["conflict"]["undone"] == {"version": 4, "chosen": "theirs"}
    entry = await watch.hear("entry")
    assert entry["ops"] == [{"op": "replace", "path": "/title", "value": "from the TV"}]
    assert entry["undoes"] == {"version": 3, "index": 0, "chosen": "theirs"}
    state = await ann.http.get(f"{path}/state")
    assert state.json() == {"title": "from the TV"}
    assert state.headers["etag"] == undone.headers["etag"]

    again = await ann.http.post(f"{path}/conflicts/{conflict}/undo", json={})
    assert again.json()["conflict"]["undone"] == {"version": 4, "chosen": "theirs"}
    assert again.json()["position"]["version"] == 4
    assert [one["id"] for one in (await get(ann, f"{path}/conflicts", undone="false"))["conflicts"]] == ["4.0"]
    assert [one["id"] for one in (await get(ann, f"{path}/conflicts", undone="true"))["conflicts"]] == ["3.0"]
    assert (await get(ann, f"{path}/conflicts/4.0"))["undoes"] == {"conflict": "3.0", "chosen": "theirs"}
    back = await ann.http.post(f"{path}/conflicts/4.0/undo")
    assert back.json()["position"]["version"] == 5
    assert (await get(ann, f"{path}/state")) == {"title": "from the phone"}


async def test_what_was_written_since_a_conflict_is_told_and_stays_until_it_was_seen(ann: Client) -> None:
    path, conflict = await two_devices_clash(ann, {"title": ""})
    newer = await ann.http.patch(
        f"{path}/state", content=json.dumps([{"op": "replace", "path": "/title", "value": "newer"}]), headers=JSON_PATCH
    )
    refused = await ann.http.post(f"{path}/conflicts/{conflict}/undo")
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (409, "conflict_moved_on")
    assert (problem["present"], problem["version"], problem["path"]) == ("newer", 4, "/title")
    stale = await ann.http.post(f"{path}/conflicts/{conflict}/undo", headers={"If-Match": '"x.1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    seen = await ann.http.post(f"{path}/conflicts/{conflict}/undo", headers={"If-Match": newer.headers["etag"]})
    assert seen.status_code == 200, seen.text
    assert await get(ann, f"{path}/state") == {"title": "from the TV"}


async def test_an_undo_or_a_restore_whose_answer_was_lost_is_answered_again(ann: Client) -> None:
    path, conflict = await two_devices_clash(ann, {"title": ""})
    for number, (address, body) in enumerate(
        ((f"{path}/conflicts/{conflict}/undo", None), (f"{path}/history/restore", {"version": 1}))
    ):
        tag = (await ann.http.get(f"{path}/state")).headers["etag"]
        headers = {"If-Match": tag, "Idempotency-Key": f"key-{number}"}
        first, again = [await ann.http.post(address, json=body, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code) == (200, 200), again.text
        assert first.json() == again.json()
        assert (await get(ann, f"{path}/history", limit=1))["head"] == first.json()["position"]["version"] == 4 + number


async def test_history_tells_who_did_what_and_each_state_and_what_changed(ann: Client) -> None:
    session = await ann.make_session({"n": 0, "list": []})
    path = f"/v1/sessions/{session}"
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    await phone.push(session, 1, "/n", 1)
    await phone.hear("ack")
    await tv.push(session, 2, "/list/-", "a")
    await tv.hear("ack")
    await ann.http.patch(path, json={"status": "paused"})
    entries = (await get(ann, f"{path}/history"))["entries"]
    assert [(one["version"], one["kind"]) for one in entries] == [
        (4, "status"),
        (3, "patch"),
        (2, "patch"),
        (1, "create"),
    ]
    assert (entries[0]["status"], entries[0]["device"]) == ("paused", None)
    assert (entries[1]["device"], entries[1]["paths"], entries[1]["ops"]) == (
        {"id": "tv", "name": "tv"},
        ["/list/-"],
        1,
    )
    assert [one["version"] for one in (await get(ann, f"{path}/history", device="phone"))["entries"]] == [2]
    assert [one["version"] for one in (await get(ann, f"{path}/history", kind="patch"))["entries"]] == [3, 2]

    then = await get(ann, f"{path}/history/state", version=2)
    assert then["state"] == {"n": 1, "list": []}
    assert (then["position"]["version"], then["hash"]) == (2, state_hash(then["state"]))
    assert (await get(ann, f"{path}/history/state", at=entries[1]["at"]))["position"]["version"] >= 3

    told = await get(ann, f"{path}/history/diff", **{"from": 1, "to": 3})
    assert sorted(op["path"] for op in told["ops"]) == ["/list/0", "/n"]
    assert [(one["version"], one["device"]["id"], one["path"]) for one in told["changes"]] == [
        (2, "phone", "/n"),
        (3, "tv", "/list/-"),
    ]
    assert (await get(ann, f"{path}/history/diff", **{"from": 2, "to": 2}))["ops"] == []

    tag = (await ann.http.get(f"{path}/state")).headers["etag"]
    stale = await ann.http.post(f"{path}/history/restore", json={"version": 1}, headers={"If-Match": '"x.1"'})
    assert stale.status_code == 412
    restored = await ann.http.post(f"{path}/history/restore", json={"version": 2}, headers={"If-Match": tag})
    assert restored.status_code == 200, restored.text
    assert await get(ann, f"{path}/state") == {"n": 1, "list": []}
    assert (await get(ann, f"{path}/history"))["entries"][0]["kind"] == "restore"


async def test_a_state_of_the_past_is_asked_for_in_one_way_and_held_as_long_as_one_likes(ann: Client) -> None:
    path = f"/v1/sessions/{await ann.make_session()}"
    answer = await ann.http.get(f"{path}/history/state", params={"version": 1})
    held = await ann.http.get(
        f"{path}/history/state", params={"version": 1}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (held.status_code, held.content) == (304, b"")
    for query, place in (
        ("version=2", "query.version"),
        ("version=0", "query.version"),
        ("at=9007199254740991", "query.at"),
        ("", "query.version"),
        ("version=1&at=1", "query.version"),
    ):
        refused = await ann.http.get(f"{path}/history/state?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed"), query
        assert place in refused.json()["detail"]
    gone = await ann.http.get(f"{path}/history/state?at=1")
    assert (gone.status_code, gone.json()["code"], gone.json()["oldest"]) == (404, "history_gone", 1)
    for query in ("from=1&to=2", "from=2&to=1", "from=1", "from=1&to=1&to_at=5", "from_at=1&to=1"):
        assert (await ann.http.get(f"{path}/history/diff?{query}")).status_code in (404, 422), query


async def test_handoffs_are_listed_with_their_outcomes_and_latencies(ann: Client) -> None:
    session = await ann.make_session()
    path = f"/v1/sessions/{session}"
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    await phone.say(type="handoff.take", session=session)
    taken = await phone.hear("handoff.done")
    for ending in ("handoff.ready", "handoff.decline", "handoff.cancel"):
        source, target = (phone, tv) if ending != "handoff.decline" else (tv, phone)
        await source.say(type="handoff.offer", session=session, to="tv" if target is tv else "phone")
        offered = await source.hear("handoff.offered")
        speaker = source if ending == "handoff.cancel" else target
        await target.hear("handoff.prepare")
        await speaker.say(type=ending, session=session, handoff=offered["handoff"])
        await source.hear("handoff.done", "handoff.failed")
        if ending == "handoff.decline":
            await phone.say(type="handoff.take", session=session)
            await phone.hear("handoff.done", matching=lambda done: done["active"] == "phone")
    await phone.say(type="handoff.offer", session=session, to="tv", expires_ms=60_000)
    waiting = await phone.hear("handoff.offered")

    told = await walk(ann, f"{path}/handoffs", "handoffs", limit=2)
    assert [(one["mode"], one["outcome"]) for one in told] == [
        ("offer", "waiting"),
        ("offer", "cancelled"),
        ("take", "done"),
        ("offer", "declined"),
        ("offer", "done"),
        ("take", "done"),
    ]
    assert told[0]["handoff"] == waiting["handoff"]
    assert (told[0]["ended_at"], told[0]["latency_ms"], told[0]["fence"]) == (None, None, None)
    assert (told[4]["source"]["id"], told[4]["target"]["id"], told[4]["fence"]) == ("phone", "tv", 2)
    assert 0 <= told[4]["latency_ms"] <= 10_000
    assert (told[5]["handoff"], told[5]["source"], told[5]["fence"]) == (taken["handoff"], None, 1)
    assert await get(ann, f"{path}/handoffs/{taken['handoff']}") == told[5]
    assert (await get(ann, f"{path}/handoffs/unknown", 404))["code"] == "not_found"
    await ann.http.patch(path, json={"status": "completed"})
    assert (await get(ann, f"{path}/handoffs/{waiting['handoff']}"))["outcome"] == "ended"


async def test_a_walk_of_all_pages_meets_each_entry_once_while_the_session_changes(ann: Client) -> None:
    path = f"/v1/sessions/{await ann.make_session()}"
    for number in range(12):
        await edit(ann, path, number)
    page = await get(ann, f"{path}/history", limit=3)
    met = [one["version"] for one in page["entries"]]
    while page["next_cursor"] is not None:
        await edit(ann, path, -1)
        page = await get(ann, f"{path}/history", limit=3, cursor=page["next_cursor"])
        met += [one["version"] for one in page["entries"]]
    assert met == list(range(13, 0, -1))


async def edit(ann: Client, path: str, number: int) -> None:
    answer = await ann.http.patch(
        f"{path}/state", content=json.dumps([{"op": "replace", "path": "/n", "value": number}]), headers=JSON_PATCH
    )
    assert answer.status_code == 200, answer.text


async def test_conflicts_are_paged_within_an_entry_too(ann: Client) -> None:
    session = await ann.make_session(dict.fromkeys("abcde", ""))
    phone, tv = await ann.device("phone", session), await ann.device("tv", session)
    for device in (tv, phone):
        ops = [{"op": "replace", "path": f"/{name}", "value": "x" if device is tv else "y"} for name in "abcde"]
        await device.say(type="push", session=session, seq=next(device.seqs), base=1, ops=ops)
        await device.hear("ack")
    told = await walk(ann, f"/v1/sessions/{session}/conflicts", "conflicts", limit=2)
    assert [one["id"] for one in told] == [f"3.{index}" for index in range(5)]
    assert [one["path"] for one in told] == [f"/{name}" for name in "abcde"]


async def test_a_cursor_is_of_its_list_and_filters_alone(ann: Client) -> None:
    path = f"/v1/sessions/{await ann.make_session()}"
    for number in range(3):
        await edit(ann, path, number)
    cursor = (await get(ann, f"{path}/history", limit=1))["next_cursor"]
    other = f"/v1/sessions/{await ann.make_session()}"
    for address in (
        f"{path}/history?cursor={cursor[:-1]}",
        f"{path}/history?cursor={cursor}x",
        f"{path}/history?kind=patch&cursor={cursor}",
        f"{other}/history?cursor={cursor}",
        f"{path}/conflicts?cursor={cursor}",
        f"{path}/handoffs?cursor=..%2F",
        f"{path}/snapshots?cursor={cursor}",
        f"/v1/sessions?cursor={cursor}",
        f"/v1/devices?cursor={cursor}",
    ):
        refused = await ann.http.get(address)
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed"), address
        assert refused.json()["detail"].startswith("query.cursor: ")


async def test_what_is_anothers_is_answered_like_what_is_not_there(ann: Client, stack: AsyncExitStack) -> None:
    path, conflict = await two_devices_clash(ann, {"title": "canary-7"})
    taken = (await ann.http.post(f"{path}/handoffs", json={"mode": "take", "to": "tv"})).json()["handoff"]
    eve = Client(ann.base, stack)
    stack.push_async_callback(eve.http.aclose)
    await eve.make_account("eve@example.com")
    nothing = path[:-1] + ("0" if path[-1] != "0" else "1")
    for method, rest, body in (
        ("GET", "/history", None),
        ("GET", "/history/state?version=1", None),
        ("GET", "/history/diff?from=1&to=2", None),
        ("POST", "/history/restore", {"version": 1}),
        ("GET", "/conflicts", None),
        ("GET", f"/conflicts/{conflict}", None),
        ("POST", f"/conflicts/{conflict}/undo", {"force": True}),
        ("GET", "/handoffs", None),
        ("GET", f"/handoffs/{taken}", None),
    ):
        answers = [await eve.http.request(method, there + rest, json=body) for there in (path, nothing)]
        bodies = [answer.json() | {"request_id": ""} for answer in answers]
        assert [answer.status_code for answer in answers] == [404, 404], rest
        assert bodies[0] == bodies[1]
        assert "canary" not in answers[0].text
    assert await get(ann, f"{path}/state") == {"title": "from the phone"}
    for unknown in ("3.1", "2.0", "99.0", "0.0", "3", "3.00", "x", "3.0.0", "9" * 15 + ".0"):
        for answer in (
            await ann.http.get(f"{path}/conflicts/{unknown}"),
            await ann.http.post(f"{path}/conflicts/{unknown}/undo"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), unknown


async def test_history_and_undo_outlive_a_restart(tmp_path: Path, stack: AsyncExitStack) -> None:
    settings = Settings(port=0, data_dir=tmp_path)
    async with AsyncExitStack() as first_life:
        service = await first_life.enter_async_context(Service.running(settings))
        ann = Client(f"http://127.0.0.1:{service.server.port}", first_life)
        await ann.make_account()
        path, conflict = await two_devices_clash(ann, {"title": ""})
        before = await get(ann, f"{path}/history")
        await ann.http.aclose()
    service = await stack.enter_async_context(Service.running(settings))
    ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(ann.http.aclose)
    await ann.log_in()
    assert await get(ann, f"{path}/history") == before
    assert (await ann.http.post(f"{path}/conflicts/{conflict}/undo")).status_code == 200
    assert await get(ann, f"{path}/state") == {"title": "from the TV"}


async def test_an_address_says_what_it_takes(ann: Client) -> None:
    path = f"/v1/sessions/{await ann.make_session()}"
    for address, methods in (
        (f"{path}/state", "GET, HEAD, OPTIONS, PATCH, PUT"),
        (path, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        (f"{path}/history", "GET, HEAD, OPTIONS"),
        (f"{path}/conflicts/1.0/undo", "OPTIONS, POST"),
        (f"{path}/handoffs", "GET, HEAD, OPTIONS, POST"),
    ):
        refused = await ann.http.request("TRACE", address)
        assert (refused.status_code, refused.headers["allow"]) == (405, methods)
        asked = await ann.http.options(address)
        assert (asked.status_code, asked.headers["allow"]) == (204, methods)
    head = await ann.http.head(f"{path}/history/state?version=1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"]
