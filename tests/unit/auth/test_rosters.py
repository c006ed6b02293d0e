"""The rosters in memory agree with the table, whatever is read while it changes."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from syncbridge.auth.plans import Plans
from syncbridge.auth.rosters import Rosters
from syncbridge.core.ids import AccountId
from syncbridge.core.messages import DeviceInfo
from syncbridge.records import Records, Roster
from syncbridge.records.devices import Device
from tests.unit.events.stage import SetClock

ANN = AccountId("ann")


def roster(*devices: str) -> Roster:
    return Roster(tuple(Device(DeviceInfo(name), DeviceInfo(name), 1, 1) for name in devices), {})


class SlowTable:
    """Answers each question when the test says so, with what the table held when it was asked."""

    def __init__(self) -> None:
        self.holds = roster()
        self.asked: list[tuple[asyncio.Future[None], Roster]] = []
        self.devices = self

    async def roster(self, account: AccountId) -> Roster:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        held = self.holds
        self.asked.append((answered, held))
        await answered
        return held


@pytest.fixture
def table() -> SlowTable:
    return SlowTable()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def rosters(table: SlowTable, clock: SetClock) -> Rosters:
    return Rosters(cast(Records, table), clock, Plans())


async def test_an_answer_that_a_change_overtook_is_not_kept(table: SlowTable, rosters: Rosters) -> None:
    table.holds = roster("phone", "tv")
    reading = asyncio.create_task(rosters.get(ANN))
    await asyncio.sleep(0)
    rosters.changed(ANN, roster("phone"))
    table.asked[0][0].set_result(None)
    await reading
    assert rosters.known(ANN) == roster("phone")


async def test_an_answer_from_before_another_process_changed_something_is_not_kept(
    table: SlowTable, rosters: Rosters
) -> None:
    reading = asyncio.create_task(rosters.get(ANN))
    await asyncio.sleep(0)
    rosters.forget(ANN)
    table.asked[0][0].set_result(None)
    await reading
    assert rosters.known(ANN) is None


async def test_of_two_answers_the_later_question_s_is_kept(table: SlowTable, rosters: Rosters) -> None:
    first = asyncio.create_task(rosters.get(ANN))
    await asyncio.sleep(0)
    table.holds = roster("phone")
    second = asyncio.create_task(rosters.get(ANN))
    await asyncio.sleep(0)
    table.asked[1][0].set_result(None)
    await second
    table.asked[0][0].set_result(None)
    await first
    assert rosters.known(ANN) == roster("phone")


async def test_a_roster_from_the_future_is_read_anew(rosters: Rosters, clock: SetClock) -> None:
    rosters.changed(ANN, roster("phone"))
    assert rosters.known(ANN) == roster("phone")
    clock.ms -= 1
    assert rosters.known(ANN) is None, "the clock was set back: nobody knows how old it is"
