"""A commit to Redis: what it costs here and there, and that it costs by the change and not by the document.

How it is measured. A real redis-server, a real link and store; batches of one small edit for each of 64 sessions, as
a tick of a busy node has them, and a whole snapshot every 256 versions, as the service writes one. Redis' own time is
that of all scripts it ran (`INFO commandstats`), snapshots and trimming included; ours is the CPU time of this
process. Rounds of the two sizes alternate, and the figures are those of the quietest round of each. The bound on our
own part is what redis-py takes for the very same script calls, in pipelines of the same size, once it has been handed
their arguments.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import redis
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import Bench
from bench.core_states import session_state
from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster.keys import session_keys
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import load
from syncbridge.adapters.cluster.log.commits import Committer
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.core.entry import Entry, Snapshot, Txn
from syncbridge.core.ids import AccountId, SessionId, TxnId
from syncbridge.ports import Outcome, Submission, WasCommitted

SESSIONS = 64
SNAPSHOT_EVERY = 256
AT = 1_790_000_000_000
ACCOUNT = AccountId("acc-1")


class Standing:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return AT


class Side:
    """Sessions whose states are of one size, and what its rounds took."""

    def __init__(self, store: RedisStore, size_kib: int) -> None:
        self.store = store
        self.state = session_state(size_kib)
        self.size = len(msgspec.json.encode(self.state))
        self.names = [SessionId(f"ses-{size_kib}-{number}") for number in range(SESSIONS)]
        self.head = 1
        self.server_us: list[float] = []
        self.client_us: list[float] = []
        self.rates: list[float] = []

    def snapshot(self, session: SessionId, version: int) -> Snapshot:
        return Snapshot(
            session=session,
            account=ACCOUNT,
            type="breathing",
            epoch="epoch-1",
            version=version,
            at=AT + version,
            created_at=AT,
            state=self.state,
            size=self.size,
        )

    async def create(self) -> None:
        answered = asyncio.get_running_loop().create_future()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == SESSIONS:
                answered.set_result(None)

        for session in self.names:
            first = Entry(version=1, kind="create", at=AT + 1, ops=[{"op": "add", "path": "", "value": self.state}])
            self.store.create(self.snapshot(session, 1), first, msgspec.json.encode(first), done)
        await answered
        assert set(map(type, outcomes)) == {WasCommitted}

    def next_batch(self) -> list[Submission]:
        """One edit of each session."""
        version = self.head = self.head + 1
        batch = []
        for session in self.names:
            op = {"op": "replace", "path": "/playhead", "value": {"position": version / 4, "rate": 1.0, "at": AT}}
            entry = Entry(version=version, kind="patch", at=AT + version, device="dev-1", seq=version, ops=[op])
            txn = Txn(
                id=TxnId(f"dev-1.{version}"),
                session=session,
                account=ACCOUNT,
                epoch="epoch-1",
                expected=version - 1,
                entries=[entry],
                digests=[version * 2**20],
                status="active",
                snapshot=self.snapshot(session, version) if version % SNAPSHOT_EVERY == 0 else None,
            )
            batch.append(Submission(txn, [msgspec.json.encode(entry)]))
        return batch


async def committed(store: RedisStore, batch: list[Submission]) -> None:
    """Every transaction of the batch is committed."""
    answered = asyncio.get_running_loop().create_future()
    left = len(batch)

    def done(outcome: Outcome) -> None:
        nonlocal left
        assert isinstance(outcome, WasCommitted)
        left -= 1
        if not left:
            answered.set_result(None)

    store.submit(batch, done)
    await answered


def script_us(client: redis.Redis) -> float:
    """What every script took in Redis since the last reset."""
    told: Any = client.info("commandstats")
    return float(told["cmdstat_evalsha"]["usec"])


async def round_of(side: Side, client: redis.Redis, batches: list[list[Submission]]) -> None:
    client.config_resetstat()
    cpu, begin = time.process_time(), time.perf_counter()
    for batch in batches:
        await committed(side.store, batch)
    took_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    count = len(batches) * SESSIONS
    side.rates.append(count / took_s)
    side.client_us.append(cpu_s / count * 1e6)
    side.server_us.append(script_us(client) / count)


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
            for side in (small, large):
                await side.create()
                await round_of(side, client, [side.next_batch() for _ in range(3)])  # warm
                del side.rates[:], side.client_us[:], side.server_us[:]
            for _ in range(bench.size(full=6, tiny=1)):
                count = bench.size(full=SNAPSHOT_EVERY, tiny=4)
                for side in (small, large):
                    await round_of(side, client, [side.next_batch() for _ in range(count)])
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
                ("server_us", min(side.server_us)),
            )
        }
        bench.gate("redis_commit_20_kib", min(large.server_us) / min(small.server_us), **figures)
        bench.gate("redis_commit_client", min(small.client_us) / min(theirs), theirs_us=round(min(theirs), 1))

    try:
        benchmark.pedantic(lambda: uvloop.run(measure()), rounds=1)  # type: ignore[no-untyped-call]
    finally:
        client.close()
        server.stop()
