"""Whoever is revoked is out within two seconds at every node, and whoever is not stays."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.integration.service.conftest import Device
from tests.nemesis.operations.people import Person
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

WITHIN_S = 2.0
BUSY_S = 1.0
"""A test holds on any machine, however busy."""


async def is_open(device: Device) -> bool:
    if device.socket.close_code is not None:
        return False
    await device.say(type="clock", t0=1)
    return bool((await device.hear("clock"))["t0"] == 1)


@pytest.mark.parametrize("subject", ["token", "device", "account"])
async def test_revoked_at_one_node_is_out_at_both(stage: Stage, stack: AsyncExitStack, subject: str) -> None:
    here, there = stage.nodes
    ann = await Person.new(f"{subject}@example.com", here, stack)
    bob = await Person.new(f"{subject}-bob@example.com", there, stack)
    # Two log-ins, each with devices at both nodes. What is revoked is the second; the first asks for it.
    await ann.device(here, "phone")
    hit = (await ann.log_in(here)).json()["access_token"]
    kept = [await ann.device(node, f"kept-{node.name}") for node in stage.nodes]
    others = [await bob.device(node, f"bob-{node.name}") for node in stage.nodes]
    gone = [await ann.device(there, "hit-there", token=hit)]
    if subject == "device":
        answer = await ann.ask(here, "DELETE", "/v1/devices/hit-there")
    else:
        gone.append(await ann.device(here, "hit-here", token=hit))
        if subject == "token":
            answer = await ann.ask(here, "POST", "/v1/auth/revoke", json={"token": hit})
        else:
            answer = await ann.ask(here, "POST", "/v1/auth/revoke-all?keep_current=true")
    began = time.monotonic()
    assert answer.status_code == 204, answer.text
    async with asyncio.timeout(10):
        await asyncio.gather(*(device.socket.wait_closed() for device in gone))
    took_s = time.monotonic() - began
    print(f"{subject}: out at both nodes after {took_s:.2f} s")
    assert took_s <= WITHIN_S + BUSY_S
    assert {device.socket.close_code for device in gone} == {4403}
    assert [await is_open(device) for device in kept + others] == [True] * 4
    again = await ann.connect(there)
    await again.say(type="hello", token=hit, device={"id": "hit-there", "name": "x"})
    refused = await again.hear("welcome", "error")
    assert refused.get("code") == ("device_unknown" if subject == "device" else "token_revoked"), refused
