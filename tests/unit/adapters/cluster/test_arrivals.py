"""Of a device's connections at several nodes the one that arrived last stays, and exactly one."""

import itertools

import pytest

from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId

ALICE, PHONE = AccountId("alice"), DeviceId("phone")
HERE, THERE = ConnectionId("here"), ConnectionId("there")


def at(number: int) -> Arrived:
    return Arrived("n2", PHONE, THERE, number)


def arrived(number: int) -> Arrivals:
    arrivals = Arrivals()
    arrivals.add(ALICE, PHONE, HERE)
    place = arrivals.place(ALICE, PHONE)
    assert place is not None
    if number:
        arrivals.number(ALICE, place, PHONE, number)
    return arrivals


def test_the_older_gives_way_once_and_the_newer_answers() -> None:
    older, newer = arrived(5), arrived(7)
    assert older.hear(ALICE, at(6)) is Verdict.REPLACED
    assert older.hear(ALICE, at(6)) is Verdict.NOTHING
    assert newer.hear(ALICE, at(6)) is Verdict.ANSWER


def test_what_is_heard_before_the_own_number_is_known_is_judged_by_it() -> None:
    for number, verdict in ((5, Verdict.REPLACED), (7, Verdict.ANSWER)):
        arrivals = arrived(0)
        assert arrivals.hear(ALICE, at(6)) is Verdict.NOTHING
        assert arrivals.hear(ALICE, at(3)) is Verdict.NOTHING
        place = arrivals.place(ALICE, PHONE)
        assert place is not None
        assert arrivals.number(ALICE, place, PHONE, number) is verdict


def test_a_device_that_is_not_here_is_nobodys_rival() -> None:
    assert Arrivals().hear(ALICE, at(6)) is Verdict.NOTHING


def test_a_connection_replaced_here_departs_without_taking_the_next_with_it() -> None:
    arrivals = arrived(5)
    assert not arrivals.add(ALICE, PHONE, ConnectionId("next"))
    assert not arrivals.remove(ALICE, PHONE, HERE)
    place = arrivals.place(ALICE, PHONE)
    assert place is not None
    assert place.connection == "next"
    assert arrivals.remove(ALICE, PHONE, ConnectionId("next"))
    assert arrivals.accounts() == []


def test_a_number_that_comes_after_its_connection_is_gone_means_nothing() -> None:
    arrivals = arrived(0)
    place = arrivals.place(ALICE, PHONE)
    assert place is not None
    arrivals.hear(ALICE, at(6))
    arrivals.add(ALICE, PHONE, ConnectionId("next"))
    assert arrivals.number(ALICE, place, PHONE, 5) is Verdict.NOTHING


@pytest.mark.parametrize("order", [*itertools.permutations(["n1 hears", "n2 hears", "n1 numbered", "n2 numbered"])])
def test_of_two_that_arrive_at_once_exactly_one_stays(order: tuple[str, ...]) -> None:
    nodes = {"n1": arrived(0), "n2": arrived(0)}
    numbers = {"n1": 11, "n2": 12}
    over: set[str] = set()
    inboxes: dict[str, list[Arrived]] = {
        "n1": [Arrived("n2", PHONE, ConnectionId("c2"), 12)],
        "n2": [Arrived("n1", PHONE, ConnectionId("c1"), 11)],
    }
    for step in order:
        node, what = step.split()
        place = nodes[node].place(ALICE, PHONE)
        assert place is not None
        verdict = (
            nodes[node].number(ALICE, place, PHONE, numbers[node])
            if what == "numbered"
            else nodes[node].hear(ALICE, inboxes[node][0])
        )
        if verdict is Verdict.REPLACED:
            over.add(node)
    assert over == {"n1"}
