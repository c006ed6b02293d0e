"""Signing keys rotated by the command line in a process of its own, beside a service under load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest

from syncbridge.app import Service
from syncbridge.cli.direct import rotate_keys
from syncbridge.config import load
from tests.integration.rest.conftest import PASSWORD
from tests.integration.rest.test_command_line import run

CONFIG = """
port = 0
data_dir = "{folder}/data"
[auth]
argon2_time_cost = 1
argon2_memory_kib = 8
key_lead_ms = 600
key_refresh_ms = 100
login_burst = 100000
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration in which a rotation is over soon; the service and the command line read the same."""
    file = tmp_path / "syncbridge.toml"
    file.write_text(CONFIG.format(folder=tmp_path))
    return file


@pytest.fixture
async def service(config: Path) -> AsyncIterator[Service]:
    """A service with it."""
    async with Service.running(load(config, {})) as service:
        yield service


class Load:
    """Renews its token and asks with it, again and again; counts the answers."""

    def __init__(self, client: httpx.AsyncClient, pair: dict[str, str]) -> None:
        self.client = client
        self.pair = pair
        self.statuses: Counter[int] = Counter()
        self.kids: list[str] = []
        self.is_over = False

    @property
    def kid(self) -> str:
        return str(jwt.get_unverified_header(self.pair["access_token"])["kid"])

    async def go_on(self) -> None:
        held = [self.pair["access_token"]]
        while not self.is_over:
            body = {"grant_type": "refresh_token", "refresh_token": self.pair["refresh_token"]}
            answer = await self.client.post("/v1/auth/token", json=body)
            self.statuses[answer.status_code] += 1
            self.pair = answer.json()
            held.append(self.pair["access_token"])
            # The newest, and one from before the rotation.
            for token in (held[-1], held[0]):
                self.statuses[await self.ask(token)] += 1
            await asyncio.sleep(0.01)  # the other process needs some of the machine too

    async def ask(self, token: str) -> int:
        return (await self.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})).status_code


async def test_rotation_beside_a_service_refuses_no_token_and_an_emergency_refuses_the_old_ones(
    service: Service, config: Path
) -> None:
    base = f"http://127.0.0.1:{service.server.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        made = await client.post("/v1/accounts", json={"email": "ann@example.com", "password": PASSWORD})
        under_load = Load(client, made.json())
        first = under_load.kid
        going_on = asyncio.create_task(under_load.go_on())
        code, said, _ = await run("keys", "rotate", "--config", str(config))
        assert (code, "no valid token is refused" in said) == (0, True)
        async with asyncio.timeout(30):
            while under_load.kid == first:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.01)
        under_load.is_over = True
        await going_on
        assert set(under_load.statuses) == {200}
        assert await under_load.ask(made.json()["access_token"]) == 200

        page = (await client.get("/metrics")).text
        assert 'signing_keys{state="current"} 1.0' in page
        await rotate_keys(load(config, {}), is_emergency=True)
        async with asyncio.timeout(30):
            while await under_load.ask(under_load.pair["access_token"]) == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        body = {"grant_type": "refresh_token", "refresh_token": under_load.pair["refresh_token"]}
        renewed = (await client.post("/v1/auth/token", json=body)).json()["access_token"]
        assert await under_load.ask(renewed) == 200
