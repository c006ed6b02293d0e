"""2,000 devices that lost their node come to this one at once: all are resumed in time, and others notice little."""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.soak.process import DEADLINE_S, ROOT, ServiceProcess, hear, say
from tests.wire.rawclient import RawClient

pytestmark = pytest.mark.serial

ACCOUNTS, DEVICES_EACH = 400, 5
RESUMED_S_MAX = 30.0
OTHERS_P99_MS = 250.0
CROWD_ACCOUNTS = 60
SENT_AWAY = "busy"
"""Who has to wait is told so by the gate, and when to come back; nobody meets a back end that is overrun."""
HELD_QUIETS = 20
"""A test holds on any machine, however busy: so many quiet pushes more."""


class Other:
    """A device that was here before, and pushes all the while."""

    def __init__(self, client: RawClient, session: str, base: int) -> None:
        self._client, self._session, self._base = client, session, base
        self._seq = 0
        self.times_ms: list[float] = []
        self.refused: list[str] = []

    async def push(self) -> None:
        self._seq += 1
        begin = time.perf_counter()
        ops = [{"op": "add", "path": "/n", "value": self._seq}]
        say(self._client, type="push", session=self._session, seq=self._seq, base=self._base, ops=ops)
        ack = await hear(self._client, "ack", "reject", "error")
        if ack["type"] != "ack":
            self.refused.append(ack["code"])
            return
        self._base = ack["version"]
        self.times_ms.append((time.perf_counter() - begin) * 1000)

    async def keep_pushing(self, over: asyncio.Event) -> None:
        while not over.is_set() and not self.refused:
            await self.push()
            await asyncio.sleep(0.02)


async def storm(service: ServiceProcess) -> dict[str, Any]:
    """What `tests.soak.storm` tells of itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.soak.storm", str(service.port), str(DEVICES_EACH)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    accounts = [one._asdict() for one in service.accounts[1:]]
    try:
        said, _ = await asyncio.wait_for(process.communicate(json.dumps(accounts).encode() + b"\n"), 2 * DEADLINE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, "the storm gave up; its own words are above"
    told: dict[str, Any] = json.loads(said)
    return told


class Outcome(NamedTuple):
    """What the storm told of itself, and of the pushes of somebody else: which were refused, how long others took."""

    told: dict[str, Any]
    others_refused: list[str]
    p99_ms: float
    quiet_ms: float


async def befall(folder: Path, accounts: int, *planted: str) -> Outcome:
    """Five devices each of so many accounts came at once to a service with these faults, while another one pushed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_000)), hard))
    async with ServiceProcess.running(folder, f"{accounts + 1}x{DEVICES_EACH}", *planted) as service:
        account = service.accounts[0]
        async with await service.device(account, "device-0", await RawClient.upgraded(service.port)) as client:
            other = Other(client, account.session, 1)
            for _ in range(50):
                await other.push()
            quiet_ms = statistics.median(other.times_ms)
            other.times_ms.clear()
            over = asyncio.Event()
            pushing = asyncio.ensure_future(other.keep_pushing(over))
            told = await storm(service)
            over.set()
            await pushing
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    p99_ms = statistics.quantiles(other.times_ms, n=100, method="inclusive")[98]
    print(f"{told}, others' p99 {p99_ms:.1f} ms of {len(other.times_ms)} pushes, {quiet_ms:.1f} ms while it was quiet")
    return Outcome(told, other.refused, p99_ms, quiet_ms)


async def test_2000_devices_that_come_at_once_are_resumed_in_30_s_and_others_go_on(tmp_path: Path) -> None:
    told, others_refused, p99_ms, quiet_ms = await befall(tmp_path, ACCOUNTS)
    assert told["resumed"] == ACCOUNTS * DEVICES_EACH
    assert told["last_s"] <= RESUMED_S_MAX
    assert set(told["refused"]) <= {SENT_AWAY}
    assert others_refused == []
    assert p99_ms <= OTHERS_P99_MS + HELD_QUIETS * quiet_ms


async def test_a_crowd_that_is_let_in_all_at_once_is_seen_to_overrun_the_records(tmp_path: Path) -> None:
    """Mutant: no gate. The disk is as slow on every machine, so that the fault shows with few devices."""
    told, *_ = await befall(tmp_path, CROWD_ACCOUNTS, "slow-records", "no-pace")
    assert set(told["refused"]) == {"unavailable"}
    assert told["resumed"] < CROWD_ACCOUNTS * DEVICES_EACH
