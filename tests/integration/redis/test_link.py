"""What the link promises of a server that is well: order, one write a turn, news."""

import asyncio
from functools import partial
from typing import Any

from deploy.local.redis import RedisCluster, RedisPair, RedisServer
from syncbridge.adapters.cluster.link.replies import Answer, Failure
from syncbridge.adapters.cluster.link.rules import Rules
from syncbridge.adapters.cluster.link.script import script_of
from tests.integration.redis.asking import APPEND, COUNT, command, run, until
from tests.integration.redis.conftest import Open


async def test_a_script_and_a_command_are_answered(redis_server: RedisServer, open_link: Open, prefix: str) -> None:
    link = await open_link(redis_server.url)
    assert await run(link, COUNT, f"{prefix}:n") == 1
    assert await command(link, "GET", f"{prefix}:n") == b"1"
    assert await command(link, "GET", f"{prefix}:nothing") is None


async def test_what_is_asked_in_one_turn_goes_out_in_one_write_and_in_order(
    redis_server: RedisServer, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_server.url)
    await run(link, COUNT, f"{{{prefix}}}:warm")
    before = link.figures.writes
    answers = await asyncio.gather(*[run(link, COUNT, f"{{{prefix}}}:n") for _ in range(500)])
    assert answers == list(range(1, 501))
    assert link.figures.writes - before == 1


async def test_what_was_asked_is_sent_at_once_where_nothing_more_is_asked(
    redis_server: RedisServer, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_server.url)
    await run(link, COUNT, f"{prefix}:n")
    before = link.figures.writes
    answers: list[Answer] = []
    for _ in range(3):
        link.command(prefix.encode(), [b"INCR", prefix.encode()], answers.append, is_write=True)
    assert link.figures.writes == before
    link.flush()
    assert link.figures.writes - before == 1
    link.flush()
    await until(lambda: len(answers) == 3)
    assert answers == [1, 2, 3]
    assert link.figures.writes - before == 1


async def test_a_loop_that_stood_still_sends_what_was_asked_before(
    redis_server: RedisServer, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_server.url)
    away_s = link.rules.retry_ms / 1000 + 1
    link._now, link._is_now = asyncio.get_running_loop().time() - away_s, True
    answers: list[Answer] = []
    link.command(prefix.encode(), [b"INCR", prefix.encode()], answers.append, is_write=True)
    link._ticker.cancel()
    link._tick(link._now)  # the timer is late by as long as the process was stopped
    await until(lambda: bool(answers))
    assert answers == [1]


async def test_calls_reach_the_server_that_has_their_slot(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_cluster.url, rules=Rules(pipes=3))
    assert link.primaries == 3
    keys = [f"{{{prefix}-{number}}}:n" for number in range(60)]
    assert await asyncio.gather(*[run(link, COUNT, key) for key in keys]) == [1] * 60
    assert link.figures.redirects == 0
    sizes: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    link.everywhere(
        script_of("keys", b"return #redis.call('KEYS', ARGV[1])"), [f"*{prefix}-*".encode()], sizes.set_result
    )
    found = await sizes
    assert len(found) == 3
    assert sum(found) == 60
    assert min(found) > 0


async def test_an_error_of_a_script_is_refused_and_harms_no_other_call(
    redis_server: RedisServer, open_link: Open, prefix: str
) -> None:
    link = await open_link(redis_server.url)
    await command(link, "SET", f"{prefix}:text", "words", is_write=True)
    wrong, right = await asyncio.gather(run(link, APPEND, f"{prefix}:text", b"x"), run(link, COUNT, f"{prefix}:n"))
    assert isinstance(wrong, Failure)
    assert wrong.kind == "refused"
    assert wrong.text.startswith("WRONGTYPE")
    assert right == 1


async def test_news_of_a_channel_are_heard_from_when_it_is_ready_until_it_is_left(
    redis_cluster: RedisCluster, open_link: Open, prefix: str
) -> None:
    speaker, hearer = await open_link(redis_cluster.url), await open_link(redis_cluster.url)
    news: list[Any] = []
    ready: list[int] = []

    def note(channel: bytes, frame: bytes) -> None:
        news.append((channel, frame))

    channels = [f"sb:{{{prefix}-{number}}}".encode() for number in range(20)]
    for channel in channels:
        hearer.subscribe(channel, partial(note, channel), lambda: ready.append(1))
    await until(lambda: len(ready) == 20)
    for channel in channels:
        speaker.publish(channel, b"said on " + channel)
    await until(lambda: len(news) == 20)
    assert sorted(news) == sorted((channel, b"said on " + channel) for channel in channels)
    hearer.unsubscribe(channels[0])
    hearer.subscribe(channels[1], lambda frame: news.append(frame), lambda: ready.append(2))
    await until(lambda: 2 in ready)
    for channel in channels[:2]:
        speaker.publish(channel, b"again")
    await until(lambda: news[-1] == b"again")
    assert len(news) == 21


async def test_a_listener_that_fails_costs_nobody_else_an_answer(
    redis_server: RedisServer, open_link: Open, prefix: str, loop_errors: list[str]
) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    link = await open_link(redis_server.url)

    def fail(_: object) -> None:
        raise RuntimeError("broken on purpose")

    link.run(COUNT, [f"{prefix}:n".encode()], [], fail)
    assert await run(link, COUNT, f"{prefix}:n") == 2
    assert told == ["a Redis answer's receiver failed"]


async def test_with_a_replica_commits_wait_for_it_and_without_they_are_labelled(
    redis_pair: RedisPair, redis_server: RedisServer, open_link: Open, prefix: str
) -> None:
    link, alone = await open_link(redis_pair.url), await open_link(redis_server.url)
    assert (link.has_replicas, link.acks) == (True, "replicated")
    assert (alone.has_replicas, alone.acks) == (False, "local")
    assert await run(link, COUNT, f"{prefix}:n") == 1
    with redis_pair.replicas[0].client() as replica:
        assert replica.get(f"{prefix}:n") == b"1"
