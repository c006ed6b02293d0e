"""A whole service in this process, an account on it, and bridges to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from syncbridge.app import Service
from syncbridge.client import Bridge, Device, connect
from syncbridge.config import Settings


async def until(holds: Callable[[], object], deadline_s: float = 30.0) -> None:
    """It holds now; asked again and again until the deadline."""
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


class Account:
    """A person's devices and sessions."""

    def __init__(self, http: httpx.AsyncClient, token: str, stack: AsyncExitStack) -> None:
        self.token = token
        self._http = http
        self._stack = stack

    @property
    def url(self) -> str:
        return str(self._http.base_url).replace("http", "ws", 1).rstrip("/") + "/v1/ws"

    async def make_session(self, state: dict[str, Any] | None = None, kind: str = "custom") -> str:
        body = {"type": kind, "title": "evening", **({} if state is None else {"state": state})}
        answer = await self._http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def bridge(self, device: str, **more: Any) -> Bridge:
        bridge = connect(self.url, token=self.token, device=Device(device), **more)
        return await self._stack.enter_async_context(bridge)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def service(tmp_path: Path, stack: AsyncExitStack) -> Service:
    return await stack.enter_async_context(Service.running(Settings(port=0, data_dir=tmp_path / "service")))


async def make_account(service: Service, stack: AsyncExitStack) -> Account:
    """A person's account on the service."""
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.server.port}", timeout=30)
    stack.push_async_callback(http.aclose)
    person = {"email": "ann@example.com", "password": "correct horse battery staple"}
    answer = await http.post("/v1/accounts", json=person)
    assert answer.status_code == 201, answer.text
    token = answer.json()["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"
    return Account(http, token, stack)


@pytest.fixture
async def account(service: Service, stack: AsyncExitStack) -> Account:
    return await make_account(service, stack)
