"""A primary of a cluster dies or stands still: who has its slots is found out, and nothing is done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from redis.crc import key_slot

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import script_of
from tests.integration.redis.asking import run, until

pytestmark = pytest.mark.serial

SHARE = -(-16_384 // 3)
"""Slots of each primary at first."""
FOLLOWED_S = 1.0
"""From the moment in which the cluster has a new primary; how long it takes to have one is its own affair."""
ANSWERED_S = 2.5
ONCE = script_of("once", b"return {redis.call('SADD', KEYS[1], ARGV[1]), redis.call('INCR', KEYS[2])}")
"""A commit in small: who asks again after an unknown outcome learns by the set that it was done."""


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of this file's own: its primaries are ended one after the other."""
    cluster = RedisCluster(tmp_path_factory.mktemp("failing-cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest_asyncio.fixture
async def link(own_cluster: RedisCluster) -> AsyncIterator[RedisLink]:
    link = await RedisLink.open(own_cluster.url)
    yield link
    await link.close()


class Writer:
    """Writes to one session all the time; each number is asked for until it is answered."""

    def __init__(self, link: RedisLink, session: str) -> None:
        self.session = session
        self._link = link
        self.done = 0
        self.last_done_at = time.monotonic()
        self.longest_gap_s = 0.0
        self.slowest_answer_s = 0.0
        self.kinds: set[str] = set()
        self.is_stopping = False

    async def write(self) -> None:
        while not self.is_stopping:
            asked_at = time.monotonic()
            keys = f"{{{self.session}}}:done", f"{{{self.session}}}:count"
            answer = await run(self._link, ONCE, keys[0], str(self.done).encode(), keys=keys[1:])
            now = time.monotonic()
            self.slowest_answer_s = max(self.slowest_answer_s, now - asked_at)
            if isinstance(answer, Failure):
                self.kinds.add(answer.kind)
                assert answer.kind != "refused", answer
                await asyncio.sleep(0.05)
                continue
            self.longest_gap_s = max(self.longest_gap_s, now - self.last_done_at)
            self.last_done_at = now
            self.done += 1
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(("number", "how"), [(0, "kill"), (1, "freeze")])
async def test_a_failover_is_followed_and_every_call_is_answered_in_time(
    own_cluster: RedisCluster, link: RedisLink, number: int, how: str
) -> None:
    news: list[Any] = []
    changes: list[int] = []
    link.on_primary_changed.append(lambda: changes.append(1))
    lost = own_cluster.nodes[number]
    names = (f"{how}{count}" for count in range(60))
    sessions = [name for name in names if key_slot(name.encode()) // SHARE == number]
    link.subscribe(f"sb:{{{sessions[0]}}}".encode(), news.append, lambda: news.append("ready"))
    await until(lambda: news == ["ready"])
    writers = [Writer(link, session) for session in sessions[:4]]
    tasks = [asyncio.create_task(writer.write()) for writer in writers]
    await until(lambda: all(writer.done > 20 for writer in writers))
    lost.process.kill() if how == "kill" else lost.process.freeze()
    before = [writer.done for writer in writers]
    new = own_cluster.nodes[number + own_cluster.primaries_count]
    await asyncio.to_thread(_wait_for_promotion, new)
    promoted_at = time.monotonic()
    await until(lambda: all(writer.done > count for writer, count in zip(writers, before, strict=True)))
    followed_s = time.monotonic() - promoted_at
    await until(lambda: all(writer.done > count + 20 for writer, count in zip(writers, before, strict=True)))
    await until(lambda: news.count("ready") >= 2)
    for writer in writers:
        writer.is_stopping = True
    await asyncio.gather(*tasks)

    def is_heard() -> bool:
        link.publish(f"sb:{{{sessions[0]}}}".encode(), b"heard")
        return b"heard" in news

    await until(is_heard)
    slowest = max(writer.slowest_answer_s for writer in writers)
    gap = max(writer.longest_gap_s for writer in writers)
    print(
        f"{how}: writable after {gap:.2f} s, {followed_s:.2f} s after the promotion; "
        f"slowest answer {slowest:.2f} s; {link.figures}"
    )
    assert followed_s < FOLLOWED_S
    assert slowest < ANSWERED_S
    assert changes
    await until(link.is_whole)
    with new.client() as client:
        for writer in writers:
            # As many members as were done: what was acknowledged before the failover is there after it.
            assert client.scard(f"{{{writer.session}}}:done") == writer.done


def _wait_for_promotion(server: RedisServer) -> None:
    """It is a primary. Raises NotReady where it does not become one."""
    with server.client() as client:
        server.process.wait(lambda: bool(client.role()[0] == b"master"))
