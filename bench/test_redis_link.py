"""What asking Redis costs this process: the link against redis-py's own pipeline, on the same server, in the same run.

How it is measured. A commit in small (a script with three keys, five arguments, 1 KiB in all) is asked for many
sessions at once, as the engine does in a turn of its loop; the figure is processor time of this process a call, best of
some rounds, so that neither the server's own work nor a busy machine is in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis.asyncio
import uvloop

from bench.conftest import Bench
from deploy.local.redis import RedisPair, RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import script_of

SCRIPT = script_of("small commit", b"return {redis.call('INCR', KEYS[1]), #ARGV[4]}")
ARGUMENTS = [b"epoch-0001", b"1234", b"device-0001:12", b"x" * 450, b"e" + b"y" * 450]

Round = Callable[[], Awaitable[list[Any]]]


def keys_of(session: int, name: str) -> list[bytes]:
    return [b"%b:{session-%06d}:%b" % (name.encode(), session, part) for part in (b"head", b"log", b"claims")]


async def cost_us(ask: Round, calls: int, rounds: int) -> float:
    """Processor time of this process for a call, in microseconds: the best of five stretches."""
    await ask()
    best = float("inf")
    for _ in range(5):
        since = time.process_time()
        for _ in range(rounds):
            await ask()
        best = min(best, (time.process_time() - since) / rounds / calls * 1e6)
    return best


def asking(link: RedisLink, sessions: int, name: str) -> Round:
    keys = [keys_of(session, name) for session in range(sessions)]

    async def ask() -> list[Any]:
        answers: list[Any] = []
        whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(answer: Any) -> None:
            answers.append(answer)
            if len(answers) == sessions:
                whole.set_result(None)

        for one in keys:
            link.run(SCRIPT, one, ARGUMENTS, done)
        await whole
        return answers

    return ask


def piping(client: redis.asyncio.Redis, sessions: int, name: str) -> Round:
    keys = [keys_of(session, name) for session in range(sessions)]

    async def ask() -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for one in keys:
            pipeline.evalsha(  # type: ignore[unused-awaitable]  # a pipeline answers itself
                SCRIPT.sha.decode(), 3, *one, *ARGUMENTS
            )
        return list(await pipeline.execute())

    return ask


def test_redis_link_costs_a_fraction_of_the_library(bench: Bench, tmp_path: Path) -> None:
    rounds = bench.size(full=200, tiny=2)

    async def measure(server: RedisServer) -> None:
        link = await RedisLink.open(server.url)
        client = redis.asyncio.Redis.from_url(server.url)
        await client.script_load(SCRIPT.source.decode())
        for sessions in (1, 50, 500):
            ours, theirs = asking(link, sessions, f"ours-{sessions}"), piping(client, sessions, f"theirs-{sessions}")
            bench.same_result(f"redis_link_{sessions}", await ours(), await theirs())
            own = await cost_us(ours, sessions, max(2, rounds * 50 // sessions // 4))
            library = await cost_us(theirs, sessions, max(2, rounds * 50 // sessions // 16))
            figures = {"link_us": round(own, 2), "library_us": round(library, 2)}
            if sessions == 50:
                bench.gate("redis_link_batch", own / library, **figures)
            else:
                bench.note(f"redis_link_{sessions}", ratio=round(own / library, 3), **figures)
        await client.aclose()
        await link.close()

    server = RedisServer(tmp_path, is_durable=False)
    server.start()
    try:
        uvloop.run(measure(server))
    finally:
        server.stop()


def test_waiting_for_a_replica_costs_little_more(bench: Bench, tmp_path: Path) -> None:
    rounds = bench.size(full=100, tiny=2)

    async def measure(url: str) -> None:
        local = await RedisLink.open(url, acks="local")
        replicated = await RedisLink.open(url)
        assert replicated.acks == "replicated"
        costs, waits = [], []
        for link, name in ((local, "local"), (replicated, "replicated")):
            ask = asking(link, 50, name)
            costs.append(await cost_us(ask, 50, rounds))
            since = time.perf_counter()
            for _ in range(rounds):
                await ask()
            waits.append((time.perf_counter() - since) / rounds * 1e3)
        bench.gate(
            "redis_link_replicated",
            costs[1] / costs[0],
            local_us=round(costs[0], 2),
            replicated_us=round(costs[1], 2),
            local_trip_ms=round(waits[0], 3),
            replicated_trip_ms=round(waits[1], 3),
        )
        await local.close()
        await replicated.close()

    pair = RedisPair(tmp_path)
    pair.start()
    try:
        uvloop.run(measure(pair.url))
    finally:
        pair.stop()
