"""Plans: how many devices an account may have, and what happens when that changes."""

from __future__ import annotations

import pytest
import structlog

from syncbridge.auth import Authority, Plans
from syncbridge.auth.plans import UNKNOWN_NAMES_MAX
from syncbridge.auth.rosters import AGE_MAX_MS
from syncbridge.core.ids import AccountId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import DeviceLimit, NotFound, ValidationFailed
from syncbridge.limits import SHIPPED_PLANS
from syncbridge.records import Records
from tests.unit.auth.conftest import MovedClock


async def test_account_of_the_free_plan_has_room_for_two_devices(authority: Authority) -> None:
    account = await authority.create_account("ann@example.com", "correct horse", "free")
    for name in ("phone", "tv"):
        await authority.rosters.register(account.id, DeviceInfo(name), 1)
    with pytest.raises(DeviceLimit) as refused:
        await authority.rosters.register(account.id, DeviceInfo("watch"), 1)
    assert [device[0] for device in refused.value.devices] == ["phone", "tv"]


async def test_downgrade_keeps_what_is_there_and_refuses_what_is_new(
    authority: Authority, records: Records, clock: MovedClock
) -> None:
    account = await authority.create_account("ann@example.com", "correct horse")
    for name in ("phone", "tv", "watch"):
        await authority.rosters.register(account.id, DeviceInfo(name), 1)
    await records.accounts.set_plan(account.id, "free")
    clock.at_ms += AGE_MAX_MS + 1
    roster = await authority.rosters.get(account.id)
    assert (len(roster.devices), authority.rosters.plan(roster).devices_max) == (3, 2)
    assert len((await authority.rosters.register(account.id, DeviceInfo("tv", "Television"), 1)).devices) == 3
    with pytest.raises(DeviceLimit):
        await authority.rosters.register(account.id, DeviceInfo("tablet"), 1)


async def test_registration_goes_by_the_plan_of_this_moment_not_by_a_remembered_one(
    authority: Authority, records: Records
) -> None:
    account = await authority.create_account("ann@example.com", "correct horse", "free")
    for name in ("phone", "tv"):
        await authority.rosters.register(account.id, DeviceInfo(name), 1)
    await records.accounts.set_plan(account.id, "standard")
    assert len((await authority.rosters.register(account.id, DeviceInfo("watch"), 1)).devices) == 3


async def test_account_is_made_with_no_plan_that_does_not_exist(authority: Authority) -> None:
    with pytest.raises(ValidationFailed, match="free, standard"):
        await authority.create_account("ann@example.com", "correct horse", "gold")


async def test_plan_of_nobody_cannot_be_set(records: Records) -> None:
    with pytest.raises(NotFound):
        await records.accounts.set_plan(AccountId("nobody"), "free")


def test_unknown_name_in_a_record_means_the_default_and_is_told_once() -> None:
    plans = Plans(default="free")
    with structlog.testing.capture_logs() as logs:
        assert [plans.of("gold"), plans.of("gold")] == [SHIPPED_PLANS["free"]] * 2
        assert plans.name_of("gold") == "free"
    assert [(line["plan"], line["log_level"]) for line in logs] == [("gold", "error")]


def test_nameless_plan_of_an_account_that_is_gone_is_the_default_without_a_word() -> None:
    with structlog.testing.capture_logs() as logs:
        assert Plans().of("") == SHIPPED_PLANS["standard"]
    assert logs == []


def test_what_is_remembered_of_unknown_names_is_bounded() -> None:
    plans = Plans()
    with structlog.testing.capture_logs() as logs:
        for number in range(UNKNOWN_NAMES_MAX + 5):
            plans.of(f"p{number}")
    assert len(logs) == UNKNOWN_NAMES_MAX
