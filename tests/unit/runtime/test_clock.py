"""Server time: follows the wall clock, never steps back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncbridge.runtime.clock import ServerClock

MS = 1_000_000
WALL = 1_790_000_000_000


class Clocks:
    """Both clocks of a machine, in ms."""

    def __init__(self) -> None:
        self.wall_ms = WALL
        self.monotonic_ms = 5_000
        self.clock = ServerClock(wall_ns=lambda: self.wall_ms * MS, monotonic_ns=lambda: self.monotonic_ms * MS)

    def advance(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms


def test_server_time_is_the_wall_clock_at_first_and_advances_with_it() -> None:
    clocks = Clocks()
    assert clocks.clock.now_ms() == WALL
    clocks.advance(1_234)
    assert clocks.clock.now_ms() == WALL + 1_234


def test_a_wall_clock_that_jumps_is_not_followed_by_itself() -> None:
    clocks = Clocks()
    clocks.wall_ms += 3_600_000
    assert clocks.clock.now_ms() == WALL


def test_a_wall_clock_ahead_is_taken_at_once() -> None:
    clocks = Clocks()
    clocks.advance(10_000)
    clocks.wall_ms += 3_600_000
    assert clocks.clock.follow_wall() == 3_600_000
    assert clocks.clock.now_ms() == clocks.wall_ms


def test_a_wall_clock_behind_is_taken_slowly_and_never_by_a_step_back() -> None:
    clocks = Clocks()
    clocks.wall_ms -= 5_000
    seen = [clocks.clock.now_ms()]
    for _ in range(60):
        for _ in range(10):
            clocks.advance(1_000)
            seen.append(clocks.clock.now_ms())
        clocks.clock.follow_wall()
        seen.append(clocks.clock.now_ms())
    assert seen == sorted(seen)
    assert clocks.clock.now_ms() == clocks.wall_ms
    # It slows down; it does not stand still for longer than a tenth of the time.
    assert max(seen.count(value) for value in set(seen)) <= 3


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(-100_000, 100_000)), max_size=30))
def test_server_time_never_steps_back(steps: list[tuple[int, int]]) -> None:
    clocks = Clocks()
    last = clocks.clock.now_ms()
    for passed_ms, jump_ms in steps:
        clocks.advance(passed_ms)
        clocks.wall_ms += jump_ms
        clocks.clock.follow_wall()
        assert clocks.clock.now_ms() >= last
        last = clocks.clock.now_ms()
