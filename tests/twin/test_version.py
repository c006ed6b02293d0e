"""Positions, push numbers, fences."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.twin.cores import each_core


@each_core
def test_positions_of_two_logs_have_no_order(core: ModuleType) -> None:
    assert core.compare_position("e1", 3, "e1", 4) == "before"
    assert core.compare_position("e1", 4, "e1", 4) == "same"
    assert core.compare_position("e1", 5, "e1", 4) == "after"
    assert core.compare_position("e1", 4, "e2", 4) == "other_log"


@each_core
def test_an_entry_is_next_a_duplicate_or_past_a_gap(core: ModuleType) -> None:
    assert [core.judge_version(4, got) for got in (1, 4, 5, 6)] == ["duplicate", "duplicate", "next", "gap"]


@each_core
def test_a_push_is_next_settled_held_or_past_a_gap(core: ModuleType) -> None:
    verdicts = [core.judge_seq(4, seq, 2) for seq in (1, 4, 5, 6, 7, 8)]
    assert verdicts == ["repeat", "repeat", "pending", "pending", "next", "gap"]
    assert core.judge_seq(0, 1) == "next"


@each_core
def test_a_fence_is_current_stale_or_never_issued(core: ModuleType) -> None:
    assert [core.fence_verdict(4, given) for given in (3, 4, 5)] == ["stale", "current", "future"]


@each_core
@pytest.mark.parametrize("wrong", [True, 1.0, "1", None, -1])
def test_a_number_is_an_integer_from_zero_and_nothing_like_one(core: ModuleType, wrong: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: core.compare_position("e", wrong, "e", 1),
        lambda: core.compare_position("e", 1, "e", wrong),
        lambda: core.compare_position("e", wrong, "other", 1),
        lambda: core.judge_version(wrong, 1),
        lambda: core.judge_version(1, wrong),
        lambda: core.judge_seq(wrong, 1),
        lambda: core.judge_seq(1, wrong),
        lambda: core.judge_seq(1, 2, wrong),
        lambda: core.fence_verdict(wrong, 1),
        lambda: core.fence_verdict(1, wrong),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="is an integer from 0"):
            call()
    with pytest.raises(ValueError, match="from 1"):
        core.judge_version(0, 0)
    with pytest.raises(ValueError, match="from 1"):
        core.judge_seq(0, 0)
