"""What nodes hear of a session that lives at several of them, over a real Redis."""

from __future__ import annotations

import asyncio
import random

import pytest

from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.wire.codec import encode_entry
from tests.integration.mesh.world import PHONE, QUICK, TABLET, UNCHECKED, WATCH, Node, World, commit, write_head
from tests.integration.redis.asking import command, until


def patch(version: int, text: str = "a") -> Entry:
    return Entry(version, "patch", version, ops=[{"op": "add", "path": "/a", "value": text}])


async def test_whoever_follows_is_told_first_who_is_elsewhere_and_where_the_log_ends(
    world: World, redis_server: RedisServer
) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    session = world.session()
    await write_head(one, session, "ep", 7)
    await one.follow(session)
    assert one.seen.heads[session] == ("ep", 7)
    assert one.elsewhere(session) == set()
    one.mesh.present(session, PHONE, 1_000)
    await two.follow(session)
    assert two.seen.devices[session] == {PHONE: 1_000}
    assert two.seen.heads[session] == ("ep", 7)


async def test_a_session_that_the_store_does_not_have_is_told_as_version_0(
    world: World, redis_server: RedisServer
) -> None:
    node = await world.node(redis_server.url)
    await node.follow(world.session())
    assert node.seen.heads[world.session()] == ("", 0)


async def test_devices_come_and_go_and_are_heard_at_every_other_node(world: World, redis_server: RedisServer) -> None:
    nodes = [await world.node(redis_server.url, UNCHECKED) for _ in range(3)]
    session = world.session()
    for node in nodes:
        await node.follow(session)
    nodes[0].mesh.present(session, PHONE, 1_000)
    nodes[1].mesh.present(session, WATCH, 2_000)
    await until(lambda: nodes[2].elsewhere(session) == {PHONE, WATCH})
    await until(lambda: nodes[0].elsewhere(session) == {WATCH})
    await until(lambda: nodes[1].elsewhere(session) == {PHONE})
    nodes[0].mesh.absent(session, PHONE, 5_000)
    await until(lambda: nodes[2].elsewhere(session) == {WATCH})
    # When it was last heard is told before it is gone: a takeover reckons with it.
    assert {PHONE: 5_000, WATCH: 2_000} in nodes[2].seen.history
    nodes[1].mesh.unfollow(session)
    await until(lambda: nodes[2].elsewhere(session) == set())


async def test_being_heard_again_is_told_but_not_for_every_word(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    one.mesh.present(session, PHONE, 1_000)
    await until(lambda: two.seen.devices[session] == {PHONE: 1_000})
    for at in range(1_001, 1_201):
        one.mesh.present(session, PHONE, at)
    await until(lambda: two.seen.devices[session] == {PHONE: 1_200})
    assert len(two.seen.history) < 6


async def test_committed_entries_are_heard_by_all_and_large_ones_lead_to_a_look(
    world: World, redis_server: RedisServer
) -> None:
    one, two = await world.node(redis_server.url, UNCHECKED), await world.node(redis_server.url, UNCHECKED)
    session = world.session()
    await write_head(one, session, "ep", 1)
    await one.follow(session)
    await two.follow(session)
    commit(one, session, "ep", patch(2), patch(3))
    await until(lambda: two.seen.committed)
    assert two.seen.committed == [(session, "ep", [patch(2), patch(3)], [0, 0], "txn-2", 1)]
    assert two.seen.bodies == [encode_entry(patch(2)), encode_entry(patch(3))]
    await write_head(one, session, "ep", 4)
    commit(one, session, "ep", patch(4, "x" * channel.ENTRIES_BYTES_MAX))
    await until(lambda: two.seen.heads[session] == ("ep", 4))
    assert len(two.seen.committed) == 1


async def test_a_transaction_that_a_node_knows_is_not_told_to_it_again(world: World, redis_server: RedisServer) -> None:
    node = await world.node(redis_server.url, UNCHECKED)
    session = world.session()
    await write_head(node, session, "ep", 1)
    await node.follow(session)
    node.seen.known.add(TxnId("txn-2"))
    commit(node, session, "ep", patch(2))
    commit(node, session, "ep", patch(3))
    await until(lambda: node.seen.committed)
    assert [txn for *_, txn, _ in node.seen.committed] == ["txn-3"]
    await until(lambda: node.figures.sums["mesh_in", "entries"] == 2)


async def test_signals_and_a_deletion_reach_the_others_and_not_whoever_said_them(
    world: World, redis_server: RedisServer
) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session)
    one.mesh.signal(session, PHONE, b'{"type":"signal"}')
    one.mesh.delete(session, "deleted")
    await until(lambda: two.seen.gone)
    assert two.seen.signals == [(session, PHONE, b'{"type":"signal"}')]
    assert two.seen.gone == [(session, "deleted")]
    assert (one.seen.signals, one.seen.gone) == ([], [])


async def test_what_a_node_says_of_a_deleted_session_leaves_no_key(world: World, redis_server: RedisServer) -> None:
    # No look in between: a node that heard of the deletion late, or not at all.
    one, two = await world.node(redis_server.url, UNCHECKED), await world.node(redis_server.url, UNCHECKED)
    session, kept = world.session(), world.session("kept")
    for node in (one, two):
        await node.follow(session, kept)
    one.mesh.present(session, PHONE, 1_000)
    await until(lambda: two.elsewhere(session) == {PHONE})
    names = keys.session_keys(session)
    await command(one.link, "DEL", names.who.decode(), is_write=True)
    await command(one.link, "SET", names.gone.decode(), "1", is_write=True)
    two.mesh.present(session, WATCH, 2_000)
    one.mesh.absent(session, PHONE, 2_000)
    for node, device in ((one, PHONE), (two, WATCH)):  # said after those of the other session, and in order
        node.mesh.present(kept, device, 2_000)
    await until(lambda: one.elsewhere(kept) == {WATCH})
    await until(lambda: two.elsewhere(kept) == {PHONE})
    assert await command(one.link, "EXISTS", names.who.decode()) == 0
    assert two.elsewhere(session) == {PHONE}, "nothing is said of what is gone"
    # Nothing of it waits for ever: a node that lets go of it is done at once.
    settled = asyncio.Event()
    two.mesh._sessions.unfollow_all(settled.set)
    await asyncio.wait_for(settled.wait(), 10)


async def test_signals_beyond_what_a_tick_may_hold_are_dropped_and_counted(
    world: World, redis_server: RedisServer
) -> None:
    node = await world.node(redis_server.url)
    frame = b"x" * channel.SIGNAL_BYTES_MAX
    count = QUICK.signal_bytes_max // len(frame)
    for _ in range(count + 5):
        node.mesh.signal(world.session(), PHONE, frame)
    node.mesh.signal(world.session(), PHONE, frame + b"x")
    assert node.figures.sums["mesh_out", "signal"] == count
    assert node.figures.sums["mesh_dropped", "signal"] == 6


async def test_frames_that_say_nothing_are_counted_and_lead_to_a_look(world: World, redis_server: RedisServer) -> None:
    node = await world.node(redis_server.url, UNCHECKED)
    session = world.session()
    await node.follow(session)
    await write_head(node, session, "ep", 9)
    node.link.publish(keys.session_channel(session), b'e{"epoch":"ep"')
    await until(lambda: node.seen.heads[session] == ("ep", 9))
    node.link.publish(keys.session_channel(session), b"?{}")
    node.link.publish(
        keys.session_channel(session), b'e{"epoch":"ep","first":10,"txn":"t","digests":[0],"entries":[{"version":11}]}'
    )
    node.link.publish(keys.session_channel(session), channel.encode_told("n", PHONE, session, b""))
    await until(lambda: node.figures.sums["mesh_broken", "malformed"] == 3)
    assert node.figures.sums["mesh_broken", "unknown"] == 1


async def test_a_late_statement_of_a_node_makes_no_ghost(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    one.mesh.present(session, PHONE, 1_000)
    await until(lambda: two.elsewhere(session) == {PHONE})
    one.mesh.absent(session, PHONE, 1_000)
    await until(lambda: two.elsewhere(session) == set())
    late = channel.encode_statement(channel.Statement(one.name, 1, {PHONE: 1_000}))
    two.link.publish(keys.session_channel(session), late)
    commit(one, session, "ep", patch(1))  # comes after it
    await until(lambda: two.seen.committed)
    assert two.elsewhere(session) == set()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("who", ["SET", "x"]),
        ("who", ["HSET", "somebody", "x"]),
        ("head", ["SET", "x"]),
        ("head", ["HSET", "version", "x"]),
        ("nodes", ["SET", "x"]),
        ("last", ["RPUSH", "x"]),
        ("last", ["SET", "x"]),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
async def test_what_is_not_as_it_should_be_in_the_store_stops_no_news(
    world: World, redis_server: RedisServer, key: str, words: list[str]
) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    session, alice = world.session(), AccountId(f"{world.prefix}-alice")
    named = {
        "who": keys.session_keys(session).who,
        "head": keys.session_keys(session).head,
        "nodes": keys.NODES,
        "last": keys.account_last(alice),
    }
    name = named[key].decode()
    await command(one.link, "DEL", name, is_write=True)
    assert await command(one.link, words[0], name, *words[1:], is_write=True)
    one.mesh.follow(session)
    two.mesh.follow(session)
    one.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    one.mesh.present(session, PHONE, 1_000)
    await until(lambda: two.elsewhere(session) == {PHONE})
    await until(lambda: one.figures.sums["mesh_in", "arrived"] and two.mesh.nodes == one.mesh.nodes == 2)
    assert (session in two.seen.heads) is (key != "head")  # a head that cannot be read is no log that is gone


class Model:
    """Who is where, as the test itself has done it."""

    def __init__(self, nodes: list[Node], session: SessionId) -> None:
        self.nodes = nodes
        self.session = session
        self.here: dict[str, set[DeviceId]] = {node.name: set() for node in nodes}

    def is_right_at(self, node: Node) -> bool:
        others = [devices for name, devices in self.here.items() if name != node.name]
        return node.elsewhere(self.session) == set().union(*others)


@pytest.mark.parametrize("seed", [1, 2])
async def test_presence_is_exact_after_a_thousand_joins_and_leaves_at_three_nodes(
    world: World, redis_server: RedisServer, seed: int
) -> None:
    draw = random.Random(seed)
    nodes = [await world.node(redis_server.url, UNCHECKED) for _ in range(3)]
    models = [Model(nodes, world.session(f"s{number}")) for number in range(4)]
    for node in nodes:
        await node.follow(*(model.session for model in models))
    for step in range(1_000):
        model, node, device = draw.choice(models), draw.choice(nodes), draw.choice([PHONE, WATCH, TABLET])
        here = model.here[node.name]
        (node.mesh.absent if device in here else node.mesh.present)(model.session, device, step)
        here ^= {device}
        if step % 50 == 0:
            await until(lambda: all(model.is_right_at(node) for model in models for node in nodes))
    await until(lambda: all(model.is_right_at(node) for model in models for node in nodes))
    for node in nodes:
        assert node.figures.sums["mesh_mended", "presence"] == 0  # nothing but what was told


async def test_what_a_node_says_again_and_again_is_one_field_in_the_store(
    world: World, redis_server: RedisServer
) -> None:
    node = await world.node(redis_server.url)
    session = world.session()
    await node.follow(session)
    for at in range(100):
        node.mesh.present(session, PHONE, at)
        node.mesh.absent(session, PHONE, at)
    node.mesh.present(session, WATCH, 1)
    who = keys.session_keys(session).who.decode()
    await until(lambda: node.figures.sums["mesh_out", "presence"] > 0)
    assert await command(node.link, "HLEN", who) == 1
    assert 0 < await command(node.link, "PTTL", who) <= QUICK.keep_s * 1_000
