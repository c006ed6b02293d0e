"""The edge that ships: real HAProxy, real nodes, and what a device behind it notices."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import pytest
import websockets

from deploy.local.haproxy import HAProxy
from deploy.local.node import Node
from syncbridge.core.messages import SUBPROTOCOL

pytestmark = pytest.mark.serial

DEADLINE_S: Final = 20


async def connect(edge: HAProxy, trust: ssl.SSLContext, stack: AsyncExitStack) -> websockets.ClientConnection:
    socket = await websockets.connect(
        f"wss://localhost:{edge.port}/v1/ws",
        ssl=trust,
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        close_timeout=1,
        proxy=None,
    )
    stack.push_async_callback(socket.close)
    return socket


async def said(socket: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] == kind:
                return message


async def account_at(node: Node) -> str:
    async with httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=DEADLINE_S) as http:
        body = {"email": "ann@example.com", "password": "correct horse battery staple"}
        return str((await http.post("/v1/accounts", json=body)).json()["access_token"])


async def hello(socket: websockets.ClientConnection, token: str) -> str:
    """Which message came back."""
    device = {"id": "phone", "name": "phone"}
    await socket.send(json.dumps({"type": "hello", "token": token, "device": device}))
    async with asyncio.timeout(DEADLINE_S):
        return str(json.loads(await socket.recv())["type"])


async def test_rest_is_reached_over_tls_by_who_trusts_the_authority(edge: HAProxy, trust: ssl.SSLContext) -> None:
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        assert (await http.get(f"{edge.url}/health/ready")).status_code == 200
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get(f"{edge.url}/health/ready")


async def test_figures_of_the_nodes_are_not_for_the_public(edge: HAProxy, trust: ssl.SSLContext) -> None:
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        for path in ("/metrics", "/%6detrics", "/metric%73?name=x", "/metrics/"):
            answer = await http.get(httpx.URL(edge.url).copy_with(raw_path=path.encode()))
            assert (answer.status_code, answer.headers.get("x-request-id")) == (404, None), "no node was asked"
        assert "haproxy_server_current_sessions" in (await http.get(f"{edge.admin_url}/metrics")).text


async def test_sockets_are_dealt_out_to_the_node_with_the_fewest(
    edge: HAProxy, trust: ssl.SSLContext, nodes: list[Node], stack: AsyncExitStack
) -> None:
    token = await account_at(nodes[1])
    sockets = [await connect(edge, trust, stack) for _ in range(4)]
    answers = [await hello(socket, token) for socket in sockets]
    assert sorted(answers) == ["error", "error", "welcome", "welcome"], "a token of one node, sockets on both"


async def test_a_node_that_drains_says_goodbye_and_nobody_else_notices(
    edge: HAProxy, trust: ssl.SSLContext, nodes: list[Node], stack: AsyncExitStack
) -> None:
    token = await account_at(nodes[0])
    sockets = [await connect(edge, trust, stack) for _ in range(2)]
    here = [socket for socket in sockets if await hello(socket, token) == "welcome"]
    assert len(here) == 1
    answers: list[int] = []
    over = asyncio.Event()

    async def ask() -> None:
        async with httpx.AsyncClient(verify=trust, trust_env=False, timeout=DEADLINE_S) as http:
            while not over.is_set():
                answers.append((await http.get(f"{edge.url}/health/live")).status_code)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask())
        nodes[0].process.signal(signal.SIGTERM)
        goodbye = await said(here[0], "goodbye")
        await asyncio.wait_for(here[0].wait_closed(), DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            while nodes[0].process.is_running:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        enough = len(answers) + 40
        async with asyncio.timeout(DEADLINE_S):
            while len(answers) < enough:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        over.set()
    assert goodbye["reconnect_after_ms"] >= 0
    assert here[0].close_code == 1012
    assert set(answers) == {200}, "the one that is left answered everybody"
