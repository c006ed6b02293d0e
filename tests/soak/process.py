"""A service of `tests.soak.serving` in its own process, as whoever uses it sees it."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from tests.wire.rawclient import TEXT, Frame, RawClient, frame

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
LINE_BYTES_MAX = 1 << 22


Condition = Callable[[dict[str, float]], bool]


class Account(NamedTuple):
    token: str
    session: str


class ServiceProcess:
    """Ended, at the latest killed, with its block."""

    def __init__(self, process: asyncio.subprocess.Process, told: dict[str, Any], trust: ssl.SSLContext) -> None:
        self._process = process
        self.port: int = told["port"]
        self.tls_port: int = told["tls_port"]
        self.accounts = [Account(**one) for one in told["accounts"]]
        self.trust = trust

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, accounts: int | str, *planted: str, idle_timeout_ms: int = 45_000
    ) -> AsyncIterator[ServiceProcess]:
        """The service serves, with so many accounts (see `tests.soak.serving`)."""
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.soak.serving", str(folder), str(accounts), str(idle_timeout_ms), *planted),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        try:
            yield cls(process, await _line_of(process), trust)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def holdings(self) -> dict[str, float]:
        """See `tests.soak.serving.holdings`."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await _line_of(self._process)

    async def when(self, condition: Condition, timeout_s: float = DEADLINE_S) -> dict[str, float]:
        """What it holds, as soon as the condition is met by that; the last of it is told when it never is."""
        held: dict[str, float] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(held := await self.holdings()):  # noqa: ASYNC110  # another process has no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(held) from None
        return held

    async def device(self, account: Account, name: str, client: RawClient) -> RawClient:
        """`client`, upgraded, has said hello as this device and follows the account's session."""
        say(client, type="hello", token=account.token, device={"id": name})
        welcome = await hear(client, "welcome", "error")
        assert welcome["type"] == "welcome", welcome
        say(client, type="join", session=account.session)
        joined = await hear(client, "joined", "error")
        assert joined["type"] == "joined", joined
        return client


def say(client: RawClient, **message: object) -> None:
    """One message is on its way."""
    client.send(frame(TEXT, json.dumps(message).encode()))


async def hear(client: RawClient, *kinds: str) -> dict[str, Any]:
    """The next message of one of these types."""
    while True:
        got: Frame = await client.frame()
        if got.opcode != TEXT:
            assert got.close_code is None or got.opcode != 0x8, got
            continue
        message: dict[str, Any] = json.loads(got.payload)
        if message["type"] in kinds:
            return message


async def _line_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        line = await process.stdout.readline()
    assert line, "the service's process ended; its own words are above"
    answer: dict[str, Any] = json.loads(line)
    return answer
