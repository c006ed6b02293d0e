"""Two nodes at once, on a real PostgreSQL: one wins, the other is told, and no limit gives way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from syncbridge.auth.revocations import OVERLAP
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.core.messages import DeviceInfo
from syncbridge.errors import CodeInvalid, DeviceLimit, IdempotencyInProgress, TokenRevoked, Unavailable
from syncbridge.limits import Retention
from syncbridge.ports import Incident
from syncbridge.records import (
    Account,
    Claim,
    Family,
    Records,
    Redeemed,
    Revocation,
    Roster,
    SessionRecord,
    devices,
    open_records,
)
from syncbridge.records import schema as s
from syncbridge.records.faults import reason_of, retried
from syncbridge.records.revocations import FOR_EVER, add_within
from tests.databases import Databases

ANN = AccountId("ann")
ROUNDS = 8

Nodes = tuple[Records, Records]


@pytest.fixture
async def nodes(postgres: Databases, patient: None) -> AsyncIterator[Nodes]:
    """Two nodes' records over one database, with an account and a session in it."""
    url = await postgres.migrated()
    one, two = await open_records(url), await open_records(url)
    await one.accounts.add(Account(ANN, "ann@example.com", 1), "hash")
    await one.sessions.add(SessionRecord(SessionId("s"), ANN, "custom", "", {}, 1, "active", 1, None, 1))
    yield one, two
    await one.close()
    await two.close()


async def both(nodes: Nodes, work: Callable[[Records, int], Awaitable[Any]]) -> list[Any]:
    """What came of the work on each node, four times at once on each."""
    works = [work(node, number) for number, node in enumerate(nodes * 4)]
    return await asyncio.gather(*works, return_exceptions=True)


def count(outcomes: list[Any], kind: type) -> int:
    return sum(isinstance(one, kind) for one in outcomes)


async def register(node: Records, device: str) -> Any:
    return await node.devices.register(ANN, DeviceInfo(device), login_at=10, devices_max=lambda plan: 5, now_ms=20)


async def test_of_devices_that_come_at_once_no_more_than_the_limit_are_registered(nodes: Nodes) -> None:
    for number in range(4):
        await register(nodes[0], f"d{number}")
    outcomes = await both(nodes, lambda node, number: register(node, f"new{number}"))
    assert (count(outcomes, DeviceLimit), count(outcomes, Exception)) == (7, 7)
    assert len((await nodes[1].devices.roster(ANN)).devices) == 5


async def test_without_the_lock_on_the_account_the_limit_would_give_way(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test before: the race is one."""
    monkeypatch.setattr("sqlalchemy.sql.selectable.Select.with_for_update", lambda query, **_: query)
    for number in range(4):
        await register(nodes[0], f"d{number}")
    together = asyncio.Barrier(2)
    look = devices._read

    async def meet(connection: AsyncConnection, account: AccountId) -> Roster:
        roster = await look(connection, account)
        if len(roster.devices) == 4:
            await together.wait()
        return roster

    monkeypatch.setattr(devices, "_read", meet)
    await asyncio.gather(register(nodes[0], "new1"), register(nodes[1], "new2"))
    monkeypatch.undo()
    assert len((await nodes[0].devices.roster(ANN)).devices) == 6


async def test_a_refresh_token_that_two_use_ends_its_log_in(nodes: Nodes) -> None:
    await nodes[0].tokens.begin(Family("fam", ANN, 5), b"one", 100)
    outcomes = await both(
        nodes, lambda node, number: node.tokens.rotate(b"one", b"next%d" % number, expires_at=200, now_ms=10)
    )
    assert count(outcomes, Family) == 1
    assert (count(outcomes, str), count(outcomes, TokenRevoked)) == (1, 6)


async def test_a_code_lets_one_device_in(nodes: Nodes) -> None:
    await nodes[0].pairing.add(b"code", account=ANN, session=SessionId("s"), expires_at=100, now_ms=1)

    async def redeem(node: Records, number: int) -> Redeemed:
        return await node.pairing.redeem(
            b"code",
            DeviceInfo(f"d{number}"),
            family_id=f"fam{number}",
            refresh_digest=b"%d" % number,
            refresh_expires_at=500,
            devices_max=lambda plan: 5,
            now_ms=10,
        )

    outcomes = await both(nodes, redeem)
    assert (count(outcomes, Redeemed), count(outcomes, CodeInvalid)) == (1, 7)
    assert len((await nodes[0].devices.roster(ANN)).devices) == 1


async def test_who_redeems_a_code_and_who_ends_the_log_ins_do_not_wait_for_each_other(nodes: Nodes) -> None:
    for number in range(ROUNDS):
        code = b"code%d" % number
        await nodes[0].pairing.add(code, account=ANN, session=SessionId("s"), expires_at=100, now_ms=1)
        outcomes = await asyncio.gather(
            nodes[0].pairing.redeem(
                code,
                DeviceInfo("d"),
                family_id=f"fam{number}",
                refresh_digest=code,
                refresh_expires_at=500,
                devices_max=lambda plan: 5,
                now_ms=10 + number,
            ),
            nodes[1].revocations.end_logins(Revocation(f"account:{ANN}", 900, 1), ANN, 10 + number),
            return_exceptions=True,
        )
        assert count(list(outcomes), CodeInvalid) == count(list(outcomes), Exception)


async def test_of_two_who_rotate_the_key_one_does(nodes: Nodes) -> None:
    await nodes[0].keys.ensure(1)
    outcomes = await both(
        nodes, lambda node, number: node.keys.rotate(after=1, signs_from=5, retired_at=9, now_ms=2 + number)
    )
    assert outcomes.count(None) == 7
    assert len(await nodes[1].keys.read()) == 2


async def test_an_idempotency_key_is_one_request_s(nodes: Nodes) -> None:
    outcomes = await both(
        nodes, lambda node, number: node.idempotency.claim(ANN, "k", b"r", now_ms=1, until_ms=9, keys_max=5)
    )
    assert (count(outcomes, Claim), count(outcomes, IdempotencyInProgress)) == (1, 7)


async def test_one_subject_that_all_revoke_is_one_row_that_refuses_what_any_of_them_did(nodes: Nodes) -> None:
    outcomes = await both(
        nodes, lambda node, number: node.revocations.add(Revocation("account:x", 100 + number, number), 5)
    )
    assert count(outcomes, Exception) == 0
    (row,) = await nodes[0].revocations.since(0, 1)
    assert (row.expires_at, row.before) == (107, 7)


async def test_what_is_written_by_a_clock_that_is_ahead_does_not_pass_by_what_is_written_at_the_same_time(
    nodes: Nodes,
) -> None:
    """Of two commits under way neither sees the other; the one that lands last is read by whoever read the first."""
    ahead_ms = 2**42
    now_ms = await nodes[0].moments.witness_ms()
    assert now_ms is not None
    async with nodes[0].database.transaction() as connection:
        await add_within(connection, Revocation("jti:late", FOR_EVER), now_ms)
        first = await nodes[1].revocations.add(Revocation("jti:first", FOR_EVER), ahead_ms)
        seen = await nodes[1].revocations.since(0, 1)
        assert [row.subject for row in seen] == ["jti:first"]
    assert first.written < now_ms + 60_000
    rows = await nodes[1].revocations.since(first.written - OVERLAP, 1)
    assert {row.subject for row in rows} == {"jti:first", "jti:late"}


async def test_an_account_is_refused_up_to_now_also_by_a_process_whose_clock_is_behind(nodes: Nodes) -> None:
    now_ms = await nodes[0].moments.witness_ms()
    assert now_ms is not None
    row = await nodes[0].revocations.end_logins(Revocation(f"account:{ANN}", FOR_EVER, before=5), ANN, 5)
    assert row.before >= now_ms
    for_ever = await nodes[0].revocations.end_logins(Revocation(f"account:{ANN}", FOR_EVER, FOR_EVER), ANN, 5)
    assert for_ever.before == FOR_EVER


async def test_two_sweeps_remove_each_row_once(nodes: Nodes) -> None:
    rows = [{"subject": f"jti:{number:03}", "expires_at": 5, "created_at": 1} for number in range(100)]
    async with nodes[0].database.transaction() as connection:
        await connection.execute(insert(s.revocations), rows)
    removed = 0
    at = 10 * 86_400_000
    while step := sum(await both(nodes, lambda node, _: node.expiry.remove("revocation", at, Retention(), 10))):
        removed += step
    assert removed == 100


async def test_nodes_that_write_the_same_sessions_behind_both_get_through(nodes: Nodes) -> None:
    one, two = nodes
    names = [SessionId(f"s{number:02}") for number in range(40)]
    for name in names:
        await one.sessions.add(SessionRecord(name, ANN, "custom", "", {}, 1, "active", 1, None, 1))
    for version in range(2, 2 + ROUNDS):
        for node, order in ((one, names), (two, names[::-1])):
            for name in order:
                node.directory.note(name, status="active", version=version, updated_at=5, active=None)
                node.incidents.note(Incident(name, version, "tv", "joined", "resumed", {}))
        await asyncio.gather(one.directory.flush(), two.directory.flush(), one.incidents.flush(), two.incidents.flush())
    assert set((await one.sessions.versions(names)).values()) == {1 + ROUNDS}


async def test_an_account_that_is_erased_while_its_devices_come_is_erased(nodes: Nodes) -> None:
    await register(nodes[0], "d0")
    await nodes[0].erasures.begin(ANN, 1)
    coming = [register(nodes[1], "d0") for _ in range(4)]
    erased, *outcomes = await asyncio.gather(nodes[0].erasures.erase_account(ANN), *coming, return_exceptions=True)
    assert erased is None
    assert count(outcomes, Unavailable) == 0
    assert await nodes[1].accounts.get(ANN) is None


# -- what the server undoes -------------------------------------------------------------------------------------


class Meeting:
    """Where each of two waits for the other, the first time that it comes by."""

    def __init__(self) -> None:
        self._both = asyncio.Barrier(2)
        self._came: set[int] = set()

    async def come(self, node: Records) -> None:
        if id(node) not in self._came:
            self._came.add(id(node))
            await self._both.wait()


async def crosswise(node: Records, first: str, then: str, meeting: Meeting) -> None:
    """One more in both rows, the second one locked after the other node has locked it."""
    async with node.database.transaction() as connection:
        for name in (first, then):
            await connection.execute(update(s.moments).where(s.moments.c.name == name).values(at=s.moments.c.at + 1))
            await meeting.come(node)


async def test_of_two_that_deadlock_one_is_undone_and_gets_through_when_made_again(nodes: Nodes) -> None:
    one, two = nodes
    for name in ("a", "b"):
        await one.moments.put(name, 0)

    async def once(work: Callable[[Records, str, str, Meeting], Awaitable[None]]) -> Sequence[BaseException | None]:
        meeting = Meeting()
        return await asyncio.gather(work(one, "a", "b", meeting), work(two, "b", "a", meeting), return_exceptions=True)

    (fault,) = [outcome for outcome in await once(crosswise) if outcome is not None]
    assert isinstance(fault, Unavailable)
    assert reason_of(fault) == "undone"
    assert await once(retried(crosswise)) == [None, None]
    assert [await one.moments.get(name) for name in ("a", "b")] == [3, 3]


async def test_a_transaction_that_could_not_be_serialized_is_undone(nodes: Nodes) -> None:
    await nodes[0].moments.put("a", 0)

    async def overtaken() -> None:
        async with nodes[0].database.transaction() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            await connection.execute(select(s.moments))
            await nodes[1].moments.put("a", 1)
            await connection.execute(update(s.moments).values(at=2))

    with pytest.raises(Unavailable) as raised:
        await overtaken()
    assert reason_of(raised.value) == "undone"
    assert await nodes[0].moments.get("a") == 1
