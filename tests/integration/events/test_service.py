"""The whole service with a broker configured: away it costs nothing, there it hears of what people do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.process import free_port
from deploy.local.rabbitmq import Rabbit
from syncbridge.app import Service
from syncbridge.config import Settings
from tests.integration.events.consumer import Listener

pytestmark = pytest.mark.serial

PERSON = {"email": "ann@example.com", "password": "correct horse battery staple"}


@asynccontextmanager
async def serving(data_dir: Path, amqp_url: str, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(port=0, data_dir=data_dir, amqp_url=amqp_url, **more)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service.running(settings))
        base = f"http://127.0.0.1:{service.server.port}"
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=30))


async def sign_up(http: httpx.AsyncClient) -> None:
    made = (await http.post("/v1/accounts", json=PERSON)).json()
    http.headers["Authorization"] = f"Bearer {made['access_token']}"


async def make_session(http: httpx.AsyncClient) -> str:
    made = await http.post("/v1/sessions", json={"type": "custom", "title": "Canary", "state": {"canary": 1}})
    assert made.status_code == 201
    return str(made.json()["id"])


async def test_without_its_broker_the_service_starts_serves_and_says_so_and_tells_all_of_it_later(
    rabbit: Rabbit, listener: Listener, tmp_path: Path
) -> None:
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    async with serving(tmp_path / "data", away) as http:
        await sign_up(http)
        session = await make_session(http)
        async with asyncio.timeout(30):
            while (report := (await http.get("/health")).json())["status"] != "degraded":  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.1)
        assert report["dependencies"]["events"]["is_critical"] is False
        assert (await http.get("/health/ready")).status_code == 200
    async with serving(tmp_path / "data", rabbit.url, public_url="https://sync.example.com/") as http:
        await listener.until(lambda: "session.created" in listener.kinds())
        [event] = listener.events
        assert (event["subject"], event["source"]) == (session, "https://sync.example.com/v1")


async def test_what_people_do_over_rest_is_told_without_what_they_write(
    rabbit: Rabbit, listener: Listener, tmp_path: Path
) -> None:
    async with serving(tmp_path / "data", rabbit.url) as http:
        await sign_up(http)
        session = await make_session(http)
        changed = await http.patch(
            f"/v1/sessions/{session}/state",
            json={"canary": 2},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert changed.status_code == 200, changed.text
        await listener.until(lambda: "session.updated" in listener.kinds())
        assert (await http.delete(f"/v1/sessions/{session}")).status_code == 204
        await listener.until(lambda: "session.deleted" in listener.kinds())
        # The broker's word that it has an event may come after the event itself came to a consumer.
        async with asyncio.timeout(30):
            while 'events_published_total{type="session.deleted"} 1.0' not in (await http.get("/metrics")).text:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        figures = (await http.get("/metrics")).text
    assert listener.kinds() == ["session.created", "session.updated", "session.deleted"]
    assert "anary" not in str(listener.events)
    assert "unknown_figures_total{" not in figures
