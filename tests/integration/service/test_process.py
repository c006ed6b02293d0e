"""A real process: killed at any moment it keeps what it acknowledged; told to stop it stops cleanly."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import ssl
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import trustme
import websockets
from cryptography import x509

from tests.integration.service.conftest import DEADLINE_S, Client, Device, until

PATIENCE_S = 60
COMMAND = Path(sys.executable).with_name("syncbridge")


def free_port() -> int:
    """A port that nobody listens at, and none of those that the system gives away: it is taken again after a kill."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Process:
    """`serve` in a process of its own, on a data directory that outlives it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port, self.tls_port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.running: asyncio.subprocess.Process | None = None

    async def start(self, *options: str) -> None:
        environment = {
            **os.environ,
            "SYNCBRIDGE_PORT": str(self.port),
            "SYNCBRIDGE_DATA_DIR": str(self.data_dir),
            "SYNCBRIDGE_LOG_FORMAT": "human",
            "NO_COLOR": "1",
        }
        self.running = await asyncio.create_subprocess_exec(
            COMMAND, "serve", *options, env=environment, stderr=asyncio.subprocess.PIPE
        )
        async with httpx.AsyncClient(base_url=self.base) as http, asyncio.timeout(DEADLINE_S * 2):
            while True:
                assert self.running.returncode is None, await self.log()
                try:
                    if (await http.get("/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        assert self.running is not None
        self.running.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        assert self.running is not None
        async with asyncio.timeout(DEADLINE_S * 2):
            return await self.running.wait()

    async def log(self) -> str:
        assert self.running is not None
        assert self.running.stderr is not None
        return (await self.running.stderr.read()).decode()

    async def close(self) -> None:
        if self.running is not None and self.running.returncode is None:
            await self.kill()
        if self.running is not None:
            await self.log()


@pytest.fixture
async def process(tmp_path: Path, stack: AsyncExitStack) -> Process:
    process = Process(tmp_path / "data")
    stack.push_async_callback(process.close)
    await process.start()
    return process


@pytest.fixture
async def ann(process: Process, stack: AsyncExitStack) -> Client:
    client = Client(process.base, stack)
    stack.push_async_callback(client.http.aclose)
    await client.make_account()
    return client


class Pusher:
    """One device that pushes a key a push, and sends again what was not acknowledged."""

    def __init__(self, client: Client, name: str, session: str) -> None:
        self.client, self.name, self.session = client, name, session
        self.bases: list[int] = []  # of every push sent: sent again, it is the very same push
        self.acked: set[int] = set()

    @property
    def sent(self) -> int:
        return len(self.bases)

    async def run(self, until: int) -> None:
        """Every push up to ``until`` is acknowledged, or the service is gone."""
        try:
            device = await self.client.connect()
            await device.hello(self.client.token, self.name)
            first = min(set(range(1, self.sent + 1)) - self.acked, default=self.sent + 1)
            joined = await device.join(self.session, seq=first)
            base = joined["position"]["version"]
            for seq in range(first, self.sent + 1):
                await self._push(device, seq)
            reading = asyncio.ensure_future(self._read(device, until))
            try:
                while self.sent < until:
                    if self.sent - len(self.acked) >= 32:
                        await asyncio.sleep(0)
                        if reading.done():
                            break
                        continue
                    self.bases.append(base)
                    await self._push(device, self.sent)
            finally:
                await reading
        except (OSError, websockets.WebSocketException, TimeoutError):
            return

    async def _push(self, device: Device, seq: int) -> None:
        ops = [{"op": "add", "path": f"/{self.name}-{seq}", "value": seq}]
        await device.say(type="push", session=self.session, seq=seq, base=self.bases[seq - 1], ops=ops)

    async def _read(self, device: Device, until: int) -> None:
        while len(self.acked) < until:
            answer = await device.hear("ack", "reject")
            assert answer["type"] == "ack", answer
            self.acked.add(answer["seq"])


async def acknowledged(pushers: list[Pusher], count: int) -> None:
    """One of them has so many acknowledgements."""
    await until(lambda: max(len(pusher.acked) for pusher in pushers) >= count)


async def test_kill_9_loses_nothing_acknowledged_and_doubles_nothing(process: Process, ann: Client) -> None:
    session = await ann.make_session({})
    pushers = [Pusher(ann, name, session) for name in ("phone", "tv", "car")]
    chance = random.Random(20_260_717)
    for round_ in range(3):
        goal = pushers[0].sent + 400
        runs = asyncio.gather(*(pusher.run(goal) for pusher in pushers))
        aim = max(len(pusher.acked) for pusher in pushers) + chance.randrange(20, 200)
        await acknowledged(pushers, aim)
        await process.kill()
        await runs
        acked = {f"{pusher.name}-{seq}" for pusher in pushers for seq in pusher.acked}
        await process.start()
        await ann.log_in()
        state = (await ann.http.get(f"/v1/sessions/{session}/state")).json()
        assert acked <= set(state), f"round {round_}: lost {sorted(acked - set(state))[:5]}"
    goal = max(pusher.sent for pusher in pushers)
    await asyncio.gather(*(pusher.run(goal) for pusher in pushers))
    assert [len(pusher.acked) for pusher in pushers] == [goal] * 3
    answer = await ann.http.get(f"/v1/sessions/{session}")
    # One entry a push and the first one: a doubled push would be one more.
    assert answer.json()["version"] == 1 + 3 * goal
    state = (await ann.http.get(f"/v1/sessions/{session}/state")).json()
    expected = {f"{pusher.name}-{seq}": seq for pusher in pushers for seq in range(1, goal + 1)}
    assert (set(expected) - set(state), set(state) - set(expected)) == (set(), set())
    assert state == expected


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain waits so long for whoever is there that "at once" is told from it on any machine."""
    monkeypatch.setenv("SYNCBRIDGE_NET__SHUTDOWN_GRACE_MS", str(PATIENCE_S * 1_000))


@pytest.mark.usefixtures("patience")
async def test_sigterm_with_nobody_there_ends_at_once_with_0(process: Process) -> None:
    begin = time.monotonic()
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    assert time.monotonic() - begin < PATIENCE_S / 2
    log = await process.log()
    for words in (process.base, f"ws://127.0.0.1:{process.port}/v1/ws", str(process.data_dir), "account create"):
        assert words in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_signal_drains(process: Process, ann: Client, number: signal.Signals) -> None:
    session = await ann.make_session({})
    pusher = Pusher(ann, "phone", session)
    tv = await ann.device("tv", session)
    running = asyncio.ensure_future(pusher.run(100_000))
    await until(lambda: len(pusher.acked) >= 50)
    process.send(number)
    goodbye = await tv.hear("goodbye")
    assert goodbye["reason"] == "restart"
    await tv.socket.wait_closed()
    assert tv.socket.close_code == 1012
    assert await process.ended() == 0
    await running
    await process.start()
    await ann.log_in()
    state = (await ann.http.get(f"/v1/sessions/{session}/state")).json()
    assert {f"phone-{seq}" for seq in pusher.acked} <= set(state)


@pytest.mark.usefixtures("patience")
async def test_a_second_signal_ends_a_drain_that_waits(process: Process) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(
        b"POST /v1/accounts HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    await writer.drain()
    async with httpx.AsyncClient(base_url=process.base) as http:
        assert (await http.get("/health/live")).status_code == 200  # so the half request was read before the signal
    process.send(signal.SIGTERM)
    assert process.running is not None
    assert process.running.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while b"draining" not in await process.running.stderr.readline():
            pass
    begin = time.monotonic()
    process.send(signal.SIGTERM)
    assert await process.ended() == 1
    assert time.monotonic() - begin < PATIENCE_S / 2
    writer.close()


async def test_a_data_directory_in_use_is_refused_with_a_sentence(process: Process, stack: AsyncExitStack) -> None:
    other = Process(process.data_dir)
    stack.push_async_callback(other.close)
    with pytest.raises(AssertionError, match="in use by process"):
        await other.start()
    assert await other.ended() == 1


async def test_a_damaged_journal_is_refused_until_the_loss_is_accepted(process: Process, ann: Client) -> None:
    session = await ann.make_session()
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    for name in ("sessions.db", "sessions.db-wal"):
        (process.data_dir / name).write_bytes(b"this was a journal once" * 1_000)
    with pytest.raises(AssertionError, match="--accept-loss"):
        await process.start()
    assert await process.ended() == 1
    await process.start("--accept-loss")
    answer = await ann.http.get(f"/v1/sessions/{session}/state")
    assert answer.json()["code"] == "not_found"
    assert await ann.make_session()
    aside = [kept for kept in process.data_dir.iterdir() if b"this was a journal once" in kept.read_bytes()]
    assert aside, "the damaged file is set aside, not deleted"


async def test_hangup_takes_up_a_new_certificate_and_keeps_the_old_one_when_the_new_is_bad(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(certificate: trustme.LeafCert) -> None:
        key.write_bytes(certificate.private_key_pem.bytes())
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))

    def served() -> int:
        pem = ssl.get_server_certificate(("127.0.0.1", node.tls_port), timeout=DEADLINE_S)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    def serial(certificate: trustme.LeafCert) -> int:
        return x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).serial_number

    first, second = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    write(first)
    node = Process(tmp_path / "data")
    stack.push_async_callback(node.close)
    monkeypatch.setenv("SYNCBRIDGE_TLS_CERTIFICATE", str(chain))
    monkeypatch.setenv("SYNCBRIDGE_TLS_KEY", str(key))
    monkeypatch.setenv("SYNCBRIDGE_TLS_PORT", str(node.tls_port))
    await node.start()
    assert await asyncio.to_thread(served) == serial(first)
    key.write_bytes(second.private_key_pem.bytes())  # a key that does not fit the chain
    node.send(signal.SIGHUP)
    await asyncio.sleep(0)
    assert await asyncio.to_thread(served) == serial(first)
    write(second)
    node.send(signal.SIGHUP)
    async with asyncio.timeout(DEADLINE_S):
        while await asyncio.to_thread(served) != serial(second):
            continue
