"""Rates over real sockets: a flood is answered, then closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json

import websockets

from syncbridge.app import Service
from tests.integration.service.conftest import Client


async def test_ten_thousand_joins_are_closed_with_4429_and_others_are_served(ann: Client, service: Service) -> None:
    session = await ann.make_session()
    other = await ann.device("tv", session)
    flooding = await ann.device("phone")
    flood = [json.dumps({"type": "join", "session": f"ses-{number}"}) for number in range(10_000)]

    async def send() -> None:
        for frame in flood:
            await flooding.socket.send(frame)

    sending = asyncio.create_task(send())
    told: list[str] = []
    async with asyncio.timeout(10):
        with contextlib.suppress(websockets.ConnectionClosedError):
            while True:
                told.append(json.loads(await flooding.socket.recv())["code"])
    await asyncio.gather(sending, return_exceptions=True)
    assert flooding.socket.close_code == 4429
    assert told.count("rate_limited") == service.settings.limits.message_refusals_max + 1
    assert len(told) < 1_000
    await other.push(session, 1, "/n", 2)
    assert (await other.hear("ack"))["version"] == 2
    page = service.telemetry.page().decode()
    assert 'limit_hits_total{limit="message_refusals_max"} 1.0' in page
    assert 'websocket_connection_errors_total{code="rate_limited"} 1.0' in page
