"""A whole service in this process, and a foreign client for it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.messages import SUBPROTOCOL

DEADLINE_S = 30.0
PASSWORD = "correct horse battery staple"

Message = dict[str, Any]


async def until(holds: Callable[[], bool]) -> None:
    """It holds now; asked again and again until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


class Device:
    """A device that speaks the protocol through the `websockets` package."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.seqs = itertools.count(1)

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hear(self, *kinds: str, matching: Callable[[Message], bool] = lambda _: True) -> Message:
        """The next message of one of these types; what comes before it is passed over."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message: Message = json.loads(await self.socket.recv())
                if message["type"] in kinds and matching(message):
                    return message

    async def hello(self, token: str, device: str) -> Message:
        await self.say(type="hello", token=token, device={"id": device, "name": device})
        return await self.hear("welcome")

    async def join(self, session: str, **more: Any) -> Message:
        await self.say(type="join", session=session, **more)
        return await self.hear("joined")

    async def push(self, session: str, base: int, path: str, value: object, **more: Any) -> int:
        """Sends one push; answers with its number."""
        seq = next(self.seqs)
        ops = [{"op": "add", "path": path, "value": value}]
        await self.say(type="push", session=session, seq=seq, base=base, ops=ops, **more)
        return seq


class Client:
    """REST and sockets of one account, against a service at ``base``."""

    def __init__(self, base: str, stack: AsyncExitStack) -> None:
        self.base = base
        self._stack = stack
        self.http = httpx.AsyncClient(base_url=base, timeout=DEADLINE_S)
        self.token = ""

    async def make_account(self, email: str = "ann@example.com") -> None:
        answer = await self.http.post("/v1/accounts", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        self._use(answer.json()["access_token"])

    async def log_in(self, email: str = "ann@example.com") -> None:
        answer = await self.http.post(
            "/v1/auth/token", json={"grant_type": "password", "email": email, "password": PASSWORD}
        )
        assert answer.status_code == 200, answer.text
        self._use(answer.json()["access_token"])

    def _use(self, token: str) -> None:
        self.token = token
        self.http.headers["Authorization"] = f"Bearer {token}"

    async def make_session(self, state: dict[str, Any] | None = None) -> str:
        answer = await self.http.post(
            "/v1/sessions", json={"type": "custom", "state": {"n": 0} if state is None else state}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def connect(self) -> Device:
        socket = await websockets.connect(
            self.base.replace("http", "ws", 1) + "/v1/ws",
            subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            close_timeout=1,
        )
        self._stack.push_async_callback(socket.close)
        return Device(socket)

    async def device(self, name: str, *sessions: str) -> Device:
        device = await self.connect()
        await device.hello(self.token, name)
        for session in sessions:
            await device.join(session)
        return device


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def service(tmp_path: Path, stack: AsyncExitStack) -> Service:
    return await stack.enter_async_context(Service.running(Settings(port=0, data_dir=tmp_path)))


@pytest.fixture
async def ann(service: Service, stack: AsyncExitStack) -> Client:
    """A client with an account."""
    client = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(client.http.aclose)
    await client.make_account()
    return client
