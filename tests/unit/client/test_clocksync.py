"""Server time out of four timestamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.client.clocksync import SAMPLES_MAX, ClockSync
from syncbridge.core.messages import ClockMessage

AHEAD_MS = 1_000_000.0


def ask(clock: ClockSync, mono_ms: float, there_ms: float, back_ms: float, ahead_ms: float = AHEAD_MS) -> float:
    """One exchange over a path that takes ``there_ms`` and ``back_ms``; the monotonic time after it."""
    question = clock.ask(mono_ms)
    server_ms = round(mono_ms + there_ms + ahead_ms)
    now_ms = mono_ms + there_ms + back_ms
    clock.answered(ClockMessage(question.t0, server_ms, server_ms), now_ms)
    return now_ms


def test_before_the_server_is_heard_the_devices_own_clock_is_believed() -> None:
    clock = ClockSync(wall_ms=5_000, mono_ms=1_000)
    assert clock.now_ms(1_500) == 5_500
    assert clock.uncertainty_ms is None


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=1, max_size=SAMPLES_MAX))
def test_the_error_is_at_most_half_of_the_shortest_round_trip(paths: list[tuple[float, float]]) -> None:
    clock, mono_ms = ClockSync(0, 0), 10_000.0
    for there_ms, back_ms in paths:
        mono_ms = ask(clock, mono_ms, there_ms, back_ms) + 1_000
    error_ms = abs(clock.now_ms(mono_ms) - (mono_ms + AHEAD_MS))
    assert error_ms <= min(there_ms + back_ms for there_ms, back_ms in paths) / 2 + 2


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    wrong = ClockSync(wall_ms=3 * 3_600_000, mono_ms=0)
    right = ClockSync(wall_ms=0, mono_ms=0)
    for clock in (wrong, right):
        ask(clock, 1_000, 5, 5)
    assert wrong.now_ms(2_000) == right.now_ms(2_000)


def test_old_samples_make_room_so_that_drift_is_followed() -> None:
    clock = ClockSync(0, 0)
    ask(clock, 0, 0, 0)
    for index in range(SAMPLES_MAX):
        ask(clock, 1_000.0 * index, 3, 3, AHEAD_MS + 50)
    assert clock.now_ms(0) == round(AHEAD_MS + 50)


@pytest.mark.parametrize("t0", [20_000, 1e18])
def test_an_answer_to_a_question_of_the_future_is_not_believed(t0: float) -> None:
    clock = ClockSync(5_000, 0)
    clock.answered(ClockMessage(t0, 1, 1), 10_000)
    assert clock.best is None
