"""The whole service in a process of its own, to be looked at from outside and inside while others use it.

    python -m tests.soak.serving FOLDER ACCOUNTS IDLE_TIMEOUT_MS [PLANTED]

ACCOUNTS is how many, or like 400x5 where each has five registered devices, `device-0` and so on.
FOLDER holds `chain.pem` and `key.pem`; the data go there too. Says one line of JSON when it listens: its ports, and for
each account a token and a session. Every line that it then reads it answers with what it holds. It ends with its
standard input. PLANTED is a fault by name, that has to be found.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.limits import Limits, Plan
from syncbridge.net.handover import EntranceProtocol, SocketProtocol
from syncbridge.net.listener import Listener
from syncbridge.net.outlet import Outlet
from syncbridge.ports import Admission, Refusal
from syncbridge.records.accounts import Account
from syncbridge.records.database import Database
from syncbridge.records.schema import devices
from syncbridge.runtime.hellos import HelloGate
from syncbridge.serving import settle_memory
from syncbridge.telemetry import configure_logging

IDLE_UNLOAD_MS = 500
"""A session that nobody follows leaves memory after this: so what is left behind shows within the run."""
SLOW_S = 0.5
"""What a question to the records takes at least with `slow-records`: five of them are longer than anybody waits."""


def holdings(service: Service) -> dict[str, float]:
    """What this process holds: resident KiB (and the most ever), blocks of objects, and the service's counts."""
    door, engine = service.server.door, service.engine
    outlets = [driver.outlet for driver in engine.hub.by_connection.values()]
    return {
        "rss_kib": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "blocks": sys.getallocatedblocks(),
        "tasks": len(asyncio.all_tasks()),
        "connections": len(door.connections),
        "sockets": len(door.sockets),
        "newcomers": door.newcomers_count,
        "strangers": engine.hub.strangers,
        "devices": len(engine.hub),
        "sessions": engine.live_sessions,
        "queued_bytes": max((outlet.queued_bytes for outlet in outlets if isinstance(outlet, Outlet)), default=0),
        "sockets_total": door.opened_total,
        **{f"refused_{code}": count for code, count in door.refusals.items()},
    }


def plant_kept_sockets() -> None:
    """Whoever closed is remembered."""
    kept: list[SocketProtocol] = []
    original = SocketProtocol.connection_lost

    def connection_lost(self: SocketProtocol, exc: Exception | None) -> None:
        kept.append(self)
        original(self, exc)

    SocketProtocol.connection_lost = connection_lost  # type: ignore[method-assign]  # a planted fault


def plant_kept_places() -> None:
    """A newcomer that goes before its request is whole keeps its place, and a task that waits for it."""
    original = EntranceProtocol.connection_made

    def connection_made(self: EntranceProtocol, transport: asyncio.Transport) -> None:
        original(self, transport)
        waiting.add(self.loop.create_task(asyncio.Event().wait()))

    waiting: set[asyncio.Task[bool]] = set()
    EntranceProtocol.connection_made = connection_made  # type: ignore[method-assign]  # a planted fault


def plant_heavy_listeners() -> None:
    """Each socket has a buffer of its own that it does not need."""
    original = Listener.__init__
    buffers: list[bytes] = []

    def init(self: Listener, *parts: Any) -> None:  # Any: whatever the true one takes
        buffers.append(os.urandom(24 * 1024))
        original(self, *parts)

    Listener.__init__ = init  # type: ignore[assignment, method-assign]  # a planted fault


def plant_no_pace() -> None:
    """Every hello is looked at as soon as it is read, however many there are."""

    def admit(self: HelloGate, token: str, device: DeviceInfo, done: Callable[[Admission | Refusal], None]) -> None:
        self._gatekeeper.admit(token, device, done)

    HelloGate.admit = admit  # type: ignore[method-assign]  # a planted fault


def plant_slow_records() -> None:
    """No fault, but a busy disk: every question to the records takes a while, on any machine."""
    original = Database._connected

    @asynccontextmanager
    async def connected(self: Database) -> AsyncIterator[AsyncConnection]:
        async with original(self) as connection:
            if is_open.is_set():
                await asyncio.sleep(SLOW_S)
            yield connection

    Database._connected = connected  # type: ignore[method-assign]  # a planted fault


is_open = asyncio.Event()
"""Everything is prepared: who comes now is a stranger."""

PLANTED: dict[str, Callable[[], None]] = {
    "kept-sockets": plant_kept_sockets,
    "kept-places": plant_kept_places,
    "heavy-listeners": plant_heavy_listeners,
    "no-pace": plant_no_pace,
    "slow-records": plant_slow_records,
}


def say(answer: dict[str, Any]) -> None:
    """One line for whoever started this."""
    print(json.dumps(answer), flush=True)


UNHURRIED = Plan(push_burst=1_000_000, push_refill_ms=1)
"""These tests write as fast as they can, to fill what a slow reader is owed."""


async def make_accounts(service: Service, count: int, devices_each: int) -> list[dict[str, str]]:
    """Accounts with a token, a session and devices each; without passwords, whose hashing would take its time."""
    told = []
    for number in range(count):
        account, session = AccountId(f"acc-{number}"), SessionId(f"ses-{number}")
        await service.records.accounts.add(Account(account, f"{number}@example.com", 1), "none")
        grant = await service.authority.begin(account)
        await service.sessions.create(
            account=account,
            session=session,
            kind="custom",
            title="",
            state=SESSION_TYPES["custom"].initial_state(),
            device="",
        )
        told.append({"token": grant.access_token, "session": session})
    if devices_each:
        known = {"name": "", "platform": "", "capabilities": [], "created_at": 1, "seen_at": 1}
        rows = [known | {"account": f"acc-{a}", "id": f"device-{d}"} for a in range(count) for d in range(devices_each)]
        async with service.records.database.transaction() as connection:
            await connection.execute(insert(devices), rows)
    return told


async def serve(folder: Path, accounts: int, devices_each: int, idle_timeout_ms: int) -> None:
    configure_logging("error", "json")
    settings = Settings(
        port=0,
        tls_port=0,
        tls_certificate=folder / "chain.pem",
        tls_key=folder / "key.pem",
        data_dir=folder / "data",
        plans={"standard": UNHURRIED},
        limits=Limits(
            session_idle_unload_ms=IDLE_UNLOAD_MS, heartbeat_ms=idle_timeout_ms // 3, idle_timeout_ms=idle_timeout_ms
        ),
    )
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Service.running(settings) as service:
        told = await make_accounts(service, accounts, devices_each)
        settle_memory()
        is_open.set()
        say({"port": service.server.port, "tls_port": service.server.tls_port, "accounts": told})
        while await reader.readline():
            gc.collect()
            say(holdings(service))


def main(words: list[str]) -> None:
    for name in words[3:]:
        PLANTED[name]()
    accounts, _, devices_each = words[1].partition("x")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(words[0]), int(accounts), int(devices_each or 0), int(words[2])))


if __name__ == "__main__":
    main(sys.argv[1:])
