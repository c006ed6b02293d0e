"""The worlds that are measured: nodes on one core; Redis, PostgreSQL and the devices on the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import redis
from sqlalchemy.engine import make_url

from bench.processor import family, spent_s
from bench.speaking import ServerProcess
from deploy.local.postgres import Postgres
from deploy.local.redis import RedisPair, RedisServer
from syncbridge.records import migrate

WorldName = Literal["embedded", "redis", "replicated", "nodes"]
WORLDS: dict[WorldName, str] = {
    "embedded": "one process, its logs and records in SQLite",
    "redis": "one node; logs in one Redis, acknowledged by it alone; records in PostgreSQL",
    "replicated": "one node; logs in a Redis with a replica, acknowledged when both have it; records in PostgreSQL",
    "nodes": "two nodes over one Redis, acknowledged by it alone; records in PostgreSQL",
}
NODES: dict[WorldName, int] = {"nodes": 2}


class Spent:
    """Seconds of processor time by whom, at a moment or between two."""

    __slots__ = ("nodes", "postgres", "redis")

    def __init__(self, nodes: float, redis: float, postgres: float) -> None:
        self.nodes, self.redis, self.postgres = nodes, redis, postgres

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(self.nodes - earlier.nodes, self.redis - earlier.redis, self.postgres - earlier.postgres)


class World:
    """Some nodes, and what they stand on."""

    def __init__(
        self, name: WorldName, nodes: list[ServerProcess], servers: list[RedisServer], postgres: Postgres | None
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.servers = servers
        self.postgres = postgres

    def spent(self) -> Spent:
        """Until now."""
        return Spent(
            spent_s(node.pid for node in self.nodes),
            spent_s(server.process.pid for server in self.servers),
            0.0 if self.postgres is None else spent_s(family(self.postgres.process.pid)),
        )

    def redis_info(self, section: str) -> dict[str, Any]:
        """What the primary tells of itself."""
        with self.servers[0].client() as client:
            told: Any = client.info(section)
            return dict(told)

    def redis_client(self) -> redis.Redis:
        return self.servers[0].client()


@asynccontextmanager
async def open_worlds(
    names: list[WorldName], folder: Path, node_core: int | None = None
) -> AsyncIterator[dict[WorldName, World]]:
    """These worlds, each with a Redis and a database of its own; everything ends with the block."""
    async with AsyncExitStack() as stack:
        postgres = None
        if any(name != "embedded" for name in names):
            postgres = Postgres(folder / "postgres")
            stack.callback(postgres.stop)
            postgres.start()
        yield {name: await _open(name, folder / name, postgres, node_core, stack) for name in names}


async def _open(
    name: WorldName, folder: Path, postgres: Postgres | None, node_core: int | None, stack: AsyncExitStack
) -> World:
    servers: list[RedisServer] = []
    settings: dict[str, Any] = {}
    if name != "embedded" and postgres is not None:
        back: RedisServer | RedisPair = RedisPair(folder) if name == "replicated" else RedisServer(folder)
        stack.callback(back.stop)
        back.start()
        servers = [back] if isinstance(back, RedisServer) else [back.primary, *back.replicas]
        postgres.psql(f"CREATE DATABASE {name}")
        database_url = make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
        await migrate(database_url)
        settings = {"redis_url": back.url, "database_url": database_url}
        settings["redis_acks"] = "replicated" if name == "replicated" else "local"
    nodes = []
    for number in range(NODES.get(name, 1)):
        node = ServerProcess.running(
            "ours", folder / f"node-{number}", 0, 0, 0, msgspec.json.encode(settings).decode(), core=node_core
        )
        nodes.append(await stack.enter_async_context(node))
    return World(name, nodes, servers, None if name == "embedded" else postgres)
