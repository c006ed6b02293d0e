"""The local cluster, as `make cluster` starts it: people's devices through the edge, and nodes that come and go."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from deploy.local.__main__ import first_steps
from deploy.local.cluster import REDIS_PASSWORD, Cluster
from deploy.local.node import Node
from syncbridge.client import Bridge, Device, Session, connect, picows_dial

pytestmark = [pytest.mark.serial, pytest.mark.timeout(240)]

DEADLINE_S: Final = 30.0
WAIT_S_MAX: Final = 5.0
"""No device waits longer for an acknowledgement while nodes are restarted one after the other."""
DEVICES: Final = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # In a folder of its own: pytest's are shut to the user that PostgreSQL runs as, by each run that starts.
    with tempfile.TemporaryDirectory(prefix="syncbridge-cluster-") as folder, Cluster(Path(folder)) as cluster:
        cluster.start(print)
        yield cluster


class Person:
    """An account whose devices come through the edge, over TLS."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient, token: str, trust: ssl.SSLContext) -> None:
        self._url = f"wss://localhost:{cluster.edge.port}/v1/ws"
        self._http, self._token, self._trust = http, token, trust

    @classmethod
    @asynccontextmanager
    async def new(cls, cluster: Cluster, email: str) -> AsyncIterator[Person]:
        trust = ssl.create_default_context(cafile=str(cluster.edge.authority))
        async with httpx.AsyncClient(
            base_url=cluster.edge.url, verify=trust, trust_env=False, timeout=DEADLINE_S
        ) as http:
            made = await http.post("/v1/accounts", json={"email": email, "password": "correct horse battery staple"})
            assert made.status_code == 201, made.text
            token = made.json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            yield cls(cluster, http, token, trust)

    async def make_session(self) -> str:
        made = await self._http.post("/v1/sessions", json={"type": "custom", "state": {}})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def device(self, name: str) -> Bridge:
        return connect(self._url, token=self._token, device=Device(name), dial=picows_dial(self._trust))

    async def state(self, session: str) -> dict[str, Any]:
        """The session's state, as REST tells it at whatever node."""
        answer = await self._http.get(f"/v1/sessions/{session}/state")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


class Pusher:
    """A device that changes something, waits for the acknowledgement, and goes on."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name
        self.acked: list[str] = []
        self.longest_s = 0.0

    async def push(self) -> None:
        key = f"{self._name}-{len(self.acked)}"
        begin = time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            await (await self._session.set(f"/{key}", 1)).acked()
        self.longest_s = max(self.longest_s, time.monotonic() - begin)
        self.acked.append(key)

    async def keep_pushing(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.push()
            await asyncio.sleep(0.02)


async def until(holds: Callable[[], bool]) -> None:
    """It holds now; asked again and again until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


async def ended(node: Node) -> None:
    await asyncio.to_thread(node.stop)


async def begun(node: Node) -> None:
    node.launch()  # in this thread: a server ends with the thread that started it
    await asyncio.to_thread(node.wait)


async def test_nodes_restarted_one_after_the_other_lose_nothing_and_keep_nobody_waiting(cluster: Cluster) -> None:
    async with Person.new(cluster, "ann@example.com") as ann, AsyncExitStack() as stack:
        session = await ann.make_session()
        pushers = []
        for number in range(DEVICES):
            bridge = await stack.enter_async_context(ann.device(f"device-{number}"))
            pushers.append(Pusher(await bridge.join(session), f"device-{number}"))
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for pusher in pushers:
                group.create_task(pusher.keep_pushing(over))
            for node in cluster.nodes:
                await ended(node)
                await begun(node)
                heard = [len(pusher.acked) for pusher in pushers]
                await until(lambda: all(len(one.acked) >= n + 5 for one, n in zip(pushers, heard, strict=True)))  # noqa: B023
            over.set()
        acked = {key for pusher in pushers for key in pusher.acked}
        lost = acked - (await ann.state(session)).keys()
        longest_s = max(pusher.longest_s for pusher in pushers)
        print(f"{len(acked)} acknowledged, {len(lost)} lost, the longest wait {longest_s:.2f} s")
        assert not lost
        assert longest_s <= WAIT_S_MAX


async def test_devices_at_two_nodes_go_on_with_one_session_when_a_node_is_killed(cluster: Cluster) -> None:
    async with Person.new(cluster, "bob@example.com") as bob, AsyncExitStack() as stack:
        name = await bob.make_session()
        # The edge deals out by the fewest: the second device is at the other node.
        phone, television = [
            await (await stack.enter_async_context(bob.device(one))).join(name) for one in ("phone", "television")
        ]
        await (await phone.set("/at", "the phone")).acked()
        await until(lambda: television.get("/at") == "the phone")
        await television.handoff.take()
        await until(lambda: phone.active == "television")
        cluster.nodes[0].process.kill()
        await until(lambda: not (phone.is_joined and television.is_joined))
        assert phone.is_joined != television.is_joined, "one of them was at the node that is gone"
        pushers = [Pusher(phone, "phone"), Pusher(television, "television")]
        for _ in range(10):
            await asyncio.gather(*(pusher.push() for pusher in pushers))
        state = await bob.state(name)
        assert {key for pusher in pushers for key in pusher.acked} <= state.keys()
        assert television.is_active


def test_the_first_steps_that_the_page_shows_work_as_they_stand(cluster: Cluster) -> None:
    done = subprocess.run(
        ["/bin/sh", "-euc", "\n".join(first_steps(cluster.edge))], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    health, made, listed = done.stdout.replace("}{", "}\n{").splitlines()
    assert json.loads(health)["status"] == "healthy"
    assert [one["id"] for one in json.loads(listed)["sessions"]] == [json.loads(made)["id"]]


def test_no_node_is_told_a_password_and_each_has_a_database_user_of_its_own(cluster: Cluster) -> None:
    told = "".join(cluster.nodes[0].process.environment.values())
    assert not {REDIS_PASSWORD, cluster.postgres.password, "guest"} & set(re.split(r"[:@/]", told))
    made = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-approle-%'"
    assert int(cluster.postgres.psql(made)) >= len(cluster.nodes)
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncbridge' AND usename NOT LIKE 'v-%'"
    assert cluster.postgres.psql(others) == "0"
