"""redis-server: one, one with replicas, or a cluster."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import redis

from deploy.local.process import ServerProcess, free_port, program


class RedisServer:
    """One redis-server; ``url`` is how it is reached. Its data survives `kill` where ``is_durable``."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        password: str = "",
        is_durable: bool = True,
        options: str = "",
    ) -> None:
        self.host = host
        self.port = port or free_port()
        self.password = password
        words = (
            f"--port {self.port} --bind {host} --bind-source-addr {host} --daemonize no --save {{}} --dir . "
            f"--protected-mode no --appendonly {'yes' if is_durable else 'no'} --appendfsync everysec "
            f"--repl-diskless-sync-delay 0 --shutdown-timeout 0 {options}"
        ).split()
        words[words.index("{}")] = ""  # no dumps beside the append-only file
        if password:
            words += ["--requirepass", password, "--masterauth", password]
        self.process = ServerProcess(folder, [program("redis-server", "redis-server"), *words])

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}{self.host}:{self.port}/0"

    def client(self) -> redis.Redis:
        """A client for the checks, which waits a moment at most."""
        return redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=2)

    def start(self) -> None:
        self.process.start(self.answers)

    def answers(self) -> bool:
        """Whether it answers a PING, its data loaded."""
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def stop(self) -> None:
        """It ended, or was killed after a moment: what was written is in its append-only file."""
        self.process.stop(deadline_s=2)


class RedisPair:
    """A primary and its replicas (no cluster): for acknowledgements that wait for a replica."""

    def __init__(self, folder: Path, *, replicas: int = 1, password: str = "") -> None:
        self.primary = RedisServer(folder / "primary", password=password)
        self.replicas = [
            RedisServer(
                folder / f"replica-{number}", password=password, options=f"--replicaof 127.0.0.1 {self.primary.port}"
            )
            for number in range(replicas)
        ]

    @property
    def url(self) -> str:
        return self.primary.url

    def start(self) -> None:
        """All run, and the replicas follow."""
        self.primary.start()
        for replica in self.replicas:
            replica.start()
        client = self.primary.client()
        self.primary.process.wait(lambda: _replicas_online(client) == len(self.replicas))
        client.close()

    def stop(self) -> None:
        for server in [*self.replicas, self.primary]:
            server.stop()


class RedisCluster:
    """Primaries with a replica each, every slot served; nodes ``0 .. primaries-1`` begin as primaries."""

    def __init__(
        self,
        folder: Path,
        *,
        primaries: int = 3,
        replicas: int = 1,
        password: str = "",
        timeout_ms: int = 2_000,
        has_own_hosts: bool = False,
        is_durable: bool = True,
        options: str = "",
    ) -> None:
        """With ``has_own_hosts`` each node has an address of its own, so that what it says can be told and cut off."""
        self.primaries_count = primaries
        self.password = password
        options += f" --cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout {timeout_ms} "
        options += "--cluster-require-full-coverage no"
        # Redis' own choice, the port plus 10,000, lies where the system takes ports for outgoing connections from.
        self._buses = [free_port() for _ in range(primaries * (1 + replicas))]
        hosts = [f"127.0.1.{number + 1}" if has_own_hosts else "127.0.0.1" for number in range(len(self._buses))]
        self.nodes = [
            RedisServer(
                folder / f"node-{number}",
                host=host,
                password=password,
                is_durable=is_durable,
                options=f"{options} --cluster-port {bus} --cluster-announce-ip {host}",
            )
            for number, (bus, host) in enumerate(zip(self._buses, hosts, strict=True))
        ]

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis+cluster://{secret}{','.join(f'{node.host}:{node.port}' for node in self.nodes)}"

    def start(self) -> None:
        """Every slot has a primary, every primary its replica."""
        for node in self.nodes:
            node.start()
        clients = [node.client() for node in self.nodes]
        if _info(clients[0])["cluster_slots_assigned"] != "0":
            for client in clients:
                client.close()
            return  # the files of an earlier run say who is who
        share = -(-16384 // self.primaries_count)
        for number, client in enumerate(clients):
            _ask(client, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, client in enumerate(clients):
            if number < self.primaries_count:
                _ask(client, "CLUSTER", "ADDSLOTSRANGE", number * share, min(16383, (number + 1) * share - 1))
            if number:
                _ask(client, "CLUSTER", "MEET", self.nodes[0].host, self.nodes[0].port, self._buses[0])
        wait = self.nodes[0].process.wait
        wait(lambda: all(_info(client)["cluster_known_nodes"] == str(len(self.nodes)) for client in clients))
        ids = [_text(_ask(client, "CLUSTER", "MYID")) for client in clients]
        for number in range(self.primaries_count, len(clients)):
            primary = ids[number % self.primaries_count]
            wait(lambda client=clients[number], primary=primary: _follow(client, primary))  # type: ignore[misc]
        wait(lambda: all(_info(client)["cluster_state"] == "ok" for client in clients))
        replicas = len(ids) // self.primaries_count - 1
        wait(lambda: all(_replicas_online(client) >= replicas for client in clients[: self.primaries_count]))
        for client in clients:
            client.close()

    def primary_of(self, key: str) -> RedisServer:
        """The server that has the key's slot now, as the living see it."""
        ports: dict[int, int] = {}
        for node in self.nodes:
            if not node.process.is_running or not node.answers():
                continue
            with node.client() as client:
                slot = int(_ask(client, "CLUSTER", "KEYSLOT", key))
                for start, end, primary, *_ in _ask(client, "CLUSTER", "SLOTS"):
                    if start <= slot <= end:
                        ports[int(primary[1])] = ports.get(int(primary[1]), 0) + 1
        port = max(ports, key=lambda one: ports[one])
        return next(node for node in self.nodes if node.port == port)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def _ask(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _info(client: redis.Redis) -> dict[str, str]:
    answer = _ask(client, "CLUSTER", "INFO")
    if isinstance(answer, dict):
        return {_text(key): _text(value) for key, value in answer.items()}
    pairs = (line.partition(":") for line in _text(answer).split("\r\n"))
    return {key: value for key, colon, value in pairs if colon}


def _follow(client: redis.Redis, primary: str) -> bool:
    with contextlib.suppress(redis.RedisError):
        _ask(client, "CLUSTER", "REPLICATE", primary)
        return True
    return False


def _replicas_online(client: redis.Redis) -> int:
    """How many replicas have what was written just now: one that is called online may follow a second later."""
    _ask(client, "PUBLISH", "syncbridge", "are you there?")  # goes over the replication link, and changes nothing
    return int(_ask(client, "WAIT", 9, 20))
