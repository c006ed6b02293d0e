"""The servers that the benchmarks measure, each a process of its own: the whole service, and a bare picows program.

    python -m bench.serving ours DIRECTORY ACCOUNTS SESSIONS_EACH SIZE_KIB
    python -m bench.serving bare

SIZE_KIB 0 is the state that a session begins with. Says one line of JSON when it listens (port; for ours also accounts
with their tokens and sessions). For each line that it then reads it answers with its own memory and processor time. It
ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import picows
import uvloop

from bench.core_states import session_state
from bench.sockless import UNBOUND
from syncbridge.app import Service
from syncbridge.config import Settings
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.core.session_types import SESSION_TYPES
from syncbridge.records.accounts import Account
from syncbridge.telemetry import configure_logging

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


def say(answer: dict[str, Any]) -> None:
    """One line for the benchmark."""
    print(json.dumps(answer), flush=True)


async def answer_usage() -> None:
    """Every line read is answered; returns when there are no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        gc.collect()
        say(usage())


def settle_memory() -> None:
    """As the service does when it has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def serve_bare() -> None:
    server = await picows.ws_create_server(
        lambda _request: BareListener(), "127.0.0.1", 0, read_buffer_init_size=READ_BUFFER_BYTES
    )
    settle_memory()
    say({"port": server.sockets[0].getsockname()[1], "accounts": []})
    await answer_usage()
    server.close()


async def serve_ours(directory: str, accounts: int, sessions_each: int, size_kib: int) -> None:
    configure_logging("error", "json")
    settings = Settings(port=0, data_dir=Path(directory), plans={"standard": UNBOUND})
    state = session_state(size_kib) if size_kib else SESSION_TYPES["breathing"].initial_state()
    told = []
    async with Service.running(settings) as service:
        for number in range(accounts):
            account = AccountId(f"acc-{number}")
            await service.records.accounts.add(Account(account, f"{number}@example.com", 1), "none")
            grant = await service.authority.begin(account)
            sessions = [SessionId(f"ses-{number}-{place}") for place in range(sessions_each)]
            for session in sessions:
                await service.sessions.create(
                    account=account, session=session, kind="breathing", title="", state=state, device=""
                )
            told.append({"token": grant.access_token, "sessions": sessions})
        settle_memory()
        say({"port": service.server.port, "accounts": told})
        await answer_usage()


def main(words: list[str]) -> None:
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if words[0] == "bare":
            runner.run(serve_bare())
        else:
            runner.run(serve_ours(words[1], int(words[2]), int(words[3]), int(words[4])))


if __name__ == "__main__":
    main(sys.argv[1:])
