"""Who is here, and how many may be: exact over two nodes, and right again soon after one of them dies."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.integration.service.conftest import Device
from tests.nemesis.operations.people import Person, until
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

DEVICES_MAX = 5
HEALED_S_MAX = 15.0


async def said_to_hello(person: Person, device: Device, name: str) -> str:
    """The answer's type, or the error's code."""
    await device.say(type="hello", token=person.token, device={"id": name, "name": name})
    answer = await device.hear("welcome", "error")
    return str(answer.get("code", answer["type"]))


async def test_of_six_devices_that_come_to_two_nodes_at_once_five_stay(stage: Stage, stack: AsyncExitStack) -> None:
    for round_number in range(3):
        person = await Person.new(f"six-{round_number}@example.com", stage.nodes[0], stack)
        session = await person.make_session(stage.nodes[0])
        names = [f"device-{number}" for number in range(DEVICES_MAX + 1)]
        sockets = [await person.connect(stage.nodes[number % 2]) for number in range(len(names))]
        answers = await asyncio.gather(
            *(said_to_hello(person, socket, name) for socket, name in zip(sockets, names, strict=True))
        )
        assert sorted(answers) == ["device_limit", *["welcome"] * DEVICES_MAX], answers
        welcome = [
            (name, socket) for name, socket, answer in zip(names, sockets, answers, strict=True) if answer == "welcome"
        ]
        for node in stage.nodes:
            await person.until_devices(node, {name for name, _ in welcome})
        seen: dict[str, set[str]] = {}
        for name, socket in welcome:
            seen[name] = online(await socket.join(session))
        for name, socket in welcome:
            while seen[name] | {name} != {one for one, _ in welcome}:
                heard = await socket.hear("presence")
                (seen[name].add if heard["online"] else seen[name].discard)(heard["device"])


def online(joined: dict[str, object]) -> set[str]:
    devices = joined["devices"]
    assert isinstance(devices, list)
    return {one["id"] for one in devices if one.get("online")}


async def test_devices_of_a_killed_node_are_gone_for_those_at_the_other_within_15_s(
    stage: Stage, stack: AsyncExitStack
) -> None:
    here, there = stage.nodes
    person = await Person.new("killed@example.com", here, stack)
    session = await person.make_session(here)
    watching = await person.device(here, "tablet", session)
    await person.device(there, "phone", session)
    await watching.hear("presence", matching=lambda one: one["device"] == "phone" and one["online"])
    there.process.kill()
    began = time.monotonic()
    await watching.hear("presence", matching=lambda one: one["device"] == "phone" and not one["online"])
    took_s = time.monotonic() - began
    print(f"gone after {took_s:.1f} s")
    assert took_s <= HEALED_S_MAX
    # It comes back at the node that is left, and takes nobody's place.
    phone = await person.device(here, "phone", session)
    await watching.hear("presence", matching=lambda one: one["device"] == "phone" and one["online"])
    await phone.say(type="handoff.take", session=session)
    await phone.hear("handoff.done")


async def test_a_device_that_comes_to_the_other_node_is_closed_at_the_first(
    stage: Stage, stack: AsyncExitStack
) -> None:
    person = await Person.new("twice@example.com", stage.nodes[0], stack)
    first = await person.device(stage.nodes[0], "phone")
    second = await person.device(stage.nodes[1], "phone")
    await asyncio.wait_for(first.socket.wait_closed(), 5)
    assert first.socket.close_code == 4409
    await second.say(type="clock", t0=1)
    await second.hear("clock")


async def test_a_device_that_is_new_at_one_node_can_be_handed_to_at_the_other(
    stage: Stage, stack: AsyncExitStack
) -> None:
    here, there = stage.nodes
    person = await Person.new("new@example.com", here, stack)
    session = await person.make_session(here)
    phone = await person.device(here, "phone", session)
    television = await person.device(there, "television", session)
    await person.until_devices(here, {"phone", "television"})
    await phone.say(type="handoff.take", session=session)
    await phone.hear("handoff.done")
    await phone.say(type="handoff.offer", session=session, to="television")
    asked = await television.hear("handoff.prepare", "error")
    await television.say(type="handoff.ready", session=session, handoff=asked["handoff"])
    assert (await phone.hear("handoff.done", "error")).get("active") == "television"


async def test_what_a_dead_node_would_leave_is_noticed(stage: Stage, stack: AsyncExitStack) -> None:
    """Control: while the other node lives, its device stays; the wait above is for the death, not for a timer."""
    here, there = stage.nodes
    person = await Person.new("alive@example.com", here, stack)
    session = await person.make_session(here)
    watching = await person.device(here, "tablet", session)
    await person.device(there, "phone", session)
    await watching.hear("presence", matching=lambda one: one["device"] == "phone" and one["online"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watching.hear("presence", matching=lambda one: not one["online"]), 2)
    await until(lambda: there.is_ready())
