"""Whoever comes and goes, in whatever way, leaves nothing behind: the short form of `make soak`.

Resident memory settles only after some thousand visits (allocators keep what they were given), so here the blocks of
Python's objects are counted, which tell of any object that is kept. What OpenSSL or a compiled part would keep shows
in the long form.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.churn import WAYS, Churn, left_behind, quiet, slope
from tests.soak.process import ServiceProcess

pytestmark = pytest.mark.serial

AT_ONCE = 13
ROUND = len(WAYS) * AT_ONCE
BLOCKS_PER_VISIT_MAX = 1.0
"""A socket that is kept is more than 30 blocks: this finds one way of going in thirteen that keeps one."""


async def churn(folder: Path, *planted: str, warm_up: int, visits: int) -> tuple[float, list[str]]:
    """Blocks that a visit leaves, and what else grew."""
    async with ServiceProcess.running(folder, AT_ONCE, *planted) as service:
        churn = Churn(service)
        await churn.visit(warm_up, at_once=AT_ONCE)
        before = await quiet(service)
        points = [(0.0, before["blocks"])]
        for number in (1, 2):
            await churn.visit(visits, at_once=AT_ONCE)
            after = await quiet(service)
            points.append((float(number * visits), after["blocks"]))
        return slope(points), left_behind(before, after)


async def test_nothing_is_left_of_those_who_come_and_go(tmp_path: Path) -> None:
    blocks_per_visit, grown = await churn(tmp_path, warm_up=3 * ROUND, visits=2 * ROUND)
    print(f"{blocks_per_visit:.2f} blocks a visit")
    assert grown == []
    assert blocks_per_visit <= BLOCKS_PER_VISIT_MAX


async def test_planted_leaks_would_be_seen(tmp_path: Path) -> None:
    blocks_per_visit, grown = await churn(
        tmp_path, "kept-sockets", "kept-places", warm_up=2 * AT_ONCE, visits=4 * AT_ONCE
    )
    assert blocks_per_visit > 10 * BLOCKS_PER_VISIT_MAX
    assert [line.partition(":")[0] for line in grown] == ["tasks"]
