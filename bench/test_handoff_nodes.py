"""Handoffs from a device at one node to one at another, while nothing else goes on and under 1,000 pushes a second.

How it is measured. As in `test_handoff_latency`, whose devices these are, but the service is two nodes over one Redis
and one PostgreSQL, each a process of its own: the two devices that hand over are at different nodes, and so are each
pusher and its follower, so that every push crosses as well. Gated are the 99th percentile under load, from the request
until the target's confirmation has been read, and the median, which every run holds to the budget.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bench
from bench.handing_over import PUSHERS, PUSHES_PER_S, measure_handoffs
from bench.worlds import open_worlds


async def measure_two(bench: Bench, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    handoffs, seconds = bench.size(full=400, tiny=6), bench.size(full=40, tiny=5)
    async with open_worlds(["nodes"], directory) as worlds:
        nodes = worlds["nodes"].nodes
        await nodes[0].grow(PUSHERS + 1, 1, 2)
        idle = await measure_handoffs(nodes, handoffs, 0, seconds)
        nodes[0].accounts.clear()
        await nodes[0].grow(PUSHERS + 1, 1, 2)
        return idle, await measure_handoffs(nodes, handoffs, bench.size(full=PUSHES_PER_S, tiny=100), seconds)


@pytest.mark.timeout(300)
def test_handoff_between_nodes_stays_fast_under_a_thousand_pushes_a_second(
    bench: Bench, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    both: list[dict[str, Any]] = []

    def whole() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            both.extend(runner.run(measure_two(bench, tmp_path)))

    benchmark.pedantic(whole, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    idle, loaded = both
    benchmark.extra_info |= loaded
    if bench.is_full:
        assert loaded["pushes_per_s"] >= 0.95 * PUSHES_PER_S, "the load was not what the gate is about"
    bench.note("handoff_nodes_idle", **idle)
    bench.gate("handoff_budget_ms", loaded["confirmed_p50_ms"])
    bench.gate("handoff_nodes_p99_ms", loaded.pop("confirmed_p99_ms"), **loaded)
