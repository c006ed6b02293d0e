"""A person's own data over all stores: an export at any node holds all of it, and an erasure leaves none anywhere."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aio_pika
import httpx
import pytest

from deploy.local.postgres import DATABASE, USER
from deploy.local.process import program
from syncbridge.adapters.cluster.events.broker import EXCHANGE
from tests.integration.privacy.conftest import Person, client_of
from tests.nemesis.operations.people import DEADLINE_S
from tests.nemesis.operations.stage import Stage

pytestmark = pytest.mark.serial

QUEUE = "another-service"


class Places:
    """Everywhere that something of a person could be, read as bytes."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def redis(self) -> bytes:
        """The files of every Redis, written anew from what it holds; and the names of its keys."""
        held = b""
        self.stage.configure_redis(aof_use_rdb_preamble="no")  # its form would be compressed
        for server in self.stage.redis.nodes:
            with server.client() as client:
                held += b"".join(client.keys("*"))
                client.bgrewriteaof()
                deadline = time.monotonic() + DEADLINE_S
                while True:
                    told = client.info("persistence")
                    if not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]:
                        break
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            held += files_below(server.process.folder)
        return held

    def keys_of(self, sessions: list[str]) -> dict[bytes, int]:
        """The keys that name one of the sessions, and in how many seconds each ends (-1: never)."""
        found: dict[bytes, int] = {}
        for server in self.stage.redis.nodes:
            with server.client() as client:
                for session in sessions:
                    found |= {key: int(client.ttl(key)) for key in client.scan_iter(f"*{session}*")}
        return found

    def postgres(self) -> bytes:
        """What `pg_dump` writes."""
        words = ["-h", "127.0.0.1", "-p", str(self.stage.postgres.port), "-U", USER, DATABASE]
        return subprocess.run(
            [program("pg_dump", "postgresql-client"), *words],
            env={**os.environ, "PGPASSWORD": self.stage.postgres.password},
            check=True,
            capture_output=True,
        ).stdout

    async def queue(self) -> bytes:
        """What waits for another service, which did not read any of it."""
        held = b""
        connection = await aio_pika.connect(self.stage.rabbit.url, timeout=DEADLINE_S)
        async with connection:
            queue = await (await connection.channel()).get_queue(QUEUE)
            while (message := await queue.get(fail=False, no_ack=False)) is not None:
                held += message.body + repr(message.headers).encode()
        return held

    async def nodes(self) -> bytes:
        """What both said, keep in files, and count."""
        held = b"".join(files_below(node.process.folder) for node in self.stage.nodes)
        async with httpx.AsyncClient(trust_env=False) as http:
            for node in self.stage.nodes:
                held += (await http.get(node.metrics_url)).content
        return held


def files_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def found(texts: list[str], held: bytes) -> list[str]:
    return [text for text in texts if text.encode() in held]


async def test_an_export_is_complete_and_an_erasure_reaches_every_store(stage: Stage, stack: AsyncExitStack) -> None:
    stage.rabbit.wait()
    connection = await aio_pika.connect(stage.rabbit.url, timeout=DEADLINE_S)
    stack.push_async_callback(connection.close)
    channel = await connection.channel()
    exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True, passive=True)
    queue = await channel.declare_queue(QUEUE, durable=True)
    await queue.bind(exchange, "#")
    ann, bob = [Person(client_of(stage.nodes[0].url, stack), name) for name in ("ann", "bob")]
    for person in (ann, bob):
        await person.live()
    places = Places(stage)
    canaries = list(ann.canaries.values())
    # Control: the looks below look where the canaries are.
    in_redis, in_postgres = found(canaries, places.redis()), found(canaries, places.postgres())
    assert ann.canaries["state-one"] in in_redis
    assert ann.canaries["email"] in in_postgres
    assert set(in_redis) | set(in_postgres) == set(canaries)

    there = client_of(stage.nodes[1].url, stack)
    there.token = ann.client.token
    headers = {"Authorization": f"Bearer {ann.client.token}"}
    export = await there.http.get("/v1/me/export", headers=headers)
    assert export.status_code == 200
    assert found(canaries, export.content) == canaries
    assert not found(list(bob.canaries.values()), export.content)

    erased = await there.http.request("DELETE", "/v1/me", headers=headers)
    assert erased.status_code == 200, erased.text
    assert found(canaries, places.redis()) == []
    assert found([*canaries, *ann.sessions], places.postgres()) == []
    # A node that is late must not bring a deleted log back: that it was deleted is told for a while, and no more.
    left = places.keys_of(ann.sessions)
    print({key.rpartition(b":")[2].decode(): f"{left_s} s" for key, left_s in left.items()})
    assert {key.rpartition(b":")[2] for key in left} <= {b"gone"}
    assert all(left_s > 0 for left_s in left.values())
    assert found(canaries, await places.queue()) == []
    assert found(canaries, await places.nodes()) == []
    # And nobody else lost anything.
    theirs = list(bob.canaries.values())
    assert set(found(theirs, places.redis())) | set(found(theirs, places.postgres())) == set(theirs)
