"""Of a device's connections at several nodes the newest that is there stays, and exactly one."""

import itertools

import pytest

from syncbridge.adapters.cluster.mesh.arrivals import Arrivals, Place, Verdict
from syncbridge.adapters.cluster.mesh.channel import Arrived, Stays
from syncbridge.core.ids import AccountId, ConnectionId, DeviceId

ALICE, PHONE = AccountId("alice"), DeviceId("phone")
HERE, THERE = ConnectionId("here"), ConnectionId("there")


def at(number: int) -> Arrived:
    return Arrived("n2", PHONE, THERE, number, answers=True)


def arrived(number: int, *, since_s: float = 0.0) -> Place:
    """The phone's place under this number; 0: it is under way."""
    place = Place(HERE, since_s)
    if number:
        place.numbered(number)
    return place


def told(place: Place, number: int, *, age_ms: int, now_s: float = 60.0) -> Verdict:
    """The verdict on the other connection, which is there under this number and was asked after just now."""
    place.rivals[THERE].asked_at_s[1] = now_s
    return place.told(Stays("n2", PHONE, THERE, number, age_ms, "n1", 1), now_s)


def test_the_older_gives_way_once_it_is_told_that_the_newer_is_there() -> None:
    older, newer = arrived(5), arrived(7)
    assert newer.hear(at(6)) is Verdict.ANSWER
    assert older.hear(at(6)) is Verdict.ASK
    assert told(older, 6, age_ms=10) is Verdict.REPLACED
    assert older.hear(at(6)) is Verdict.NOTHING
    assert older.unanswered() == []


def test_what_is_heard_before_the_own_number_is_known_is_judged_by_it() -> None:
    for number, verdict in ((5, Verdict.ASK), (7, Verdict.ANSWER)):
        place = arrived(0)
        assert place.hear(at(6)) is Verdict.NOTHING
        assert place.hear(at(3)) is Verdict.NOTHING
        assert [one for _, one in place.numbered(number)] == [verdict]


def test_a_number_heard_of_the_own_connection_counts_and_none_below_does() -> None:
    place = arrived(5)
    place.is_known_as(9)
    place.is_known_as(3)
    assert place.number == 9
    assert [one for _, one in place.numbered(4)] == []
    assert place.number == 9


def test_nobody_gives_way_to_a_number_that_meanwhile_is_the_lower_one() -> None:
    place = arrived(5)
    assert place.hear(at(6)) is Verdict.ASK
    place.is_known_as(8)
    assert told(place, 6, age_ms=10) is Verdict.ANSWER
    assert place.rivals == {}


def test_the_younger_with_the_lower_number_is_numbered_anew() -> None:
    place = arrived(5, since_s=50.0)
    assert place.hear(at(6)) is Verdict.ASK
    assert told(place, 6, age_ms=10_500) is Verdict.RAISE
    assert place.hear(at(6)) is Verdict.NOTHING
    assert [one for _, one in place.numbered(7)] == [Verdict.ANSWER]


def test_of_two_with_one_number_exactly_one_gives_way() -> None:
    place = arrived(6)
    verdicts = [place.hear(Arrived("n2", PHONE, ConnectionId(name), 6, answers=True)) for name in ("a", "z")]
    assert verdicts == [Verdict.ANSWER, Verdict.ASK]


def test_a_device_that_is_not_here_has_no_place() -> None:
    assert Arrivals().place(ALICE, PHONE) is None


def test_a_connection_replaced_here_departs_without_taking_the_next_with_it() -> None:
    arrivals = Arrivals()
    assert arrivals.add(ALICE, PHONE, HERE, 0.0)
    assert not arrivals.add(ALICE, PHONE, ConnectionId("next"), 1.0)
    assert not arrivals.remove(ALICE, PHONE, HERE)
    place = arrivals.place(ALICE, PHONE)
    assert place is not None
    assert (place.connection, place.age_ms(3.0)) == ("next", 2_000)
    assert arrivals.remove(ALICE, PHONE, ConnectionId("next"))
    assert arrivals.accounts() == []


@pytest.mark.parametrize("order", [*itertools.permutations(["n1 hears", "n2 hears", "n1 numbered", "n2 numbered"])])
def test_of_two_that_arrive_at_once_exactly_one_stays(order: tuple[str, ...]) -> None:
    places = {"n1": arrived(0), "n2": arrived(0)}
    numbers = {"n1": 11, "n2": 12}
    heard = {"n1": at(12), "n2": at(11)}
    asked: set[str] = set()
    for step in order:
        node, what = step.split()
        if what == "numbered":
            verdicts = [verdict for _, verdict in places[node].numbered(numbers[node])]
        else:
            verdicts = [places[node].hear(heard[node])]
        if Verdict.ASK in verdicts:
            asked.add(node)
    assert asked == {"n1"}
    assert told(places["n1"], 12, age_ms=1) is Verdict.REPLACED
