"""The servers that the benchmarks measure, each a process of its own: the whole service, and a bare picows program.

    python -m bench.serving ours DIRECTORY ACCOUNTS SESSIONS_EACH SIZE_KIB [SETTINGS]
    python -m bench.serving bare

SIZE_KIB 0 is the state that a session begins with; SETTINGS is a JSON object with more, as ``{"redis_url": ...}``.
Says one line of JSON when it listens (port; for ours also accounts with their tokens and sessions). For each empty line
that it then reads it answers with its own memory and processor time; ``ACCOUNTS SESSIONS_EACH SIZE_KIB`` asks the
service for more accounts. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import picows
import uvloop

from bench.core_states import session_state
from bench.sockless import UNBOUND
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId, JsonObject, SessionId
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.errors import Unavailable
from syncbridge.records.accounts import Account
from syncbridge.serving import settle_memory
from syncbridge.telemetry import configure_logging

TRIES = 20
"""A database on a busy machine may take longer than people would wait."""
MAKING_AT_ONCE = 4
"""As many as the records have connections."""
READ_BUFFER_BYTES = 4096
"""What both servers begin with for each connection."""


class BareListener(picows.WSListener):
    """Fans out: what the one that pushes says is answered to it and told to the four that follow, byte for byte.

    A connection's first message is ``GROUP ROLE ACK_BYTES ENTRY_BYTES``; nothing else is ever looked at.
    """

    groups: dict[str, list[BareListener]] = {}  # noqa: RUF012  # one process, one table

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self._ack = b""
        self._entry = b""
        self._followers: list[BareListener] = []
        self._is_known = False

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._is_known:
            transport.send(picows.WSMsgType.TEXT, self._ack)
            entry = self._entry
            for follower in self._followers:
                follower._transport.send(picows.WSMsgType.TEXT, entry)
            return
        group, role, ack_bytes, entry_bytes = frame.get_payload_as_ascii_text().split()
        self._is_known = True
        self._ack, self._entry = b"a" * int(ack_bytes), b"e" * int(entry_bytes)
        members = BareListener.groups.setdefault(group, [])
        if role == "follow":
            members.append(self)
        self._followers = members
        transport.send(picows.WSMsgType.TEXT, b"joined")


def usage() -> dict[str, float]:
    """This process now: resident KiB, and seconds of processor time with all its threads."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rss_kib": pages * os.sysconf("SC_PAGE_SIZE") / 1024,
        "cpu_s": spent.ru_utime + spent.ru_stime,
    }


def say(words: dict[str, Any]) -> None:
    """One line for the benchmark."""
    print(json.dumps(words), flush=True)


async def answer(more: Callable[[int, int, int], Awaitable[dict[str, Any]]] | None = None) -> None:
    """Every line read is answered; returns when there are no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        words = line.split()
        if words and more is not None:
            say(await more(*map(int, words)))
        else:
            gc.collect()
            say(usage())


async def serve_bare() -> None:
    server = await picows.ws_create_server(
        lambda _request: BareListener(), "127.0.0.1", 0, read_buffer_init_size=READ_BUFFER_BYTES
    )
    settle_memory()
    say({"port": server.sockets[0].getsockname()[1], "accounts": []})
    await answer()
    server.close()


class Population:
    """Accounts and sessions of a service, made on demand; no other process makes the same."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._prefix = secrets.token_hex(4)
        self._count = 0

    async def grow(self, accounts: int, sessions_each: int, size_kib: int) -> dict[str, Any]:
        """So many more, with their tokens and sessions; several at once, for each may wait for a disk or a server."""
        state = session_state(size_kib) if size_kib else SESSION_TYPES["breathing"].initial_state()
        gate = asyncio.Semaphore(MAKING_AT_ONCE)

        async def one() -> dict[str, Any]:
            async with gate:
                for _ in range(TRIES):
                    # Under a name of its own: what did not answer may have been done.
                    self._count += 1
                    with contextlib.suppress(Unavailable):
                        return await self._add(f"{self._prefix}-{self._count}", sessions_each, state)
                    await asyncio.sleep(1)
            raise Unavailable("the records did not answer any of several times")

        return {"accounts": await asyncio.gather(*(one() for _ in range(accounts)))}

    async def _add(self, name: str, sessions_each: int, state: JsonObject) -> dict[str, Any]:
        service, account = self._service, AccountId(f"acc-{name}")
        await service.records.accounts.add(Account(account, f"{name}@example.com", 1), "none")
        grant = await service.authority.begin(account)
        sessions = [SessionId(f"ses-{name}-{place}") for place in range(sessions_each)]
        for session in sessions:
            await service.sessions.create(
                account=account, session=session, kind="breathing", title="", state=state, device=""
            )
        return {"token": grant.access_token, "sessions": sessions}


async def serve_ours(directory: str, first: tuple[int, int, int], further: dict[str, Any]) -> None:
    configure_logging("error", "json")
    settings = Settings(port=0, data_dir=Path(directory), plans={"standard": UNBOUND}, **further)
    async with Service.running(settings) as service:
        population = Population(service)
        told = await population.grow(*first)
        settle_memory()
        say({"port": service.server.port, **told})
        await answer(population.grow)


def main(words: list[str]) -> None:
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if words[0] == "bare":
            runner.run(serve_bare())
        else:
            first = int(words[2]), int(words[3]), int(words[4])
            runner.run(serve_ours(words[1], first, json.loads(words[5]) if words[5:] else {}))


if __name__ == "__main__":
    main(sys.argv[1:])
