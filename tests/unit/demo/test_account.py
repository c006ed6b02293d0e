"""The demonstration's account: what it calls lost, doubled and broken."""

from __future__ import annotations

from typing import Any

from syncbridge.demo.account import Handoff, Tally, broken, conflicts, tally
from syncbridge.demo.orders import Edit, Summary

FINE = Tally(sent=3, acknowledged=3, refused=0, unanswered=0, lost=0, doubled=0)
SAME = {"service": "a", "phone": "a"}


def a_state(*, breaths: int = 0, heart: tuple[int, ...] = (), marks: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "totals": {"breaths": breaths},
        "heart_rate": [{"at": at, "bpm": 80.0} for at in heart],
        "marks": [{"id": name} for name in marks],
    }


def test_everything_acknowledged_and_there_is_neither_lost_nor_doubled() -> None:
    edits = [Edit("breath", "+1", 5), Edit("heart", "1", 6), Edit("mark", "tv-1", 7), Edit("other", "/notes", 8)]
    counted = tally(edits, a_state(breaths=1, heart=(1,), marks=("tv-1",)))
    assert counted == Tally(sent=4, acknowledged=4, refused=0, unanswered=0, lost=0, doubled=0)
    assert broken([], counted, SAME) == []


def test_an_acknowledged_edit_that_is_not_in_the_state_is_lost_by_name() -> None:
    edits = [Edit("breath", "+1", 5), Edit("breath", "+2", 6), Edit("heart", "1", 7), Edit("mark", "tv-1", 8)]
    counted = tally(edits, a_state(breaths=1))
    assert (counted.lost, counted.missing) == (3, ["heart 1", "mark tv-1", "1 breaths"])
    assert broken([], counted, SAME) == [
        "nothing acknowledged is lost: not in the state: heart 1, mark tv-1, 1 breaths",
    ]


def test_an_edit_that_took_effect_twice_is_doubled() -> None:
    edits = [Edit("breath", "+1", 5), Edit("mark", "tv-1", 6), Edit("heart", "1", 7)]
    counted = tally(edits, a_state(breaths=2, heart=(1, 1), marks=("tv-1", "tv-1")))
    assert (counted.lost, counted.doubled) == (0, 3)
    assert broken([], counted, SAME) == ["each update takes effect once: 3 took effect again"]


def test_a_refused_edit_is_answered_and_one_without_an_answer_is_not() -> None:
    counted = tally([Edit("mark", "tv-1", 0, "stale_owner"), Edit("mark", "tv-2")], a_state())
    assert (counted.refused, counted.unanswered, counted.lost) == (1, 1, 0)
    assert broken([], counted, SAME) == ["every update is answered: 1 were not"]


def test_states_that_differ_break_the_promise_to_converge() -> None:
    (sentence,) = broken([], FINE, {"service": "a" * 32, "phone": "b" * 32})
    assert sentence == "all devices converge: the states differ (service aaaaaaaa, phone bbbbbbbb)"


def test_a_slow_handoff_and_a_jumping_playhead_are_named() -> None:
    slow = Handoff("offer", "phone", "tv", latency_ms=100.1, error_ms=20.1)
    assert [sentence.split(":")[0] for sentence in broken([slow], FINE, SAME)] == [
        "a handoff takes at most 100 ms",
        "the playhead goes on within 20 ms",
    ]
    assert broken([Handoff("offer", "phone", "tv", latency_ms=100.0, error_ms=20.0)], FINE, SAME) == []


def test_a_source_that_is_away_may_be_off_by_the_uncertainty_that_was_stated() -> None:
    def taken(error_ms: float) -> list[Handoff]:
        return [Handoff("take", "phone", "tv", 5.0, error_ms, is_live=False, uncertainty_ms=900)]

    assert broken(taken(919.0), FINE, SAME) == []
    assert len(broken(taken(921.0), FINE, SAME)) == 1


def test_a_conflict_that_several_devices_met_is_told_once() -> None:
    row = {"path": "/notes", "policy": "latest", "winner": "theirs", "ours": "a", "theirs": "b", "device": "phone"}
    met = [Summary(9, "h", [], [{**row, "version": 4}]), Summary(9, "h", [], [row, {**row, "path": "/best"}])]
    assert [found["path"] for found in conflicts(met)] == ["/notes", "/best"]
