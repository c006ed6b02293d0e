"""Bad lines between devices and nodes: broken in the middle of a message, again and again, or slow on one side."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tests.nemesis.faults import NOTHING
from tests.nemesis.relay import Relay
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial

BROKEN_MIN = 60


async def _relays(stage: Stage, stack: AsyncExitStack) -> list[Relay]:
    chance = random.Random(7)
    return [await stack.enter_async_context(Relay(node.port, chance)) for node in stage.nodes]


async def test_lines_that_break_anywhere_leave_no_device_behind(stage: Stage) -> None:
    """Each takes at most 6 KiB from its node, any number of bytes up to that; then the device goes on over either."""
    await stage.calm()
    async with AsyncExitStack() as stack:
        relays = await _relays(stage, stack)
        chance = random.Random(8)

        def may_break(bytes_max: int) -> None:
            for relay in relays:
                relay.cut_bytes_max = bytes_max

        def broken() -> int:
            return sum(relay.cuts for relay in relays)

        may_break(6_144)
        report = await run_round(
            stage,
            NOTHING,
            seed=31,
            hop_share=0.0,
            address=lambda: f"ws://127.0.0.1:{chance.choice(relays).port}/v1/ws",
            goes_on=lambda: broken() < BROKEN_MIN,
            before_end=lambda: may_break(0),
        )
    print(f"{broken()} lines broken: {report}")
    assert report.faults == []
    assert report.joins["resumed"] + report.joins.get("smaller", 0) >= BROKEN_MIN


async def test_a_node_that_is_reached_slowly_harms_nobody(stage: Stage) -> None:
    await stage.calm()
    async with AsyncExitStack() as stack:
        relays = await _relays(stage, stack)
        relays[0].delay_s = 0.15
        chance = random.Random(9)
        report = await run_round(
            stage,
            replace(NOTHING, holds_s=1.5),
            seed=32,
            address=lambda: f"ws://127.0.0.1:{chance.choice(relays).port}/v1/ws",
        )
    print(report)
    assert report.faults == []
    assert report.slowest_s > 2 * relays[0].delay_s
