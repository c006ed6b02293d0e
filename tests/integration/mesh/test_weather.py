"""What is lost on the way is found again: nodes that die, connections that are cut, primaries that change.

Each mechanism has its control: with it planted wrong, the same course must show the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deploy.local.redis import RedisCluster, RedisServer
from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link.rules import Rules
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.liveness import Census, Liveness
from syncbridge.adapters.cluster.mesh.rhythm import Rhythm
from syncbridge.core.ids import DeviceId, SessionId
from tests.integration.mesh.world import PHONE, QUICK, TABLET, UNCHECKED, WATCH, Node, World, until_stored, write_head
from tests.integration.redis.asking import command, until


async def comes_true(holds: Callable[[], bool], node: Node, beats: int) -> bool:
    """Whether the condition holds before the node has beaten so often: a time that is counted, not slept."""
    begin = node.figures.sums["mesh_beat", ""]
    await until(lambda: holds() or node.figures.sums["mesh_beat", ""] >= begin + beats)
    return holds()


async def field_of(node: Node, of: Node, session: SessionId) -> bytes | None:
    """What the store holds that a node said of the session."""
    answer = await command(node.link, "HGET", keys.session_keys(session).who.decode(), of.name)
    assert answer is None or isinstance(answer, bytes)
    return answer


async def until_field(node: Node, of: Node, session: SessionId, *, is_there: bool) -> None:
    """The store holds, or does not hold, what that node says of the session."""
    who = keys.session_keys(session).who.decode()
    await until_stored(node, lambda field: (field is not None) is is_there, "HGET", who, of.name)


async def cut_news(server: RedisServer) -> None:
    """Every connection over which news come is cut."""
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


# -- nodes ------------------------------------------------------------------------------------------------------


def _nobody_dies(_self: Liveness, _counts: object, _now_s: float) -> Census:
    return Census([], [], [], is_forgotten=False)


@pytest.mark.parametrize("is_planted", [False, True], ids=["real", "liveness ignored"])
async def test_what_a_killed_node_had_is_gone_everywhere_and_from_the_store(
    world: World, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, is_planted: bool
) -> None:
    if is_planted:
        monkeypatch.setattr(Liveness, "read", _nobody_dies)
    one, two, dead = [await world.node(redis_server.url, UNCHECKED) for _ in range(3)]
    session = world.session()
    for node in (one, two, dead):
        await node.follow(session)
    one.mesh.present(session, PHONE, 1_000)
    dead.mesh.present(session, WATCH, 1_000)
    await until(lambda: two.elsewhere(session) == {PHONE, WATCH})
    await dead.kill()
    beats = round((UNCHECKED.dead_after_s + 3 * UNCHECKED.beat_s) / UNCHECKED.beat_s) + 5

    def is_gone() -> bool:
        return two.elsewhere(session) == {PHONE} and one.elsewhere(session) == set()

    assert await comes_true(is_gone, two, beats) is not is_planted
    if is_planted:
        return
    await until_field(one, dead, session, is_there=False)
    assert await field_of(one, one, session) is not None
    await until(lambda: (one.mesh.nodes, two.mesh.nodes) == (2, 2))
    assert two.figures.sums["mesh_node_died", ""] == 1
    await until_stored(one, lambda stands: not stands, "HEXISTS", keys.NODES.decode(), dead.name)


async def test_who_follows_after_a_death_is_not_shown_the_dead(world: World, redis_server: RedisServer) -> None:
    one, dead = await world.node(redis_server.url), await world.node(redis_server.url)
    session = world.session()
    await dead.follow(session)
    dead.mesh.present(session, WATCH, 1_000)
    await until_field(one, dead, session, is_there=True)
    await dead.kill()
    late = await world.node(redis_server.url)  # knows nothing of the other but what the store says
    await late.follow(session)
    await until(lambda: late.elsewhere(session) == set())
    await until_field(late, dead, session, is_there=False)


async def test_a_node_that_stood_still_too_long_says_again_whom_it_has(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    two.mesh.present(session, PHONE, 1_000)
    await until(lambda: one.elsewhere(session) == {PHONE})
    two.stand_still()
    two.link.unsubscribe(keys.session_channel(session))  # it does not hear that it is buried
    await until(lambda: one.elsewhere(session) == set())
    two.go_on()
    await until(lambda: one.elsewhere(session) == {PHONE})
    await until(lambda: one.mesh.nodes == 2)


async def test_a_node_that_hears_its_own_burial_contradicts(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    two.mesh.present(session, PHONE, 1_000)
    await until(lambda: one.elsewhere(session) == {PHONE})
    said = channel.decode((await field_of(one, two, session) or b"").partition(b" ")[2])
    assert isinstance(said, channel.Statement)
    one.link.publish(
        keys.session_channel(session), channel.encode_statement(channel.Statement(two.name, said.number, {}))
    )
    await until(lambda: set() in [set(devices) for devices in one.seen.history[2:]])
    await until(lambda: one.elsewhere(session) == {PHONE})


async def test_a_node_that_takes_leave_is_gone_at_once_and_no_death(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    two.mesh.present(session, PHONE, 1_000)
    await until(lambda: one.elsewhere(session) == {PHONE})
    await two.mesh.close()
    await until(lambda: one.elsewhere(session) == set())
    assert not await command(one.link, "HEXISTS", keys.NODES.decode(), two.name)
    await until(lambda: one.mesh.nodes == 1)
    assert one.figures.sums["mesh_node_died", ""] == 0


async def test_a_write_that_came_after_its_node_had_left_is_removed_once_it_is_stale(
    world: World, redis_server: RedisServer
) -> None:
    hasty = Rhythm(
        tick_s=0.02, beat_s=0.1, dead_after_s=0.6, retry_s=0.1, check_s=0.1, renew_s=0.2, stale_s=0.5, keep_s=60
    )
    one, two = await world.node(redis_server.url, hasty), await world.node(redis_server.url, hasty)
    session = world.session()
    await one.follow(session)
    late = channel.encode_statement(channel.Statement(two.name, 1, {PHONE: 1_000}))
    who = keys.session_keys(session).who.decode()
    await command(one.link, "HSET", who, two.name, f"1 {late.decode()}", is_write=True)
    one.mesh.present(session, WATCH, 1_000)
    await until(lambda: one.elsewhere(session) == {PHONE})
    await until(lambda: one.elsewhere(session) == set())
    assert one.mesh.nodes == 2  # the node lives; only that statement is of nobody
    await until_field(one, two, session, is_there=False)
    # What stands for something is renewed, and outlives it.
    begin = one.figures.sums["mesh_out", "presence"]
    await until(lambda: one.figures.sums["mesh_out", "presence"] >= begin + 3)
    await two.follow(session)
    assert two.elsewhere(session) == {WATCH}


async def test_a_process_started_again_under_its_name_is_believed_from_its_first_word(
    world: World, redis_server: RedisServer
) -> None:
    other = await world.node(redis_server.url, UNCHECKED)
    session, name = world.session(), f"{world.prefix}-again"
    await other.follow(session)
    first = await world.node(redis_server.url, UNCHECKED, name=name)
    await first.follow(session)
    for at in range(20):  # its statements have high numbers by now
        first.mesh.present(session, PHONE, at)
        await until(lambda at=at: other.seen.devices[session] == {PHONE: at})  # type: ignore[misc]
    await first.kill()
    second = await world.node(redis_server.url, UNCHECKED, name=name)
    await second.follow(session)
    second.mesh.present(session, WATCH, 1)
    await until(lambda: WATCH in (other.elsewhere(session) or ()))
    await until(lambda: other.elsewhere(session) == {WATCH})


# -- messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_planted", [False, True], ids=["real", "position check off"])
async def test_what_no_message_told_is_found_by_the_check(
    world: World, redis_server: RedisServer, is_planted: bool
) -> None:
    one = await world.node(redis_server.url, UNCHECKED if is_planted else QUICK)
    two = await world.node(redis_server.url, UNCHECKED)
    session = world.session()
    await write_head(two, session, "ep", 3)
    await one.follow(session)
    await write_head(two, session, "ep", 5)
    statement = channel.encode_statement(channel.Statement(two.name, 1, {PHONE: 1_000}))
    who = keys.session_keys(session).who.decode()
    await command(two.link, "HSET", who, two.name, f"1 {statement.decode()}", is_write=True)

    def is_found() -> bool:
        return one.seen.heads[session] == ("ep", 5) and one.elsewhere(session) == {PHONE}

    assert await comes_true(is_found, one, beats=10) is not is_planted
    for kind in ("entries", "presence"):
        assert one.figures.sums["mesh_mended", kind] == (not is_planted)


async def test_news_lost_with_a_cut_connection_are_found_when_it_is_back(
    world: World, redis_server: RedisServer
) -> None:
    one, two = await world.node(redis_server.url, UNCHECKED), await world.node(redis_server.url, UNCHECKED)
    session = world.session()
    await write_head(two, session, "ep", 1)
    await one.follow(session)
    await two.follow(session)
    for step in range(5):
        await cut_news(redis_server)
        for node, device in ((one, PHONE), (two, WATCH)):
            (node.mesh.absent if step % 2 else node.mesh.present)(session, device, step)
        await write_head(two, session, "ep", step + 2)
        there = set() if step % 2 else {WATCH}
        await until(lambda there=there: one.elsewhere(session) == there)  # type: ignore[misc]
        await until(lambda step=step: one.seen.heads[session] == ("ep", step + 2))  # type: ignore[misc]
        await until(lambda step=step: two.elsewhere(session) == (set() if step % 2 else {PHONE}))  # type: ignore[misc]


async def test_presence_that_the_store_lost_is_said_again(world: World, redis_server: RedisServer) -> None:
    session = world.session()
    one, two = await world.pair(redis_server.url, session, UNCHECKED)
    one.mesh.present(session, PHONE, 1_000)
    await until(lambda: two.elsewhere(session) == {PHONE})
    await command(two.link, "DEL", keys.session_keys(session).who.decode(), is_write=True)
    for told in one.link.on_primary_changed:
        told()
    await until_field(two, one, session, is_there=True)
    assert two.elsewhere(session) == {PHONE}


@pytest.mark.serial
async def test_a_server_that_stood_still_kills_nobody_and_leaves_no_ghost(
    frozen_server: RedisServer, world: World
) -> None:
    rules = Rules(frozen_ms=300, wait_ms=100, retry_ms=400, connect_ms=300)
    nodes = [await world.node(frozen_server.url, UNCHECKED, rules=rules) for _ in range(2)]
    session = world.session()
    for node in nodes:
        await node.follow(session)
        node.mesh.present(session, TABLET, 1)
    await until(lambda: all(node.elsewhere(session) == {TABLET} for node in nodes))
    frozen_server.process.freeze()
    for node in nodes:  # waits at the server, over a connection that is given up soon
        node.mesh.present(session, PHONE, 2)
    await until(lambda: all(node.link.figures.timeouts for node in nodes))
    for node in nodes:
        node.mesh.present(session, WATCH, 3)
        node.mesh.absent(session, TABLET, 3)
        node.mesh.absent(session, PHONE, 3)
    # Long enough that a node which could count would have been given up.
    said = nodes[0].figures.sums["mesh_out", "presence"]
    await until(lambda: nodes[0].figures.sums["mesh_out", "presence"] > said + 3)
    frozen_server.process.thaw()
    await until(lambda: all(node.elsewhere(session) == {WATCH} for node in nodes))
    beats = nodes[0].figures.sums["mesh_beat", ""]
    await until(lambda: nodes[0].figures.sums["mesh_beat", ""] > beats + 10)
    assert [node.elsewhere(session) for node in nodes] == [{WATCH}, {WATCH}]
    assert [node.figures.sums["mesh_node_died", ""] for node in nodes] == [0, 0]


# -- primaries --------------------------------------------------------------------------------------------------


async def test_nodes_of_a_cluster_hear_of_each_other_in_every_slot(world: World, redis_cluster: RedisCluster) -> None:
    nodes = [await world.node(redis_cluster.url, UNCHECKED) for _ in range(2)]
    sessions = [world.session(f"s{number}") for number in range(30)]
    for node in nodes:
        await node.follow(*sessions)
    for session in sessions:
        nodes[0].mesh.present(session, PHONE, 1_000)
    await until(lambda: all(nodes[1].elsewhere(session) == {PHONE} for session in sessions))
    await until(lambda: [node.mesh.nodes for node in nodes] == [2, 2])


@pytest.mark.serial
async def test_after_a_failover_presence_is_as_exact_as_before(world: World, redis_cluster: RedisCluster) -> None:
    nodes = [await world.node(redis_cluster.url, QUICK) for _ in range(2)]
    sessions = [world.session(f"s{number}") for number in range(12)]
    here: dict[tuple[int, SessionId], set[DeviceId]] = {}
    for node in nodes:
        await node.follow(*sessions)

    def is_right() -> bool:
        return all(nodes[1 - at].elsewhere(session) == devices for (at, session), devices in here.items())

    def turn(number: int) -> None:
        for at, node in enumerate(nodes):
            for session in sessions:
                device = (PHONE, WATCH, TABLET)[number % 3]
                present = here.setdefault((at, session), set())
                (node.mesh.absent if device in present else node.mesh.present)(session, device, number)
                present ^= {device}

    turn(0)
    await until(is_right)
    primary = redis_cluster.primary_of(keys.NODES.decode())  # the nodes' counts are hit, too
    primary.process.kill()
    try:
        for number in (1, 2, 3, 4):
            turn(number)
            await asyncio.sleep(0)
        await until(is_right, deadline_s=20)
        assert [node.figures.sums["mesh_node_died", ""] for node in nodes] == [0, 0]
    finally:
        primary.start()
    turn(5)
    await until(is_right)
