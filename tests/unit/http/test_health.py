"""Health costs nothing to whoever asks it a thousand times, hangs never, and tells no secret."""

from __future__ import annotations

import asyncio
import time

import pytest

from syncbridge.http import Health
from syncbridge.http import health as module


class Dependency:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_up = True

    async def probe(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return self.is_up


async def test_a_thousand_that_ask_at_once_ask_the_dependency_once() -> None:
    store = Dependency()
    health = Health("1")
    health.watch("store", store.probe)
    reports = await asyncio.gather(*(health.report() for _ in range(1_000)))
    assert store.asked == 1
    assert {report.status for report in reports} == {"healthy"}


async def test_after_its_moment_a_report_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Dependency()
    health = Health("1", kept_ms=500)
    health.watch("store", store.probe)
    now_s = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)  # type: ignore[attr-defined]
    assert (await health.report()).status == "healthy"
    store.is_up = False
    now_s += 0.499
    assert (await health.report()).status == "healthy"
    now_s += 0.002
    assert (await health.report()).status == "unhealthy"
    assert store.asked == 2


async def test_draining_is_told_at_once_whatever_is_kept() -> None:
    health = Health("1", kept_ms=1_000_000)
    assert (await health.report()).status == "healthy"
    health.drain()
    assert (await health.report()).status == "draining"


async def test_a_dependency_that_hangs_is_down_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(module, "PROBE_TIMEOUT_S", 0.01)
    health = Health("1")
    health.watch("records", hangs)
    async with asyncio.timeout(30):
        report = await health.report()
    assert (report.status, report.dependencies["records"].status) == ("unhealthy", "down")


async def test_why_a_dependency_is_down_is_nobody_s_business() -> None:
    def broken() -> bool:
        raise OSError("postgresql://user:canary@db/x refused")

    health = Health("1")
    health.watch("records", broken)
    assert "canary" not in (await health.report()).model_dump_json()
