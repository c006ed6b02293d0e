"""What a server does to its clients on a bad day: each time the caller is told whether its call took effect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
import redis

from deploy.local.process import accepts
from deploy.local.redis import RedisPair, RedisServer
from syncbridge.adapters.cluster.link.figures import LinkFigures
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.rules import Rules
from syncbridge.adapters.cluster.link.script import script_of
from syncbridge.runtime.clock import ServerClock
from syncbridge.telemetry.collector import PrometheusTelemetry
from tests.integration.redis.asking import APPEND, COUNT, LOOK, command, run, until
from tests.integration.redis.conftest import Open

pytestmark = pytest.mark.serial

FAST = Rules(frozen_ms=300, retry_ms=500, wait_ms=100, connect_ms=200, look_ms=100, replica_grace_ms=400)
ANSWERED_S = 1.0
"""Far above what `FAST` says: the machine may be busy."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for this file, which ends and starts it."""
    server = RedisServer(tmp_path_factory.mktemp("faulty"), options="--enable-protected-configs local")
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisLink]:
    link = await RedisLink.open(server.url, rules=FAST)
    yield link
    await link.close()


async def test_a_frozen_server_does_no_write_twice_and_leaves_nobody_waiting(
    server: RedisServer, link: RedisLink, prefix: str
) -> None:
    assert await run(link, COUNT, f"{prefix}:n") == 1
    server.process.freeze()
    since = time.monotonic()
    write, read = await asyncio.gather(run(link, COUNT, f"{prefix}:n"), run(link, LOOK, f"{prefix}:n", is_write=False))
    assert time.monotonic() - since < ANSWERED_S
    later = await run(link, COUNT, f"{prefix}:n")
    server.process.thaw()
    assert (write.kind, read.kind, later.kind) == ("unknown", "unavailable", "unavailable")
    await until(link.is_whole)
    # What was sent to the frozen server it did when it woke, and once; what was not sent never came.
    assert await run(link, COUNT, f"{prefix}:n") == 3
    assert link.figures.timeouts > 0


async def test_a_restarted_server_is_used_again_and_its_other_life_is_told(
    server: RedisServer, link: RedisLink, prefix: str
) -> None:
    changes: list[int] = []
    news: list[Any] = []
    link.on_primary_changed.append(lambda: changes.append(1))
    link.subscribe(prefix.encode(), news.append, lambda: news.append("ready"))
    await until(lambda: news == ["ready"])
    server.process.kill()
    await until(lambda: not link.is_whole())
    waiting = asyncio.create_task(run(link, COUNT, f"{prefix}:n"))
    server.start()
    # It was asked while nobody was there: it waited, and the script is known to the new process.
    assert await waiting == 1
    await until(lambda: changes and news == ["ready", "ready"])
    assert link.figures.reconnects > 0


async def test_a_server_that_reads_its_files_is_waited_for(tmp_path: Any, open_link: Open) -> None:
    slow = "--key-load-delay 1000 --loading-process-events-interval-bytes 1024"
    server = RedisServer(tmp_path, options=slow)
    server.start()
    try:
        link = await open_link(server.url)
        assert await run(link, COUNT, "n") == 1
        with server.client() as client:
            client.mset({f"key-{number}": f"{number}" * 30 for number in range(600)})
            client.bgrewriteaof()
            await until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        server.process.kill()
        server.process.start(lambda: accepts(server.port))
        assert not server.answers()
        answers = await asyncio.gather(*[run(link, COUNT, "n") for _ in range(3)])
        assert answers == [2, 3, 4]
    finally:
        server.stop()


async def test_a_script_that_the_server_forgot_is_told_again_and_the_order_holds(
    server: RedisServer, link: RedisLink, prefix: str
) -> None:
    key = f"{prefix}:list"
    await run(link, APPEND, key, b"0")
    await command(link, "SCRIPT", "FLUSH")
    answers = await asyncio.gather(*[run(link, APPEND, key, b"%d" % number) for number in range(1, 101)])
    assert answers == list(range(2, 102))
    assert await command(link, "LRANGE", key, "0", "-1") == [b"%d" % number for number in range(101)]


async def test_of_two_writes_one_that_was_put_off_and_overtaken_is_not_sent_again(
    server: RedisServer, link: RedisLink, prefix: str
) -> None:
    other = script_of("other", b"return redis.call('RPUSH', KEYS[1], 'other')")
    key = f"{prefix}:list"
    await run(link, other, key)
    await run(link, APPEND, key, b"warm")
    await command(link, "SCRIPT", "FLUSH")
    with server.client() as client:
        client.script_load(other.source)
    first, second = await asyncio.gather(run(link, APPEND, key, b"late"), run(link, other, key))
    assert isinstance(first, Failure)
    assert first.kind == "unavailable"
    assert second == 3
    assert await command(link, "LRANGE", key, "0", "-1") == [b"other", b"warm", b"other"]


@pytest.mark.parametrize(
    ("setting", "bad", "good", "kind", "word"),
    [
        ("maxmemory", "1mb", "0", "refused", "OOM"),
        ("min-replicas-to-write", "1", "0", "unavailable", "NOREPLICAS"),
    ],
)
async def test_a_server_that_takes_no_writes_says_so_and_reads_go_on(
    server: RedisServer, link: RedisLink, prefix: str, setting: str, bad: str, good: str, kind: str, word: str
) -> None:
    await run(link, COUNT, f"{prefix}:n")
    with server.client() as client:
        client.config_set(setting, bad)
        try:
            refused, seen = await asyncio.gather(run(link, COUNT, f"{prefix}:n"), command(link, "GET", f"{prefix}:n"))
        finally:
            client.config_set(setting, good)
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.text.split(" ")[0], seen) == (kind, word, b"1")
    assert await run(link, COUNT, f"{prefix}:n") == 2


async def test_a_server_that_cannot_save_says_so(server: RedisServer, link: RedisLink, prefix: str) -> None:
    (server.process.folder / "in-the-way").mkdir(exist_ok=True)
    with server.client() as client:
        client.config_set("dbfilename", "in-the-way")
        client.config_set("save", "3600 1")
        try:
            client.bgsave()
            await until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            refused = await run(link, COUNT, f"{prefix}:n")
        finally:
            client.config_set("save", "")
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.text.split(" ")[0]) == ("refused", "MISCONF")
    assert await run(link, COUNT, f"{prefix}:n") == 1


@pytest.mark.parametrize(("serves_stale", "word"), [("yes", "READONLY"), ("no", "MASTERDOWN")])
async def test_a_replica_is_not_written_to_and_calls_go_on_when_it_is_a_primary_again(
    server: RedisServer, link: RedisLink, prefix: str, serves_stale: str, word: str
) -> None:
    with server.client() as client:
        client.config_set("replica-serve-stale-data", serves_stale)
        client.replicaof("127.0.0.1", server.port + 1)  # nobody is there: it is a replica that knows no primary
        since = time.monotonic()
        refused = await run(link, COUNT, f"{prefix}:n")
        assert time.monotonic() - since < ANSWERED_S
        waiting = asyncio.create_task(run(link, COUNT, f"{prefix}:n"))
        await asyncio.sleep(0)
        client.replicaof("NO", "ONE")
    assert isinstance(refused, Failure)
    assert refused.kind == "unavailable"
    assert refused.text.startswith(word)
    assert await waiting == 1


async def test_a_busy_server_is_waited_for(server: RedisServer, link: RedisLink, prefix: str) -> None:
    await run(link, COUNT, f"{prefix}:n")
    endless = asyncio.create_task(asyncio.to_thread(_run_forever, server))
    with server.client() as client:
        await until(lambda: _is_busy(client))
        answers = [asyncio.create_task(run(link, COUNT, f"{prefix}:n")) for _ in range(3)]
        await until(lambda: link.figures.retries > 0)
        client.script_kill()
    assert [await answer for answer in answers] == [2, 3, 4]
    await endless


def _run_forever(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("busy-reply-threshold", 10)
        with pytest.raises(redis.ResponseError, match="killed"):
            client.eval("while true do end", 0)


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


async def test_a_listener_that_the_server_puts_out_comes_back_and_is_told(
    server: RedisServer, link: RedisLink, prefix: str
) -> None:
    news: list[Any] = []
    link.subscribe(prefix.encode(), news.append, lambda: news.append("ready"))
    await until(lambda: news == ["ready"])
    with server.client() as client:
        # As it does with one that reads too slowly (client-output-buffer-limit).
        assert client.client_kill_filter(_type="pubsub") == 1
    await until(lambda: news == ["ready", "ready"])
    link.publish(prefix.encode(), b"heard again")
    await until(lambda: news[-1] == b"heard again")


async def test_what_befell_the_link_is_in_the_metrics(server: RedisServer, link: RedisLink, prefix: str) -> None:
    metrics = PrometheusTelemetry(ServerClock())
    figures = LinkFigures(link, metrics)
    await asyncio.gather(*[run(link, COUNT, f"{prefix}:n") for _ in range(5)])
    await run(link, APPEND, f"{prefix}:n", b"x")
    figures.read()
    figures.read()
    told = metrics.page().decode()
    for line in (
        "redis_primaries 1.0",
        "redis_primaries_ready 1.0",
        "redis_acks_replicated 0.0",
        "redis_calls_total 8.0",  # each of the two scripts was told once
        "redis_writes_total 2.0",
        'redis_failures_total{kind="refused"} 1.0',
        'redis_failures_total{kind="unknown"} 0.0',
    ):
        assert line in told


async def test_more_calls_than_the_bound_are_answered_at_once(
    server: RedisServer, open_link: Open, prefix: str
) -> None:
    link = await open_link(server.url, rules=Rules(pipes=1, calls_max=10))
    assert await run(link, COUNT, prefix) == 1
    answers: list[Any] = []
    for _ in range(15):
        link.run(COUNT, [prefix.encode()], [], answers.append)
    assert [answer.kind for answer in answers] == ["unavailable"] * 5
    await until(lambda: len(answers) == 15)
    assert answers[5:] == list(range(2, 12))


async def test_a_write_that_no_replica_has_is_unknown_until_the_replicas_are_gone_for_good(
    tmp_path: Any, open_link: Open
) -> None:
    pair = RedisPair(tmp_path)
    pair.start()
    try:
        link = await open_link(pair.url, rules=FAST)
        assert await run(link, COUNT, "n") == 1
        replica = pair.replicas[0].process
        replica.freeze()
        # Nothing is acknowledged without it; not even a write that changes nothing is, for what it saw may be lost.
        assert (await run(link, COUNT, "n")).kind == "unknown"
        assert (await run(link, LOOK, "n", is_write=True)).kind == "unknown"
        replica.thaw()
        await until(lambda: _follows(pair))
        assert await run(link, COUNT, "n") == 3
        replica.kill()
        assert (await run(link, COUNT, "n")).kind == "unknown"
        await until(lambda: link.acks == "local")
        assert await run(link, COUNT, "n") == 5
        pair.replicas[0].start()
        await until(lambda: link.acks == "replicated")
        await until(lambda: _follows(pair))
        assert await run(link, COUNT, "n") == 6
        assert link.figures.short_waits >= 3
    finally:
        pair.stop()


def _follows(pair: RedisPair) -> bool:
    with pair.primary.client() as client:
        return bool(client.wait(1, 100))
