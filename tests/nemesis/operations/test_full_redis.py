"""Redis has no memory, or no disk, left: changes are answered `unavailable`, and none that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from tests.nemesis.judge import stored_log
from tests.nemesis.operations.people import DEADLINE_S, Person, Pusher
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial


@contextmanager
def full(stage: Stage, what: str) -> Iterator[None]:
    """No Redis takes anything more."""
    if what == "memory":
        stage.configure_redis(maxmemory="1mb", maxmemory_policy="noeviction")
    else:
        stage.fill(True)
    try:
        yield
    finally:
        stage.configure_redis(maxmemory="0")
        stage.fill(False)


async def fill_up(pusher: Pusher, pushes_max: int = 50) -> str:
    """With what code the first change was refused; "" where so many were acknowledged.

    The write that fills the disk may still be taken: it is in memory, and on the disk once there is room.
    """
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(pushes_max):
            answer = await pusher.push(size=2_000)
            if answer["type"] != "ack":
                return str(answer["code"])
    return ""


async def missing_in_redis(stage: Stage, pusher: Pusher) -> list[str]:
    """What was acknowledged and is not in Redis itself, whatever the nodes hold."""
    stored = await stored_log(stage.redis.url, pusher.session)
    return [key for key in pusher.acked if key not in stored.states[-1]]


@pytest.mark.parametrize("what", ["memory", "disk"])
async def test_full_is_unavailable_and_over_when_there_is_room(stage: Stage, stack: AsyncExitStack, what: str) -> None:
    ann = await Person.new(f"full-{what}@example.com", stage.nodes[0], stack)
    quiet, *sessions = [await ann.make_session(stage.nodes[0]) for _ in range(3)]
    pushers = []
    for number in range(4):
        node, session = stage.nodes[number % 2], sessions[number // 2]
        device = await ann.device(node, f"device-{number}", session)
        pushers.append(Pusher(device, session, f"device-{number}"))
        await pushers[-1].push_through()
    with full(stage, what):
        assert set(await asyncio.gather(*map(fill_up, pushers))) == {"unavailable"}
        assert [await missing_in_redis(stage, pusher) for pusher in pushers] == [[]] * len(pushers)
        for node in stage.nodes:
            made = await ann.ask(node, "POST", "/v1/sessions", json={"type": "custom", "state": {}})
            assert (made.status_code, made.json()["code"]) == (503, "unavailable")
            # What is committed is read: asking Redis whether a node is behind writes nothing.
            assert await ann.get(node, f"/v1/sessions/{quiet}/state") == {"n": 0}
    await asyncio.gather(*(pusher.push_through() for pusher in pushers))
    for pusher in pushers:
        assert await missing_in_redis(stage, pusher) == []
        for node in stage.nodes:
            state = await ann.get(node, f"/v1/sessions/{pusher.session}/state")
            assert set(pusher.acked) <= state.keys()
    print(f"{what}: {sum(len(one.acked) for one in pushers)} acknowledged and there, after each was told `unavailable`")
