"""People and their devices at the nodes of a stage: REST by httpx, sockets by the `websockets` package."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import websockets

from deploy.local.node import Node
from syncbridge.core.messages import SUBPROTOCOL
from tests.integration.service.conftest import Device, Message

DEADLINE_S: Final = 40.0
PASSWORD: Final = "correct horse battery staple"


async def until(holds: Callable[[], bool]) -> None:
    """It holds now; asked again and again until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


class Person:
    """An account, at whatever node; what it opens is closed with the stack."""

    def __init__(self, email: str, stack: AsyncExitStack) -> None:
        self.email = email
        self.tokens: dict[str, str] = {}
        self._stack = stack
        self._http = httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False)
        stack.push_async_callback(self._http.aclose)

    @classmethod
    async def new(cls, email: str, node: Node, stack: AsyncExitStack) -> Person:
        """The account is made at this node."""
        person = cls(email, stack)
        answer = await person.ask(node, "POST", "/v1/accounts", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        person.tokens = answer.json()
        return person

    @property
    def token(self) -> str:
        return self.tokens["access_token"]

    async def ask(self, node: Node, method: str, path: str, **more: Any) -> httpx.Response:
        """What REST answers at this node."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.tokens else {}
        headers |= more.pop("headers", {})
        return await self._http.request(method, node.url + path, headers=headers, **more)

    async def get(self, node: Node, path: str) -> Any:
        answer = await self.ask(node, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def log_in(self, node: Node, *, device: str = "") -> httpx.Response:
        body = {"grant_type": "password", "email": self.email, "password": PASSWORD}
        return await self.ask(node, "POST", "/v1/auth/token", json=body | ({"device": device} if device else {}))

    async def until_devices(self, node: Node, names: set[str]) -> None:
        """The node lists these devices, and no others."""
        async with asyncio.timeout(DEADLINE_S):
            while names != {one["id"] for one in (await self.get(node, "/v1/devices"))["devices"]}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def make_session(self, node: Node, **more: Any) -> str:
        answer = await self.ask(node, "POST", "/v1/sessions", json={"type": "custom", "state": {"n": 0}, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def connect(self, node: Node) -> Device:
        """A socket that said nothing yet."""
        url = node.url.replace("http", "ws", 1) + "/v1/ws"
        protocols = [websockets.Subprotocol(SUBPROTOCOL)]
        socket = await websockets.connect(url, subprotocols=protocols, close_timeout=1, proxy=None)
        self._stack.push_async_callback(socket.close)
        return Device(socket)

    async def device(self, node: Node, name: str, *sessions: str, token: str = "") -> Device:
        device = await self.connect(node)
        await device.hello(token or self.token, name)
        for session in sessions:
            await device.join(session)
        return device


class Pusher:
    """A device that changes one value after the other, and writes down what it was told."""

    def __init__(self, device: Device, session: str, name: str) -> None:
        self.device, self.session = device, session
        self.acked: list[str] = []
        self.refused: list[str] = []
        self.longest_s = 0.0
        self._base = 1
        self._names = (f"{name}-{number}" for number in itertools.count())
        self._seqs = itertools.count(1)
        self._open: tuple[str, Message] | None = None

    async def push(self, *, size: int = 1) -> Message:
        """The answer, `ack` or `reject`. What was refused for now is sent again by the next call, as it was."""
        if self._open is None:
            key, seq = next(self._names), next(self._seqs)
            ops = [{"op": "add", "path": f"/{key}", "value": "x" * size}]
            self._open = key, {"session": self.session, "seq": seq, "base": self._base, "ops": ops}
        key, body = self._open
        began = time.monotonic()
        await self.device.say(type="push", **body)
        answer = await self.device.hear("ack", "reject", matching=self._is_answer)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        if answer["type"] == "ack":
            self._base = answer["version"]
            self.acked.append(key)
            self._open = None
        else:
            assert answer["retry"] in ("same", "later"), answer
            self.refused.append(answer["code"])
        return answer

    async def push_through(self, *, size: int = 1) -> None:
        """One more is acknowledged, however often it has to be sent."""
        async with asyncio.timeout(DEADLINE_S):
            while (answer := await self.push(size=size))["type"] != "ack":  # noqa: ASYNC110
                await asyncio.sleep(answer.get("retry_after_ms", 50) / 1000)

    def _is_answer(self, message: Message) -> bool:
        assert self._open is not None
        return (message["session"], message["seq"]) == (self.session, self._open[1]["seq"])
