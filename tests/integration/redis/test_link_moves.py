"""A slot moves from one server to another while it is used: nothing is lost, doubled or done in another order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import script_of
from tests.integration.redis.asking import APPEND, COUNT, command, run, until
from tests.integration.redis.conftest import Open

pytestmark = pytest.mark.serial

BOTH = script_of("both", b"return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}")


class Move:
    """One slot's way from its server to another, step by step, as an operator's tool does it."""

    def __init__(self, cluster: RedisCluster, session: str) -> None:
        self.slot = key_slot(session.encode())
        self.session = session
        self.source = cluster.primary_of(f"{{{session}}}")
        self.target = next(node for node in cluster.nodes[: cluster.primaries_count] if node is not self.source)
        self._nodes = cluster.nodes

    def _ask(self, server: RedisServer, *words: object) -> Any:
        with server.client() as client:
            return client.execute_command(*words)

    def begin(self) -> None:
        """The slot is on its way: from now on new keys are made at the target."""
        ids = {one: self._ask(one, "CLUSTER", "MYID").decode() for one in (self.source, self.target)}
        self._ask(self.target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", ids[self.source])
        self._ask(self.source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", ids[self.target])

    def carry(self, key: str) -> None:
        """This key lies at the target."""
        self._ask(self.source, "MIGRATE", "127.0.0.1", self.target.port, key, 0, 5_000)

    def end(self) -> None:
        """The rest is carried over, and the slot is the target's."""
        for key in self._ask(self.source, "CLUSTER", "GETKEYSINSLOT", self.slot, 1_000):
            self.carry(key.decode())
        owner = self._ask(self.target, "CLUSTER", "MYID").decode()
        for server in (self.target, self.source, *self._nodes):
            try:
                self._ask(server, "CLUSTER", "SETSLOT", self.slot, "NODE", owner)
            except redis.ResponseError:
                continue  # a replica hears it from its primary

    def back(self) -> None:
        """It is where it was before."""
        self.source, self.target = self.target, self.source
        self.begin()
        self.end()


async def in_thread(step: Callable[..., None], *args: str) -> None:
    """The step is done, while the loop goes on."""
    await asyncio.to_thread(step, *args)


async def test_writes_of_a_moving_slot_are_each_done_once_and_in_order(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_cluster.url)
    move = Move(redis_cluster, prefix)
    key = f"{{{prefix}}}:list"
    asked: list[int] = []
    answers: list[Any] = []
    is_over = False

    async def write() -> None:
        while not is_over:
            for _ in range(5):
                link.run(APPEND, [key.encode()], [b"%d" % len(asked)], answers.append)
                asked.append(len(asked))
            await asyncio.sleep(0.001)

    writing = asyncio.create_task(write())
    try:
        await until(lambda: len(answers) > 50)
        await in_thread(move.begin)
        await in_thread(move.carry, key)
        await until(lambda: link.figures.redirects > 10)
        await in_thread(move.end)
        count = len(answers)
        await until(lambda: len(answers) > count + 100)
        await until(lambda: not any(isinstance(answer, Failure) for answer in answers[-50:]))
    finally:
        is_over = True
        await writing
    await until(lambda: len(answers) == len(asked))
    stored = [int(number) for number in await command(link, "LRANGE", key, "0", "-1")]
    assert stored == sorted(set(stored))
    assert [answer.kind for answer in answers if isinstance(answer, Failure)] == []
    assert stored == asked
    await in_thread(move.back)


async def test_keys_on_both_sides_of_a_move_are_waited_for(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_cluster.url)
    move = Move(redis_cluster, prefix)
    keys = f"{{{prefix}}}:a", f"{{{prefix}}}:b"
    assert await run(link, BOTH, keys[0], keys=keys[1:]) == [1, 1]
    await in_thread(move.begin)
    await in_thread(move.carry, keys[0])
    retries = link.figures.retries
    waiting = asyncio.create_task(run(link, BOTH, keys[0], keys=keys[1:]))
    await until(lambda: link.figures.retries > retries + 1)
    assert not waiting.done()
    await in_thread(move.end)
    assert await waiting == [2, 2]
    await in_thread(move.back)


async def test_a_slot_that_nobody_serves_is_waited_for(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_cluster.url)
    slot, key = key_slot(prefix.encode()), f"{{{prefix}}}:n"
    assert await run(link, COUNT, key) == 1
    with redis_cluster.primary_of(key).client() as client:
        client.execute_command("CLUSTER", "DELSLOTS", slot)
        try:
            waiting = [asyncio.create_task(run(link, COUNT, key)) for _ in range(3)]
            await until(lambda: link.figures.retries > 0)
            assert not any(answer.done() for answer in waiting)
        finally:
            client.execute_command("CLUSTER", "ADDSLOTS", slot)
    assert await asyncio.gather(*waiting) == [2, 3, 4]


async def test_a_channel_is_heard_where_its_slot_went(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_cluster.url)
    move = Move(redis_cluster, prefix)
    channel = f"sb:{{{prefix}}}".encode()
    news: list[Any] = []
    changes: list[int] = []
    link.on_primary_changed.append(lambda: changes.append(1))
    link.subscribe(channel, news.append, lambda: news.append("ready"))
    await until(lambda: news == ["ready"])
    await run(link, COUNT, f"{{{prefix}}}:n")
    await in_thread(move.begin)
    await in_thread(move.end)
    # How often it is subscribed anew on the way is not promised: servers may still tell the old owner for a moment.
    await until(lambda: news.count("ready") >= 2)
    with move.target.client() as client:

        def is_heard() -> bool:
            client.execute_command("SPUBLISH", channel, b"from the other side")
            return b"from the other side" in news

        await until(is_heard)
    assert await run(link, COUNT, f"{{{prefix}}}:n") == 2
    await until(lambda: changes)
    await in_thread(move.back)
    before = len(news)
    await until(lambda: _is_spoken_to(link, channel, news, before))


def _is_spoken_to(link: RedisLink, channel: bytes, news: list[Any], before: int) -> bool:
    link.publish(channel, b"back again")
    return b"back again" in news[before:]
