"""The resources, over a fake of the live sessions."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from syncbridge.core.ids import AccountId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import Unavailable
from syncbridge.limits import Limits
from tests.unit.http.conftest import PASSWORD, RULES, MakeWorld, World

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def problem(answer: httpx.Response) -> tuple[int, str]:
    """(status, code) of an error answer that is whole."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail", "retry"} <= body.keys()
    return answer.status_code, body["code"]


# -- accounts and tokens ----------------------------------------------------------------------------------------


async def test_new_account_is_answered_with_tokens_that_work(world: World) -> None:
    async with world.client() as client:
        answer = await client.post("/v1/accounts", json={"email": "Bob@Example.com", "password": PASSWORD})
        assert answer.status_code == 201
        assert answer.json()["expires_in"] == 900
        me = await client.get("/v1/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
        assert (me.json()["email"], me.json()["devices_max"], me.json()["plan"]) == ("bob@example.com", 5, "standard")
        again = await client.post("/v1/accounts", json={"email": "bob@example.com", "password": PASSWORD})
        assert problem(again) == (409, "account_exists")


async def test_unknown_address_and_wrong_password_are_answered_alike(world: World, ann: httpx.AsyncClient) -> None:
    async with world.client() as client:
        answers = [
            await client.post("/v1/auth/token", json={"email": email, "password": "wrong"})
            for email in ("ann@example.com", "nobody@example.com")
        ]
    bodies = [answer.json() | {"request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1]
    assert problem(answers[0]) == (401, "bad_credentials")
    assert answers[0].headers["www-authenticate"] == "Bearer"


async def test_refresh_rotates_and_a_reused_token_ends_the_login(world: World, ann: httpx.AsyncClient) -> None:
    async with world.client() as client:
        body = {"grant_type": "password", "email": "ann@example.com", "password": PASSWORD, "device": "tv"}
        first = (await client.post("/v1/auth/token", json=body)).json()
        refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        second = (await client.post("/v1/auth/token", json=refresh)).json()
        assert second["device"] == "tv"
        assert problem(await client.post("/v1/auth/token", json=refresh)) == (401, "token_revoked")
        bearer = {"Authorization": f"Bearer {second['access_token']}"}
        assert problem(await client.get("/v1/me", headers=bearer)) == (401, "token_revoked")


async def test_revoked_token_is_refused_and_live_connections_are_looked_at_again(world: World) -> None:
    async with await world.person("bob@example.com", "tv") as bob:
        token = bob.headers["authorization"].removeprefix("Bearer ")
        assert (await bob.post("/v1/auth/revoke", json={"token": token})).status_code == 204
        assert problem(await bob.get("/v1/me")) == (401, "token_revoked")
        assert world.service.calls[-1][0] == "recheck"
        assert (await bob.post("/v1/auth/revoke", json={"token": "nonsense"})).status_code == 204


async def test_logging_out_everywhere_ends_the_others_and_where_asked_ones_own(world: World) -> None:
    async with await world.person("bob@example.com") as bob, world.client() as other:
        body = {"email": "bob@example.com", "password": PASSWORD}
        other.headers["Authorization"] = (
            f"Bearer {(await other.post('/v1/auth/token', json=body)).json()['access_token']}"
        )
        assert (await other.post("/v1/auth/revoke-all?keep_current=true")).status_code == 204
        assert problem(await bob.get("/v1/me")) == (401, "token_revoked")
        assert (await other.get("/v1/me")).status_code == 200
        assert (await other.post("/v1/auth/revoke-all")).status_code == 204
        assert problem(await other.get("/v1/me")) == (401, "token_revoked")


async def test_password_is_changed_by_who_knows_it_and_guessing_it_is_bounded(world: World) -> None:
    async with await world.person("bob@example.com") as bob, world.client() as client:
        body = {"current": PASSWORD, "new": "another horse"}
        assert problem(await bob.put("/v1/me/password", json=body | {"new": "short"})) == (422, "validation_failed")
        assert problem(await bob.put("/v1/me/password", json=body | {"current": "?"})) == (401, "bad_credentials")
        assert (await bob.put("/v1/me/password", json=body)).status_code == 204
        log_in = {"email": "bob@example.com", "password": "another horse"}
        assert (await client.post("/v1/auth/token", json=log_in)).status_code == 200
        statuses = [(await bob.put("/v1/me/password", json=body)).status_code for _ in range(4)]
        assert statuses == [401, 401, 429, 429]


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/auth/token"), ("PUT", "/v1/me/password")])
async def test_password_of_ten_megabytes_is_refused_before_it_is_read(
    ann: httpx.AsyncClient, method: str, path: str
) -> None:
    large = "x" * 10_000_000
    body = {"email": "ann@example.com", "password": large, "current": large, "new": large}
    assert problem(await ann.request(method, path, json=body)) == (413, "message_too_large")


async def test_login_flood_from_one_address_is_told_to_wait_and_no_other(make_world: MakeWorld) -> None:
    world = await make_world(rules=type(RULES)(argon2_time_cost=1, argon2_memory_kib=8, login_burst=2))
    body = {"token": "x"}
    async with world.client(address="192.0.2.1") as flood, world.client(address="192.0.2.2") as other:
        for _ in range(2):
            assert (await flood.post("/v1/auth/revoke", json=body)).status_code == 204
        refused = await flood.post("/v1/auth/revoke", json=body)
        assert problem(refused) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "3"
        assert (await other.post("/v1/auth/revoke", json=body)).status_code == 204
        world.clock.at_ms += 3_000
        assert (await flood.post("/v1/auth/revoke", json=body)).status_code == 204


async def test_guesses_of_one_password_are_limited_wherever_they_come_from(
    world: World, ann: httpx.AsyncClient
) -> None:
    codes = []
    for number in range(4):
        async with world.client(address=f"192.0.2.{number}") as client:
            answer = await client.post("/v1/auth/token", json={"email": "Ann@example.com", "password": "wrong"})
            codes.append(answer.json()["code"])
    assert codes == ["bad_credentials"] * 3 + ["rate_limited"]


# -- sessions ---------------------------------------------------------------------------------------------------


async def test_session_begins_as_its_type_says_with_the_token_s_device(world: World) -> None:
    async with await world.person("bob@example.com", "phone") as bob:
        answer = await bob.post("/v1/sessions", json={"type": "breathing", "title": "t", "settings": {"a": 1}})
        body = answer.json()
        assert (answer.status_code, body["active"], body["fence"], body["status"]) == (201, "phone", 1, "active")
        assert answer.headers["location"] == f"/v1/sessions/{body['id']}"
        assert answer.headers["etag"] == '"e1.1"'
        assert (await bob.get(f"{answer.headers['location']}/state")).json()["pattern"]["inhale_s"] == 4
        assert (await bob.get(answer.headers["location"])).json() == body


@pytest.mark.parametrize(
    ("body", "status", "code", "place"),
    [
        ({"type": "nonsense"}, 422, "validation_failed", "$.type"),
        ({}, 422, "validation_failed", "$.type"),
        ({"type": "custom", "title": "x" * 201}, 422, "validation_failed", "$.title"),
        ({"type": "custom", "title": 7}, 422, "validation_failed", "$.title"),
        ({"type": "custom", "state": []}, 422, "validation_failed", "$.state"),
        ({"type": "custom", "settings": {"x": "y" * 20_000}}, 422, "validation_failed", "$.settings"),
        ({"type": "custom", "device": "not there"}, 422, "validation_failed", "$.device"),
        ({"type": "custom", "device": "unknown"}, 404, "device_unknown", "POST /v1/devices"),
    ],
)
async def test_wrong_field_of_a_new_session_is_named(
    ann: httpx.AsyncClient, body: dict[str, Any], status: int, code: str, place: str
) -> None:
    answer = await ann.post("/v1/sessions", json=body)
    assert problem(answer) == (status, code)
    assert place in answer.json()["detail"]


async def test_pages_lead_through_all_sessions(world: World, ann: httpx.AsyncClient) -> None:
    made = []
    for number in range(5):
        world.clock.at_ms += 1
        made.append((await ann.post("/v1/sessions", json={"type": "custom", "title": str(number)})).json()["id"])
    seen: list[str] = []
    cursor = None
    while True:
        page = (await ann.get("/v1/sessions", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [one["id"] for one in page["sessions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    assert problem(await ann.get("/v1/sessions?cursor=nonsense")) == (422, "validation_failed")
    assert problem(await ann.get("/v1/sessions?limit=101")) == (422, "validation_failed")
    assert problem(await ann.get("/v1/sessions?status=nonsense")) == (422, "validation_failed")


async def test_session_is_renamed_paused_completed_and_then_over(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}"
    renamed = (await ann.patch(path, json={"title": "new", "status": "paused"})).json()
    assert (renamed["title"], renamed["status"]) == ("new", "paused")
    assert (await ann.patch(path, json={"status": "completed"})).json()["status"] == "completed"
    assert problem(await ann.patch(path, json={"status": "active"})) == (409, "session_ended")
    assert problem(await ann.patch(path, json={"unknown": 1})) == (422, "validation_failed")
    assert problem(await ann.patch(path, json={"status": "x"})) == (422, "validation_failed")


async def test_status_change_is_guarded_by_if_match(ann: httpx.AsyncClient, session: str) -> None:
    answer = await ann.patch(f"/v1/sessions/{session}", json={"status": "paused"}, headers={"If-Match": '"e1.9"'})
    assert problem(answer) == (412, "precondition_failed")
    assert (await ann.get(f"/v1/sessions/{session}")).json()["status"] == "active"


async def test_deleted_session_is_gone_also_when_its_log_was_before(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    other = (await ann.post("/v1/sessions", json={"type": "custom"})).json()["id"]
    del world.service.held[other]
    for one in (session, other):
        assert (await ann.delete(f"/v1/sessions/{one}")).status_code == 204
        assert problem(await ann.get(f"/v1/sessions/{one}")) == (404, "not_found")
        assert problem(await ann.delete(f"/v1/sessions/{one}")) == (404, "not_found")
    assert (await ann.get("/v1/sessions")).json() == {"sessions": [], "next_cursor": None}


# -- state ------------------------------------------------------------------------------------------------------


async def test_state_is_read_once_and_asked_about_after(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/state"
    first = await ann.get(path)
    assert (first.json(), first.headers["etag"], first.headers["cache-control"]) == (
        {"n": 1},
        '"e1.1"',
        "private, no-cache",
    )
    same = await ann.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"e1.1"')


async def test_put_needs_the_tag_it_was_made_from(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/state"
    assert problem(await ann.put(path, json={"n": 2})) == (428, "precondition_required")
    done = await ann.put(path, json={"n": 2}, headers={"If-Match": '"e1.1"'})
    assert (done.status_code, done.headers["etag"], done.json()) == (200, '"e1.2"', {"n": 2})
    stale = await ann.put(path, json={"n": 3}, headers={"If-Match": '"e1.1"'})
    assert problem(stale) == (412, "precondition_failed")
    assert (await ann.put(path, json={"n": 4}, headers={"If-Match": "*"})).json() == {"n": 4}
    assert problem(await ann.put(path, json=[], headers={"If-Match": "*"})) == (422, "validation_failed")


async def test_both_patches_are_taken_by_their_media_types(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/state"
    ops = [{"op": "add", "path": "/x", "value": [1]}, {"op": "test", "path": "/n", "value": 1}]
    assert (await ann.patch(path, content=json.dumps(ops), headers=JSON_PATCH)).json() == {"n": 1, "x": [1]}
    merged = await ann.patch(path, content=b'{"x": null, "y": {"z": 1}}', headers=MERGE_PATCH)
    assert (merged.json(), merged.headers["etag"]) == ({"n": 1, "y": {"z": 1}}, '"e1.3"')


@pytest.mark.parametrize("media", ["application/json", "text/plain", ""])
async def test_patch_of_another_kind_is_told_which_are_taken(ann: httpx.AsyncClient, session: str, media: str) -> None:
    answer = await ann.patch(f"/v1/sessions/{session}/state", content=b"{}", headers={"Content-Type": media})
    assert problem(answer) == (415, "unsupported_media_type")
    assert answer.headers["accept-patch"] == "application/json-patch+json, application/merge-patch+json"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'[{"op": "remove", "path": "/none"}]', JSON_PATCH, 422, "bad_patch"),
        (b'[{"op": "test", "path": "/n", "value": 2}]', JSON_PATCH, 409, "patch_test_failed"),
        (b'[{"op": "add", "path": "/a~2", "value": 1}]', JSON_PATCH, 422, "bad_patch"),
        (b"{}", JSON_PATCH, 422, "validation_failed"),
        (b"[]", MERGE_PATCH, 422, "validation_failed"),
        (b'{"a": NaN}', MERGE_PATCH, 400, "bad_message"),
        (b'{"a": 1, "a": 2}', MERGE_PATCH, 400, "bad_message"),
        (b"[" * 100_000, JSON_PATCH, 422, "depth_exceeded"),
        (b" " * 600_000, JSON_PATCH, 413, "message_too_large"),
    ],
)
async def test_bad_patch_changes_nothing(
    ann: httpx.AsyncClient, session: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    path = f"/v1/sessions/{session}/state"
    assert problem(await ann.patch(path, content=body, headers=headers)) == (status, code)
    after = await ann.get(path)
    assert (after.json(), after.headers["etag"]) == ({"n": 1}, '"e1.1"')


async def test_failed_op_is_named_by_its_index(ann: httpx.AsyncClient, session: str) -> None:
    ops = [{"op": "add", "path": "/a", "value": 1}, {"op": "remove", "path": "/none"}]
    answer = await ann.patch(f"/v1/sessions/{session}/state", content=json.dumps(ops), headers=JSON_PATCH)
    assert (answer.json()["index"], answer.json()["pointer"]) == (1, "/none")


async def test_edit_is_made_in_the_name_of_the_token_s_device(world: World) -> None:
    async with await world.person("bob@example.com", "phone") as bob:
        path = (await bob.post("/v1/sessions", json={"type": "custom"})).headers["location"]
        await bob.patch(f"{path}/state", content=b"{}", headers=MERGE_PATCH)
        assert ("edit", "merge", "phone") in world.service.calls


# -- devices, handoffs, codes, snapshots ------------------------------------------------------------------------


async def test_devices_are_listed_renamed_and_removed(world: World, ann: httpx.AsyncClient) -> None:
    await ann.post("/v1/devices", json={"id": "tv", "name": "TV", "platform": "linux"})
    world.service.online.add("tv")
    listed = (await ann.get("/v1/devices")).json()
    assert [(one["id"], one["name"], one["online"]) for one in listed["devices"]] == [("tv", "TV", True)]
    assert (await ann.patch("/v1/devices/tv", json={"name": "Den"})).json()["name"] == "Den"
    world.clock.at_ms += 1
    assert (await ann.delete("/v1/devices/tv")).status_code == 204
    assert [call[0] for call in world.service.calls] == ["roster", "roster", "roster", "disconnect"]
    assert problem(await ann.get("/v1/devices/tv")) == (404, "device_unknown")
    assert problem(await ann.post("/v1/devices", json={"id": "tv"})) == (404, "device_unknown")


async def test_sixth_device_is_refused_with_the_list_of_the_five(ann: httpx.AsyncClient) -> None:
    for number in range(5):
        assert (await ann.post("/v1/devices", json={"id": f"d{number}"})).status_code == 201
    answer = await ann.post("/v1/devices", json={"id": "d5"})
    assert problem(answer) == (409, "device_limit")
    assert [one["id"] for one in answer.json()["devices"]] == ["d0", "d1", "d2", "d3", "d4"]


@pytest.mark.parametrize("name", ["a\nb{}", "id with space", "", "x" * 65, "'; drop table devices"])
async def test_id_that_could_mean_something_elsewhere_is_refused(ann: httpx.AsyncClient, name: str) -> None:
    assert problem(await ann.post("/v1/devices", json={"id": name})) == (422, "validation_failed")


async def test_take_is_done_and_offer_waits(ann: httpx.AsyncClient, session: str) -> None:
    await ann.post("/v1/devices", json={"id": "tv"})
    path = f"/v1/sessions/{session}/handoffs"
    taken = await ann.post(path, json={"mode": "take", "to": "tv"})
    assert (taken.status_code, taken.json()["outcome"], taken.json()["active"]) == (201, "done", "tv")
    assert taken.json()["latency_ms"] >= 0
    offered = await ann.post(path, json={"mode": "offer", "to": "tv", "expires_ms": 1000})
    assert (offered.status_code, offered.json()["outcome"]) == (202, "waiting")
    assert problem(await ann.post(path, json={"mode": "take", "to": "none"})) == (404, "device_unknown")
    assert problem(await ann.post(path, json={"mode": "take"})) == (422, "validation_failed")
    odd = await ann.post(path, json={"mode": "offer", "to": "tv", "expires_ms": True})
    assert (odd.status_code, odd.json()["errors"][0]["place"]) == (422, "$.expires_ms")
    long = await ann.post(path, json={"mode": "offer", "to": "tv", "expires_ms": 10**12})
    assert problem(long) == (422, "validation_failed")


async def test_device_takes_for_itself_alone(world: World) -> None:
    async with await world.person("bob@example.com", "phone") as bob:
        account = AccountId((await bob.get("/v1/me")).json()["id"])
        await world.context.authority.rosters.register(account, DeviceInfo("tv"), 1)
        path = (await bob.post("/v1/sessions", json={"type": "custom"})).headers["location"] + "/handoffs"
        assert problem(await bob.post(path, json={"mode": "take", "to": "tv"})) == (403, "forbidden")
        assert (await bob.post(path, json={"mode": "take"})).json()["active"] == "phone"


async def test_code_brings_one_device_into_one_session(world: World, ann: httpx.AsyncClient, session: str) -> None:
    made = (await ann.post(f"/v1/sessions/{session}/pairing-codes")).json()
    assert made["url"] == f"http://service/pair#{made['code']}"
    other = (await ann.post("/v1/sessions", json={"type": "custom"})).json()["id"]
    async with world.client() as stranger:
        body = {"code": made["code"], "device": {"id": "tv"}}
        tokens = (await stranger.post("/v1/pairing-codes/redeem", json=body)).json()
        assert (tokens["session"], tokens["device"]) == (session, "tv")
        assert problem(await stranger.post("/v1/pairing-codes/redeem", json=body)) == (404, "code_invalid")
        stranger.headers["authorization"] = f"Bearer {tokens['access_token']}"
        assert (await stranger.get(f"/v1/sessions/{session}/state")).json() == {"n": 1}
        assert problem(await stranger.get(f"/v1/sessions/{other}/state")) == (404, "not_found")
        for path in ("/v1/me", "/v1/sessions", "/v1/devices"):
            assert problem(await stranger.get(path)) == (403, "forbidden")
        assert problem(await stranger.delete(f"/v1/sessions/{session}")) == (403, "forbidden")


async def test_guessing_codes_is_limited_by_address(world: World) -> None:
    async with world.client() as stranger:
        body = {"code": "AAAAA-AAAAA", "device": {"id": "tv"}}
        codes = [(await stranger.post("/v1/pairing-codes/redeem", json=body)).json()["code"] for _ in range(4)]
    assert codes == ["code_invalid"] * 3 + ["rate_limited"]


async def test_code_is_drawn_when_a_picture_is_asked_for(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/pairing-codes"
    for answer in (await ann.post(f"{path}?format=svg"), await ann.post(path, headers={"Accept": "image/svg+xml"})):
        assert (answer.status_code, answer.headers["content-type"]) == (201, "image/svg+xml")
        assert b"<svg" in answer.content
        assert len(answer.headers["syncbridge-code"]) == 11


async def test_snapshot_is_kept_listed_read_restored_and_deleted(ann: httpx.AsyncClient, session: str) -> None:
    path = f"/v1/sessions/{session}/snapshots"
    kept = (await ann.post(path, json={"label": "before"})).json()
    await ann.put(f"/v1/sessions/{session}/state", json={"n": 2}, headers={"If-Match": "*"})
    assert (await ann.get(path)).json() == {"snapshots": [kept], "next_cursor": None}
    assert (await ann.get(f"{path}/{kept['id']}")).json() == kept | {"state": {"n": 1}}
    restored = await ann.post(f"{path}/{kept['id']}/restore")
    assert (restored.status_code, restored.headers["etag"]) == (200, '"e1.3"')
    assert (await ann.get(f"/v1/sessions/{session}/state")).json() == {"n": 1}
    assert (await ann.delete(f"{path}/{kept['id']}")).status_code == 204
    assert problem(await ann.get(f"{path}/{kept['id']}")) == (404, "not_found")


# -- tenants ----------------------------------------------------------------------------------------------------

ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("PATCH", "", {"json": {"title": "x"}}),
    ("DELETE", "", {}),
    ("GET", "/state", {}),
    ("PUT", "/state", {"json": {}, "headers": {"If-Match": "*"}}),
    ("PATCH", "/state", {"content": b"{}", "headers": MERGE_PATCH}),
    ("POST", "/handoffs", {"json": {"mode": "take", "to": "tv"}}),
    ("POST", "/pairing-codes", {}),
    ("GET", "/snapshots", {}),
    ("POST", "/snapshots", {"json": {"label": "x"}}),
    ("GET", "/snapshots/snp", {}),
    ("POST", "/snapshots/snp/restore", {}),
    ("DELETE", "/snapshots/snp", {}),
]


@pytest.mark.parametrize(("method", "tail", "more"), ROUTES, ids=[f"{m} {t or '/'}" for m, t, _ in ROUTES])
async def test_what_is_another_s_is_answered_as_what_does_not_exist(
    world: World, session: str, method: str, tail: str, more: dict[str, Any]
) -> None:
    async with await world.person("bob@example.com") as bob:
        foreign = await bob.request(method, f"/v1/sessions/{session}{tail}", **more)
        missing = await bob.request(method, f"/v1/sessions/{'x' * len(session)}{tail}", **more)
    assert problem(foreign) == problem(missing) == (404, "not_found")
    assert foreign.json() | {"request_id": ""} == missing.json() | {"request_id": ""}
    assert len(foreign.content) == len(missing.content)


@pytest.mark.parametrize(("method", "tail", "more"), ROUTES, ids=[f"{m} {t or '/'}" for m, t, _ in ROUTES])
async def test_nobody_is_told_anything_without_a_token(
    world: World, session: str, method: str, tail: str, more: dict[str, Any]
) -> None:
    async with world.client() as nobody:
        assert problem(await nobody.request(method, f"/v1/sessions/{session}{tail}", **more)) == (401, "token_missing")


async def test_store_that_is_away_is_said_and_worth_another_try(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    world.service.fault = Unavailable()
    answer = await ann.get(f"/v1/sessions/{session}/state")
    assert problem(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_sizes_of_bodies_and_settings_are_those_of_the_configuration(make_world: MakeWorld) -> None:
    world = await make_world(limits=Limits(body_bytes_max=100, settings_bytes_max=20))
    async with await world.person("ann@example.com") as ann:
        assert problem(await ann.post("/v1/devices", json={"id": "tv", "name": "n" * 90})) == (413, "message_too_large")
        assert (await ann.post("/v1/devices", json={"id": "tv", "name": "n" * 50})).status_code == 201
        body = {"type": "custom", "settings": {"theme": "d" * 20}}
        assert problem(await ann.post("/v1/sessions", json=body)) == (422, "validation_failed")
        assert (await ann.post("/v1/sessions", json={"type": "custom", "settings": {"a": 1}})).status_code == 201
    assert 'limit_hits_total{limit="settings_bytes_max"} 1.0' in world.context.telemetry.page().decode()


async def test_session_with_its_full_number_of_snapshots_takes_no_other(make_world: MakeWorld) -> None:
    world = await make_world(snapshots_max=1)
    async with await world.person("ann@example.com") as ann:
        here = f"/v1/sessions/{(await ann.post('/v1/sessions', json={'type': 'custom'})).json()['id']}/snapshots"
        assert (await ann.post(here, json={"label": "one"})).status_code == 201
        assert problem(await ann.post(here, json={"label": "two"})) == (409, "snapshots_exceeded")
    assert 'limit_hits_total{limit="snapshots_max"} 1.0' in world.context.telemetry.page().decode()
