"""What one connection can make the service hold: idle, never reading, flooding."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.soak.churn import slope
from tests.soak.process import DEADLINE_S, ServiceProcess, hear, say
from tests.wire.rawclient import CONTINUATION, PING, TEXT, RawClient, frame, head

pytestmark = pytest.mark.serial

IDLE_KIB_MAX = 32.0
SILENT_READER_KIB_MAX = 512.0
DEVICES_EACH = 5
NEVER_READS_MS = 6_000  # how long a device may read nothing; 45 s by default, which no test waits for
NOTE = "n" * 4_000
AT_ONCE = 20


async def grow(service: ServiceProcess, stack: AsyncExitStack, steps: list[int]) -> float:
    """Resident KiB an idle device that follows a session: the slope through the steps, by least squares."""
    points = []
    for step in steps:
        held = await service.holdings()
        for number in range(int(held["devices"]), step):
            client = await stack.enter_async_context(await RawClient.upgraded(service.port))
            account = service.accounts[number // DEVICES_EACH]
            await service.device(account, f"d{number % DEVICES_EACH}", client)
        held = await service.holdings()
        points.append((held["devices"], held["rss_kib"]))
    return slope(points)


async def test_idle_device_costs_at_most_32_kib(tmp_path: Path) -> None:
    async with ServiceProcess.running(tmp_path, 200) as service, AsyncExitStack() as stack:
        kib = await grow(service, stack, [200, 400, 600, 800, 1_000])
    print(f"{kib:.1f} KiB an idle device, with a fifth of a session")
    assert kib <= IDLE_KIB_MAX


async def test_device_that_cost_more_would_be_seen(tmp_path: Path) -> None:
    async with ServiceProcess.running(tmp_path, 20, "heavy-listeners") as service, AsyncExitStack() as stack:
        assert await grow(service, stack, [25, 50, 75, 100]) > IDLE_KIB_MAX


# -- one that reads nothing --------------------------------------------------------------------------------------


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(tmp_path, 2) as service:
        yield service


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess.running(tmp_path, 2, idle_timeout_ms=NEVER_READS_MS) as service:
        yield service


async def deaf(service: ServiceProcess) -> RawClient:
    """A client whose kernel takes little, and whose program reads only what it is asked to."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", service.port))
    client = RawClient(*await asyncio.open_connection(sock=raw, limit=1024))
    client.send(head())
    assert (await client.response()).status == 101
    return client


class Writer:
    """A device that changes its session, as much as it is asked to."""

    def __init__(self, client: RawClient, session: str) -> None:
        self.client, self.session, self.seq = client, session, 0
        self.is_alone = False

    async def hear(self, kind: str) -> None:
        """The next message of this type; what is said meanwhile of the other device is taken in."""
        while True:
            message = await hear(self.client, "ack", "reject", "presence")
            if message["type"] == "presence":
                self.is_alone = not message["online"]
            if message["type"] == kind:
                return
            assert message["type"] != "reject", message

    async def push(self, count: int) -> None:
        """So many changes of 4 KB were made and acknowledged, some of them on their way at once."""
        for first in range(0, count, AT_ONCE):
            sent, base = range(first, min(count, first + AT_ONCE)), self.seq + 1
            for _ in sent:
                self.seq += 1
                ops = [{"op": "add", "path": f"/note-{self.seq % 8}", "value": NOTE}]
                say(self.client, type="push", session=self.session, seq=self.seq, base=base, ops=ops)
            for _ in sent:
                await self.hear("ack")


async def test_device_that_reads_nothing_costs_little_and_is_caught_up_when_it_reads(service: ServiceProcess) -> None:
    account = service.accounts[0]
    async with await RawClient.upgraded(service.port) as busy, await deaf(service) as slow:
        await service.device(account, "busy", busy)
        await service.device(account, "slow", slow)
        writer = Writer(busy, account.session)
        await writer.push(16)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        await writer.push(200)  # 800 KB, all of which it is owed
        held = await service.holdings()
        assert held["queued_bytes"] <= SILENT_READER_KIB_MAX * 1024
        print(f"{held['queued_bytes'] / 1024:.0f} KiB queued for a device that reads nothing")
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        caught_up = await hear(slow, "joined")
        assert caught_up["position"]["version"] == 217
        assert caught_up["reason"] in ("slow", "smaller"), "one answer instead of 200 entries"


async def test_device_that_never_reads_is_closed_and_whoever_speaks_stays(impatient: ServiceProcess) -> None:
    account = impatient.accounts[0]
    async with await RawClient.upgraded(impatient.port) as busy, await deaf(impatient) as slow:
        await impatient.device(account, "busy", busy)
        await impatient.device(account, "slow", slow)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
        writer = Writer(busy, account.session)
        await writer.push(100)
        async with asyncio.timeout(DEADLINE_S):
            while (await impatient.holdings())["devices"] > 1:
                await writer.push(1)  # whoever speaks stays
        while not writer.is_alone:
            await writer.hear("presence")
        await writer.push(1)


# -- floods ------------------------------------------------------------------------------------------------------

FLOODS = {
    "pings": frame(PING, b"x" * 125) * 40_000,
    "fragments": frame(TEXT, is_final=False) + frame(CONTINUATION, b"y" * 4_000, is_final=False) * 999,
    "empty fragments": frame(TEXT, is_final=False) + frame(CONTINUATION, is_final=False) * 100_000,
    "a length that never comes": frame(TEXT, b"", length=b"\xff\x00\x00\x00\x00\x7f\xff\xff\xff") + b"z" * 4_000_000,
    "brackets": frame(TEXT, b"[" * 60_000) * 60,
}
FLOOD_KIB_MAX = 5 * 1024.0


async def test_flood_of_one_that_reads_nothing_grows_nothing_and_hurts_nobody(service: ServiceProcess) -> None:
    async with await RawClient.upgraded(service.port) as known:
        await service.device(service.accounts[0], "known", known)
        for name, flood in FLOODS.items():
            before = await service.holdings()
            async with await deaf(service) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a reading transport
                client.send(flood)
                held = await service.when(lambda held: held["sockets"] == 1)
            assert held["peak_kib"] - before["peak_kib"] <= FLOOD_KIB_MAX, name
            say(known, type="clock", t0=1)
            assert (await hear(known, "clock"))["t0"] == 1
