"""Nodes for the checks of the mesh: each a mesh with a link of its own, and one who writes down what it is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncbridge.adapters.cluster import keys
from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.rules import Rules
from syncbridge.adapters.cluster.mesh import channel
from syncbridge.adapters.cluster.mesh.mesh import RedisMesh
from syncbridge.adapters.cluster.mesh.rhythm import Rhythm
from syncbridge.core.entry import Entry
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId, SessionId, TxnId
from syncbridge.wire.codec import encode_entry
from tests.integration.redis.asking import command, until

PHONE, WATCH, TABLET = DeviceId("phone"), DeviceId("watch"), DeviceId("tablet")

QUICK = Rhythm(tick_s=0.02, beat_s=0.1, dead_after_s=0.6, retry_s=0.1, check_s=0.3)
"""What takes seconds takes parts of one."""

UNCHECKED = Rhythm(
    tick_s=0.02, beat_s=0.1, dead_after_s=0.6, retry_s=0.1, check_s=3_600, renew_s=3_600, stale_s=20_000, keep_s=30_000
)
"""The same, but nothing is looked at without a reason."""


@dataclass
class Seen:
    """A `Neighbour` that writes down what it is told."""

    devices: dict[SessionId, dict[DeviceId, int]] = field(default_factory=dict)
    heads: dict[SessionId, tuple[str, int]] = field(default_factory=dict)
    committed: list[tuple[SessionId, str, list[Entry], list[int], TxnId, int]] = field(default_factory=list)
    signals: list[tuple[SessionId, DeviceId, bytes]] = field(default_factory=list)
    arrivals: list[tuple[AccountId, DeviceId, ConnectionId]] = field(default_factory=list)
    heard: list[AccountId] = field(default_factory=list)
    messages: list[tuple[AccountId, DeviceId, SessionId, bytes]] = field(default_factory=list)
    gone: list[tuple[SessionId, str]] = field(default_factory=list)
    history: list[dict[DeviceId, int]] = field(default_factory=list)
    known: set[TxnId] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)

    def is_known(self, session: SessionId, first: int, txn: TxnId) -> bool:
        return txn in self.known

    def entries_seen(
        self,
        session: SessionId,
        epoch: str,
        entries: list[Entry],
        digests: list[int],
        txn: TxnId,
        previous_at: int = 0,
        bodies: Sequence[bytes] = (),
    ) -> None:
        self.bodies += bodies
        self.committed.append((session, epoch, entries, digests, txn, previous_at))

    def head_seen(self, session: SessionId, epoch: str, version: int) -> None:
        self.heads[session] = (epoch, version)

    def elsewhere(self, session: SessionId, devices: Mapping[DeviceId, int]) -> None:
        self.devices[session] = dict(devices)
        self.history.append(dict(devices))

    def signalled(self, session: SessionId, device: DeviceId, frame: bytes) -> None:
        self.signals.append((session, device, frame))

    def device_arrived(self, account: AccountId, device: DeviceId, connection: ConnectionId) -> None:
        self.arrivals.append((account, device, connection))

    def account_heard(self, account: AccountId) -> None:
        self.heard.append(account)

    def told(self, account: AccountId, device: DeviceId, session: SessionId, frame: bytes) -> None:
        self.messages.append((account, device, session, frame))

    def deleted(self, session: SessionId, reason: str) -> None:
        self.gone.append((session, reason))


@dataclass
class Figures:
    """`Telemetry` as sums, and the last value of each gauge."""

    sums: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: dict[str, float] = field(default_factory=dict)

    def measured(self, name: str, value: float, label: str = "") -> None:
        self.sums[name, label] += int(value)
        self.last[name] = value


class Node:
    """One node: its mesh, its link, and what it was told."""

    def __init__(self, name: str, link: RedisLink, rhythm: Rhythm) -> None:
        self.link = link
        self.seen = Seen()
        self.figures = Figures()
        self.mesh = RedisMesh(link, name, self.figures, rhythm=rhythm)
        self.name = self.mesh.node
        self.mesh.start(self.seen)

    def elsewhere(self, session: SessionId) -> set[DeviceId] | None:
        """The devices that this node believes elsewhere; None before it was told."""
        devices = self.seen.devices.get(session)
        return None if devices is None else set(devices)

    async def follow(self, *sessions: SessionId) -> None:
        """The sessions live here, and the first news of each has come."""
        for session in sessions:
            self.mesh.follow(session)
        await until(lambda: all(session in self.seen.heads for session in sessions))

    def stand_still(self) -> None:
        """It beats and looks no more, as if its process were stopped; what it hears it hears."""
        timer = self.mesh._timer
        assert timer is not None
        timer.cancel()

    def go_on(self) -> None:
        self.mesh._tick()

    async def kill(self) -> None:
        """It is gone without a word, as by `kill -9`."""
        self.stand_still()
        self.mesh._timer = None  # `close` has nothing to say any more
        await self.link.close()


class World:
    """The nodes of one test."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Node] = []

    async def node(self, url: str, rhythm: Rhythm = QUICK, *, name: str = "", rules: Rules | None = None) -> Node:
        """One more node at the Redis of this address."""
        link = await RedisLink.open(url, rules=rules)
        if not self.nodes:  # the dead of an earlier test are no deaths of this one
            await command(link, "DEL", keys.NODES.decode(), is_write=True)
        node = Node(name or f"{self.prefix}-n{len(self.nodes) + 1}", link, rhythm)
        self.nodes.append(node)
        return node

    async def pair(self, url: str, session: SessionId, rhythm: Rhythm = QUICK) -> tuple[Node, Node]:
        """Two more nodes, at which the session lives."""
        one, two = await self.node(url, rhythm), await self.node(url, rhythm)
        await one.follow(session)
        await two.follow(session)
        return one, two

    def session(self, name: str = "s") -> SessionId:
        """A session of this test alone."""
        return SessionId(f"{self.prefix}-{name}")

    async def end(self) -> None:
        for node in self.nodes:
            await node.mesh.close()
            await node.link.close()


async def write_head(node: Node, session: SessionId, epoch: str, version: int) -> None:
    """The store has a log of the session that ends there."""
    head = keys.session_keys(session).head.decode()
    await command(node.link, "HSET", head, "epoch", epoch, "version", str(version), is_write=True)


def commit(node: Node, session: SessionId, epoch: str, *entries: Entry) -> None:
    """What the store's script says when a transaction is committed."""
    bodies = [encode_entry(entry) for entry in entries]
    first, digests = entries[0].version, [0] * len(bodies)
    frame = channel.encode_entries(epoch, first, f"txn-{first}", digests, bodies, previous_at=first - 1)
    node.link.publish(keys.session_channel(session), frame)


async def until_stored(node: Node, is_right: Callable[[Any], bool], *words: str) -> None:
    """The store answers this command rightly. Raises AssertionError where it does not in time."""
    deadline = time.monotonic() + 10
    while not is_right(answer := await command(node.link, *words)):
        assert time.monotonic() < deadline, f"{words}: {answer!r}"
