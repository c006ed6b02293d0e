"""`serve --workers`: several processes on one port over real Redis and PostgreSQL, of which one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deploy.local.postgres import Postgres
from deploy.local.process import ServerProcess, free_port
from deploy.local.redis import RedisServer
from syncbridge.records import migrate

pytestmark = pytest.mark.serial

DEADLINE_S: Final = 30.0


class Workers:
    """`syncbridge serve --workers 2`, and what it logs."""

    def __init__(self, folder: Path, redis: RedisServer, postgres: Postgres) -> None:
        self.port = free_port()
        environment = {
            "SYNCBRIDGE_PORT": str(self.port),
            "SYNCBRIDGE_REDIS_URL": redis.url,
            "SYNCBRIDGE_DATABASE_URL": postgres.url,
            "SYNCBRIDGE_METRICS_PORT": str(free_port()),
            "SYNCBRIDGE_LOG_FORMAT": "json",
        }
        command = [sys.executable, "-m", "syncbridge", "serve", "--workers", "2"]
        self.process = ServerProcess(folder, command, environment)

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Every such line of its log so far."""
        lines = [json.loads(line) for line in self.process.log.read_text("utf-8").splitlines() if line[:1] == "{"]
        return [one for one in lines if one["event"] == event and fields.items() <= one.items()]

    def hear(self, event: str, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        self.process.wait(lambda: len(self.said(event, **fields)) >= count)
        return self.said(event, **fields)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with ExitStack() as stack:
        redis, postgres = RedisServer(tmp_path / "redis", is_durable=False), Postgres(tmp_path / "postgres")
        for server in (redis, postgres):
            stack.callback(server.stop)
            server.start()
        asyncio.run(migrate(postgres.url))
        made = Workers(tmp_path / "workers", redis, postgres)
        stack.callback(made.process.kill)
        made.process.start(lambda: bool(made.said("SyncBridge is listening")))
        yield made


def test_workers_share_a_port_and_a_world_and_one_that_is_killed_is_replaced(workers: Workers) -> None:
    assert {one["worker"] for one in workers.said("a worker serves")} == {0, 1}
    assert len({one["metrics_port"] for one in workers.said("a worker serves")}) == 2
    with httpx.Client(base_url=f"http://127.0.0.1:{workers.port}", trust_env=False, timeout=DEADLINE_S) as http:
        body = {"email": "ann@example.com", "password": "correct horse battery staple"}
        token = http.post("/v1/accounts", json=body).json()["access_token"]
    # A connection each: the kernel deals them out, and whoever answers knows the account.
    for _ in range(20):
        asked = httpx.get(
            f"http://127.0.0.1:{workers.port}/v1/sessions",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert asked.status_code == 200, asked.text
    children = Path(f"/proc/{workers.process.pid}/task/{workers.process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    (died,) = workers.hear("a worker died; another takes its place")
    assert died["ended"] == "signal SIGKILL"
    workers.hear("a worker serves", 3)
    pid = workers.process.pid
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DEADLINE_S
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ended == (pid, 0), "every worker drained, and the exit code is 0"
