"""The journal as an outbox: nothing told twice after a clean end, nothing lost after another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncbridge.adapters.embedded import SqliteStore
from syncbridge.adapters.embedded import outbox as module
from syncbridge.core.ids import SessionId
from syncbridge.limits import Limits, Retention
from syncbridge.ports import Waiting
from tests.conformance.logs import snapshot_of
from tests.integration.events.stage import commit, create, edit, handoff, offer, open_store, outbox_of, pause
from tests.unit.events.stage import SetClock

SESSION = SessionId("ses_1")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "data", clock)
    yield opened
    opened.close()


def told(parts: list[Waiting]) -> list[str]:
    return [fact.type for part in parts for fact in part.facts]


async def test_what_was_committed_before_anybody_was_told_is_not_told(store: SqliteStore, clock: SetClock) -> None:
    await create(store, SESSION)
    outbox = outbox_of(store, clock)
    await outbox.open()
    assert await outbox.take(10) == []
    await commit(store, SESSION, pause(2))
    assert told(await outbox.take(10)) == ["session.resumed"]


async def test_facts_are_taken_in_order_until_they_are_settled(store: SqliteStore, clock: SetClock) -> None:
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    await commit(store, SESSION, edit(2), offer(3))
    await commit(store, SESSION, handoff(4))
    everything = ["session.created", "handoff.offered", "session.handoff.completed"]
    [part] = await outbox.take(10)
    assert told([part]) == everything
    assert [(one.first, one.last) for one in part.changes] == [(2, 4)]
    assert await outbox.settle(part, [0, 2], [])
    [part] = await outbox.take(10)
    assert told([part]) == ["handoff.offered"]
    assert await outbox.settle(part, [0], part.changes)
    assert await outbox.take(10) == []


async def test_changes_wait_until_all_facts_before_them_are_taken(store: SqliteStore, clock: SetClock) -> None:
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    await commit(store, SESSION, edit(2), pause(3), pause(4))
    [part] = await outbox.take(2)
    assert (len(part.facts), part.changes, part.has_more) == (2, [], True)
    await outbox.settle(part, [0, 1], [])
    [part] = await outbox.take(2)
    assert [(one.first, one.last) for one in part.changes] == [(2, 4)]


async def test_a_process_that_dies_tells_the_unsettled_again_under_the_same_ids(
    tmp_path: Path, clock: SetClock
) -> None:
    store = open_store(tmp_path / "data", clock)
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    await commit(store, SESSION, pause(2))
    [before] = await outbox.take(10)
    await outbox.settle(before, [0], [])
    store.close()  # and no `release`
    store = open_store(tmp_path / "data", clock)
    [after] = await outbox_of(store, clock).take(10)
    assert {fact.id for fact in after.facts} >= {before.facts[1].id}
    assert {fact.id for fact in after.facts} <= {fact.id for fact in before.facts}
    store.close()


async def test_after_a_clean_end_nothing_is_told_again(tmp_path: Path, clock: SetClock) -> None:
    store = open_store(tmp_path / "data", clock)
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    [part] = await outbox.take(10)
    await outbox.settle(part, [0], [])
    await commit(store, SESSION, pause(2))
    [part] = await outbox.take(10)
    await outbox.settle(part, [0], part.changes)
    await outbox.release()
    store.close()
    store = open_store(tmp_path / "data", clock)
    assert await outbox_of(store, clock).take(10) == []
    store.close()


async def test_a_long_backlog_is_read_in_bounded_steps(
    store: SqliteStore, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 3)
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    for version in range(2, 30):
        await commit(store, SESSION, pause(version))
    seen = 0
    while parts := await outbox.take(5):
        [part] = parts
        assert len(part.facts) <= 5
        seen += len(part.facts)
        await outbox.settle(part, range(len(part.facts)), part.changes)
    assert seen == 29


async def test_how_much_waits_and_since_when_is_known(store: SqliteStore, clock: SetClock) -> None:
    outbox = outbox_of(store, clock)
    await outbox.open()
    assert (await outbox.look()).count == 0
    await create(store, SESSION)
    await commit(store, SESSION, pause(2))
    backlog = await outbox.look()
    assert (backlog.count, backlog.dropped) == (2, 0)
    assert 0 < backlog.oldest_at <= clock.ms + 10


async def test_what_the_journal_let_go_untold_is_counted_once(tmp_path: Path, clock: SetClock) -> None:
    limits = Limits(snapshot_entries_max=4, resume_entries_max=4)
    store = open_store(tmp_path / "data", clock, limits=limits, retention=Retention(live_ms=1), history_entries_max=4)
    outbox = outbox_of(store, clock)
    await outbox.open()
    await create(store, SESSION)
    clock.ms += 60_000
    for version in range(2, 40):
        await commit(store, SESSION, pause(version))
        if version % 4 == 0:
            store.write_snapshot(snapshot_of(SESSION, version))
    dropped = (await outbox.look()).dropped
    assert dropped > 0
    assert (await outbox.look()).dropped == 0
    store.close()
