"""Everything that a company runs, on this machine: real back ends, two equal nodes, and the edge before them.

It is started once for all tests of this folder. A test may stop, freeze, kill or fill whatever it likes, and leaves all
of it well: the next one begins with a stage that serves.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from deploy.local.haproxy import HAProxy
from deploy.local.node import Node
from deploy.local.postgres import Postgres
from deploy.local.process import program
from deploy.local.rabbitmq import Rabbit
from deploy.local.redis import RedisCluster
from deploy.local.vault import Vault

ROTATE: Final = "vault kv put -mount=secret harmonyflow/jwt signing_key=$(openssl rand -base64 32)"
"""The operators' handbook, manual rotation, step 1, to the letter."""

QUICK: Final = {
    "SYNCBRIDGE_AUTH__ARGON2_TIME_COST": "1",
    "SYNCBRIDGE_AUTH__ARGON2_MEMORY_KIB": "8",
    "SYNCBRIDGE_AUTH__LOGIN_BURST": "100000",
    "SYNCBRIDGE_AUTH__KEY_REFRESH_MS": "500",
    "SYNCBRIDGE_AUTH__KEY_LEAD_MS": "2000",
}
"""What takes a minute takes two seconds, and log-ins cost little: they are not what is proved here."""


class Stage:
    """The back ends, ``nodes`` and the ``edge``; ``folder`` holds everything that any of them writes."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.redis = RedisCluster(folder / "redis", replicas=0)
        for server in self.redis.nodes:
            # So that a limit on its files is a full disk to it (see `fill`), and not its end.
            server.process.command = [program("env", "coreutils"), "--ignore-signal=XFSZ", *server.process.command]
        self.postgres = postgres
        self.rabbit = Rabbit(folder / "rabbitmq")
        self.vault = Vault(folder / "vault")
        self.environment: dict[str, str] = {}
        self.nodes: list[Node] = []
        self.edge: HAProxy

    @contextmanager
    def running(self) -> Iterator[Stage]:
        """All of it serves, but for RabbitMQ, which takes its time: `Rabbit.wait`."""
        with ExitStack() as ending:
            ending.callback(self.rabbit.stop)
            self.rabbit.launch()
            for server in (self.redis, self.postgres, self.vault):
                ending.callback(server.stop)
                server.start()
            self.rotate()
            self.environment = {
                "SYNCBRIDGE_REDIS_URL": self.redis.url,
                "SYNCBRIDGE_DATABASE_URL": self.postgres.url,
                "SYNCBRIDGE_AMQP_URL": self.rabbit.url,
                "SYNCBRIDGE_VAULT_ADDR": self.vault.url,
                "SYNCBRIDGE_VAULT_TOKEN": self.vault.token,
                "SYNCBRIDGE_VAULT__TIMEOUT_MS": "1000",
                "SYNCBRIDGE_TRUSTED_PROXIES": "127.0.0.1",
                **QUICK,
            }
            migrate(self.environment)
            self.nodes = [Node(self.folder / name, name, self.environment) for name in ("node-1", "node-2")]
            for node in self.nodes:
                ending.callback(node.process.kill)
                node.launch()
            for node in self.nodes:
                node.wait()
            self.edge = HAProxy(self.folder / "edge", {node.name: node.port for node in self.nodes})
            ending.callback(self.edge.stop)
            self.edge.start()
            yield self

    def mend(self) -> None:
        """Everything runs again, whatever a test did to it."""
        for process in (self.vault.process, self.rabbit.process, *(node.process for node in self.nodes)):
            process.thaw()
        if self.postgres.process.is_running:
            self.postgres.thaw()
        else:
            self.postgres.start()
        self.fill(False)
        for node in self.nodes:
            if not node.process.is_running:
                node.launch()
        for node in self.nodes:
            node.wait()

    def rotate(self) -> None:
        """A new signing key is in Vault, put there by the handbook's command."""
        words = {"VAULT_ADDR": self.vault.url, "VAULT_TOKEN": self.vault.token}
        words |= {"BAO_ADDR": self.vault.url, "BAO_TOKEN": self.vault.token, "HOME": str(self.folder)}
        command = ROTATE.replace("vault", str(self.vault.program), 1)
        subprocess.run(["sh", "-c", command], env={**os.environ, **words}, check=True, capture_output=True)

    def fill(self, is_full: bool) -> None:
        """No file of any Redis grows from now on, as on a full disk; or all of them may again."""
        for server in self.redis.nodes:
            _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 if is_full else hard, hard))

    def configure_redis(self, **values: str) -> None:
        """Every Redis has these settings from now on."""
        for server in self.redis.nodes:
            with server.client() as client:
                for name, value in values.items():
                    client.config_set(name.replace("_", "-"), value)

    def logs(self) -> str:
        """What the nodes have said so far."""
        return "".join(node.process.log.read_text("utf-8", "replace") for node in self.nodes)


def migrate(environment: Mapping[str, str]) -> None:
    """The records' schema is the newest."""
    command = [sys.executable, "-m", "syncbridge", "migrate"]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
