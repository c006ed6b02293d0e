"""A whole service in this process, asked over its port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from syncbridge.app import Service
from syncbridge.auth import AuthRules
from syncbridge.config import Settings

PASSWORD = "correct horse"


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    """Where a fresh service answers."""
    rules = AuthRules(argon2_time_cost=1, argon2_memory_kib=8)
    async with Service.running(Settings(port=0, data_dir=tmp_path / "data", auth=rules)) as service:
        yield f"http://127.0.0.1:{service.server.port}"


@pytest.fixture
async def ann(base: str) -> AsyncIterator[httpx.AsyncClient]:
    """Ann, with an account and two devices."""
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        made = await client.post("/v1/accounts", json={"email": "ann@example.com", "password": PASSWORD})
        assert made.status_code == 201
        client.headers["Authorization"] = f"Bearer {made.json()['access_token']}"
        for device in ("phone", "tv"):
            assert (await client.post("/v1/devices", json={"id": device})).status_code == 201
        yield client
