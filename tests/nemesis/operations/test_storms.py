"""Nodes that are drained under load lose nothing, and the devices of one that dies come back while others go on."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest

from deploy.local.node import Node
from tests.nemesis.operations.crowd import Crowd
from tests.nemesis.operations.farewell import DEVICES as DEVICES_THERE
from tests.nemesis.operations.farewell import PUSHES_EACH, take_leave
from tests.nemesis.operations.people import DEADLINE_S, until
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

DRAINS = 3
WAIT_S_MAX = 5.0
PEOPLE, DEVICES_EACH = 12, 5
RESUMED_S_MAX = 30.0
P99_S_MAX = 0.25
HELD_QUIETS = 20
"""A test holds on any machine, however busy: so much of a quiet p99 more."""


def have_gone_on(crowd: Crowd, heard: list[int]) -> bool:
    return all(len(one.acked) >= count + 3 for one, count in zip(crowd.editors, heard, strict=True))


async def test_a_node_drained_under_load_three_times_loses_nothing_and_keeps_nobody_waiting(
    stage: Stage, stack: AsyncExitStack
) -> None:
    crowd = Crowd(stage)
    await crowd.come("drain", stack, people=2, devices=3)
    over = asyncio.Event()
    took: list[float] = []
    async with asyncio.TaskGroup() as group:
        for editor in crowd.editors:
            group.create_task(editor.keep_editing(over))
        for number in range(DRAINS):
            node, other = stage.nodes[number % 2], stage.nodes[1 - number % 2]
            farewell = await take_leave(stage, node, other, f"leave-{number}", stack)
            assert farewell.faults == []
            assert farewell.answered == PUSHES_EACH * DEVICES_THERE
            took.append(farewell.took_s)
            node.launch()  # in this thread: a server ends with the thread that started it
            await until(node.is_ready)
            heard = [len(one.acked) for one in crowd.editors]
            await until(partial(have_gone_on, crowd, heard))
        over.set()
    longest_s = max(max(one.waits_s) for one in crowd.editors)
    acked = sum(len(one.acked) for one in crowd.editors)
    print(f"{acked} acknowledged over {DRAINS} drains of {max(took):.1f} s at most, the longest wait {longest_s:.2f} s")
    assert await crowd.lost() == []
    assert longest_s <= WAIT_S_MAX


class Synced:
    """How long a node took from a push to its entry at everybody there, since the last look: a bound of the p99.

    As the node sees it: in here the devices that come back keep each other waiting.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before: dict[float, float] = {}

    async def p99_s(self) -> float:
        async with httpx.AsyncClient(trust_env=False) as http:
            page = (await http.get(self._node.metrics_url)).text
        found = re.findall(r'^state_sync_duration_seconds_bucket{le="([^"]+)"} (\S+)$', page, re.MULTILINE)
        now = {float(bound): float(count) for bound, count in found}
        counts = {bound: count - self._before.get(bound, 0.0) for bound, count in now.items()}
        self._before = now
        total = counts[float("inf")]
        assert total > 0, "nothing was pushed there"
        return min(bound for bound, count in counts.items() if count >= 0.99 * total)


async def test_devices_of_a_killed_node_are_resumed_in_time_and_others_go_on(
    stage: Stage, stack: AsyncExitStack
) -> None:
    crowd, others = Crowd(stage), Crowd(stage)
    await others.come("others", stack, people=1, devices=2)
    await crowd.come("storm", stack, people=PEOPLE, devices=DEVICES_EACH)
    synced = Synced(stage.nodes[1])
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for one in others.editors:
            group.create_task(one.keep_editing(over, pause_s=0.005))
        await until(lambda: all(len(one.acked) >= 100 for one in others.editors))
        quiet_s = await synced.p99_s()
        stage.nodes[0].process.kill()
        began = time.monotonic()
        await until(lambda: any(not one.session.is_joined for one in crowd.editors))
        hit = sum(not one.session.is_joined for one in crowd.editors)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(one.edit() for one in crowd.editors))
        took_s = time.monotonic() - began
        storm_s = await synced.p99_s()
        over.set()
    print(f"{hit} of {len(crowd.editors)} lost their node, all wrote again after {took_s:.1f} s")
    print(f"p99 of a push at the other node at most {storm_s} s, {quiet_s} s before")
    assert hit >= len(crowd.editors) // 4
    assert took_s <= RESUMED_S_MAX
    assert storm_s <= P99_S_MAX + HELD_QUIETS * quiet_s
    stage.mend()
    assert await crowd.lost() == await others.lost() == []
