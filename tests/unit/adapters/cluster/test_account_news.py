"""Arrivals under every order of what a node is answered and hears; its link is one that answers when it is told to."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest

from syncbridge.adapters.cluster.link.link import RedisLink
from syncbridge.adapters.cluster.link.replies import Failure
from syncbridge.adapters.cluster.link.script import Script
from syncbridge.adapters.cluster.mesh.account_news import AccountNews
from syncbridge.adapters.cluster.mesh.arrivals import QUESTIONS_MAX, RAISES_MAX, RIVALS_MAX, Arrivals, Place, Verdict
from syncbridge.adapters.cluster.mesh.channel import (
    Arrived,
    Asked,
    Stays,
    decode,
    encode_arrived,
    encode_asked,
    encode_stays,
)
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId
from syncbridge.ports import Neighbour, Telemetry

ALICE, PHONE, WATCH = AccountId("alice"), DeviceId("phone"), DeviceId("watch")


class Server:
    """What Redis does for one account: numbers arrivals, and gives what is published to those who listen by then."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.number = 0
        self.listeners: list[Node] = []

    def publish(self, frame: bytes) -> None:
        for node in self.listeners:
            node.inbox.append(frame)


@dataclass
class Call:
    """An arrival that a node wants to be written."""

    arriving: bytes
    above: int
    done: Callable[[Any], None]
    number: int = 0


class Node:
    """A node and its link. `step` lets one thing happen; what was published to it waits in `inbox`."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        self.inbox: list[bytes] = []
        self.calls: list[Call] = []
        self.replaced: list[ConnectionId] = []
        self.heard_of: list[AccountId] = []
        self.said: Counter[str] = Counter()
        self.is_dead = False
        self.news = AccountNews(
            name, cast(RedisLink, self), cast(Neighbour, self), cast(Telemetry, self), 10, lambda: server.now_s
        )

    # -- its link

    def run(
        self, _script: Script, _keys: Sequence[bytes], args: Sequence[bytes], done: Callable[[Any], None], **_how: bool
    ) -> None:
        self.calls.append(Call(args[0], int(args[2]), done))

    def subscribe(self, _channel: bytes, heard: Callable[[bytes], None], ready: Callable[[], None]) -> None:
        self.heard, self.ready = heard, ready

    def unsubscribe(self, _channel: bytes) -> None:
        if self in self.server.listeners:
            self.server.listeners.remove(self)

    def publish(self, _channel: bytes, frame: bytes) -> None:
        self.server.publish(frame)

    # -- its neighbour and telemetry

    def device_arrived(self, _account: AccountId, _device: DeviceId, connection: ConnectionId) -> None:
        self.replaced.append(connection)

    def account_heard(self, account: AccountId) -> None:
        self.heard_of.append(account)

    def measured(self, name: str, _value: float, label: str = "") -> None:
        self.said[f"{name} {label}"] += 1

    # -- what happens

    def arrives(self, connection: str = "") -> None:
        self.news.arrive(ALICE, PHONE, ConnectionId(connection or self.name))

    def departs(self) -> None:
        self.news.depart(ALICE, PHONE, ConnectionId(self.name))

    def dies(self) -> None:
        """Its process is gone; what it sent is not."""
        self.is_dead = True
        self.unsubscribe(b"")

    def written(self) -> None:
        """The first call that was not written yet is, at the server."""
        call = next(call for call in self.calls if not call.number)
        self.server.number = call.number = max(self.server.number, call.above) + 1
        self.server.publish(call.arriving + b"%d}" % call.number)

    def answered(self) -> None:
        call = self.calls.pop(0)
        if not self.is_dead:
            call.done(b"%d" % call.number)

    def listening(self) -> None:
        """The server took the subscription."""
        if not self.is_dead:
            self.server.listeners.append(self)

    def confirmed(self) -> None:
        if not self.is_dead:
            self.ready()

    def hear_all(self) -> None:
        while self.inbox:
            frame = self.inbox.pop(0)
            if not self.is_dead:
                self.heard(frame)

    def calm_down(self) -> bool:
        """All that is under way comes through; whether anything was."""
        is_busy = bool(self.inbox or self.calls)
        self.hear_all()
        while self.calls:
            if not self.calls[0].number:
                self.written()
            self.answered()
        return is_busy


CALLS = ("written", "answered")
NEWS = ("listening", "confirmed")
STEPS = [(at, step) for at in (0, 1) for step in CALLS + NEWS]


def _orders(*more: tuple[int, str]) -> list[tuple[tuple[int, str], ...]]:
    """Every order of what happens at two nodes, and of ``more``, in which no answer comes before its question."""
    orders: list[tuple[tuple[int, str], ...]] = [()]
    chains = [[(at, one) for one in chain] for at in (0, 1) for chain in (CALLS, NEWS)] + [[one] for one in more]
    for chain in chains:
        grown = []
        for order in orders:
            for places in itertools.combinations(range(len(order) + len(chain)), len(chain)):
                rest = iter(order)
                steps = iter(chain)
                grown.append(
                    tuple(next(steps) if at in places else next(rest) for at in range(len(order) + len(chain)))
                )
        orders = grown
    return orders


ORDERS = _orders()


def _who_gave_way(order: tuple[tuple[int, str], ...], *, hears_at_once: bool) -> list[list[ConnectionId]]:
    """Whom each of two nodes' connections gave way to, where that at the first one is the older."""
    server = Server()
    nodes = [Node(f"n{number}", server) for number in range(2)]
    for node in nodes:
        node.arrives()
        server.now_s += 0.5
    for at, step in order:
        getattr(nodes[at], step)()
        server.now_s += 0.01
        if hears_at_once:
            for node in nodes:
                node.hear_all()
    while sum(node.calm_down() for node in nodes):
        server.now_s += 0.01
    return [node.replaced for node in nodes]


def _wrong(orders: Sequence[tuple[tuple[int, str], ...]], *, hears_at_once: bool) -> list[Any]:
    """The orders in which it was not the older that gave way, and it alone."""
    return [order for order in orders if _who_gave_way(order, hears_at_once=hears_at_once) != [["n1"], []]]


@pytest.mark.parametrize("hears_at_once", [True, False])
def test_in_every_order_of_two_arrivals_exactly_the_older_gives_way(hears_at_once: bool) -> None:
    assert len(ORDERS) == 2_520
    assert _wrong(ORDERS, hears_at_once=hears_at_once) == []


@pytest.mark.parametrize("hears_at_once", [True, False])
@pytest.mark.parametrize("end", ["departs", "dies"])
def test_in_no_order_does_one_give_way_to_an_older_that_is_gone(end: str, hears_at_once: bool) -> None:
    orders = _orders((0, end))
    assert len(orders) == 22_680
    gave_way = [_who_gave_way(order, hears_at_once=hears_at_once) for order in orders[::7]]
    assert [newer for _, newer in gave_way if newer] == []
    if hears_at_once:  # in some the older one was there long enough to be told
        assert {tuple(older) for older, _ in gave_way} == {(), ("n1",)}


def _only_with_a_number(arrivals: Arrivals, account: AccountId) -> list[tuple[DeviceId, Place]]:
    place = arrivals.place(account, PHONE)
    return [(PHONE, place)] if place is not None and place.number else []


@pytest.mark.parametrize("planted", [lambda _arrivals, _account: [], _only_with_a_number], ids=["never", "too early"])
def test_without_saying_an_arrival_again_there_are_orders_in_which_both_stay(
    monkeypatch: pytest.MonkeyPatch, planted: Callable[[Arrivals, AccountId], list[tuple[DeviceId, Place]]]
) -> None:
    monkeypatch.setattr(Arrivals, "listening", planted)
    gave_way = [_who_gave_way(order, hears_at_once=True) for order in ORDERS]
    assert [[], []] in gave_way


_hear = Place.hear
_told = Place.told


def _believed(place: Place, arrived: Arrived) -> Verdict:
    return _hear(place, msgspec.structs.replace(arrived, answers=False))


def _ages_ignored(place: Place, stays: Stays, now_s: float) -> Verdict:
    return _told(place, msgspec.structs.replace(stays, age_ms=0), now_s)


@pytest.mark.parametrize(
    ("method", "planted"), [("hear", _believed), ("told", _ages_ignored)], ids=["unasked", "without ages"]
)
def test_where_the_number_alone_decides_there_are_orders_in_which_the_newer_gives_way(
    monkeypatch: pytest.MonkeyPatch, method: str, planted: Callable[..., Verdict]
) -> None:
    monkeypatch.setattr(Place, method, planted)
    assert [["n1"], []] in (gave_way := [_who_gave_way(order, hears_at_once=True) for order in ORDERS])
    assert [[], ["n0"]] in gave_way


def test_one_that_arrives_where_its_account_is_listened_to_is_said_once() -> None:
    server = Server()
    node = Node("n1", server)
    node.arrives("c1")
    node.listening()
    node.confirmed()
    node.written()
    node.answered()
    assert len(node.inbox) == 2  # it began to listen while its number was under way
    node.news.arrive(ALICE, WATCH, ConnectionId("c2"))
    node.written()
    node.answered()
    assert [decode(frame) for frame in node.inbox[2:]] == [Arrived("n1", WATCH, ConnectionId("c2"), 2, True)]


def test_an_account_is_heard_from_when_its_channel_is_subscribed_and_at_every_later_subscription() -> None:
    node = Node("n1", Server())
    node.arrives("c1")
    assert node.heard_of == []
    node.listening()
    node.confirmed()
    node.confirmed()
    assert node.heard_of == [ALICE, ALICE]


# -- one node, and others that say what a test wants --------------------------------------------------------------


@pytest.fixture
def node() -> Node:
    """The phone is connected at it for a minute, under the number 1."""
    node = Node("n1", Server())
    node.arrives("c1")
    node.listening()
    node.written()
    node.answered()
    node.inbox.clear()
    node.server.now_s += 60
    return node


def _hears(node: Node, number: int, connection: str = "c2", *, answers: bool = True) -> None:
    node.heard(encode_arrived(Arrived("n2", PHONE, ConnectionId(connection), number, answers)))


def _asked(node: Node) -> list[Asked]:
    """What the node asked since the last call."""
    frames, node.inbox = [decode(frame) for frame in node.inbox], []
    return [one for one in frames if isinstance(one, Asked)]


def _stays(asked: Asked, *, age_ms: int, number: int = 0) -> bytes:
    number = number or asked.rival_number
    return encode_stays(Stays("n2", PHONE, asked.rival, number, age_ms, asked.node, asked.question))


def test_nobody_gives_way_before_the_newer_is_found_there(node: Node) -> None:
    _hears(node, 2)
    (asked,) = _asked(node)
    assert asked == Asked("n1", PHONE, ConnectionId("c1"), 1, ConnectionId("c2"), 2, asked.question)
    assert node.replaced == []
    node.heard(_stays(asked, age_ms=5))
    assert node.replaced == ["c2"]
    node.heard(_stays(asked, age_ms=5))
    assert node.replaced == ["c2"]


def test_whose_node_cannot_be_asked_is_believed_by_its_number(node: Node) -> None:
    _hears(node, 2, answers=False)
    assert (node.replaced, _asked(node)) == (["c2"], [])


def test_who_is_not_answered_asks_again_and_not_for_ever(node: Node) -> None:
    _hears(node, 2)
    for _ in range(2 * QUESTIONS_MAX):
        node.news.retry()
        node.server.now_s += 1
    questions = [one.question for one in _asked(node)]
    assert len(questions) == len(set(questions)) == QUESTIONS_MAX
    assert node.replaced == []


def test_an_answer_to_an_earlier_question_counts(node: Node) -> None:
    _hears(node, 2)
    node.server.now_s += 1
    node.news.retry()
    first, second = _asked(node)
    node.heard(_stays(first, age_ms=0))
    assert node.replaced == ["c2"]
    assert first.question != second.question


def test_an_answer_that_nobody_waits_for_any_more_is_a_reason_to_ask(node: Node) -> None:
    _hears(node, 2)
    (asked,) = _asked(node)
    for _ in range(2 * QUESTIONS_MAX):
        node.news.retry()
    _asked(node)
    node.heard(_stays(asked, age_ms=10))
    assert node.replaced == []
    (again,) = _asked(node)
    node.heard(_stays(again, age_ms=10))
    assert node.replaced == ["c2"]


def test_the_younger_with_the_lower_number_arrives_anew_above_the_other(node: Node) -> None:
    _hears(node, 500)
    (asked,) = _asked(node)
    node.heard(_stays(asked, age_ms=61_000))
    (call,) = node.calls
    assert call.above == 500
    _hears(node, 500)  # nothing is judged before the number is here
    node.written()
    node.answered()
    assert node.replaced == []
    told = [decode(frame) for frame in node.inbox]
    assert Arrived("n1", PHONE, ConnectionId("c1"), 501, answers=True) in told


def test_a_number_that_could_not_be_raised_is_raised_later(node: Node) -> None:
    _hears(node, 500)
    (asked,) = _asked(node)
    node.heard(_stays(asked, age_ms=61_000))
    node.calls.pop().done(Failure("unavailable", "no primary"))
    node.news.retry()
    assert [call.above for call in node.calls] == [500]


def test_raising_has_an_end_and_then_the_number_decides(node: Node) -> None:
    for raised in range(RAISES_MAX + 1):
        _hears(node, 500 * (raised + 1))
        (asked,) = _asked(node)
        assert node.replaced == []
        node.heard(_stays(asked, age_ms=99_000))
        node.calm_down()
    assert node.replaced == ["c2"]


def test_an_answer_that_took_long_and_hides_who_was_first_is_asked_for_again(node: Node) -> None:
    node.server.now_s -= 59  # a second ago it arrived
    _hears(node, 2)
    (asked,) = _asked(node)
    node.server.now_s += 2
    node.heard(_stays(asked, age_ms=1_500))
    assert (node.replaced, node.calls) == ([], [])
    (again,) = _asked(node)
    node.heard(_stays(again, age_ms=3_500))
    assert (node.replaced, len(node.calls)) == ([], 1)


def test_a_long_answer_that_hides_nothing_is_enough(node: Node) -> None:
    _hears(node, 2)
    (asked,) = _asked(node)
    node.server.now_s += 5
    node.heard(_stays(asked, age_ms=4_000))
    assert node.replaced == ["c2"]


def test_answers_that_always_take_long_leave_it_to_the_number(node: Node) -> None:
    _hears(node, 2)
    for _ in range(20):
        for asked in _asked(node)[-1:]:
            node.server.now_s += 5
            node.heard(_stays(asked, age_ms=int((node.server.now_s - 100) * 1_000)))
    assert node.replaced == ["c2"]


def test_several_elsewhere_are_asked_after_each_for_itself(node: Node) -> None:
    _hears(node, 9, "gone")
    _hears(node, 5, "there")
    gone, there = _asked(node)
    assert (gone.rival, there.rival) == ("gone", "there")
    node.heard(_stays(there, age_ms=0))
    assert node.replaced == ["there"]


def test_of_very_many_elsewhere_a_few_are_asked_after(node: Node) -> None:
    for number in range(2, 2_000):
        _hears(node, number, f"c{number}")
    _asked(node)
    node.news.retry()
    assert [asked.rival_number for asked in _asked(node)] == list(range(1_992, 2_000))


def test_many_that_are_gone_hide_none_that_is_there(node: Node) -> None:
    for number in range(100, 100 + RIVALS_MAX):
        _hears(node, number, f"gone{number}")
    node.news.retry()
    _asked(node)
    _hears(node, 50, "there")
    node.news.retry()
    (asked, *_) = [asked for asked in _asked(node) if asked.rival == "there"]
    node.heard(_stays(asked, age_ms=0))
    assert node.replaced == ["there"]


def test_who_is_asked_after_says_since_when_and_under_which_number(node: Node) -> None:
    node.heard(encode_asked(Asked("n2", PHONE, ConnectionId("c2"), 1, ConnectionId("c1"), 7, 3)))
    said = [decode(frame) for frame in node.inbox]
    assert said == [Stays("n1", PHONE, ConnectionId("c1"), 7, 60_000, "n2", 3)]


@pytest.mark.parametrize("why", ["replaced", "departed", "another"])
def test_who_is_not_there_is_not_said_to_be(node: Node, why: str) -> None:
    if why == "replaced":
        _hears(node, 2, answers=False)
    elif why == "departed":
        node.news.depart(ALICE, PHONE, ConnectionId("c1"))
    rival = ConnectionId("c0" if why == "another" else "c1")
    node.heard(encode_asked(Asked("n2", PHONE, ConnectionId("c2"), 1, rival, 7, 3)))
    assert node.inbox == []


def test_who_is_asked_by_a_higher_number_asks_in_turn(node: Node) -> None:
    node.heard(encode_asked(Asked("n2", PHONE, ConnectionId("c2"), 9, ConnectionId("c1"), 1, 3)))
    said = [decode(frame) for frame in node.inbox]
    assert [type(one) for one in said] == [Stays, Asked]


def test_the_echo_of_an_arrival_that_was_written_twice_raises_the_own_number(node: Node) -> None:
    node.heard(encode_arrived(Arrived("n1", PHONE, ConnectionId("c1"), 8, answers=True)))
    node.heard(encode_arrived(Arrived("n1", PHONE, ConnectionId("c0"), 80, answers=True)))
    _hears(node, 7)
    assert [decode(frame) for frame in node.inbox] == [Arrived("n1", PHONE, ConnectionId("c1"), 8, answers=True)]
