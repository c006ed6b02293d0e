"""Rates of requests: by account, by address, told on every answer, and never for whoever watches over us."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from syncbridge.auth import AuthRules
from syncbridge.http.rates import network_of
from syncbridge.limits import Limits, Plan
from tests.unit.http.conftest import MakeWorld, World

SLOW = {"plans": {"standard": Plan(request_burst=3, request_refill_ms=1_000)}}


def told(answer: httpx.Response) -> tuple[int, ...]:
    return tuple(int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))


async def test_account_asks_at_the_rate_of_its_plan(make_world: MakeWorld) -> None:
    world = await make_world(**SLOW)
    async with await world.person("ann@example.com") as ann, await world.person("bob@example.com") as bob:
        answers = [await ann.get("/v1/me") for _ in range(4)]
        assert [one.status_code for one in answers] == [200, 200, 200, 429]
        assert [told(one) for one in answers] == [(3, 2, 1), (3, 1, 2), (3, 0, 3), (3, 0, 3)]
        problem = answers[-1].json()
        assert (problem["code"], problem["retry"], problem["retry_after_ms"]) == ("rate_limited", "later", 1_000)
        assert answers[-1].headers["retry-after"] == "1"
        assert (await bob.get("/v1/me")).status_code == 200
        world.clock.at_ms += 1_000
        assert [(await ann.get("/v1/me")).status_code for _ in range(2)] == [200, 429]


async def test_what_is_told_stands_on_errors_and_empty_answers_too(make_world: MakeWorld) -> None:
    world = await make_world()
    async with await world.person("ann@example.com") as ann:
        made = await ann.post("/v1/sessions", json={"type": "custom"})
        state = f"/v1/sessions/{made.json()['id']}/state"
        tag = (await ann.get(state)).headers["etag"]
        answers = [
            await ann.get(state, headers={"If-None-Match": tag}),
            await ann.get("/v1/nowhere"),
            await ann.post("/v1/sessions", json={"type": "none"}),
            await ann.delete(state),
            await world.client("bad token").get("/v1/me"),
            await world.client().get("/docs"),
        ]
    assert [one.status_code for one in answers] == [304, 404, 422, 405, 401, 200]
    assert [told(one)[0] for one in answers] == [120] * 6


@pytest.mark.parametrize("token", ["", "no token of ours"])
async def test_without_a_good_token_the_address_counts(make_world: MakeWorld, token: str) -> None:
    world = await make_world(limits=Limits(address_request_burst=2, address_request_refill_ms=1_000))
    async with world.client(token) as here, world.client(address="192.0.2.2") as there:
        assert [(await here.get("/v1/me")).status_code for _ in range(3)] == [401, 401, 429]
        assert (await there.get("/v1/me")).status_code == 401
        async with await world.person("ann@example.com") as ann:  # from the address that has asked too much
            assert (await ann.get("/v1/me")).status_code == 200


async def test_addresses_of_one_ipv6_network_share_a_bucket(make_world: MakeWorld) -> None:
    world = await make_world(limits=Limits(address_request_burst=2, address_request_refill_ms=1_000))
    codes = []
    for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::3", "2001:db8:1:3::1"):
        async with world.client(address=address) as client:
            codes.append((await client.get("/v1/me")).status_code)
    assert codes == [401, 401, 429, 401]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_network_of_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_log_ins_of_one_ipv6_network_share_a_bucket(make_world: MakeWorld) -> None:
    world = await make_world()
    codes = []
    for number in range(5):
        async with world.client(address=f"2001:db8::{number}") as client:
            body = {"code": "00000-00000", "device": {"id": "tv"}}
            codes.append((await client.post("/v1/pairing-codes/redeem", json=body)).json()["code"])
    assert codes == ["code_invalid"] * 3 + ["rate_limited"] * 2


async def test_health_and_metrics_are_never_limited(make_world: MakeWorld) -> None:
    world = await make_world(limits=Limits(address_request_burst=1, requests_inflight_max=1))
    async with world.client() as client:
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            answers = [await client.get(path) for _ in range(3)]
            assert [one.status_code for one in answers] == [200] * 3
            assert not [name for name in answers[0].headers if name.startswith("x-ratelimit")]


async def test_more_requests_at_once_than_there_are_places_are_turned_away(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_world(limits=Limits(requests_inflight_max=1))
    held, free = asyncio.Event(), asyncio.Event()

    async def get(account: str) -> None:
        held.set()
        await free.wait()

    async with await world.person("ann@example.com") as ann:
        monkeypatch.setattr(world.context.records.accounts, "get", get)
        first = asyncio.create_task(ann.get("/v1/me"))
        await held.wait()
        second = await ann.get("/v1/devices")
        assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (503, "busy", "1")
        free.set()
        assert (await first).status_code == 401  # the account is not there, says the fake
        assert (await ann.get("/v1/devices")).status_code == 200


async def test_each_limit_met_is_counted_by_its_name(make_world: MakeWorld) -> None:
    world = await make_world(**SLOW, limits=Limits(address_request_burst=1))
    async with await world.person("ann@example.com") as ann, world.client() as nobody:
        for _ in range(4):
            await ann.get("/v1/me")
            await nobody.get("/v1/me")
    page = world.context.telemetry.page().decode()
    assert 'limit_hits_total{limit="request_burst"} 1.0' in page
    assert 'limit_hits_total{limit="address_request_burst"} 3.0' in page


async def test_pages_of_allowed_origins_may_read_what_is_told(make_world: MakeWorld) -> None:
    origin = "https://app.example.com"
    world = await make_world(allowed_origins=(origin,))
    async with world.client() as client:
        answer = await client.get("/v1/me", headers={"Origin": origin})
        shown = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"} <= shown
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "idempotency-key"
        assert (await client.options("/v1/sessions", headers=asked)).status_code == 200


async def test_records_that_are_away_do_not_turn_a_request_into_an_error_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from syncbridge.errors import Unavailable

    async def get(account: str) -> None:
        raise Unavailable

    async with await world.person("ann@example.com") as ann:
        monkeypatch.setattr(world.context.authority.rosters, "get", get)
        answer = await ann.get("/v1/devices")
        assert (answer.status_code, answer.json()["code"], told(answer)[0]) == (503, "unavailable", 120)


async def test_what_is_refused_is_counted_under_the_template_of_its_route(make_world: MakeWorld) -> None:
    world = await make_world(**SLOW)
    async with await world.person("ann@example.com") as ann:
        paths = ["/v1/me"] * 3 + ["/v1/me", "/v1/me/export", "/v1/sessions/ses_1", "/v1/nowhere"]
        answers = [await ann.get(path) for path in paths]
    assert [one.status_code for one in answers] == [200] * 3 + [429] * 4
    page = world.context.telemetry.page().decode()
    refused = {line for line in page.splitlines() if line.startswith("http_requests_total") and 'status="429"' in line}
    routes = ("/v1/me", "/v1/me/export", "/v1/sessions/{session}", "unmatched")
    assert refused == {f'http_requests_total{{method="GET",route="{one}",status="429"}} 1.0' for one in routes}


async def test_receipts_are_guessed_by_a_network_no_faster_than_by_an_address(make_world: MakeWorld) -> None:
    world = await make_world(rules=AuthRules(argon2_time_cost=1, argon2_memory_kib=8, login_burst=2))
    codes = []
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"):
        async with world.client(address=address) as client:
            codes.append((await client.get("/v1/erasures/ers_guessed")).json()["code"])
    assert codes == ["not_found", "not_found", "rate_limited", "not_found"]
