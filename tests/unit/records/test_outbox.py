"""Facts of accounts: written with the change or not at all, told under a lease, bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from syncbridge.core.ids import AccountId, DeviceId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import DeviceLimit, DeviceUnknown
from syncbridge.ports import Waiting
from syncbridge.records import Records, RecordsOutbox, SessionRecord, outbox
from syncbridge.records.schema import leases
from tests.unit.events.stage import SetClock

ANN = AccountId("ann")
PHONE = DeviceInfo("phone", "Ann's phone", "ios")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def relayed(records: Records, clock: SetClock) -> RecordsOutbox:
    """Records that somebody is told of, and their outbox at the node ``one``."""
    records.outbox.keep(clock)
    return RecordsOutbox(records.database, records.outbox, clock, "one")


async def register(records: Records, device: DeviceInfo = PHONE, *, most: int = 5, login_at: int = 10) -> None:
    def devices_max(_plan: str) -> int:
        return most

    await records.devices.register(ANN, device, login_at=login_at, devices_max=devices_max, now_ms=login_at)


async def listed(records: Records, name: str) -> SessionId:
    session = SessionId(name)
    await records.sessions.add(SessionRecord(session, ANN, "breathing", "My title", {}, 1, "active", 1, None, 1))
    return session


async def taken(relayed: RecordsOutbox, count_max: int = 100) -> Waiting:
    [part] = await relayed.take(count_max)
    return part


async def expire(records: Records) -> None:
    """The lease ran out, whoever has it."""
    async with records.database.transaction() as connection:
        await connection.execute(update(leases).values(expires_at=1))


async def test_a_device_is_told_of_when_it_joins_and_when_it_is_removed_and_not_in_between(
    records: Records, relayed: RecordsOutbox
) -> None:
    await register(records)
    await register(records, login_at=20)
    await records.devices.rename(ANN, DeviceId("phone"), "Canary name", 4)
    await records.devices.remove(ANN, DeviceId("phone"), 30)
    await register(records, login_at=40)
    part = await taken(relayed)
    assert [(fact.type, fact.at) for fact in part.facts] == [
        ("device.joined", 10),
        ("device.removed", 30),
        ("device.joined", 40),
    ]
    assert {str(fact.data) for fact in part.facts} == {"{'account': 'ann', 'device': 'phone'}"}
    assert len({fact.id for fact in part.facts}) == 3


async def test_a_change_that_is_refused_is_not_told(records: Records, relayed: RecordsOutbox) -> None:
    with pytest.raises(DeviceLimit):
        await register(records, most=0)
    with pytest.raises(DeviceUnknown):
        await records.devices.remove(ANN, DeviceId("phone"), 30)
    assert await relayed.take(10) == []


async def test_where_nobody_is_told_nothing_is_kept(records: Records, clock: SetClock) -> None:
    await register(records)
    await records.sessions.remove(await listed(records, "ses_1"))
    assert (await RecordsOutbox(records.database, records.outbox, clock, "one").look()).count == 0


async def test_sessions_that_go_are_told_of_once(records: Records, relayed: RecordsOutbox) -> None:
    session = await listed(records, "ses_1")
    await records.sessions.remove(session)
    await records.sessions.remove(session)
    [fact] = (await taken(relayed)).facts
    assert (fact.id, fact.type, fact.data) == (
        "ses_1:session.deleted",
        "session.deleted",
        {"account": "ann", "session": "ses_1"},
    )


async def test_of_an_erased_account_only_that_it_was_erased_is_told(records: Records, relayed: RecordsOutbox) -> None:
    await register(records)
    await records.erasures.begin(ANN, 50)
    await records.erasures.erase_account(ANN)
    await records.erasures.finish(ANN, 60)
    await records.erasures.finish(ANN, 70)
    assert [(fact.type, fact.at) for fact in (await taken(relayed)).facts] == [("account.erased", 60)]


async def test_what_is_settled_late_takes_nothing_newer_with_it(records: Records, relayed: RecordsOutbox) -> None:
    await register(records)
    part = await taken(relayed)
    await records.erasures.begin(ANN, 50)
    await records.erasures.erase_account(ANN)
    await records.erasures.finish(ANN, 60)
    assert await relayed.settle(part, [0], [])
    assert [fact.type for fact in (await taken(relayed)).facts] == ["account.erased"]


async def test_only_what_was_told_is_gone_and_the_rest_keeps_its_ids(records: Records, relayed: RecordsOutbox) -> None:
    for number in range(4):
        await register(records, DeviceInfo(f"d{number}", "", ""), login_at=number + 1)
    part = await taken(relayed, 3)
    assert part.has_more
    assert await relayed.settle(part, [0, 2], [])
    again = await taken(relayed)
    assert again.facts[0].id == part.facts[1].id
    assert len(again.facts) == 2


async def fence_ignored(connection: Any, name: str, holder: str, fence: int) -> bool:
    return True


@pytest.mark.parametrize("plant", [None, fence_ignored], ids=["as it is", "planted: fence ignored"])
async def test_a_stalled_relay_settles_nothing_after_another_followed(
    records: Records,
    relayed: RecordsOutbox,
    clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[..., Any] | None,
) -> None:
    if plant is not None:
        monkeypatch.setattr(outbox, "has_within", plant)
    other = RecordsOutbox(records.database, records.outbox, clock, "two")
    await register(records)
    old = await taken(relayed)
    assert await other.take(10) == []
    clock.ms += 2_000
    await expire(records)
    new = await taken(other)
    assert new.fence > old.fence
    assert await relayed.settle(old, [0], []) is (plant is not None)
    assert (await other.look()).count == (0 if plant is not None else 1)


async def test_a_lease_that_ran_out_has_another_fence_even_for_the_same_holder(
    records: Records, relayed: RecordsOutbox
) -> None:
    await register(records)
    first = await taken(relayed)
    assert (await taken(relayed)).fence == first.fence
    await expire(records)
    assert (await taken(relayed)).fence == first.fence + 1
    assert not await relayed.settle(first, [0], [])


async def test_a_relay_that_ends_leaves_the_lease_to_the_next_at_once(
    records: Records, relayed: RecordsOutbox, clock: SetClock
) -> None:
    await register(records)
    await taken(relayed)
    await relayed.release()
    other = RecordsOutbox(records.database, records.outbox, clock, "two")
    assert len((await taken(other)).facts) == 1


async def test_past_the_bound_the_oldest_go_and_are_counted(
    records: Records, relayed: RecordsOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "ROWS_MAX", 2)
    for number in range(5):
        await register(records, DeviceInfo(f"d{number}", "", ""), login_at=number + 1)
    backlog = await relayed.look()
    assert (backlog.count, backlog.oldest_at, backlog.dropped) == (2, 4, 3)
    assert [fact.data["device"] for fact in (await taken(relayed)).facts] == ["d3", "d4"]


async def test_an_idle_table_is_not_asked_all_the_time(
    records: Records, relayed: RecordsOutbox, clock: SetClock
) -> None:
    assert await relayed.take(10) == []
    relayed._database = None  # type: ignore[assignment]  # whoever asks it now fails
    assert await relayed.take(10) == []
    relayed._database = records.database
    await register(records)  # noted by this very process
    assert len((await taken(relayed)).facts) == 1
