"""PostgreSQL is away: who is live goes on at both nodes, who logs in hears it at once, and nothing needs a restart."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.nemesis.operations.people import DEADLINE_S, Person, Pusher
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

TOLD_S_MAX = 1.0
BUSY_S = 1.0
"""A test holds on any machine, however busy."""


@pytest.mark.parametrize("how", ["stopped", "killed", "frozen"])
async def test_live_sessions_go_on_and_log_ins_are_told_at_once(stage: Stage, stack: AsyncExitStack, how: str) -> None:
    ann = await Person.new(f"ann-{how}@example.com", stage.nodes[0], stack)
    session = await ann.make_session(stage.nodes[0])
    devices = [
        await ann.device(node, name, session) for node, name in zip(stage.nodes, ("phone", "tablet"), strict=True)
    ]
    pushers = [Pusher(device, session, name) for device, name in zip(devices, ("phone", "tablet"), strict=True)]
    for pusher in pushers:
        await pusher.push_through()
    {"stopped": stage.postgres.stop, "killed": stage.postgres.kill, "frozen": stage.postgres.freeze}[how]()
    slowest_s = 0.0
    for _ in range(3):
        for node, pusher in zip(stage.nodes, pushers, strict=True):
            assert (await pusher.push())["type"] == "ack"
            began = time.monotonic()
            answer = await ann.log_in(node)
            slowest_s = max(slowest_s, time.monotonic() - began)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    print(f"{how}: log-ins told after {slowest_s:.2f} s, pushes acknowledged after {pushers[0].longest_s:.2f} s")
    assert slowest_s <= TOLD_S_MAX + BUSY_S
    # A device that was here lately comes back, at either node; a session is handed over.
    for node in stage.nodes:
        phone = await ann.device(node, "phone", session)
    await phone.say(type="handoff.take", session=session)
    await phone.hear("handoff.done")
    stage.mend()
    assert (await ann.log_in(stage.nodes[0])).status_code == 200
    assert (await ann.log_in(stage.nodes[1])).status_code == 200
    state = await ann.get(stage.nodes[1], f"/v1/sessions/{session}/state")
    assert {key for pusher in pushers for key in pusher.acked} <= state.keys()
    # What was written behind lands: the listing tells of the version that was reached meanwhile.
    version = (await ann.get(stage.nodes[0], f"/v1/sessions/{session}"))["version"]
    async with asyncio.timeout(DEADLINE_S):
        while int(stage.postgres.psql(f"SELECT version FROM sessions WHERE id = '{session}'") or 0) < version:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
