"""Real servers for the checks of the Redis side: one of each kind for the whole run, and what a test makes of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from deploy.local.redis import RedisCluster, RedisPair, RedisServer
from syncbridge.adapters.cluster.link.link import RedisLink
from tests.conformance.redis_harness import Servers
from tests.integration.redis.nodes import World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """The loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


_numbers = itertools.count(1)

Open = Callable[..., Awaitable[RedisLink]]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server, shared: a test keeps to keys under its own `prefix`."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), is_durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisPair]:
    """A primary and its replica, shared: a test leaves both running."""
    pair = RedisPair(tmp_path_factory.mktemp("redis-pair"))
    pair.start()
    yield pair
    pair.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries with a replica each, shared: a test leaves all running, and every slot where it was."""
    cluster = RedisCluster(tmp_path_factory.mktemp("redis-cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def world(redis_server: RedisServer) -> Iterator[World]:
    """The shared server, empty, with nodes as a test needs them."""
    servers = Servers(redis_server.url, [redis_server], lambda: None)
    made = World(servers)
    yield made
    made.close()
    servers.close()


@pytest.fixture
def prefix() -> str:
    """A name that no other test uses, for keys and sessions on shared servers."""
    return f"t{next(_numbers)}"


@pytest_asyncio.fixture
async def open_link() -> AsyncIterator[Open]:
    """Opens links (see `RedisLink.open`), and closes them at the end of the test."""
    links: list[RedisLink] = []

    async def opened(url: str, **how: Any) -> RedisLink:
        link = await RedisLink.open(url, **how)
        links.append(link)
        return link

    yield opened
    for link in links:
        await link.close()
