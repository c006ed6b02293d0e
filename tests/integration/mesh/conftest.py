"""Several meshes in one process, as nodes of one world, over real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.mesh.world import World
from tests.integration.redis.conftest import open_link, prefix, redis_cluster, redis_server

__all__ = ["open_link", "prefix", "redis_cluster", "redis_server"]


@pytest_asyncio.fixture
async def world(prefix: str) -> AsyncIterator[World]:
    """Nodes by hand; all of them end with the test."""
    world = World(prefix)
    yield world
    await world.end()
