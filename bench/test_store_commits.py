"""Commits to Redis against commits to the journal of one process: what both cost the process that commits.

How it is measured. The two real stores in one process, the same transactions for both: one small edit for each of 64
sessions, as a tick of a busy node has them, and a whole snapshot every 256 versions. The figure is processor time of
this process a commit, all its threads (the journal's writer is one) but not the server's: the best of some rounds.
So it says what is left for everything else that a node does, whichever core Redis runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.committing import SNAPSHOT_EVERY, Side, Standing
from bench.conftest import Bench
from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.adapters.embedded.store import SqliteStore


def test_a_commit_to_redis_leaves_a_node_most_of_its_rate(
    bench: Bench, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "redis", is_durable=True)
    server.start()

    async def measure() -> None:
        loop = asyncio.get_running_loop()

        def post(call: Callable[[], None]) -> None:
            loop.call_soon_threadsafe(call)

        link = await RedisLink.open(server.url)
        embedded = SqliteStore(tmp_path / "data", Standing(), post)
        try:
            ours, theirs = Side(RedisStore(link, Standing()), 2), Side(embedded, 2)
            for side in (ours, theirs):
                await side.create()
            batches = bench.size(full=SNAPSHOT_EVERY, tiny=4)
            for _ in range(bench.size(full=6, tiny=1)):
                for side in (ours, theirs):
                    await side.round(batches)
        finally:
            await link.close()
            embedded.close()
        cost, bound = min(ours.client_us), min(theirs.client_us)
        bench.gate(
            "store_commits_redis",
            bound / cost,
            redis_us=round(cost, 1),
            embedded_us=round(bound, 1),
            redis_commits_s=round(max(ours.rates)),
            embedded_commits_s=round(max(theirs.rates)),
        )

    try:
        benchmark.pedantic(lambda: uvloop.run(measure()), rounds=1)  # type: ignore[no-untyped-call]
    finally:
        server.stop()
