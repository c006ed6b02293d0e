"""What a node knows of a session's devices elsewhere: the order in which it hears things must not matter."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.adapters.cluster.mesh.channel import Statement
from syncbridge.adapters.cluster.mesh.presence import NODES_MAX, Presence
from syncbridge.core.ids import DeviceId

PHONE, WATCH, TABLET = DeviceId("phone"), DeviceId("watch"), DeviceId("tablet")


def says(number: int, *devices: DeviceId, node: str = "n1", at: int = 1_000) -> Statement:
    return Statement(node, number, dict.fromkeys(devices, at))


def test_the_newest_statement_counts_whole() -> None:
    presence = Presence()
    assert presence.hear("n1", says(1, PHONE, WATCH), 0)
    assert presence.hear("n1", says(2, WATCH, at=2_000), 0)
    assert presence.elsewhere() == {WATCH: 2_000}


def test_a_device_at_two_nodes_was_heard_when_it_was_heard_last() -> None:
    presence = Presence()
    presence.hear("n1", says(1, PHONE, at=5_000), 0)
    presence.hear("n2", says(1, PHONE, at=4_000), 0)
    assert presence.elsewhere() == {PHONE: 5_000}


def test_a_late_or_doubled_statement_shows_no_ghost() -> None:
    presence = Presence()
    presence.hear("n1", says(1, PHONE), 0)
    presence.hear("n1", says(2), 0)
    assert not presence.hear("n1", says(1, PHONE), 0)
    assert presence.elsewhere() == {}


@given(st.permutations([says(1, PHONE), says(2, PHONE, WATCH), says(3, WATCH), says(3, WATCH), says(4)]))
def test_statements_in_any_order_come_to_the_same(statements: list[Statement]) -> None:
    presence = Presence()
    for statement in statements:
        presence.hear("n1", statement, 0)
    assert presence.elsewhere() == {}


def test_a_buried_statement_does_not_come_back_by_a_late_copy() -> None:
    presence = Presence()
    presence.hear("n1", says(3, PHONE), 0)
    assert presence.hear("n1", says(3), 0)
    assert not presence.hear("n1", says(3, PHONE), 0)
    assert presence.elsewhere() == {}


def test_the_store_is_believed_in_what_was_known_before_it_was_asked() -> None:
    presence = Presence()
    presence.hear("n1", says(5, PHONE), asked=0)
    presence.hear("n2", says(1, WATCH, node="n2"), asked=0)
    reading = presence.read("me", {"n1": says(4, TABLET)}, asked=1, since_s=0)
    assert reading.is_changed
    assert presence.elsewhere() == {TABLET: 1_000}  # statement 5 was lost with a primary, and n2's field is gone


def test_what_was_heard_since_the_question_outlives_its_answer() -> None:
    presence = Presence()
    presence.hear("n1", says(5, PHONE), asked=1)
    presence.hear("n2", says(1, WATCH, node="n2"), asked=1)
    assert not presence.read("me", {"n1": says(4, TABLET)}, asked=1, since_s=0).is_changed
    assert presence.elsewhere() == {PHONE: 1_000, WATCH: 1_000}


def test_a_node_notices_that_the_store_lost_what_it_said() -> None:
    presence = Presence()
    presence.present(PHONE, 1_000)
    said = presence.statement("me", 7, asked=0, now_s=0)
    assert said == Statement("me", 7, {PHONE: 1_000})
    assert not presence.read("me", {"me": said}, asked=1, since_s=0).is_mine_missing
    assert presence.read("me", {}, asked=1, since_s=0).is_mine_missing
    assert presence.read("me", {"me": says(6, node="me")}, asked=1, since_s=0).is_mine_missing
    assert presence.elsewhere() == {}


def test_an_answer_older_than_a_statement_does_not_make_it_missing() -> None:
    presence = Presence()
    presence.present(PHONE, 1_000)
    presence.statement("me", 7, asked=1, now_s=0)
    assert not presence.read("me", {}, asked=1, since_s=0).is_mine_missing


def test_a_node_that_has_nobody_misses_nothing() -> None:
    presence = Presence()
    assert not presence.read("me", {}, asked=1, since_s=0).is_mine_missing


def test_a_burial_of_this_node_is_noticed_while_it_has_devices() -> None:
    presence = Presence()
    presence.present(PHONE, 1_000)
    presence.statement("me", 7, asked=0, now_s=0)
    assert presence.is_buried_by(says(7, node="me"))
    assert not presence.is_buried_by(says(6, node="me"))
    assert not presence.is_buried_by(says(7, PHONE, node="me"))
    presence.absent(PHONE, 2_000)
    assert not presence.is_buried_by(says(7, node="me"))


def test_a_device_that_left_is_named_once_with_when_it_was_last_heard() -> None:
    presence = Presence()
    presence.present(PHONE, 1_000)
    assert presence.absent(PHONE, 2_000)
    assert not presence.absent(PHONE, 2_000)
    assert presence.statement("me", 1, 0, 0).left == {PHONE: 2_000}
    assert presence.statement("me", 2, 0, 0).left == {}


def test_being_heard_later_is_news_and_earlier_is_not() -> None:
    presence = Presence()
    assert presence.present(PHONE, 1_000)
    assert presence.present(PHONE, 2_000)
    assert not presence.present(PHONE, 1_500)
    assert presence.mine == {PHONE: 2_000}


def test_a_statement_that_looks_find_unchanged_for_long_is_stale_and_a_renewed_one_is_not() -> None:
    presence = Presence()
    for step in range(16):
        renewed = says(1 + step // 6, WATCH, node="n2")
        presence.read("me", {"n1": says(1, PHONE), "n2": renewed}, asked=step, since_s=10)
    assert presence.stale(after_s=140) == ["n1"]
    presence.hear("n1", says(2, PHONE), 16)
    assert presence.stale(after_s=140) == []


def test_only_so_many_nodes_without_devices_are_remembered() -> None:
    presence = Presence()
    stands = {f"n{number}": says(1, node=f"n{number}") for number in range(NODES_MAX * 3)}
    presence.read("me", stands, asked=1, since_s=0)
    assert len(presence._others) == NODES_MAX


class OrderIgnored(Presence):
    """Planted: a statement counts because it came last."""

    __slots__ = ()

    def hear(self, node: str, statement: Statement, asked: int) -> bool:
        self._others.pop(node, None)
        return super().hear(node, statement, asked)


def _shuffled(kind: type[Presence], seed: int) -> bool:
    """Three nodes' devices come and go; their statements arrive late, doubled and mixed. Whether the end is right."""
    draw = random.Random(seed)
    presence, said = kind(), []
    here: dict[str, set[DeviceId]] = {f"n{number}": set() for number in range(3)}
    for number in range(1, 200):
        node = draw.choice(list(here))
        here[node] ^= {draw.choice([PHONE, WATCH, TABLET])}
        said += [says(number, *here[node], node=node)] * draw.randint(1, 2)
    draw.shuffle(said)
    for statement in said:
        presence.hear(statement.node, statement, 0)
    return presence.elsewhere().keys() == set().union(*here.values())


@pytest.mark.parametrize(("kind", "is_right"), [(Presence, True), (OrderIgnored, False)], ids=["real", "planted"])
def test_mixed_statements_of_many_nodes_come_to_who_is_there(kind: type[Presence], is_right: bool) -> None:
    assert all(_shuffled(kind, seed) for seed in range(20)) is is_right
