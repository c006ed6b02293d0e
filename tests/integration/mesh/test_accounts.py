"""A device's newest connection stays, wherever its others are; and a message finds it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from deploy.local.redis import RedisServer
from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link.calls import Done
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.arrivals import Place, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId
from tests.integration.mesh.test_weather import cut_news
from tests.integration.mesh.world import PHONE, UNCHECKED, WATCH, Node, World
from tests.integration.redis.asking import command, until


async def test_the_older_connection_hears_of_the_newer(world: World, redis_server: RedisServer) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    alice = AccountId(f"{world.prefix}-alice")
    one.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    one.mesh.arrive(alice, WATCH, ConnectionId("c2"))
    await until(lambda: one.figures.sums["mesh_in", "arrived"] >= 2)  # its own, so it listens
    two.mesh.arrive(alice, PHONE, ConnectionId("c3"))
    await until(lambda: one.seen.arrivals)
    assert one.seen.arrivals == [(alice, PHONE, ConnectionId("c3"))]
    assert two.seen.arrivals == []


async def test_of_connections_that_arrive_at_once_exactly_one_stays(world: World, redis_server: RedisServer) -> None:
    nodes = [await world.node(redis_server.url, UNCHECKED) for _ in range(3)]
    draw = random.Random(5)
    accounts = [AccountId(f"{world.prefix}-a{number}") for number in range(50)]
    for account in accounts:
        for node in draw.sample(nodes, 3):
            node.mesh.arrive(account, PHONE, ConnectionId(f"{node.name}-c"))

    def gave_way(account: AccountId) -> int:
        return sum((account, PHONE) == arrival[:2] for node in nodes for arrival in node.seen.arrivals)

    await until(lambda: all(gave_way(account) >= 2 for account in accounts))
    for node in nodes:  # nothing is on the way any more that could make a third give way
        for account in accounts:
            node.mesh.tell(account, PHONE, world.session(), b"{}")
    await until(lambda: all(len(node.seen.messages) == 2 * len(accounts) for node in nodes))
    assert [gave_way(account) for account in accounts] == [2] * len(accounts)


async def test_an_arrival_that_nobody_heard_is_made_good(world: World, redis_server: RedisServer) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    alice = AccountId(f"{world.prefix}-alice")
    one.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    await until(lambda: one.figures.sums["mesh_in", "arrived"])
    await cut_news(redis_server)
    two.mesh.arrive(alice, PHONE, ConnectionId("c2"))
    await until(lambda: one.seen.arrivals)
    assert one.seen.arrivals == [(alice, PHONE, ConnectionId("c2"))]
    assert two.seen.arrivals == []


class Hold:
    """Arrivals that a node wants written are held up on their way; they come to the server by `let_go`."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self._node = node
        self._held: list[tuple[Script, Sequence[bytes], Sequence[bytes], Done]] = []
        self._run = node.link.run
        monkeypatch.setattr(node.link, "run", self.run)

    def run(
        self, script: Script, names: Sequence[bytes], args: Sequence[bytes], done: Done, *, is_write: bool = True
    ) -> None:
        if script.name == "arrive":
            self._held.append((script, names, args, done))
        else:
            self._run(script, names, args, done, is_write=is_write)

    def let_go(self, by: Node, *, is_answered: bool) -> None:
        """``by`` has a connection to the server for it, whatever became of the node."""
        self._run = by.link.run
        held, self._held = self._held, []
        for script, names, args, done in held:
            by.link.run(script, names, args, done if is_answered else lambda _: None, is_write=False)


def _believed(place: Place, arrived: Arrived) -> Verdict:
    return _hear(place, msgspec.structs.replace(arrived, answers=False))


_hear = Place.hear


@pytest.mark.parametrize("is_planted", [False, True], ids=["real", "the number alone decides"])
@pytest.mark.parametrize("older", ["departed", "killed", "there"])
async def test_an_older_connection_whose_arrival_was_held_up_replaces_nobody(
    world: World, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, older: str, is_planted: bool
) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    alice = AccountId(f"{world.prefix}-alice")
    hold = Hold(one, monkeypatch)
    one.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    begin = two.figures.sums["mesh_beat", ""]
    await until(lambda: two.figures.sums["mesh_beat", ""] >= begin + 3)  # longer than an answer takes
    two.mesh.arrive(alice, PHONE, ConnectionId("c2"))
    await until(lambda: two.figures.sums["mesh_in", "arrived"])
    if older == "departed":
        one.mesh.depart(alice, PHONE, ConnectionId("c1"))
    elif older == "killed":
        await one.kill()
    if is_planted:
        monkeypatch.setattr(Place, "hear", _believed)
    hold.let_go(by=two, is_answered=older != "killed")
    if is_planted:
        await until(lambda: two.seen.arrivals == [(alice, PHONE, ConnectionId("c1"))])
        return
    if older == "there":
        await until(lambda: one.seen.arrivals == [(alice, PHONE, ConnectionId("c2"))])
    await until(lambda: two.figures.sums["mesh_out", "asked"] > (0 if older == "there" else 3))
    assert two.seen.arrivals == []


async def test_who_departed_is_not_told_and_listens_no_more(world: World, redis_server: RedisServer) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    alice = AccountId(f"{world.prefix}-alice")
    one.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    await until(lambda: one.figures.sums["mesh_in", "arrived"])
    one.mesh.depart(alice, PHONE, ConnectionId("another"))
    assert await command(one.link, "PUBSUB", "SHARDNUMSUB", keys.account_channel(alice).decode())
    one.mesh.depart(alice, PHONE, ConnectionId("c1"))
    two.mesh.arrive(alice, PHONE, ConnectionId("c2"))
    await until(lambda: two.figures.sums["mesh_in", "arrived"])
    assert one.seen.arrivals == []


async def test_a_message_reaches_a_device_where_it_is_connected(world: World, redis_server: RedisServer) -> None:
    one, two = await world.node(redis_server.url), await world.node(redis_server.url)
    alice, session = AccountId(f"{world.prefix}-alice"), world.session()
    two.mesh.arrive(alice, PHONE, ConnectionId("c1"))
    await until(lambda: two.figures.sums["mesh_in", "arrived"])
    one.mesh.tell(alice, WATCH, session, b'{"for":"watch"}')
    one.mesh.tell(alice, PHONE, session, b'{"for":"phone"}\n')
    await until(lambda: two.seen.messages)
    assert two.seen.messages == [(alice, PHONE, session, b'{"for":"phone"}\n')]
    one.mesh.tell(alice, PHONE, session, b"x" * channel.FRAME_BYTES_MAX)
    assert one.figures.sums["mesh_dropped", "told"] == 1


async def test_strange_frames_on_an_accounts_channel_are_counted(world: World, redis_server: RedisServer) -> None:
    node = await world.node(redis_server.url)
    alice = AccountId(f"{world.prefix}-alice")
    node.mesh.arrive(alice, DeviceId("phone"), ConnectionId("c1"))
    await until(lambda: node.figures.sums["mesh_in", "arrived"])
    for frame in (b"a{}", b"?", channel.encode_deleted("n", "deleted")):
        node.link.publish(keys.account_channel(alice), frame)
    await until(lambda: node.figures.sums["mesh_broken", "malformed"] == 2)
    assert node.figures.sums["mesh_broken", "unknown"] == 1
