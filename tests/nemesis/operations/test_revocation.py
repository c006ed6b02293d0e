"""Whoever is revoked is out within two seconds at every node, and whoever is not stays."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import pytest

from deploy.local.node import Node
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


@dataclass
class Revoked:
    """One of two log-ins of a person was revoked at the first node; who had come by it, and who had not."""

    gone: dict[str, Device]
    kept: list[Device]
    token: str
    took_s: float = 0.0

    @property
    def still_open(self) -> set[str]:
        return {name for name, device in self.gone.items() if device.socket.close_code is None}


async def revoke(nodes: list[Node], stack: AsyncExitStack, subject: str, *, name: str, within_s: float) -> Revoked:
    """It is revoked, and those who must go were waited for so long at the most."""
    here, there = nodes
    ann = await Person.new(f"{name}@example.com", here, stack)
    bob = await Person.new(f"{name}-bob@example.com", there, stack)
    # Two log-ins, each with devices at both nodes. What is revoked is the second; the first asks for it.
    await ann.device(here, "phone")
    hit = (await ann.log_in(here)).json()["access_token"]
    kept = [await ann.device(node, f"kept-{node.name}") for node in nodes]
    kept += [await bob.device(node, f"bob-{node.name}") for node in nodes]
    seen = Revoked({"hit-there": await ann.device(there, "hit-there", token=hit)}, kept, hit)
    if subject == "device":
        answer = await ann.ask(here, "DELETE", "/v1/devices/hit-there")
    else:
        seen.gone["hit-here"] = await ann.device(here, "hit-here", token=hit)
        if subject == "token":
            answer = await ann.ask(here, "POST", "/v1/auth/revoke", json={"token": hit})
        else:
            answer = await ann.ask(here, "POST", "/v1/auth/revoke-all?keep_current=true")
    began = time.monotonic()
    assert answer.status_code == 204, answer.text
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(device.socket.wait_closed() for device in seen.gone.values()))
    seen.took_s = time.monotonic() - began
    return seen


@pytest.mark.parametrize("subject", ["token", "device", "account"])
async def test_revoked_at_one_node_is_out_at_both(stage: Stage, stack: AsyncExitStack, subject: str) -> None:
    seen = await revoke(stage.nodes, stack, subject, name=subject, within_s=10)
    print(f"{subject}: out at both nodes after {seen.took_s:.2f} s")
    assert seen.still_open == set()
    assert seen.took_s <= WITHIN_S + BUSY_S
    assert {device.socket.close_code for device in seen.gone.values()} == {4403}
    assert [await is_open(device) for device in seen.kept] == [True] * 4
    person = Person("", stack)
    again = await person.connect(stage.nodes[1])
    await again.say(type="hello", token=seen.token, device={"id": "hit-there", "name": "x"})
    refused = await again.hear("welcome", "error")
    assert refused.get("code") == ("device_unknown" if subject == "device" else "token_revoked"), refused
