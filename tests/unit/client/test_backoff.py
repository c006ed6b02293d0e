"""How long a device waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncbridge.client.backoff import BASE_MS, CAP_MS, GOODBYE_JITTER, Backoff


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_waits_are_spread_from_nothing_to_a_doubling_ceiling_that_is_capped(numbers: list[float]) -> None:
    given_numbers = iter(numbers)
    backoff = Backoff(lambda: next(given_numbers))
    for attempt, number in enumerate(numbers):
        assert backoff.failed() == round(number * min(CAP_MS, BASE_MS * 2**attempt))


def test_success_starts_it_anew() -> None:
    backoff = Backoff(lambda: 1.0)
    waits = [backoff.failed(), backoff.failed()]
    backoff.succeeded()
    assert [*waits, backoff.failed()] == [BASE_MS, 2 * BASE_MS, BASE_MS]


@given(st.floats(0, 1), st.integers(0, 60_000))
def test_a_goodbye_is_never_cut_short(number: float, asked_ms: int) -> None:
    wait_ms = Backoff(lambda: number).dismissed(asked_ms)
    assert asked_ms <= wait_ms <= round(asked_ms * (1 + GOODBYE_JITTER))


def test_what_the_server_asked_for_comes_on_top() -> None:
    assert Backoff(lambda: 0.5).failed(least_ms=1_000) == 1_000 + BASE_MS // 2
