"""PostgreSQL or Vault is away for minutes: who is live goes on, and what was written meanwhile is there."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.postgres import Postgres
from tests.nemesis.operations.people import DEADLINE_S, Person, Pusher
from tests.nemesis.operations.stage import Stage

MINUTES_MAX: Final = 10
"""A token is good for a little longer, and nobody gets another one without PostgreSQL."""
EDIT_EVERY_S: Final = 0.25
ASK_EVERY_S: Final = 5.0
TOLD_S_MAX: Final = 2.0
"""A log-in that cannot be is told within a second; the rest is for a busy machine."""


@dataclass
class Absence:
    """What was seen while a back end was away, and everything that was wrong."""

    name: str
    acked: int = 0
    slowest_ack_s: float = 0.0
    log_ins: dict[int, int] = field(default_factory=dict)
    slowest_log_in_s: float = 0.0
    returns: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.acked} edits acknowledged, the slowest after {self.slowest_ack_s:.2f} s; log-ins "
            f"answered {self.log_ins}, the slowest after {self.slowest_log_in_s:.2f} s; devices came back "
            f"{self.returns} times"
        )


async def _edit(pusher: Pusher, over: asyncio.Event) -> None:
    while not over.is_set():
        answer = await pusher.push()
        if answer["type"] != "ack":
            await asyncio.sleep(answer.get("retry_after_ms", 50) / 1000)
        await asyncio.sleep(EDIT_EVERY_S)


async def _ask(stage: Stage, ann: Person, session: str, seen: Absence, log_in: int, over: asyncio.Event) -> None:
    """Again and again somebody logs in at each node, and a device that was here before comes back."""
    while not over.is_set():
        for node in stage.nodes:
            began = time.monotonic()
            answered = await ann.log_in(node)
            status = answered.status_code
            seen.slowest_log_in_s = max(seen.slowest_log_in_s, time.monotonic() - began)
            seen.log_ins[status] = seen.log_ins.get(status, 0) + 1
            if status == 200:
                ann.tokens = answered.json()
            if status != log_in:
                seen.wrong.append(f"a log-in at {node.name} was answered {status}, expected {log_in}")
            watch = await ann.connect(node)
            await watch.say(type="hello", token=ann.token, device={"id": "watch", "name": "watch"})
            answer = await watch.hear("welcome", "error")
            if answer["type"] == "welcome":
                await watch.join(session)
                seen.returns += 1
            else:
                seen.wrong.append(f"a known device was refused at {node.name}: {answer['code']}")
            await watch.socket.close()
        try:
            async with asyncio.timeout(ASK_EVERY_S):
                await over.wait()
        except TimeoutError:
            pass


async def be_without(stage: Stage, name: str, seconds: float) -> Absence:
    """PostgreSQL (killed) or Vault (frozen) was away for so long while devices worked; now it is there again."""
    seen = Absence(f"{name} away for {seconds:.0f} s")
    async with AsyncExitStack() as stack:
        ann = await Person.new(f"without-{name}@example.com", stage.nodes[0], stack)
        session = await ann.make_session(stage.nodes[0])
        devices = [
            await ann.device(node, device, session)
            for node, device in zip(stage.nodes, ("phone", "tablet"), strict=True)
        ]
        await (await ann.device(stage.nodes[0], "watch")).socket.close()
        for node in stage.nodes:
            await ann.until_devices(node, {"phone", "tablet", "watch"})
        pushers = [Pusher(device, session, f"at-{number}") for number, device in enumerate(devices)]
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for pusher in pushers:
                group.create_task(_edit(pusher, over))
            if name == "postgresql":
                stage.postgres.kill()
            else:
                stage.vault.process.freeze()
            group.create_task(_ask(stage, ann, session, seen, 503 if name == "postgresql" else 200, over))
            await asyncio.sleep(seconds)
            over.set()
        stage.mend()
        await _judge(stage, ann, session, pushers, seen)
    return seen


async def _judge(stage: Stage, ann: Person, session: str, pushers: list[Pusher], seen: Absence) -> None:
    seen.acked = sum(len(pusher.acked) for pusher in pushers)
    seen.slowest_ack_s = max(pusher.longest_s for pusher in pushers)
    if seen.slowest_log_in_s > TOLD_S_MAX:
        seen.wrong.append(f"a log-in was answered after {seen.slowest_log_in_s:.2f} s")
    for pusher in pushers:
        seen.wrong += [f"a push was refused: {code}" for code in pusher.refused]
    for node in stage.nodes:
        if (status := (await ann.log_in(node)).status_code) != 200:
            seen.wrong.append(f"a log-in at {node.name} was answered {status} when all was well again")
        state = await ann.get(node, f"/v1/sessions/{session}/state")
        missing = [key for pusher in pushers for key in pusher.acked if key not in state]
        seen.wrong += [f"lost: {key}" for key in missing]
    version = (await ann.get(stage.nodes[0], f"/v1/sessions/{session}"))["version"]
    deadline = time.monotonic() + DEADLINE_S
    while int(stage.postgres.psql(f"SELECT version FROM sessions WHERE id = '{session}'") or 0) < version:
        if time.monotonic() > deadline:
            seen.wrong.append("what was to be written behind never came to PostgreSQL")
            break
        await asyncio.sleep(0.1)


def run(*, minutes: float) -> list[str]:
    """Everything that was wrong while PostgreSQL was away for so long, then Vault for half of that."""
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as records,
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), Postgres(Path(records))).running() as stage,
    ):
        for name, seconds in (("postgresql", minutes * 60), ("vault", minutes * 30)):
            seen = asyncio.run(be_without(stage, name, seconds))
            print(seen, flush=True)
            wrong += seen.wrong
    return wrong
