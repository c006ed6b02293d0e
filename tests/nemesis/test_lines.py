"""Bad lines between devices and nodes: broken in the middle of a message, again and again, or slow on one side."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.nemesis.faults import NOTHING
from tests.nemesis.lines import any_of, break_lines, relays_before, resumed
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial

BROKEN_MIN = 60


async def test_lines_that_break_anywhere_leave_no_device_behind(stage: Stage) -> None:
    """Each takes at most 6 KiB from its node, any number of bytes up to that; then the device goes on over either."""
    report, broken = await break_lines(stage, seed=31, breaks=BROKEN_MIN)
    print(f"{broken} lines broken: {report}")
    assert report.faults == []
    assert resumed(report) >= BROKEN_MIN


async def test_a_node_that_is_reached_slowly_harms_nobody(stage: Stage) -> None:
    await stage.calm()
    async with relays_before(stage, 7) as relays:
        relays[0].delay_s = 0.15
        chance = random.Random(9)
        report = await run_round(
            stage,
            replace(NOTHING, holds_s=1.5),
            seed=32,
            address=lambda: any_of(relays, chance),
        )
    print(report)
    assert report.faults == []
    assert report.slowest_s > 2 * relays[0].delay_s
