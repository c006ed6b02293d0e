"""diff looks at every node about once; apply costs by the patch; neither grows faster than what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonpatch
import pytest

import syncbridge._twin as twin
from bench.conftest import Bench
from bench.core_clock import fastest_us
from bench.core_plain_diff import plain_diff
from bench.core_states import CHANGES, SIZES_KIB, change_state, parsed, session_state
from syncbridge import apply_patch, diff
from syncbridge._ext import apply_measured, canonical, equal, measure

PAIRS = [(size, changes) for size in SIZES_KIB for changes in CHANGES]


def _pair(size_kib: int, changes: int) -> tuple[Any, Any, Any]:
    """A state, the same parsed again, and another made of it: three parses that share nothing."""
    a = parsed(session_state(size_kib))
    return a, parsed(a), parsed(change_state(a, changes))


@pytest.mark.parametrize("size_kib", SIZES_KIB)
def test_diff_of_equal_states_costs_no_more_than_comparing_them(bench: Bench, size_kib: int) -> None:
    a, again, _ = _pair(size_kib, 1)
    assert diff(a, again) == []
    ours, equality = fastest_us(lambda: diff(a, again), lambda: a == again, turns=bench.size(full=60, tiny=2))
    bench.gate(f"core_diff_equal_{size_kib}_kib", ours / equality, diff_us=ours, equality_us=equality)


@pytest.mark.parametrize(("size_kib", "changes"), PAIRS)
def test_diff_costs_at_most_twice_the_comparison(bench: Bench, size_kib: int, changes: int) -> None:
    a, again, b = _pair(size_kib, changes)
    ops = diff(a, b)
    bench.same_result(
        f"diff {size_kib} KiB, {changes} changes", canonical(apply_patch(a, ops)).hex(), canonical(b).hex()
    )
    bench.same_result(f"ops {size_kib} KiB, {changes} changes", ops, twin.diff(a, b))
    ours, equality, writing, plain = fastest_us(
        lambda: diff(a, b),
        lambda: a == again,  # a == b would stop at the first change; every node must be looked at
        lambda: [op.copy() for op in ops],
        lambda: plain_diff(a, b),
        turns=bench.size(full=60, tiny=2),
    )
    figures = {"diff_us": ours, "equality_us": equality, "writing_us": writing, "plain_us": plain, "ops": len(ops)}
    bench.gate(f"core_diff_{size_kib}_kib", ours / (equality + writing), bare=ours / equality, **figures)
    bench.gate("core_diff_plain", plain / ours, **figures)


def _one_change(size_kib: int) -> tuple[Any, list[list[dict[str, Any]]]]:
    """A state and the single ops a device sends most, one patch each."""
    state = parsed(session_state(size_kib))
    last = len(state["chapters"]) - 1
    ops: list[dict[str, Any]] = [
        {"op": "replace", "path": "/playhead/position", "value": 1.5},
        {"op": "replace", "path": "/settings/volume", "value": 0.5},
        {"op": "add", "path": "/tags/-", "value": "calm"},
        {"op": "replace", "path": f"/chapters/{last}/done", "value": True},
        {"op": "add", "path": f"/chapters/{last}/heart/bpm/-", "value": 61},
        {"op": "replace", "path": "/counters/rounds", "value": 7},
    ]
    return state, [[op] for op in parsed(ops)]


def test_apply_costs_by_the_patch_not_by_the_document(bench: Bench) -> None:
    works: list[Callable[[], object]] = []
    for size_kib in (1, 200):
        state, patches = _one_change(size_kib)
        works.append(lambda state=state, patches=patches: [apply_patch(state, ops) for ops in patches])  # type: ignore[misc]
        size = measure(state)
        works.append(
            lambda state=state, patches=patches, size=size: [  # type: ignore[misc]
                apply_measured(state, size, ops, size_max=10**6) for ops in patches
            ]
        )
    small, _, large, large_measured = fastest_us(*works, turns=bench.size(full=60, tiny=2))
    bench.gate("core_apply_200_to_1_kib", large / small, us_an_op_1_kib=small / 6, us_an_op_200_kib=large / 6)
    bench.gate("core_apply_measured", large_measured / large, us_an_op=large_measured / 6)


@pytest.mark.parametrize("changes", CHANGES)
def test_apply_leaves_jsonpatch_a_hundredfold_behind(bench: Bench, changes: int) -> None:
    a, _, b = _pair(20, changes)
    ops = parsed(diff(a, b))
    assert equal(jsonpatch.apply_patch(a, ops), b)
    ours, theirs = fastest_us(
        lambda: apply_patch(a, ops), lambda: jsonpatch.apply_patch(a, ops), turns=bench.size(full=20, tiny=1)
    )
    name = "core_apply_jsonpatch" if changes == 1 else f"core_apply_jsonpatch_{changes}"
    bench.gate(name, theirs / ours, apply_us=ours, jsonpatch_us=theirs, ops=len(ops))


def _hostile(kind: str, size: int) -> Callable[[], object]:
    """Work of `size` that would take a careless algorithm the square of it."""
    a: list[Any]
    b: list[Any]
    if kind == "unrelated lists":
        a, b = list(range(size)), [str(n) for n in range(size)]
        return lambda: diff(a, b)
    if kind == "near-equal items":
        long = ["x" * 50] * 20
        a, b = [[*long, n] for n in range(size)], [[*long, -n - 1] for n in range(size)]
        return lambda: diff(a, b)
    if kind == "one item repeated":
        a, b = [0, 1] * size, [1] * size + [0] * size
        return lambda: diff(a, b)
    if kind == "many names":
        one, other = {str(n): n for n in range(size)}, {str(n): -n for n in reversed(range(size))}
        return lambda: diff(one, other)
    if kind == "many appends":
        ops = [{"op": "add", "path": "/l/-", "value": n} for n in range(size)]
        return lambda: apply_patch({"l": []}, ops)
    path = "/a" * 60
    deep: Any = {"n": 0}
    for _ in range(60):
        deep = {"a": deep}
    ops = [{"op": "add", "path": f"{path}/{n}", "value": n} for n in range(size)]
    return lambda: apply_patch(deep, ops)


KINDS = ["unrelated lists", "near-equal items", "one item repeated", "many names", "many appends", "deep paths"]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_costs_in_proportion(bench: Bench, kind: str) -> None:
    small, large = fastest_us(_hostile(kind, 1_000), _hostile(kind, 8_000), turns=bench.size(full=12, tiny=1))
    bench.gate("core_growth", large / small / 8, kind=kind, small_us=small, large_us=large)
