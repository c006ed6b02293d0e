"""A commit to Redis: what it costs here and there, and that it costs by the change and not by the document.

How it is measured. A real redis-server, a real link and store; batches of one small edit for each of 64 sessions, as
a tick of a busy node has them, and a whole snapshot every 256 versions, as the service writes one. Redis' own time is
that of all scripts it ran (`INFO commandstats`), snapshots and trimming included; ours is the CPU time of this
process. Rounds of the two sizes alternate, and the figures are those of the quietest round of each. The bound on our
own part is what redis-py takes for the very same script calls, in pipelines of the same size, once it has been handed
their arguments.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.committing import SESSIONS, SNAPSHOT_EVERY, Side, Standing
from bench.conftest import Bench
from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster.keys import session_keys
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.commits import Committer
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.ports import Submission


def script_us(client: redis.Redis) -> float:
    """What every script took in Redis since the last reset."""
    told: Any = client.info("commandstats")
    return float(told["cmdstat_evalsha"]["usec"])


async def round_of(side: Side, client: redis.Redis, batches: int) -> float:
    """Redis' own microseconds a commit."""
    client.config_resetstat()
    await side.round(batches)
    return script_us(client) / (batches * SESSIONS)


def their_us(client: redis.Redis, side: Side, committer: Committer, batches: list[list[Submission]]) -> float:
    """CPU time of a commit through redis-py's pipelines, its arguments given."""
    sha = load("commit").sha.decode()
    calls: list[list[list[bytes]]] = []
    for batch in batches:
        rows = []
        for submission in batch:
            keys = session_keys(submission.txn.session)
            rows.append([keys.head, keys.log, keys.snap, keys.snaps, keys.gone, *committer.arguments(submission)])
        calls.append(rows)
    cpu = time.process_time()
    for rows in calls:
        pipe = client.pipeline(transaction=False)
        for row in rows:
            pipe.evalsha(sha, 5, *row)
        assert pipe.execute() == [1] * SESSIONS
    return (time.process_time() - cpu) / (len(batches) * SESSIONS) * 1e6


def test_a_commit_costs_by_the_change_there_and_little_here(
    bench: Bench, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path, is_durable=True)
    server.start()
    client = server.client()

    async def measure() -> None:
        link = await RedisLink.open(server.url)
        try:
            store = RedisStore(link, Standing())
            small, large = Side(store, 2), Side(store, 20)
            theirs: list[float] = []
            server_us: dict[Side, list[float]] = {small: [], large: []}
            for side in (small, large):
                await side.create()
                await round_of(side, client, 3)  # warm
                del side.rates[:], side.client_us[:]
            for _ in range(bench.size(full=6, tiny=1)):
                count = bench.size(full=SNAPSHOT_EVERY, tiny=4)
                for side in (small, large):
                    server_us[side].append(await round_of(side, client, count))
                batches = [small.next_batch() for _ in range(bench.size(full=60, tiny=2))]
                theirs.append(their_us(client, small, store.committer, batches))
        finally:
            await link.close()
        figures = {
            f"{name}_{size}_kib": round(value, 1)
            for size, side in ((2, small), (20, large))
            for name, value in (
                ("commits_s", max(side.rates)),
                ("client_us", min(side.client_us)),
                ("server_us", min(server_us[side])),
            )
        }
        bench.gate("redis_commit_20_kib", min(server_us[large]) / min(server_us[small]), **figures)
        bench.gate("redis_commit_client", min(small.client_us) / min(theirs), theirs_us=round(min(theirs), 1))

    try:
        benchmark.pedantic(lambda: uvloop.run(measure()), rounds=1)  # type: ignore[no-untyped-call]
    finally:
        client.close()
        server.stop()
