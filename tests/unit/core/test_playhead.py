"""The playhead: one anchor, the same position on every device."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncbridge.core.playhead import Anchor, of_state, parse

anchors = st.builds(
    Anchor,
    position=st.floats(0, 1e6),
    rate=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    at=st.integers(0, 2**41),
)


@given(anchors, st.integers(0, 10**9), st.integers(0, 10**9))
def test_position_never_falls_while_time_passes(anchor: Anchor, first_ms: int, more_ms: int) -> None:
    early = anchor.position_at(anchor.at + first_ms)
    assert anchor.position_at(anchor.at + first_ms + more_ms) >= early >= anchor.position


@given(anchors, st.integers(0, 10**8), st.integers(0, 10**8))
def test_anchoring_again_does_not_move_it(anchor: Anchor, first_ms: int, more_ms: int) -> None:
    again = anchor.re_anchored(anchor.at + first_ms)
    there = anchor.at + first_ms + more_ms
    assert again.position_at(there) == pytest.approx(anchor.position_at(there), abs=1e-6, rel=1e-9)


def test_paused_stands_and_a_time_before_the_anchor_says_nothing_of_the_past() -> None:
    assert Anchor(12, 0, 1_000).position_at(99_000) == 12
    assert Anchor(12, 1, 1_000).position_at(0) == 12


def test_duration_is_the_end() -> None:
    assert Anchor(50, 1, 0, duration=60).position_at(30_000) == 60


def test_form_in_the_state_reads_back() -> None:
    anchor = Anchor(1.25, 1, 1_700_000_000_000, 600)
    assert of_state({"playhead": anchor.as_json()}) == anchor


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"position": -1},
        {"position": True},
        {"position": "3"},
        {"position": 3, "rate": -1},
        {"position": 3, "rate": 5},
        {"position": 3, "rate": 1, "at": 1.5},
        {"position": 3, "rate": 1, "at": -1},
        {"position": 3, "rate": 1, "at": 0, "duration": -2},
        {"position": 1e12},
    ],
    ids=str,
)
def test_what_is_no_anchor_is_named(value: Any) -> None:
    fault = parse(value)
    assert isinstance(fault, str)
    assert fault.startswith(("the playhead", "playhead."))
