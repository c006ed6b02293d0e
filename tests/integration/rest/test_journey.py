"""The main job over REST alone, on the real service: sessions, state, handoffs, codes, snapshots, and what follows."""

from __future__ import annotations

import asyncio
import json

import httpx

from syncbridge.core.digest import state_hash

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


async def test_session_goes_its_whole_way_over_rest(ann: httpx.AsyncClient) -> None:
    made = await ann.post("/v1/sessions", json={"type": "breathing", "title": "evening", "device": "phone"})
    assert (made.status_code, made.json()["active"], made.json()["fence"]) == (201, "phone", 1)
    path = made.headers["location"]
    state = await ann.get(f"{path}/state")
    assert state.headers["syncbridge-hash"] == state_hash(state.json()) == made.json()["hash"]

    ops = [{"op": "replace", "path": "/totals/breaths", "value": 7}]
    patched = await ann.patch(
        f"{path}/state", content=json.dumps(ops), headers={**JSON_PATCH, "If-Match": state.headers["etag"]}
    )
    assert (patched.status_code, patched.json()["totals"]) == (200, {"breaths": 7})
    stale = await ann.put(f"{path}/state", json={}, headers={"If-Match": state.headers["etag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    kept = (await ann.post(f"{path}/snapshots", json={"label": "seven"})).json()
    merged = await ann.patch(f"{path}/state", content=b'{"totals": {"breaths": 8}}', headers=MERGE_PATCH)
    assert merged.json()["totals"] == {"breaths": 8}

    taken = await ann.post(f"{path}/handoffs", json={"mode": "take", "to": "tv"})
    assert (taken.status_code, taken.json()["active"], taken.json()["fence"]) == (201, "tv", 2)
    own = await ann.post(f"{path}/handoffs", json={"mode": "offer", "to": "tv"})
    assert (own.status_code, own.json()["code"]) == (409, "handoff_self")
    offered = await ann.post(f"{path}/handoffs", json={"mode": "offer", "to": "phone"})
    assert (offered.status_code, offered.json()["outcome"]) == (202, "waiting")

    restored = await ann.post(f"{path}/snapshots/{kept['id']}/restore")
    assert (await ann.get(f"{path}/state")).json()["totals"] == {"breaths": 7}
    assert (await ann.get(f"{path}/state")).headers["etag"] == restored.headers["etag"]

    done = await ann.patch(path, json={"status": "completed"})
    assert done.json()["status"] == "completed"
    late = await ann.post(f"{path}/handoffs", json={"mode": "take", "to": "phone"})
    assert (late.status_code, late.json()["code"]) == (409, "session_ended")

    async with asyncio.timeout(30):
        while not (await ann.get("/v1/sessions?status=completed")).json()["sessions"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.get(path)).json()["code"] == "not_found"


async def test_state_over_the_limit_is_refused_whole(ann: httpx.AsyncClient) -> None:
    path = (await ann.post("/v1/sessions", json={"type": "custom", "state": {"n": 1}})).headers["location"]
    large = {"text": "x" * (256 * 1024)}
    answer = await ann.put(f"{path}/state", json=large, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (413, "state_too_large")
    created = await ann.post("/v1/sessions", json={"type": "custom", "state": large})
    assert (created.status_code, created.json()["code"]) == (413, "state_too_large")
    assert (await ann.get(f"{path}/state")).json() == {"n": 1}


async def test_fifty_writers_with_the_same_tag_and_one_wins(ann: httpx.AsyncClient) -> None:
    path = (await ann.post("/v1/sessions", json={"type": "custom", "state": {}})).headers["location"]
    tag = (await ann.get(f"{path}/state")).headers["etag"]
    answers = await asyncio.gather(
        *(ann.put(f"{path}/state", json={"writer": n}, headers={"If-Match": tag}) for n in range(50))
    )
    assert sorted({answer.status_code for answer in answers}) == [200, 412]
    winners = [answer for answer in answers if answer.status_code == 200]
    assert len(winners) == 1
    assert (await ann.get(f"{path}/state")).json() == winners[0].json()


async def test_health_names_the_stores_and_figures_count_requests(ann: httpx.AsyncClient) -> None:
    report = (await ann.get("/health")).json()
    assert report["status"] == "healthy"
    assert {one["status"] for one in report["dependencies"].values()} == {"up"}
    assert {"records", "session_store"} <= report["dependencies"].keys()
    assert 'http_requests_total{method="POST",route="/v1/devices",status="201"} 2.0' in (await ann.get("/metrics")).text
