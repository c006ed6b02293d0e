"""A whole cluster on this machine: the back ends, equal nodes, and the edge before them.

::

    with Cluster(folder, nodes=2) as cluster:
        cluster.start(print)
        cluster.edge.url  # https://localhost:..., trusted with cluster.edge.authority
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from deploy.local.haproxy import HAProxy
from deploy.local.node import Node
from deploy.local.postgres import DATABASE, USER, Postgres
from deploy.local.process import ServerProcess, program
from deploy.local.rabbitmq import Rabbit
from deploy.local.redis import RedisCluster
from deploy.local.vault import Vault

REDIS_PASSWORD: Final = "harmony-redis"
REDIS_OPTIONS: Final = "--repl-timeout 5 --repl-ping-replica-period 1"
"""A replica that hears nothing of its primary for so long connects anew; the default is a minute."""
SET_UP: Final = Path(__file__).parents[1] / "vault" / "setup.sh"


class SetUpFailed(RuntimeError):
    """A step that prepares a back end failed; the text is what it printed."""


class Cluster:
    """Six Redis, PostgreSQL, RabbitMQ, a Vault, ``nodes`` nodes and HAProxy; all of them end with the block.

    Nothing is kept: the folder may be thrown away, and the next start begins anew.
    """

    def __init__(self, folder: Path, *, nodes: int = 2, port: int | None = None) -> None:
        self.folder = folder
        self.redis = RedisCluster(folder / "redis", password=REDIS_PASSWORD, options=REDIS_OPTIONS)
        self.postgres = Postgres(folder / "postgres")
        self.rabbit = Rabbit(folder / "rabbitmq")
        self.vault = Vault(folder / "vault")
        self.nodes: list[Node] = []
        self.edge: HAProxy
        self._nodes_count = nodes
        self._port = port
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, tell: Callable[[str], object]) -> None:
        """All of it runs; ``tell`` hears each step. Raises MissingProgram, NotReady, SetUpFailed."""
        # It takes longest by far, and needs nobody.
        self._ending.callback(self.rabbit.stop)
        self.rabbit.launch()
        tell("Redis Cluster: three primaries, a replica each")
        self._ending.callback(self.redis.stop)
        self.redis.start()
        tell("PostgreSQL")
        self._ending.callback(self.postgres.stop)
        self.postgres.start()
        tell("Vault (OpenBao): policy, AppRole, signing key, passwords, users of the database")
        self._ending.callback(self.vault.stop)
        self.vault.start()
        environment = self._environment()
        tell("RabbitMQ")
        self.rabbit.wait()
        tell("the records' schema (syncbridge migrate)")
        _run([sys.executable, "-m", "syncbridge", "migrate"], environment)
        tell(f"{self._nodes_count} nodes")
        self.nodes = [Node(self.folder / name, name, environment) for name in self._names()]
        for node in self.nodes:
            self._ending.callback(node.process.kill)
            node.launch()
        for node in self.nodes:
            node.wait()
        tell("HAProxy")
        self.edge = HAProxy(self.folder / "edge", {node.name: node.port for node in self.nodes}, port=self._port)
        self._ending.callback(self.edge.stop)
        self.edge.start()

    def stop(self) -> None:
        """Nothing of it runs any more. The nodes drain, all at the same time, before anything they stand on ends."""
        for node in self.nodes:
            node.process.thaw()
            node.process.signal(15)
        for node in self.nodes:
            node.stop()
        self._ending.close()

    def processes(self) -> Iterator[tuple[str, ServerProcess]]:
        """Everything that runs, by name."""
        for number, one in enumerate(self.redis.nodes):
            yield f"redis-{number}", one.process
        yield "postgres", self.postgres.process
        yield "rabbitmq", self.rabbit.process
        yield "vault", self.vault.process
        for node in self.nodes:
            yield node.name, node.process
        yield "haproxy", self.edge.process

    def _names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self._nodes_count + 1)]

    def _environment(self) -> dict[str, str]:
        """The settings of every node; what is secret is a Vault's, as in production."""
        self._set_up_vault()
        vault = self.vault.client()
        user, password = (
            str(part) for part in (urlsplit(self.rabbit.url).username, urlsplit(self.rabbit.url).password)
        )
        for name, held in (
            ("redis", {"password": REDIS_PASSWORD}),
            ("rabbitmq", {"username": user, "password": password}),
        ):
            vault.secrets.kv.v2.create_or_update_secret(f"harmonyflow/{name}", secret=held, mount_point="secret")
        role = vault.auth.approle
        secret_id = self.folder / "secret-id"
        secret_id.touch(mode=0o600)
        secret_id.write_text(role.generate_secret_id("syncbridge")["data"]["secret_id"])
        return {
            "SYNCBRIDGE_REDIS_URL": without_login(self.redis.url),
            "SYNCBRIDGE_DATABASE_URL": without_login(self.postgres.url),
            "SYNCBRIDGE_AMQP_URL": without_login(self.rabbit.url),
            "SYNCBRIDGE_VAULT_ADDR": self.vault.url,
            "SYNCBRIDGE_VAULT__METHOD": "approle",
            "SYNCBRIDGE_VAULT__ROLE_ID": role.read_role_id("syncbridge")["data"]["role_id"],
            "SYNCBRIDGE_VAULT__SECRET_ID_FILE": str(secret_id),
            "SYNCBRIDGE_VAULT__DATABASE_ROLE": "syncbridge",
            "SYNCBRIDGE_VAULT__REDIS_PATH": "harmonyflow/redis",
            "SYNCBRIDGE_VAULT__AMQP_PATH": "harmonyflow/rabbitmq",
            "SYNCBRIDGE_TRUSTED_PROXIES": "127.0.0.1",
            **({} if self._port is None else {"SYNCBRIDGE_PUBLIC_URL": f"https://localhost:{self._port}"}),
        }

    def _set_up_vault(self) -> None:
        database = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{self.postgres.port}/{DATABASE}"
        _run(
            [program("sh", "dash"), str(SET_UP)],
            {
                "VAULT": str(self.vault.program),
                "VAULT_ADDR": self.vault.url,
                "VAULT_TOKEN": self.vault.token,
                "HOME": str(self.folder),
                "DATABASE_ADMIN_URL": f"{database}?sslmode=disable",
                "DATABASE_ADMIN_USER": USER,
                "DATABASE_ADMIN_PASSWORD": self.postgres.password,
            },
        )


def without_login(url: str) -> str:
    """The address alone: who we are there, and by what password, is a Vault's to say."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-2_000:]
        raise SetUpFailed(f"{' '.join(command[:4])} ended with {done.returncode}:\n{said}")
