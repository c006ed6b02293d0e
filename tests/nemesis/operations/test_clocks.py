"""Clocks that are days wrong: one node a day ahead, one a day behind, Redis a quarter of a year. Nothing is ordered by
them: entries, presence, the device limit, handoffs and what a dead node leaves go as with good ones."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local.node import Node
from deploy.local.postgres import Postgres
from deploy.local.process import ServerProcess, program
from deploy.local.redis import RedisServer
from tests.nemesis.operations.people import Person, Pusher
from tests.nemesis.operations.stage import QUICK, migrate

pytestmark = pytest.mark.serial

DAY_MS = 86_400_000
HEALED_S_MAX = 15.0


def shift(process: ServerProcess, library: Path, by_ms: int) -> None:
    """The process will see a date that is wrong by this."""
    process.environment |= {"LD_PRELOAD": str(library), "CLOCK_WRONG_S": str(by_ms // 1000)}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    folder = tmp_path_factory.mktemp("clocks")
    library = folder / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run([program("cc", "gcc"), "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    with tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as place, ExitStack() as ending:
        postgres = Postgres(Path(place))
        redis = RedisServer(folder / "redis", is_durable=False)
        shift(redis.process, library, 95 * DAY_MS)
        for server in (postgres, redis):
            ending.callback(server.stop)
            server.start()
        environment = {"SYNCBRIDGE_REDIS_URL": redis.url, "SYNCBRIDGE_DATABASE_URL": postgres.url, **QUICK}
        migrate(environment)
        made = [Node(folder / name, name, environment) for name in ("ahead", "behind")]
        for node, by in zip(made, (DAY_MS, -DAY_MS), strict=True):
            shift(node.process, library, by)
            ending.callback(node.process.kill)
            node.launch()
        for node in made:
            node.wait()
        yield made


async def test_nothing_is_ordered_by_clocks(nodes: list[Node], stack: AsyncExitStack) -> None:
    behind = nodes[1]
    ann = await Person.new("clocks@example.com", behind, stack)
    session = await ann.make_session(behind)
    tokens = {node.name: (await ann.log_in(node)).json()["access_token"] for node in nodes}
    devices = [await ann.device(node, f"at-{node.name}", session, token=tokens[node.name]) for node in nodes]
    for node in nodes:
        ann.tokens["access_token"] = tokens[node.name]
        await ann.until_devices(node, {"at-ahead", "at-behind"})
    apart_ms = (await clock(devices[0])) - (await clock(devices[1]))
    assert abs(apart_ms - 2 * DAY_MS) < DAY_MS / 2, "the clocks are as wrong as they are meant to be"

    # Entries: one order, the same for both, by the version alone; none is refused as too old or of the future.
    pushers = [Pusher(device, session, f"at-{node.name}") for node, device in zip(nodes, devices, strict=True)]
    versions = []
    for _ in range(5):
        for pusher in pushers:
            answer = await pusher.push()
            assert answer["type"] == "ack", answer
            versions.append(answer["version"])
    assert versions == list(range(versions[0], versions[0] + 10))
    states = [
        (await ann.ask(n, "GET", f"/v1/sessions/{session}/state", headers=bearer(tokens[n.name]))).json() for n in nodes
    ]
    assert states[0] == states[1]
    assert {key for pusher in pushers for key in pusher.acked} <= states[0].keys()

    # Handoffs: an offer of either, which the other one's clock knows as long over, or as one of days; and a take.
    await devices[0].say(type="handoff.take", session=session)
    fence = (await devices[0].hear("handoff.done"))["fence"]
    for source, target in ((0, 1), (1, 0)):
        name = f"at-{nodes[target].name}"
        await devices[source].say(type="handoff.offer", session=session, to=name, ref="o")
        offered = await devices[source].hear("handoff.offered", "error")
        await devices[target].hear("handoff.prepare", "handoff.failed")
        await devices[target].say(type="handoff.ready", session=session, handoff=offered["handoff"])
        for device in devices:
            done = await device.hear("handoff.done", "handoff.failed", matching=partial(is_of, offered["handoff"]))
            assert (done["active"], done["fence"]) == (name, fence + 1)
        fence += 1
    await devices[1].say(type="handoff.take", session=session)
    taken = await devices[1].hear("handoff.done", matching=lambda one: one["active"] == "at-behind")
    assert taken["fence"] > fence

    # Presence: who is here stays here for longer than a dead node's devices do, and those go when theirs is killed.
    phone = await ann.device(behind, "phone", session, token=tokens["behind"])
    await devices[0].hear("presence", matching=lambda one: one["device"] == "phone" and one["online"])
    behind.process.kill()
    began = time.monotonic()
    gone: set[str] = set()
    while gone != {"phone", "at-behind"}:
        gone.add((await devices[0].hear("presence", matching=lambda one: not one["online"]))["device"])
    took_s = time.monotonic() - began
    print(f"gone after {took_s:.1f} s")
    assert took_s <= HEALED_S_MAX
    await phone.socket.close()


def is_of(handoff: str, message: dict[str, Any]) -> bool:
    return bool(message["handoff"] == handoff)


async def clock(device: Any) -> int:
    await device.say(type="clock", t0=1)
    return int((await device.hear("clock"))["t1"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
