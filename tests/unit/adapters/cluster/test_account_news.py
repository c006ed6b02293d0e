"""Arrivals under every order of what a node is answered and hears; its link is one that answers when it is told to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.mesh.account_news import AccountNews
from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Place
from syncbridge.adapters.cluster.mesh.channel import Arrived, encode_arrived
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId
from syncbridge.ports import Neighbour, Telemetry

ALICE, PHONE = AccountId("alice"), DeviceId("phone")


class Server:
    """What Redis does for one account: numbers arrivals, and gives what is published to those who listen by then."""

    def __init__(self) -> None:
        self.number = 0
        self.listeners: list[Node] = []

    def publish(self, frame: bytes) -> None:
        for node in self.listeners:
            node.inbox.append(frame)


class Node:
    """A node and its link. `step` lets one thing happen; what was published to it waits in `inbox`."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        self.inbox: list[bytes] = []
        self.replaced: list[ConnectionId] = []
        self.heard_of: list[AccountId] = []
        self.news = AccountNews(name, cast(RedisLink, self), cast(Neighbour, self), cast(Telemetry, self), 10)

    # -- its link

    def run(
        self, _script: Script, _keys: Sequence[bytes], args: Sequence[bytes], done: Callable[[Any], None], **_how: bool
    ) -> None:
        self.arriving, self.done = args[0], done

    def subscribe(self, _channel: bytes, heard: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        self.heard, self.ready = heard, ready

    def publish(self, _channel: bytes, frame: bytes) -> None:
        self.server.publish(frame)

    # -- its neighbour and telemetry

    def device_arrived(self, _account: AccountId, _device: DeviceId, connection: ConnectionId) -> None:
        self.replaced.append(connection)

    def account_heard(self, account: AccountId) -> None:
        self.heard_of.append(account)

    def measured(self, _name: str, _value: float, _label: str = "") -> None: ...

    # -- what happens

    def written(self) -> None:
        """The script ran at the server."""
        self.server.number += 1
        self.number = self.server.number
        self.server.publish(self.arriving + b"%d}" % self.number)

    def answered(self) -> None:
        self.done(b"%d" % self.number)

    def listening(self) -> None:
        """The server took the subscription."""
        self.server.listeners.append(self)

    def confirmed(self) -> None:
        self.ready()

    def hear_all(self) -> None:
        while self.inbox:
            self.heard(self.inbox.pop(0))


CALLS = ("written", "answered")
NEWS = ("listening", "confirmed")
ORDERS = [
    order
    for order in itertools.permutations([(at, step) for at in (0, 1) for step in CALLS + NEWS])
    if all(order.index((at, one)) < order.index((at, two)) for at in (0, 1) for one, two in (CALLS, NEWS))
]


def _who_gave_way(order: tuple[tuple[int, str], ...], *, hears_at_once: bool) -> bool:
    """Whether the older of two connections gave way in this order, and it alone."""
    server = Server()
    nodes = [Node(f"n{number}", server) for number in range(2)]
    for node in nodes:
        node.news.arrive(ALICE, PHONE, ConnectionId(node.name))
    for at, step in order:
        getattr(nodes[at], step)()
        if hears_at_once:
            for node in nodes:
                node.hear_all()
    while any(node.inbox for node in nodes):
        for node in nodes:
            node.hear_all()
    older, newer = sorted(nodes, key=lambda node: node.number)
    return (older.replaced, newer.replaced) == ([newer.name], [])


@pytest.mark.parametrize("hears_at_once", [True, False])
def test_in_every_order_of_two_arrivals_exactly_the_older_gives_way(hears_at_once: bool) -> None:
    assert len(ORDERS) == 2_520
    assert [order for order in ORDERS if not _who_gave_way(order, hears_at_once=hears_at_once)] == []


def _only_with_a_number(arrivals: Arrivals, account: AccountId) -> list[tuple[DeviceId, Place]]:
    place = arrivals.place(account, PHONE)
    return [(PHONE, place)] if place is not None and place.number else []


@pytest.mark.parametrize("planted", [lambda _arrivals, _account: [], _only_with_a_number], ids=["never", "too early"])
def test_without_saying_an_arrival_again_there_are_orders_in_which_both_stay(
    monkeypatch: pytest.MonkeyPatch, planted: Callable[[Arrivals, AccountId], list[tuple[DeviceId, Place]]]
) -> None:
    monkeypatch.setattr(Arrivals, "listening", planted)
    assert not all(_who_gave_way(order, hears_at_once=True) for order in ORDERS)


def test_one_that_arrives_where_its_account_is_listened_to_is_said_once() -> None:
    server = Server()
    node = Node("n1", server)
    node.news.arrive(ALICE, PHONE, ConnectionId("c1"))
    node.listening()
    node.confirmed()
    node.written()
    node.answered()
    assert len(node.inbox) == 2  # it began to listen while its number was under way
    node.news.arrive(ALICE, DeviceId("watch"), ConnectionId("c2"))
    node.written()
    node.answered()
    assert node.inbox[2:] == [encode_arrived(Arrived("n1", DeviceId("watch"), ConnectionId("c2"), 2))]


def test_an_account_is_heard_from_when_its_channel_is_subscribed_and_at_every_later_subscription() -> None:
    node = Node("n1", Server())
    node.news.arrive(ALICE, PHONE, ConnectionId("c1"))
    assert node.heard_of == []
    node.listening()
    node.confirmed()
    node.confirmed()
    assert node.heard_of == [ALICE, ALICE]
