"""A clock that leaps is not believed at once where people's data would go for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.lifecycle.trust import ClockTrust
from syncbridge.limits import Retention
from syncbridge.records import Records, open_records
from syncbridge.telemetry import PrometheusTelemetry

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


class Time:
    """A wall clock, and a monotonic one that no hand moves."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.counted_s = 5_000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def passes(self, days: float) -> None:
        self.wall_ms += int(days * DAY_MS)
        self.counted_s += days * DAY_MS / 1000

    def is_set(self, days: float) -> None:
        self.wall_ms += int(days * DAY_MS)


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    records = await open_records(f"sqlite+aiosqlite:///{tmp_path / 'records.db'}")
    yield records
    await records.close()


class Life:
    """Lives of one service, one after the other, over the same records."""

    def __init__(self, records: Records) -> None:
        self.time = Time()
        self.telemetry = PrometheusTelemetry(self.time)
        self._records = records
        self.begins()

    def begins(self) -> None:
        self.trust = ClockTrust(
            self._records.moments,
            Retention(),
            clock=self.time,
            telemetry=self.telemetry,
            monotonic_s=lambda: self.time.counted_s,
        )

    async def runs(self) -> bool:
        """The hour has come: whether the job ran."""
        is_believed = await self.trust.is_believed()
        if is_believed:
            await self.trust.ran()
        assert f"retention_held {0 if is_believed else 1}.0" in self.telemetry.page().decode()
        return is_believed


@pytest.fixture
def life(records: Records) -> Life:
    return Life(records)


async def test_the_first_start_has_nothing_to_compare_with(life: Life) -> None:
    assert await life.runs()


async def test_a_service_that_was_off_for_a_night_goes_on(life: Life) -> None:
    await life.runs()
    life.time.is_set(days=1)
    life.begins()
    assert await life.runs()


async def test_time_that_this_process_has_counted_is_no_leap(life: Life) -> None:
    await life.runs()
    life.time.passes(days=30)  # the records were away, say
    assert await life.runs()


@pytest.mark.parametrize("restarts", [True, False], ids=["at a start", "while it runs"])
async def test_a_clock_far_ahead_removes_nothing_until_it_has_stood_for_a_day(life: Life, restarts: bool) -> None:
    await life.runs()
    life.time.is_set(days=95)
    if restarts:
        life.begins()
    assert not await life.runs()
    life.time.passes(days=0.9)
    assert not await life.runs()
    life.time.passes(days=0.2)
    assert await life.runs()
    life.time.passes(days=0.05)
    assert await life.runs()


async def test_a_clock_that_was_mended_is_believed_at_once_and_its_day_begins_anew(life: Life) -> None:
    await life.runs()
    life.time.is_set(days=95)
    assert not await life.runs()
    life.time.passes(days=0.9)
    life.time.is_set(days=-95)
    assert await life.runs()
    life.time.is_set(days=95)
    assert not await life.runs()
    life.time.passes(days=0.9)
    assert not await life.runs()


async def test_whoever_runs_it_by_hand_says_that_the_clock_is_right(life: Life) -> None:
    await life.runs()
    life.time.is_set(days=95)
    life.begins()
    assert not await life.runs()
    await life.trust.ran()
    assert await life.runs()
    life.begins()
    assert await life.runs()


async def test_a_clock_far_ahead_of_the_records_server_is_never_believed(
    life: Life, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Time()

    async def witness_ms() -> int:
        return right.wall_ms

    monkeypatch.setattr(records.moments, "witness_ms", witness_ms)
    assert await life.runs()
    for clock in (life.time, right):
        clock.passes(days=95)
    assert await life.runs(), "time that all have counted is no leap"
    life.time.is_set(days=95)
    for _ in range(3):
        for clock in (life.time, right):
            clock.passes(days=1.1)
        assert not await life.runs()
    life.time.is_set(days=-95)
    assert await life.runs()
