"""What one commit leaves in Redis, and what it does where Redis falters: never by halves, never twice."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster.keys import changed_key, outbox_key, session_channel, slot_of
from syncbridge.adapters.cluster.link.script import Script, load, script_of
from syncbridge.adapters.cluster.log import commits, store
from syncbridge.adapters.cluster.log.stored import read_change
from syncbridge.adapters.cluster.mesh.channel import Entries, decode, read_entries
from syncbridge.core.entry import Txn
from syncbridge.core.facts import Change
from syncbridge.core.ids import ConnectionId, DeviceId, TxnId
from syncbridge.limits import Retention
from syncbridge.ports import (
    Outcome,
    WasBehind,
    WasCommitted,
    WasConflict,
    WasFenced,
    WasForeign,
    WasRefused,
    WasUnknown,
)
from tests.conformance.logs import (
    ACCOUNT,
    EPOCH,
    STARTED_AT,
    change,
    create,
    delete,
    loaded,
    session_named,
    snapshot_of,
    submit,
    waiting,
)
from tests.integration.redis.nodes import World, log_up_to

SESSION, OTHER = session_named("a"), session_named("b")
DAY_MS = 86_400_000
PHONE, OLD, NEW = DeviceId("phone"), ConnectionId("c-old"), ConnectionId("c-new")
SLACK_MS = 2 * Retention().run_every_ms
SLOT = slot_of(session_channel(SESSION))


def head_of(world: World) -> int:
    node = world.nodes[0]
    log = loaded(node, SESSION)
    return log.entries[-1].version if log.entries else log.snapshot.version


# -- what a commit leaves ---------------------------------------------------------------------------------------


def test_every_key_of_a_log_has_its_time_to_live_and_the_status_decides_it(world: World) -> None:
    node = world.node()
    kept = Retention()
    create(node, SESSION)
    for head, status in enumerate(("active", "completed", "archived", "paused"), 1):
        submit(node, change(SESSION, head, status=status, snapshot=snapshot_of(SESSION, head + 1)))
        log = [name for name in world.names() if name.startswith(session_channel(SESSION))]
        assert len(log) == 4
        for name in log:
            left: Any = world.client.pttl(name)
            most = kept.session_ms(status) + SLACK_MS
            assert most - 60_000 < left <= most, (name, status)


def test_a_commit_is_said_once_on_the_session_s_channel_and_a_refused_one_is_not(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    heard: list[bytes] = []
    ready: list[bool] = []
    node.link.subscribe(session_channel(SESSION), heard.append, lambda: ready.append(True))
    node.wait(lambda: bool(ready))
    pushed = change(SESSION, 1, 2, expected_at=STARTED_AT + 1)
    submit(node, pushed, pushed, change(SESSION, 1, name="late"), change(SESSION, 3, 0, claims={PHONE: NEW}))
    submit(node, change(SESSION, 3))
    node.wait(lambda: len(heard) == 2)
    txn = pushed.txn
    told = decode(heard[0])
    assert isinstance(told, Entries)
    assert (told.epoch, told.first, told.txn, told.digests) == (EPOCH, 2, txn.id, txn.digests)
    assert (read_entries(told.first, told.copies()), told.previous_at) == (txn.entries, STARTED_AT + 1)


def test_commits_are_on_their_way_in_one_write_when_they_are_submitted(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    before = node.link.figures.writes
    outcomes: list[Outcome] = []
    node.store.submit([change(SESSION, 1), change(SESSION, 2)], outcomes.append)
    assert node.link.figures.writes - before == 1
    node.wait(lambda: len(outcomes) == 2)
    assert node.link.figures.writes - before == 1


def facts_of(txn: Txn) -> list[bytes]:
    return [f"{txn.id}:{entry.version}".encode() for entry in txn.entries]


def test_facts_and_changes_are_noted_with_the_commit_and_once(world: World) -> None:
    node = world.node(facts=facts_of)
    create(node, SESSION)
    pushed = change(SESSION, 1, 2, name="one", at=STARTED_AT + 10)
    submit(node, pushed, pushed, change(SESSION, 1, name="late"), change(SESSION, 3, 0, claims={PHONE: NEW}))
    submit(node, change(SESSION, 3, name="two", at=STARTED_AT + 20))
    found: Any = world.client.xrange(outbox_key(SLOT))
    assert [fields for _, fields in found] == [
        {b"f": fact} for fact in (b"create:1", b"one-2:2", b"one-2:3", b"two-4:4")
    ]
    noted: Any = world.client.hgetall(changed_key(SLOT))
    assert {name: read_change(SESSION, value) for name, value in noted.items()} == {
        SESSION.encode(): Change(SESSION, ACCOUNT, EPOCH, 2, 4, STARTED_AT + 10, STARTED_AT + 20)
    }
    world.client.delete(changed_key(SLOT))
    submit(node, change(SESSION, 4, name="three", at=STARTED_AT + 30))
    value: Any = world.client.hget(changed_key(SLOT), SESSION)
    assert read_change(SESSION, value) == Change(SESSION, ACCOUNT, EPOCH, 5, 5, STARTED_AT + 30, STARTED_AT + 30)


def test_changes_of_two_logs_are_not_joined(world: World) -> None:
    node = world.node(facts=facts_of)
    create(node, SESSION)
    submit(node, change(SESSION, 1))
    delete(node, SESSION)
    create(node, SESSION, epoch="epoch-2")
    submit(node, change(SESSION, 1, 3, epoch="epoch-2"))
    value: Any = world.client.hget(changed_key(SLOT), SESSION)
    assert (read_change(SESSION, value).epoch, read_change(SESSION, value).first) == ("epoch-2", 2)


def test_without_a_broker_nothing_is_noted_for_one(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 3)
    assert not world.client.exists(outbox_key(SLOT), changed_key(SLOT))


def test_nothing_of_a_deleted_session_is_left_but_that_it_was_deleted(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    until = node.clock.ms + 60_000
    submit(node, change(SESSION, 1, waiting_for=PHONE, waiting_until=until, mark="canary"))
    assert waiting(node, "phone") == [SESSION]
    submit(node, change(SESSION, 2, snapshot=snapshot_of(SESSION, 3), claims={PHONE: NEW}))
    assert waiting(node, "phone") == []
    assert delete(node, SESSION) is None
    assert world.names() == {world.keys(SESSION).gone}
    left: Any = world.client.pttl(world.keys(SESSION).gone)
    assert 0 < left <= store.TOMBSTONE_MS


def test_an_offer_is_found_though_the_index_was_lost_in_between(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    until = node.clock.ms + 60_000
    submit(node, change(SESSION, 1, waiting_for=PHONE, waiting_until=until))
    world.client.delete("sb:{@ada}:offers")
    for told in node.link.on_primary_changed:
        told()  # what a failover lost is found out so
    submit(node, change(SESSION, 2, waiting_for=PHONE, waiting_until=until))
    assert waiting(node, "phone") == [SESSION]


@pytest.mark.parametrize("apart_ms", [2 * DAY_MS, -2 * DAY_MS], ids=["ahead", "behind"])
def test_an_offer_is_found_and_waits_as_long_at_a_node_whose_clock_is_another(world: World, apart_ms: int) -> None:
    one, two = world.node(), world.node()
    two.clock.ms += apart_ms
    for node, other, session in ((one, two, SESSION), (two, one, OTHER)):
        create(node, session)
        at = node.clock.ms
        submit(node, change(session, 1, at=at, waiting_for=PHONE, waiting_until=at + 600_000))
        left_ms = loaded(other, session).offer_left_ms
        assert left_ms is not None
        assert 540_000 < left_ms <= 600_000
    assert sorted(waiting(one, "phone")) == sorted(waiting(two, "phone")) == sorted([SESSION, OTHER])
    one.pass_time(600_000)
    assert waiting(one, "phone") == waiting(two, "phone") == []
    assert loaded(two, SESSION).offer_left_ms == 0


# -- where Redis falters ----------------------------------------------------------------------------------------


def test_a_server_without_memory_refuses_a_commit_whole_and_still_deletes(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 3)
    used: Any = world.client.info("memory")
    world.client.config_set("maxmemory", used["used_memory"] // 2)
    try:
        assert submit(node, change(SESSION, 3, 2)) == [WasRefused(TxnId("txn-4"), "unavailable")]
        assert create(node, session_named("b")) == WasRefused(TxnId("create"), "unavailable")
        assert head_of(world) == 3
        # Who only asks where the log stands is answered: what is committed can be read.
        assert submit(node, change(SESSION, 3, 0)) == [WasCommitted(TxnId("txn-4"))]
        (behind,) = submit(node, change(SESSION, 2, 0))
        assert isinstance(behind, WasConflict)
        assert [entry.version for entry in behind.entries] == [3]
        assert submit(node, change(SESSION, 9, 0)) == [WasBehind(TxnId("txn-10"), 3)]
        assert delete(node, SESSION) is None
    finally:
        world.client.config_set("maxmemory", 0)


@pytest.mark.serial
def test_a_commit_at_a_frozen_server_is_unknown_and_never_doubled(world: World, redis_server: RedisServer) -> None:
    node = world.node()
    create(node, SESSION)
    pushed = change(SESSION, 1, 2)
    redis_server.process.freeze()
    try:
        assert submit(node, pushed) == [WasUnknown(pushed.txn.id)]
    finally:
        redis_server.process.thaw()
    node.wait(node.store.is_healthy)
    assert submit(node, pushed) == [WasCommitted(pushed.txn.id)]
    assert head_of(world) == 3


@pytest.mark.serial
def test_a_script_that_the_server_forgot_is_there_again(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    world.client.script_flush()
    assert submit(node, change(SESSION, 1)) == [WasCommitted(TxnId("txn-2"))]


# -- planted faults ---------------------------------------------------------------------------------------------


def repeats_stand(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    pushed = change(SESSION, 1, 2)
    assert submit(node, pushed, pushed) == [WasCommitted(pushed.txn.id)] * 2
    assert head_of(world) == 3


def late_ones_lose(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    first = change(SESSION, 1)
    outcomes = submit(node, first, change(SESSION, 1, name="late"))
    assert outcomes == [
        WasCommitted(first.txn.id),
        WasConflict(TxnId("late-2"), first.txn.entries, first.txn.digests, [first.txn.id]),
    ]


def left_connections_are_fenced(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    submit(node, change(SESSION, 1, 0, claims={PHONE: NEW}))
    assert submit(node, change(SESSION, 1, held={PHONE: OLD})) == [WasFenced(TxnId("txn-2"), [PHONE])]


def what_was_made_on_a_lost_entry_is_told(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    assert submit(node, change(SESSION, 1, expected_at=STARTED_AT + 9)) == [WasForeign(TxnId("txn-2"))]


def losses_are_told(world: World) -> None:
    node = world.node()
    create(node, SESSION)
    assert submit(node, change(SESSION, 4)) == [WasBehind(TxnId("txn-5"), 1)]


def orphans_are_noticed(world: World) -> None:
    node = world.node()
    log_up_to(node, SESSION, 3)
    world.client.delete(world.keys(SESSION).log)
    assert submit(node, change(SESSION, 3)) == [WasBehind(TxnId("txn-4"), 0)]


PLANTED = {
    "repeats are not known": (repeats_stand, "stands[2][2] == ARGV[3]", "false"),
    "the head is not compared": (late_ones_lose, "if expected < version then return {2, version} end", ""),
    "claims are not judged": (left_connections_are_fenced, "by ~= ARGV[held + 1]", "false"),
    "a lost end is not noticed": (losses_are_told, "if expected > version then return {5, version} end", ""),
    "the entry before is not compared": (what_was_made_on_a_lost_entry_is_told, "head[4] ~= ARGV[10]", "false"),
    "a lost log is begun anew": (orphans_are_noticed, "'NOMKSTREAM', ", ""),
}


def planted(text: str, with_what: str) -> Script:
    source = load("commit").source.decode()
    assert source.count(text) == 1
    return script_of("planted", source.replace(text, with_what).encode())


@pytest.mark.parametrize(("claim", "text", "with_what"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_in_the_commit_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, claim: Any, text: str, with_what: str
) -> None:
    claim(world)
    world.servers.empty()
    monkeypatch.setattr(commits, "_commit", planted(text, with_what))
    with pytest.raises(AssertionError):
        claim(world)
