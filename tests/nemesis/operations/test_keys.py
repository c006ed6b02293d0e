"""Signing keys in Vault under two nodes: rotated by the handbook, taken away, and a Vault that is not there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

import jwt
import pytest

from deploy.local.node import Node
from tests.nemesis.operations.people import DEADLINE_S, Person, until
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

REFUSED_S_MAX = 60.0


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def hello(person: Person, node: Node, token: str) -> str:
    """`welcome`, or the error's code."""
    device = await person.connect(node)
    await device.say(type="hello", token=token, device={"id": "phone", "name": "phone"})
    answer = await device.hear("welcome", "error")
    await device.socket.close()
    return str(answer.get("code", answer["type"]))


async def come_over_a_rotation(stage: Stage, nodes: list[Node], ann: Person, first: str) -> tuple[Counter[str], str]:
    """What devices were told at every node until all sign with a new key, or somebody was refused; a token by it."""
    answers: Counter[str] = Counter()

    async def come(number: int, token: str) -> None:
        answers[await hello(ann, nodes[number % 2], token)] += 1

    stage.rotate()
    number, token = 0, first
    async with asyncio.timeout(DEADLINE_S):
        are_new = False
        while not are_new and set(answers) <= {"welcome"}:
            are_new = True
            for node in nodes:
                token = (await ann.log_in(node)).json()["access_token"]
                are_new = are_new and kid_of(token) != kid_of(first)
                # What one node signed just now, the other takes; and what was signed before the rotation.
                await asyncio.gather(come(number, token), come(number + 1, token), come(number, first))
                number += 1
    return answers, token


def delete_key_of(stage: Stage, token: str) -> None:
    """The version of the key that signed it is deleted in Vault."""
    number = int(kid_of(token).partition("-")[0].removeprefix("v"))
    stage.vault.client().secrets.kv.v2.delete_secret_versions("harmonyflow/jwt", [number], mount_point="secret")


async def refusal(ann: Person, node: Node, token: str) -> str:
    """What the node says once it does not take the token any more."""
    async with asyncio.timeout(REFUSED_S_MAX):
        while (said := await hello(ann, node, token)) == "welcome":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return said


async def test_rotation_by_the_handbook_refuses_nobody_and_a_deleted_key_is_refused_at_every_node(
    stage: Stage, stack: AsyncExitStack
) -> None:
    ann = await Person.new("rotation@example.com", stage.nodes[0], stack)
    first = ann.token
    answers, token = await come_over_a_rotation(stage, stage.nodes, ann, first)
    print(f"{answers.total()} hellos over a rotation: {dict(answers)}")
    assert set(answers) == {"welcome"}

    delete_key_of(stage, first)
    began = time.monotonic()
    for node in stage.nodes:
        assert await refusal(ann, node, first) == "token_invalid"
    print(f"the deleted key was refused at both nodes after {time.monotonic() - began:.1f} s")
    for node in stage.nodes:
        assert await hello(ann, node, token) == "welcome"


async def test_nodes_go_on_while_vault_is_away_and_a_cold_start_without_keys_does_not_open(
    stage: Stage, stack: AsyncExitStack
) -> None:
    ann = await Person.new("away@example.com", stage.nodes[0], stack)
    session = await ann.make_session(stage.nodes[0])
    devices = [await ann.device(node, node.name, session) for node in stage.nodes]
    stage.vault.process.freeze()
    for node, device in zip(stage.nodes, devices, strict=True):
        assert (await ann.log_in(node)).status_code == 200
        assert await hello(ann, node, ann.token) == "welcome"
        await device.say(type="clock", t0=1)
        await device.hear("clock")
    cold = Node(stage.folder / "cold", "cold", {**stage.environment, "SYNCBRIDGE_VAULT__START_WAIT_MS": "500"})
    stack.callback(cold.process.kill)
    cold.launch()
    await until(lambda: not cold.process.is_running)
    said = cold.process.log.read_text("utf-8")
    assert "listening" not in said
    assert stage.vault.url in said
    assert stage.vault.token not in said.split()
    reports = [(await ann.ask(node, "GET", "/health")).json() for node in stage.nodes]
    assert {report["status"] for report in reports} <= {"degraded", "healthy"}
    assert [(await ann.ask(node, "GET", "/health/ready")).status_code for node in stage.nodes] == [200, 200]
