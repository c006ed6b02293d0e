"""Who lives, judged by counts that grow or stand still; the clock here is a number."""

import pytest

from syncbridge.adapters.cluster.mesh.liveness import REMEMBERED_MAX, Census, Liveness
from syncbridge.adapters.cluster.mesh.rhythm import GONE_WITHIN_S, Rhythm

BEAT_S, DEAD_AFTER_S = Rhythm().beat_s, Rhythm().dead_after_s
NOBODY = Census([], [], [], is_forgotten=False)


class Reader:
    """Node `me` beside node `other`; both count at each beat, `other` only while it lives."""

    def __init__(self) -> None:
        self.liveness = Liveness("me", beat_s=BEAT_S, dead_after_s=DEAD_AFTER_S)
        self.now_s = 1_000.0
        self.counts = {"me": 0, "other": 0}

    def beat(self, *, other_lives: bool = True, after_s: float = BEAT_S) -> Census:
        self.now_s += after_s
        self.counts["me"] += 1
        if other_lives:
            self.counts["other"] = self.counts.get("other", 0) + 1
        return self.liveness.read(self.counts, self.now_s)


def test_a_node_that_counts_on_lives() -> None:
    reader = Reader()
    assert [reader.beat() for _ in range(100)] == [NOBODY] * 100
    assert reader.liveness.alive == 2


def test_a_node_that_stands_still_is_presumed_dead_once_and_in_time() -> None:
    reader = Reader()
    reader.beat()
    last_s = reader.now_s
    died = []
    while reader.now_s < last_s + GONE_WITHIN_S:
        if reader.beat(other_lives=False).died:
            died.append(reader.now_s - last_s)
    assert len(died) == 1
    assert DEAD_AFTER_S < died[0] <= GONE_WITHIN_S - BEAT_S  # it may have counted just after this node had read
    assert reader.liveness.is_dead("other")
    assert reader.liveness.alive == 1
    assert reader.liveness.to_remove(reader.counts) == [("other", 1)]


def test_nobody_dies_of_an_outage_in_which_nobody_could_count() -> None:
    reader = Reader()
    reader.beat()
    assert reader.beat(other_lives=False, after_s=300).died == []
    assert reader.beat().died == []


def test_a_node_back_from_the_dead_is_told_as_returned() -> None:
    reader = Reader()
    reader.beat()
    for _ in range(10):
        reader.beat(other_lives=False)
    assert reader.liveness.is_dead("other")
    assert reader.beat().returned == ["other"]
    assert not reader.liveness.is_dead("other")


def test_a_node_that_took_leave_is_no_death() -> None:
    reader = Reader()
    reader.beat()
    del reader.counts["other"]
    told = [reader.beat(other_lives=False) for _ in range(10)]
    assert [census.left for census in told if census.left] == [["other"]]
    assert not any(census.died for census in told)


def test_a_node_that_speaks_and_never_counts_is_dead_after_the_same_time() -> None:
    reader = Reader()
    reader.beat()
    reader.liveness.met("ghost")
    assert not reader.liveness.is_dead("ghost")
    for _ in range(5):
        reader.beat()
    assert reader.liveness.is_dead("ghost")


@pytest.mark.parametrize("count", [1, 0], ids=["counted anew", "not there"])
def test_a_node_whose_count_was_lost_knows_that_it_was_forgotten(count: int) -> None:
    reader = Reader()
    for _ in range(3):
        reader.beat()
    assert reader.liveness.read({"me": count, "other": 9}, reader.now_s + BEAT_S).is_forgotten
    reader.counts["me"] = count
    assert not reader.beat().is_forgotten


def test_a_node_that_could_not_count_for_too_long_knows_that_it_was_forgotten() -> None:
    reader = Reader()
    reader.beat()
    assert not reader.beat(after_s=DEAD_AFTER_S).is_forgotten
    assert reader.beat(after_s=DEAD_AFTER_S + 0.1).is_forgotten


def test_the_first_beat_of_all_forgets_nobody() -> None:
    assert Reader().beat() == NOBODY


def test_only_so_many_dead_are_remembered() -> None:
    reader = Reader()
    reader.beat()
    for number in range(REMEMBERED_MAX + 100):
        reader.liveness.met(f"ghost-{number}")
    for _ in range(6):
        reader.beat()
    assert sum(reader.liveness.is_dead(f"ghost-{number}") for number in range(REMEMBERED_MAX + 100)) == REMEMBERED_MAX


def test_the_times_that_ship_keep_the_promise_and_others_are_refused() -> None:
    Rhythm()
    with pytest.raises(ValueError, match=r"dead_after_s \+ 2 \* beat_s < 15"):
        Rhythm(beat_s=3.5, dead_after_s=11)
    with pytest.raises(ValueError, match="stale_s"):
        Rhythm(stale_s=60)
