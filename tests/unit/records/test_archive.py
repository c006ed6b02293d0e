"""The archive: the newest state of a session lands in batches, newest wins, and nothing erased comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import event, func, select

from syncbridge.core.entry import Settled, Snapshot
from syncbridge.core.epochs import rebuilt
from syncbridge.core.ids import AccountId, SessionId
from syncbridge.errors import Unavailable
from syncbridge.limits import Retention
from syncbridge.records import Records, SessionRecord
from syncbridge.records import archive as module
from syncbridge.records.archive import Archive
from syncbridge.records.schema import log_snapshots

ONE, TWO = SessionId("s1"), SessionId("s2")
AT = 1_790_000_000_000


@pytest.fixture
async def listed(records: Records) -> Records:
    """Records with two sessions."""
    for session in (ONE, TWO):
        await records.sessions.add(SessionRecord(session, AccountId("ann"), "custom", "", {}, 1, "active", 1, None, 1))
    return records


def snapshot(version: int, session: SessionId = ONE, *, epoch: str = "e1", **more: Any) -> Snapshot:
    state = {"n": version, "text": "\u0000 and \U0001f9d8"}
    return Snapshot(session, AccountId("ann"), "custom", epoch, version, AT + version, AT, state, 40, **more)


async def rows(records: Records) -> int:
    async with records.database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(log_snapshots))).scalar_one()


async def test_the_newest_state_is_read_back_whole(listed: Records) -> None:
    kept = snapshot(7, settled={"tv": [Settled(3, 7, 2**63 - 1)]}, heard={"tv": 5}, title="Evening")
    for one in (snapshot(5), kept, snapshot(6), snapshot(1, TWO)):
        listed.archive.keep(one)
    assert await listed.archive.read(ONE) == kept  # while it waits, too
    await listed.archive.flush()
    assert await listed.archive.read(ONE) == kept
    assert await listed.archive.read(TWO) == snapshot(1, TWO)
    assert await listed.archive.read(SessionId("other")) is None
    assert (listed.archive.kept_total, listed.archive.pending, listed.archive.pending_bytes) == (2, 0, 0)


async def test_a_number_of_any_size_comes_back_as_it_was(listed: Records) -> None:
    kept = snapshot(1)
    kept.state["big"] = 2**8000 - 1
    kept.state["small"] = -(2**63) - 1
    listed.archive.keep(kept)
    await listed.archive.flush()
    assert await listed.archive.read(ONE) == kept


async def test_an_older_version_never_replaces_a_newer_one_of_its_epoch(listed: Records) -> None:
    other_node = Archive(listed.database)
    for one, then in ((9, 9), (8, 9), (10, 10)):
        other_node.keep(snapshot(one))
        await other_node.flush()
        found = await listed.archive.read(ONE)
        assert found is not None
        assert found.version == then


@pytest.mark.parametrize("waits", [False, True], ids=["in the table", "waiting"])
async def test_another_epoch_replaces_what_was_committed_before_it_and_not_what_came_later(
    listed: Records, *, waits: bool
) -> None:
    old, rebuilt = snapshot(9), replace(snapshot(5, epoch="e2"), at=AT + 9)
    gone_on = replace(snapshot(6, epoch="e2"), at=AT + 20)
    late = replace(snapshot(12), at=AT + 19)
    for one, then in ((old, old), (rebuilt, rebuilt), (gone_on, gone_on), (old, gone_on), (late, gone_on)):
        node = listed.archive if waits else Archive(listed.database)
        node.keep(one)
        if not waits:
            await node.flush()
        assert await listed.archive.read(ONE) == then


@pytest.mark.parametrize("waits", [False, True], ids=["in the table", "waiting"])
@pytest.mark.parametrize("apart_ms", [0, 86_400_000], ids=["at the same time", "by a clock that is ahead"])
async def test_a_lost_log_never_replaces_the_one_that_was_rebuilt_from_it(
    listed: Records, apart_ms: int, *, waits: bool
) -> None:
    lost = replace(snapshot(9), at=AT + apart_ms)
    once = replace(snapshot(9, epoch=rebuilt("e1", "z")), at=AT)
    twice = replace(snapshot(3, epoch=rebuilt(once.epoch, "a")), at=AT)
    more = replace(snapshot(10), at=AT + apart_ms)
    for one, then in ((lost, lost), (once, once), (more, once), (twice, twice), (once, twice), (lost, twice)):
        node = listed.archive if waits else Archive(listed.database)
        node.keep(one)
        if not waits:
            await node.flush()
        assert await listed.archive.read(ONE) == then


async def test_a_state_that_waits_does_not_hide_a_later_one_of_another_epoch(listed: Records) -> None:
    listed.archive.keep(snapshot(9))
    later = replace(snapshot(2, epoch="e2"), at=AT + 20)
    other_node = Archive(listed.database)
    other_node.keep(later)
    await other_node.flush()
    assert await listed.archive.read(ONE) == later


async def test_any_number_of_changes_is_one_transaction(listed: Records) -> None:
    began: list[object] = []
    event.listen(listed.database.engine.sync_engine, "begin", began.append)
    for version in range(1, 1_001):
        listed.archive.keep(snapshot(version))
        listed.archive.keep(snapshot(version, TWO))
    await listed.archive.flush()
    assert len(began) == 1
    assert await listed.archive.read(TWO) == snapshot(1_000, TWO)


async def test_a_batch_is_bounded(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES_MAX", 1)
    listed.archive.keep(snapshot(1))
    listed.archive.keep(snapshot(1, TWO))
    await listed.archive.flush()
    assert await rows(listed) == 2


async def test_what_comes_while_its_batch_is_written_is_written_after_it(
    listed: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = listed.archive._write

    async def slow(batch: list[Snapshot]) -> int:
        if batch[0].version == 1:
            listed.archive.keep(snapshot(2))
        return await write(batch)

    monkeypatch.setattr(listed.archive, "_write", slow)
    listed.archive.keep(snapshot(1))
    await listed.archive.flush()
    assert await listed.archive.read(ONE) == snapshot(2)


async def test_it_is_written_without_being_asked(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed.archive._behind, "delay_ms", 1)
    listed.archive.keep(snapshot(1))
    async with asyncio.timeout(30):
        while not await rows(listed):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.002)


async def test_while_the_records_are_away_the_newest_of_each_waits_within_the_bound(
    listed: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_batch: list[Snapshot]) -> int:
        raise Unavailable

    monkeypatch.setattr(module, "PENDING_BYTES_MAX", 600)
    with monkeypatch.context() as patch:
        patch.setattr(listed.archive, "_write", away)
        listed.archive.keep(snapshot(1))
        with pytest.raises(Unavailable):
            await listed.archive.flush()
        listed.archive.keep(snapshot(1, TWO))  # no room
        listed.archive.keep(snapshot(2))  # it has a place
    assert (listed.archive.pending, listed.archive.dropped_total) == (1, 1)
    await listed.archive.flush()
    assert await listed.archive.read(ONE) == snapshot(2)
    assert await listed.archive.read(TWO) is None


def asked(ask: Callable[[Callable[[Any], None]], None]) -> asyncio.Future[Any]:
    """What the port answers through its callback."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ask(answer.set_result)
    return answer


async def test_the_port_answers_what_is_kept_or_why_it_cannot(listed: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    listed.archive.keep(snapshot(4))
    assert await asked(partial(listed.archive.newest, ONE)) == snapshot(4)
    assert await asked(partial(listed.archive.newest, TWO)) is None
    await listed.archive.flush()
    async with listed.database.transaction() as connection:
        await connection.execute(log_snapshots.update().values(body=b'{"session": 1}'))
    assert (await asked(partial(listed.archive.newest, ONE))).code == "state_damaged"

    def away() -> None:
        raise Unavailable

    monkeypatch.setattr(listed.database, "reading", away)
    monkeypatch.setattr(listed.database, "transaction", away)
    assert (await asked(partial(listed.archive.newest, ONE))).code == "unavailable"
    assert (await asked(partial(listed.archive.forget, ONE))).code == "unavailable"


async def test_what_is_forgotten_is_gone_and_a_waiting_one_is_not_written(listed: Records) -> None:
    listed.archive.keep(snapshot(1))
    await listed.archive.flush()
    listed.archive.keep(snapshot(2))
    assert await asked(partial(listed.archive.forget, ONE)) is None
    assert await listed.archive.read(ONE) is None
    await listed.archive.flush()
    assert await rows(listed) == 0


async def test_what_is_forgotten_while_its_batch_is_written_does_not_stay(listed: Records) -> None:
    listed.archive.keep(snapshot(1))
    flushing = asyncio.create_task(listed.archive.flush())
    while not listed.archive._writing.locked():  # noqa: ASYNC110 - its batch is chosen once it holds this
        await asyncio.sleep(0)
    assert await asked(partial(listed.archive.forget, ONE)) is None
    await flushing
    assert await rows(listed) == 0


@pytest.mark.parametrize("way", ["session erased", "account erased", "listing removed"])
async def test_a_state_goes_with_its_session_and_one_that_another_node_writes_late_does_not_come_back(
    listed: Records, way: str
) -> None:
    other_node = Archive(listed.database)
    listed.archive.keep(snapshot(1))
    await listed.archive.flush()
    other_node.keep(snapshot(2))
    if way == "listing removed":
        await listed.sessions.remove(ONE)
    else:
        await listed.erasures.begin(AccountId("ann"), 1)
        await listed.erasures.erase_session(AccountId("ann"), ONE)
        if way == "account erased":
            await listed.erasures.erase_session(AccountId("ann"), TWO)
            await listed.erasures.erase_account(AccountId("ann"))
    await other_node.flush()
    assert await rows(listed) == 0
    assert (other_node.kept_total, other_node.dropped_total) == (0, 1)


async def test_a_state_is_kept_as_long_as_its_session_would_be(listed: Records) -> None:
    rules = Retention()
    listed.archive.keep(snapshot(1))
    listed.archive.keep(snapshot(1, TWO, status="archived"))
    await listed.archive.flush()
    for kept_ms, left in ((rules.live_ms, 1), (rules.archived_ms, 0)):
        assert await listed.expiry.remove("archived_state", AT + kept_ms, rules, 10) == 0
        assert await listed.expiry.remove("archived_state", AT + 1 + kept_ms, rules, 10) == 1
        assert await rows(listed) == left


async def test_a_person_is_shown_what_is_kept(listed: Records) -> None:
    listed.archive.keep(snapshot(1))
    await listed.archive.flush()
    found = await listed.personal.archived_state(ONE)
    assert found is not None
    assert b'"n":1' in found["body"]
    assert await listed.personal.archived_state(TWO) is None


async def test_closing_writes_what_waits_and_takes_nothing_more(listed: Records) -> None:
    listed.archive.keep(snapshot(1))
    await listed.archive.close()
    listed.archive.keep(snapshot(1, TWO))
    await listed.archive.flush()
    assert await rows(listed) == 1
