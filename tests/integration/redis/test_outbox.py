"""What sessions in Redis have to tell: taken under a lease, settled exactly, found wherever it lies, bounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster.events import outbox as module
from syncbridge.adapters.cluster.events.outbox import RedisOutbox
from syncbridge.adapters.cluster.keys import changed_key, outbox_key, relay_key, session_keys, slot_of
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import script_of
from syncbridge.adapters.cluster.log.store import RedisStore
from syncbridge.core.entry import Entry, Txn
from syncbridge.core.facts import encode_fact
from syncbridge.core.ids import AccountId, SessionId, TxnId
from syncbridge.ports import Waiting
from tests.integration.events import stage
from tests.integration.redis.asking import command
from tests.integration.redis.conftest import Open
from tests.unit.events.stage import SetClock, change, fact

pytestmark = pytest.mark.serial


@pytest.fixture(params=["one server", "a cluster"])
async def link(request: pytest.FixtureRequest, open_link: Open) -> RedisLink:
    """A link to a server, or a cluster, where nothing waits."""
    if request.param == "one server":
        server: RedisServer = request.getfixturevalue("redis_server")
        link = await open_link(server.url)
    else:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        link = await open_link(cluster.url)
    outbox = outbox_at(link, "cleaner")
    await outbox.look()
    for slot in [*outbox._slots, *outbox._urgent]:
        for key in (outbox_key(slot), changed_key(slot), relay_key(slot)):
            await command(link, "DEL", key.decode(), is_write=True)
    return link


def outbox_at(link: RedisLink, node: str) -> RedisOutbox:
    return RedisOutbox(link, node, ready_ms=5_000)


def slot_for(session: str) -> int:
    return slot_of(session_keys(SessionId(session)).head)


async def leave(link: RedisLink, session: str, *versions: int) -> None:
    """Facts as a commit's script leaves them."""
    key = outbox_key(slot_for(session)).decode()
    for version in versions:
        body = encode_fact(fact(session, version)).decode()
        await command(link, "XADD", key, "*", "f", body, is_write=True)


async def grow(link: RedisLink, session: str, value: str) -> None:
    """A change as a commit's script leaves it."""
    await command(link, "HSET", changed_key(slot_for(session)).decode(), session, value, is_write=True)


async def standing(link: RedisLink, session: str) -> str | None:
    found = await command(link, "HGET", changed_key(slot_for(session)).decode(), session)
    return None if found is None else found.decode()


async def taken(outbox: RedisOutbox) -> Waiting:
    await outbox.look()
    [part] = await outbox.take(512)
    return part


async def test_facts_come_in_order_and_only_what_was_told_is_gone(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    await leave(link, prefix, 1, 2, 3)
    part = await taken(outbox)
    assert part.facts == [fact(prefix, 1), fact(prefix, 2), fact(prefix, 3)]
    assert await outbox.settle(part, [0, 2], [])
    assert (await taken(outbox)).facts == [fact(prefix, 2)]


async def test_a_slot_where_nothing_waits_any_more_is_free_and_forgotten(link: RedisLink, prefix: str) -> None:
    one, two = outbox_at(link, "one"), outbox_at(link, "two")
    await leave(link, prefix, 1)
    part = await taken(one)
    await two.look()
    assert await two.take(512) == []
    assert await one.settle(part, [0], [])
    assert await one.take(512) == []
    await leave(link, prefix, 2)
    assert (await taken(two)).facts == [fact(prefix, 2)]


async def test_what_a_session_grew_by_meanwhile_still_waits(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    await grow(link, prefix, "2 5 2 5 e acc")
    part = await taken(outbox)
    assert part.changes == [change(prefix, 2, 5)]
    await grow(link, prefix, "2 9 2 9 e acc")
    assert await outbox.settle(part, [], part.changes)
    assert await standing(link, prefix) == "6 9 9 9 e acc"
    part = await taken(outbox)
    assert await outbox.settle(part, [], part.changes)
    assert await standing(link, prefix) is None


async def test_a_range_of_a_new_log_is_not_touched_by_what_was_told_of_the_old(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    await grow(link, prefix, "2 5 2 5 e acc")
    part = await taken(outbox)
    await grow(link, prefix, "2 3 7 7 e2 acc")
    assert await outbox.settle(part, [], part.changes)
    assert await standing(link, prefix) == "2 3 7 7 e2 acc"


async def test_changes_wait_until_all_facts_before_them_were_taken(
    link: RedisLink, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FACTS_OF_A_SLOT", 2)
    outbox = outbox_at(link, "one")
    await leave(link, prefix, 1, 2, 3)
    await grow(link, prefix, "2 3 2 3 e acc")
    part = await taken(outbox)
    assert (len(part.facts), part.changes, part.has_more) == (2, [], True)
    assert await outbox.settle(part, [0, 1], [])
    assert (await taken(outbox)).changes == [change(prefix, 2, 3)]


def as_it_is(source: bytes) -> bytes:
    return source


def fence_ignored(source: bytes) -> bytes:
    planted = source.replace(b"if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return 0 end", b"")
    assert planted != source
    return planted


@pytest.mark.parametrize("plant", [as_it_is, fence_ignored], ids=["as it is", "planted: fence ignored"])
async def test_a_stalled_relay_settles_nothing_after_another_followed(
    link: RedisLink, prefix: str, monkeypatch: pytest.MonkeyPatch, plant: Callable[[bytes], bytes]
) -> None:
    script = module._settle
    monkeypatch.setattr(module, "_settle", script_of("outbox_settle", plant(script.source)))
    one, two = outbox_at(link, "one"), outbox_at(link, "two")
    await leave(link, prefix, 1)
    old = await taken(one)
    await command(link, "HSET", relay_key(slot_for(prefix)).decode(), "until", "1", is_write=True)  # it ran out
    new = await taken(two)
    assert new.fence == old.fence + 1
    is_planted = plant is fence_ignored
    assert await one.settle(old, [0], []) is is_planted
    assert bool(await command(link, "EXISTS", outbox_key(slot_for(prefix)).decode())) is not is_planted


async def test_a_node_that_ends_leaves_its_slots_at_once(link: RedisLink, prefix: str) -> None:
    one, two = outbox_at(link, "one"), outbox_at(link, "two")
    await leave(link, prefix, 1)
    await taken(one)
    await one.release()
    assert (await taken(two)).facts == [fact(prefix, 1)]


async def test_a_commit_of_this_node_is_taken_without_a_search(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    entry = Entry(2, "status", 7, status="paused")
    txn = Txn(TxnId("t"), SessionId(prefix), AccountId("acc"), "e", 1, [entry], [0], "paused")
    [body] = outbox.facts_of(txn)
    await command(link, "XADD", outbox_key(slot_for(prefix)).decode(), "*", "f", body.decode(), is_write=True)
    [part] = await outbox.take(512)
    assert [one.type for one in part.facts] == ["session.paused"]


async def test_what_commits_of_the_store_leave_is_taken_whole_and_once(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    store = RedisStore(link, SetClock(), facts=outbox.facts_of)
    session = SessionId(prefix)
    await stage.create(store, session)
    await stage.commit(store, session, stage.edit(2), stage.pause(3))
    await stage.commit(store, session, stage.handoff(4))
    [part] = await outbox.take(512)
    assert [one.type for one in part.facts] == ["session.created", "session.paused", "session.handoff.completed"]
    assert [(one.first, one.last, one.account) for one in part.changes] == [(2, 4, "ada")]
    await stage.commit(store, session, stage.edit(5))
    assert await outbox.settle(part, range(3), part.changes)
    [part] = await outbox.take(512)
    assert (part.facts, [(one.first, one.last) for one in part.changes]) == ([], [(5, 5)])
    assert await outbox.settle(part, [], part.changes)
    assert await outbox.take(512) == []


async def test_facts_of_this_nodes_commits_go_before_changes_of_however_many_slots(
    link: RedisLink, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOTS_AT_ONCE", 3)
    outbox = outbox_at(link, "one")
    store = RedisStore(link, SetClock(), facts=outbox.facts_of)
    await stage.create(store, SessionId(f"{prefix}-0"))
    [part] = await outbox.take(512)
    await outbox.settle(part, [0], [])
    for number in range(1, 9):
        await grow(link, f"{prefix}-{number}", "2 5 2 5 e acc")
    await outbox.look()
    await stage.commit(store, SessionId(f"{prefix}-0"), stage.offer(2))
    parts = await outbox.take(512)
    assert [one.type for part in parts for one in part.facts] == ["handoff.offered"]
    seen = {one.session for part in parts for one in part.changes}
    for _ in range(4):
        seen |= {one.session for part in await outbox.take(512) for one in part.changes}
    assert len(seen) == 9


async def test_past_the_bound_of_a_slot_the_oldest_go_and_are_counted(
    link: RedisLink, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FACTS_MAX", 2)
    outbox = outbox_at(link, "one")
    await leave(link, prefix, 1, 2, 3, 4, 5)
    first = await outbox.look()
    assert (first.dropped, first.oldest_at > 0) == (3, True)
    assert [one.data["version"] for one in (await taken(outbox)).facts] == [4, 5]
    assert (await outbox.look()).dropped == 0


async def test_what_cannot_be_read_is_said_and_holds_up_nobody(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    await command(link, "XADD", outbox_key(slot_for(prefix)).decode(), "*", "f", "{not json", is_write=True)
    await leave(link, prefix, 2)
    assert (await taken(outbox)).facts == [fact(prefix, 2)]
    assert (await outbox.look()).dropped == 1


async def test_a_range_that_cannot_be_read_is_said_and_holds_up_nobody(link: RedisLink, prefix: str) -> None:
    outbox = outbox_at(link, "one")
    key = changed_key(slot_for(prefix)).decode()
    await command(link, "HSET", key, f"{prefix}-b", "not a range", is_write=True)
    await command(link, "HSET", key, f"{prefix}-c", "1 2 3 x e0 ann", is_write=True)
    await leave(link, prefix, 2)
    assert (await taken(outbox)).facts == [fact(prefix, 2)]
    assert (await outbox.look()).dropped == 2
    assert await command(link, "HLEN", key) == 0
