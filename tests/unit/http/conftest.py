"""The REST service over real records and a fake of the live sessions, and people who ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from syncbridge import __version__
from syncbridge.adapters.embedded import MemoryStore
from syncbridge.auth import AuthRules, Plans, open_authority
from syncbridge.config import Settings
from syncbridge.core.messages import DeviceInfo
from syncbridge.http import Health, build_app
from syncbridge.lifecycle import Lifecycle
from syncbridge.records import open_records
from syncbridge.telemetry import PrometheusTelemetry
from tests.unit.http.fakes import FakeService, MovedClock

PASSWORD = "correct horse"
RULES = AuthRules(argon2_time_cost=1, argon2_memory_kib=8, login_burst=1_000, guess_burst=3)


class World:
    """Everything that a test of a resource may look at."""

    def __init__(self, app: FastAPI, service: FakeService, clock: MovedClock, health: Health) -> None:
        self.app = app
        self.service = service
        self.clock = clock
        self.health = health
        self.context = app.state.context

    def client(self, token: str = "", *, address: str = "192.0.2.1") -> httpx.AsyncClient:
        """Somebody with this token, at this address."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 4000))
        return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)

    async def person(self, email: str, device: str | None = None) -> httpx.AsyncClient:
        """Somebody with an account of their own; with a device, registered and bound to it."""
        account = await self.context.authority.create_account(email, PASSWORD)
        grant = await self.context.authority.begin(account.id, device)
        if device is not None:
            await self.context.authority.rosters.register(account.id, DeviceInfo(device), grant.claims.login_at)
        return self.client(grant.access_token)


MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """A maker of worlds with these settings."""
    closing: list[Callable[[], Any]] = []

    async def make(rules: AuthRules = RULES, **keys: Any) -> World:
        settings = Settings(data_dir=tmp_path, auth=rules, **keys)
        service, clock, health = FakeService(), MovedClock(), Health(__version__, kept_ms=0)
        records = await open_records(settings.records_url)
        plans = Plans(settings.plans, settings.default_plan)
        authority = await open_authority(records, settings.auth, settings.limits, clock, plans)
        closing.extend((authority.close, records.close))
        telemetry = PrometheusTelemetry(clock)
        app = build_app(
            service,
            records,
            authority,
            settings,
            lifecycle=Lifecycle(
                MemoryStore(clock),
                records,
                authority,
                service,
                clock=clock,
                telemetry=telemetry,
                limits=settings.limits,
                retention=settings.retention,
            ),
            telemetry=telemetry,
            clock=clock,
            health_report=health,
        )
        return World(app, service, clock, health)

    yield make
    for close in closing:
        waiting = close()
        if waiting is not None:
            await waiting


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A world as it comes."""
    return await make_world()


@pytest.fixture
async def ann(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Ann, with an account."""
    async with await world.person("ann@example.com") as client:
        yield client


@pytest.fixture
async def session(ann: httpx.AsyncClient) -> str:
    """A session of Ann's with a small state."""
    answer = await ann.post("/v1/sessions", json={"type": "custom", "title": "one", "state": {"n": 1}})
    assert answer.status_code == 201
    return str(answer.json()["id"])
