"""What surrounds the resources: ids, figures, health, the document, the page, and our own failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from html.parser import HTMLParser

import httpx
import pytest
import structlog
from openapi_spec_validator import validate

from syncbridge.http import bare_app
from syncbridge.http.reference import render
from tests.unit.http.conftest import PASSWORD, RULES, MakeWorld, World


async def test_sane_request_id_comes_back_and_another_is_replaced(world: World) -> None:
    async with world.client() as client:
        sane = await client.get("/health/live", headers={"X-Request-Id": "abc-1"})
        forged = await client.get("/health/live", headers={"X-Request-Id": "a b\t{}"})
    assert sane.headers["x-request-id"] == "abc-1"
    assert forged.headers["x-request-id"] != "a b\t{}"


async def test_our_own_failure_is_answered_without_detail_and_logged_with_its_id(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    world.service.fault = RuntimeError("the secret detail")
    with structlog.testing.capture_logs() as logs:
        answer = await ann.get(f"/v1/sessions/{session}/state", headers={"X-Request-Id": "req-7"})
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (500, "internal", "req-7")
    assert "secret" not in answer.text
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry["route"]) for entry in errors] == [
        ("http request error", "/v1/sessions/{session}/state")
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/v1/me", 405, "method_not_allowed")],
)
async def test_unknown_path_and_method_are_problems_too(
    world: World, method: str, path: str, status: int, code: str
) -> None:
    async with world.client() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_bodies_are_bounded_before_they_are_read_whole(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 1024
        raise AssertionError("the whole body was read")

    async with world.client() as client:
        declared = await client.post(
            "/v1/accounts", content=b"x" * 20_000, headers={"Content-Type": "application/json"}
        )
        chunked = await client.post("/v1/accounts", content=endless(), headers={"Content-Type": "application/json"})
        plain = await client.post("/v1/accounts", content=b"x=1", headers={"Content-Type": "text/plain"})
    assert (declared.status_code, declared.json()["code"]) == (413, "message_too_large")
    assert (chunked.status_code, chunked.json()["code"]) == (413, "message_too_large")
    assert (plain.status_code, plain.json()["code"]) == (415, "unsupported_media_type")


async def test_password_is_in_no_answer_and_no_log(world: World) -> None:
    canary = "canary-7f3a"
    with structlog.testing.capture_logs() as logs:
        async with world.client() as client:
            answers = [
                await client.post("/v1/accounts", json={"email": canary, "password": canary * 2}),
                await client.post("/v1/accounts", json={"email": "a@b", "password": [canary]}),
                await client.post("/v1/auth/token", json={"email": "a@b", "password": canary}),
                await client.post("/v1/auth/token", json={"grant_type": canary}),
                await client.get("/v1/me", headers={"Authorization": f"Bearer {canary}"}),
            ]
    assert [answer.status_code for answer in answers] == [422, 422, 401, 422, 401]
    assert [canary in answer.text for answer in answers] == [False] * 5
    assert canary not in str(logs)


async def test_health_tells_each_dependency_and_readiness_follows_the_critical_ones(world: World) -> None:
    is_up = {"store": True, "broker": True}
    world.health.watch("store", lambda: is_up["store"])
    world.health.watch("broker", lambda: is_up["broker"], is_critical=False)
    async with world.client() as client:

        async def statuses() -> tuple[int, str, int, int]:
            whole, ready, live = [await client.get(path) for path in ("/health", "/health/ready", "/health/live")]
            return whole.status_code, whole.json()["status"], ready.status_code, live.status_code

        assert await statuses() == (200, "healthy", 200, 200)
        is_up["broker"] = False
        assert await statuses() == (200, "degraded", 200, 200)
        is_up["store"] = False
        assert await statuses() == (503, "unhealthy", 503, 200)
        is_up |= {"store": True, "broker": True}
        world.health.drain()
        assert await statuses() == (200, "draining", 503, 200)
        body = (await client.get("/health")).json()
    assert set(body) == {"status", "version", "timestamp", "uptime", "uptime_s", "dependencies"}
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    assert body["dependencies"].keys() == {"records", "store", "broker"}
    assert {one["name"] for one in body["dependencies"].values()} == {"records", "store", "broker"}


async def test_probe_that_breaks_counts_as_down(world: World) -> None:
    def broken() -> bool:
        raise OSError

    world.health.watch("store", broken)
    async with world.client() as client:
        assert (await client.get("/health")).json()["dependencies"]["store"]["status"] == "down"


async def test_requests_are_counted_by_route_and_never_by_path(
    world: World, ann: httpx.AsyncClient, session: str
) -> None:
    await ann.get(f"/v1/sessions/{session}")
    await ann.get("/v1/sessions/nobody-s")
    await ann.get("/some/strange/path")
    page = (await ann.get("/metrics")).text
    assert 'http_requests_total{method="GET",route="/v1/sessions/{session}",status="200"} 1.0' in page
    assert 'http_requests_total{method="GET",route="/v1/sessions/{session}",status="404"} 1.0' in page
    assert 'route="unmatched"' in page
    assert session not in page
    assert "strange" not in page


async def test_only_configured_origins_may_read_answers(make_world: MakeWorld) -> None:
    world = await make_world(allowed_origins=("https://app.example.com",))
    async with world.client() as client:
        asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "if-match"}
        ours = await client.options("/v1/me", headers={"Origin": "https://app.example.com", **asked})
        theirs = await client.options("/v1/me", headers={"Origin": "https://evil.example.com", **asked})
        read = await client.get("/health/live", headers={"Origin": "https://app.example.com"})
    assert ours.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in theirs.headers
    assert "ETag" in read.headers["access-control-expose-headers"]


async def test_client_s_address_is_taken_from_trusted_proxies_alone(make_world: MakeWorld) -> None:
    rules = type(RULES)(argon2_time_cost=1, argon2_memory_kib=8, login_burst=1)
    world = await make_world(rules=rules, trusted_proxies=("192.0.2.9",))
    body = {"token": "x"}

    async def ask(peer: str, forwarded: str) -> int:
        async with world.client(address=peer) as client:
            return (await client.post("/v1/auth/revoke", json=body, headers={"X-Forwarded-For": forwarded})).status_code

    assert [await ask("192.0.2.9", "198.51.100.1"), await ask("192.0.2.9", "198.51.100.2")] == [204, 204]
    assert [await ask("192.0.2.5", "198.51.100.3"), await ask("192.0.2.5", "198.51.100.4")] == [204, 429]


def test_document_is_valid_openapi_31_with_problems_for_every_route() -> None:
    document = bare_app().openapi()
    validate(document)
    assert document["openapi"].startswith("3.1")
    operations = [one for item in document["paths"].values() for one in item.values()]
    assert all("application/problem+json" in one["responses"]["default"]["content"] for one in operations)
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert all(one.get("description") for one in operations)


def test_document_says_what_every_parameter_and_every_answer_is() -> None:
    operations = [one for item in bare_app().openapi()["paths"].values() for one in item.values()]
    parameters = [(one["operationId"], each) for one in operations for each in one.get("parameters", ())]
    assert [(name, each["name"]) for name, each in parameters if not each.get("description")] == []
    answers = [(one["operationId"], each) for one in operations for each in one["responses"].values()]
    assert [name for name, each in answers if each["description"] in ("", "Successful Response")] == []


def test_api_page_says_in_one_sentence_what_a_closed_route_does() -> None:
    operation = {"operationId": "x", "description": "It is `gone`, for good. Nobody\nelse notices.", "responses": {}}
    document = {"info": {"title": "t", "version": "1"}, "paths": {"/x": {"delete": operation}}}
    heading = render(document).partition("<summary>")[2].partition("</summary>")[0]
    assert heading.endswith("<code>/x</code> <span>It is <code>gone</code>, for good.</span>")


async def test_api_page_holds_every_route_and_loads_nothing(world: World) -> None:
    async with world.client() as client:
        answer = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()

    class Page(HTMLParser):
        """Collects what a browser would load."""

        def __init__(self) -> None:
            super().__init__()
            self.loads: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.loads += [tag] if tag in ("script", "link", "img", "iframe") else []

    page = Page()
    page.feed(answer.text)
    assert page.loads == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert all(path in answer.text for path in document["paths"])


async def test_bare_address_leads_to_the_api_page(world: World) -> None:
    async with world.client() as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


def test_api_page_escapes_every_text() -> None:
    document = {
        "info": {"title": "<b>", "version": "<i>", "description": "a `<u>`"},
        "paths": {"/<x>": {"get": {"operationId": "<y>", "description": "<z>", "responses": {}}}},
    }
    page = render(document)
    assert [tag for tag in ("<h1><b>", "<i>", "<u>", "<x>", "<y>", "<z>") if tag in page] == []


async def test_token_in_the_address_is_no_token(world: World) -> None:
    async with world.client() as client:
        made = await client.post("/v1/accounts", json={"email": "a@b.c", "password": PASSWORD})
        answer = await client.get("/v1/me", params={"access_token": made.json()["access_token"]})
    assert answer.json()["code"] == "token_missing"
