"""Several meshes in one process, as nodes of one world, over real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.redis import RedisServer
from tests.integration.mesh.world import World
from tests.integration.redis.conftest import open_link, prefix, redis_cluster, redis_server

__all__ = ["open_link", "prefix", "redis_cluster", "redis_server"]


@pytest.fixture
def frozen_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, which it may freeze."""
    server = RedisServer(tmp_path, is_durable=False)
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def world(prefix: str) -> AsyncIterator[World]:
    """Nodes by hand; all of them end with the test."""
    world = World(prefix)
    yield world
    await world.end()
