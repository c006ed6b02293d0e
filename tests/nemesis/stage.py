"""Where the nemeses rage: a Redis cluster of real processes, PostgreSQL, and two nodes of the service."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Literal

import httpx
import redis

from deploy.local.node import Node
from deploy.local.postgres import Postgres
from deploy.local.process import ServerProcess
from deploy.local.redis import RedisCluster, RedisServer
from tests.nemesis.network import Network
from tests.nemesis.planted import plant

Acks = Literal["replicated", "local"]

NODE_HOST: Final = "127.0.0.1"
"""Where the nodes and the devices speak from; each Redis has an address of its own."""
_FAST: Final = {
    # The person is at work in five places all the time, and logs in at every test.
    "SYNCBRIDGE_PLANS__STANDARD__REQUEST_BURST": "100000",
    "SYNCBRIDGE_PLANS__STANDARD__PUSH_BURST": "100000",
    "SYNCBRIDGE_AUTH__ARGON2_TIME_COST": "1",
    "SYNCBRIDGE_AUTH__ARGON2_MEMORY_KIB": "8",
    "SYNCBRIDGE_LIMITS__ADDRESS_REQUEST_BURST": "100000",
}


class Stage:
    """All of it, started once; a test breaks what it likes, and `calm` makes it whole again."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder = folder
        self.network = network
        self.redis = RedisCluster(folder / "redis", has_own_hosts=True, timeout_ms=1_500)
        self.postgres = Postgres(folder / "postgres")
        self.nodes: list[Node] = []
        self.acks: Acks = "replicated"
        self.plants = ""
        """Faults in the nodes that are started from now on; see `tests.nemesis.planted`."""
        self._ending = ExitStack()
        self._starts = 0

    def start(self) -> None:
        """Everything runs, two nodes included."""
        self._ending.callback(self.redis.stop)
        self.redis.start()
        self._ending.callback(self.postgres.stop)
        self.postgres.start()
        environment = {**os.environ, **self._environment()}
        subprocess.run(
            [sys.executable, "-m", "syncbridge", "migrate"], env=environment, check=True, capture_output=True
        )
        self.start_nodes()
        for node in self.nodes:
            node.wait()

    def stop(self) -> None:
        """Nothing of it runs any more."""
        for node in self.nodes:
            node.process.kill()
        self._ending.close()

    def start_nodes(self, acks: Acks | None = None) -> None:
        """Two new nodes are on their way, on the ports of the last ones, which are gone."""
        self.acks = acks or self.acks
        ports: list[int | None] = [node.port for node in self.nodes]
        for node in self.nodes:
            node.process.kill()
        self.nodes = [self._launched(port) for port in ports or [None, None]]

    def restart_node(self, number: int) -> None:
        """A new node is on its way in the place of one that is gone."""
        self.nodes[number].process.kill()
        self.nodes[number] = self._launched(self.nodes[number].port)

    def _launched(self, port: int | None) -> Node:
        self._starts += 1
        name = f"node-{self._starts}"
        node = Node(self.folder / name, name, self._environment(), port=port)
        if self.plants:
            plant(node, self.plants)
        node.launch()
        return node

    def _environment(self) -> dict[str, str]:
        return {
            **_FAST,
            "SYNCBRIDGE_REDIS_URL": self.redis.url,
            "SYNCBRIDGE_REDIS_ACKS": self.acks,
            "SYNCBRIDGE_DATABASE_URL": self.postgres.url,
        }

    async def calm(self) -> None:
        """Every server runs, every slot has a primary with a replica, both nodes are ready."""
        self.network.heal()
        for process in self._processes():
            process.thaw()
        for server in self.redis.nodes:
            if not server.process.is_running:
                server.process.start(lambda: True)
        await until(self._is_whole, deadline_s=60, what="a whole cluster of Redis")
        await until(self._are_nodes_ready, deadline_s=60, what="the readiness of the nodes")

    def _processes(self) -> list[ServerProcess]:
        return [*(server.process for server in self.redis.nodes), *(node.process for node in self.nodes)]

    def _are_nodes_ready(self) -> bool:
        """Also of those that ended meanwhile: others are started in their places."""
        for number, node in enumerate(self.nodes):
            if not node.process.is_running:
                self.restart_node(number)
        return all(node.is_ready() for node in self.nodes)

    def _is_whole(self) -> bool:
        primaries = 0
        for server in self.redis.nodes:
            with suppress(redis.RedisError), server.client() as client:
                info = client.info("replication")
                if info["role"] == "master":
                    primaries += 1
                    # A replica that is called online may still be seconds behind: it must answer for a write.
                    client.execute_command("PUBLISH", "nemesis", "are you there?")
                    if not int(client.execute_command("WAIT", 1, 50)):
                        return False
                continue
            return False
        return primaries == self.redis.primaries_count

    # -- who is who -------------------------------------------------------------------------------------------------

    def primary_of(self, session: str) -> RedisServer:
        """The Redis server that the session's log is written to now."""
        return self.redis.primary_of(f"sb:{{{session}}}:head")

    def replica_of(self, primary: RedisServer) -> RedisServer:
        """The server that follows this one."""
        with primary.client() as client:
            host = client.info("replication")["slave0"]["ip"]
        return next(server for server in self.redis.nodes if server.host == host)

    def others_than(self, server: RedisServer) -> list[str]:
        """The addresses of every other Redis server."""
        return [one.host for one in self.redis.nodes if one is not server]

    def socket_of(self, number: int) -> str:
        """Where devices connect to this node."""
        return f"ws://{NODE_HOST}:{self.nodes[number].port}/v1/ws"


class Person:
    """An account, and REST requests in its name to a node of choice."""

    def __init__(self, stage: Stage, http: httpx.AsyncClient) -> None:
        self._stage = stage
        self._http = http
        self.token = ""

    async def register(self, name: str) -> None:
        """The account exists."""
        body = {"email": f"{name}@example.com", "password": "correct horse battery staple"}
        answer = await self.ask(0, "POST", "/v1/accounts", json=body)
        assert answer.status_code == 201, answer.text
        self.token = str(answer.json()["access_token"])

    async def ask(self, node: int, method: str, path: str, **what: object) -> httpx.Response:
        """What this node answers. Raises httpx.TransportError."""
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        headers.update(what.pop("headers", {}))  # type: ignore[call-overload]
        return await self._http.request(method, f"{self._stage.nodes[node].url}{path}", headers=headers, **what)  # type: ignore[arg-type]

    async def make_session(self, state: dict[str, object]) -> str:
        """The id of a new session; who is told that the storage does not answer asks again, as any client would."""
        deadline = time.monotonic() + 10.0
        while True:
            answer = await self.ask(0, "POST", "/v1/sessions", json={"type": "custom", "state": state})
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


async def until(holds: Callable[[], object], *, deadline_s: float = 10.0, what: str = "the condition") -> None:
    """It holds now; asked again and again. Raises AssertionError after the deadline."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} does not hold in {deadline_s} s"
        await asyncio.sleep(0.02)
