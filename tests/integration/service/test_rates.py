"""Rates over real sockets: a flood is answered, then closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import AsyncExitStack
from pathlib import Path

import websockets

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.limits import Limits
from syncbridge.net.limits import NetLimits
from tests.integration.service.conftest import Client


async def test_ten_thousand_joins_are_closed_with_4429_and_others_are_served(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    # So slow a refill that it does not matter how long this machine takes for the flood.
    limits = Limits(message_refill_ms=600_000)
    service = await stack.enter_async_context(Service.running(Settings(port=0, data_dir=tmp_path, limits=limits)))
    ann = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(ann.http.aclose)
    await ann.make_account()
    session = await ann.make_session()
    other = await ann.device("tv", session)
    flooding = await ann.device("phone")
    flood = [json.dumps({"type": "join", "session": f"ses-{number}"}) for number in range(10_000)]

    async def send() -> None:
        for frame in flood:
            await flooding.socket.send(frame)

    sending = asyncio.create_task(send())
    told: list[str] = []
    async with asyncio.timeout(30):
        with contextlib.suppress(websockets.ConnectionClosedError):
            while True:
                told.append(json.loads(await flooding.socket.recv())["code"])
    await asyncio.gather(sending, return_exceptions=True)
    assert flooding.socket.close_code == 4429
    assert told.count("rate_limited") == limits.message_refusals_max + 1
    assert len(told) <= limits.message_burst + limits.message_refusals_max + 1
    await other.push(session, 1, "/n", 2)
    assert (await other.hear("ack"))["version"] == 2
    page = service.telemetry.page().decode()
    assert 'limit_hits_total{limit="message_refusals_max"} 1.0' in page
    assert 'websocket_connection_errors_total{code="rate_limited"} 1.0' in page


async def test_limits_of_connections_are_those_of_the_configuration(tmp_path: Path, stack: AsyncExitStack) -> None:
    net = NetLimits(fragments_max=2, control_frames_per_second_max=3, head_bytes_max=2_000)
    settings = Settings(port=0, data_dir=tmp_path, net=net)
    service = await stack.enter_async_context(Service.running(settings))
    client = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(client.http.aclose)
    await client.make_account()
    device = await client.device("phone")
    await device.socket.send(["{", " ", "}"])
    await device.socket.wait_closed()
    assert device.socket.close_code == 1009
    pinging = await client.device("phone")
    pongs = [await pinging.socket.ping() for _ in range(4)]
    await pinging.socket.wait_closed()
    assert (len(pongs), pinging.socket.close_code) == (4, 4429)
    answer = await client.http.get("/health/live", headers={"X-Long": "x" * 2_000})
    assert answer.status_code == 400


async def test_past_the_devices_of_the_plan_a_hello_is_closed_with_4403(tmp_path: Path, stack: AsyncExitStack) -> None:
    settings = Settings(port=0, data_dir=tmp_path, default_plan="free")
    service = await stack.enter_async_context(Service.running(settings))
    client = Client(f"http://127.0.0.1:{service.server.port}", stack)
    stack.push_async_callback(client.http.aclose)
    await client.make_account()
    welcome = None
    for name in ("phone", "tv"):
        socket = await client.connect()
        welcome = await socket.hello(client.token, name)
    assert welcome is not None
    assert welcome["limits"]["devices_max"] == 2
    third = await client.connect()
    await third.say(type="hello", token=client.token, device={"id": "watch", "name": "Watch"})
    error = await third.hear("error")
    assert (error["code"], [device["id"] for device in error["devices"]]) == ("device_limit", ["phone", "tv"])
    await third.socket.wait_closed()
    assert third.socket.close_code == 4403
