"""Laws of rebase and the three-way merge, on compiled and twin alike."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncbridge.errors import PatchError
from tests.property.json_values import forks, objects, scalars, tables, values
from tests.twin.cores import each_core

EXAMPLES = settings(max_examples=150)

Fork = list[dict[str, Any]]


@each_core
@EXAMPLES
@given(forks(), tables)
def test_merge_with_an_unchanged_side_is_the_other_side(core: ModuleType, fork: Fork, table: Any) -> None:
    base, ours, _ = fork
    policies = None if table is None else core.compile_policies(table)
    kept = core.merge3(base, ours, base, policies)
    taken = core.merge3(base, base, ours, policies)
    assert core.equal(kept.state, ours)
    assert kept.conflicts == []
    assert core.equal(taken.state, ours)
    assert taken.ops == taken.conflicts == []


@each_core
@EXAMPLES
@given(forks(), tables)
def test_both_sides_writing_the_same_is_no_conflict(core: ModuleType, fork: Fork, table: Any) -> None:
    base, ours, _ = fork
    scalar_lists_merge = {"set", "append"} & set((table or {}).values())
    if not scalar_lists_merge:
        policies = None if table is None else core.compile_policies(table)
        merged = core.merge3(base, ours, ours, policies)
        if "counter" not in (table or {}).values() and not _has_list_insert(core, base, ours):
            assert core.equal(merged.state, ours)
            assert merged.conflicts == []


def _has_list_insert(core: ModuleType, base: Any, ours: Any) -> bool:
    """Two people who insert the same item inserted two items; removing one item twice removes it once."""
    state = base
    for op in core.diff(base, ours):
        parent = core.resolve(state, op["path"].rpartition("/")[0]) if op["path"] else None
        if op["op"] != "replace" and isinstance(parent, list):
            return True
        state = core.apply_patch(state, [op])
    return False


@each_core
@EXAMPLES
@given(forks(), tables)
def test_merge_of_states_is_the_rebase_of_their_differences(core: ModuleType, fork: Fork, table: Any) -> None:
    base, ours, theirs = fork
    policies = None if table is None else core.compile_policies(table)
    merged = core.merge3(base, ours, theirs, policies)
    rebased = core.rebase(core.diff(base, ours), [core.diff(base, theirs)], policies, base=base)
    assert merged.ops == rebased.ops
    assert merged.conflicts == rebased.conflicts
    assert core.equal(merged.state, core.apply_patch(theirs, rebased.ops))


@each_core
@EXAMPLES
@given(forks(sides=4), tables, st.booleans())
def test_a_rebased_push_applies_after_many_commits(core: ModuleType, fork: Fork, table: Any, is_owner: bool) -> None:
    base, ours, *states = fork
    policies = None if table is None else core.compile_policies(table)
    log, state = [], base
    for version, target in enumerate(states, start=1):
        log.append({"ops": core.diff(state, target), "version": version, "device": "tv", "at": version})
        state = target
    rebased = core.rebase(core.diff(base, ours), log, policies, base=base, at=2, is_owner=is_owner)
    core.apply_patch(state, rebased.ops)
    for row in rebased.conflicts:
        assert set(row) <= {"path", "policy", "winner", "ours", "theirs", "theirs_version", "theirs_device"}
        assert row["winner"] in ("ours", "theirs", "both", "manual")


@each_core
@EXAMPLES
@given(forks(), tables)
def test_a_written_scalar_is_in_the_result_or_in_a_row(core: ModuleType, fork: Fork, table: Any) -> None:
    base, ours, theirs = fork
    policies = None if table is None else core.compile_policies(table)
    if "counter" in (table or {}).values():
        return  # a counter keeps the difference, not the number; its own law is below
    marked_ours, marked_theirs = _mark(core, base, ours, "ours"), _mark(core, base, theirs, "theirs")
    merged = core.merge3(base, marked_ours, marked_theirs, policies)
    seen = _texts(merged.state) | {text for row in merged.conflicts for text in _texts(row)}
    for side in (marked_ours, marked_theirs):
        written = {text for text in _texts(side) if text.startswith(("ours ", "theirs "))}
        assert written <= seen


def _mark(core: ModuleType, base: Any, state: Any, name: str) -> Any:
    """`state` with every scalar its side wrote made a text of its own."""
    count = 0

    def unique(value: Any) -> Any:
        nonlocal count
        if isinstance(value, dict):
            return {key: unique(item) for key, item in value.items()}
        if isinstance(value, list):
            return [unique(item) for item in value]
        count += 1
        return f"{name} {count}"

    for op in core.diff(base, state):
        base = core.apply_patch(base, [{**op, "value": unique(op["value"])} if "value" in op else op])
    return base


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    return {value} if isinstance(value, str) else set()


numbers = st.integers(-100, 100) | st.sampled_from([0.5, -2.25])


@each_core
@pytest.mark.parametrize("policy", ["max", "min", "counter"])
@EXAMPLES
@given(base=numbers, a=numbers, b=numbers)
def test_number_policies_commute(core: ModuleType, policy: str, base: Any, a: Any, b: Any) -> None:
    policies = core.compile_policies({"/n": policy})
    one = core.merge3({"n": base}, {"n": a}, {"n": b}, policies).state["n"]
    other = core.merge3({"n": base}, {"n": b}, {"n": a}, policies).state["n"]
    assert one == other
    if core.equal(base, a) or core.equal(base, b):
        return  # one side is unchanged
    assert one == {"max": max(a, b), "min": min(a, b), "counter": a + b - base}[policy]


@each_core
@EXAMPLES
@given(*[st.lists(scalars, max_size=6)] * 3)
def test_set_commutes_up_to_order(core: ModuleType, base: Any, a: Any, b: Any) -> None:
    policies = core.compile_policies({"/s": "set"})
    base, a, b = _unique(core, base), _unique(core, a), _unique(core, b)
    one = core.merge3({"s": base}, {"s": a}, {"s": b}, policies).state["s"]
    other = core.merge3({"s": base}, {"s": b}, {"s": a}, policies).state["s"]
    assert len(one) == len(other)
    assert all(any(core.equal(x, y) for y in other) for x in one)
    assert core.equal(one, _unique(core, one))
    for added in (item for side in (a, b) for item in side if not any(core.equal(item, old) for old in base)):
        assert any(core.equal(added, item) for item in one)


def _unique(core: ModuleType, items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not any(core.equal(item, seen) for seen in kept):
            kept.append(item)
    return kept


@each_core
@EXAMPLES
@given(*[st.lists(st.integers(0, 12), max_size=5, unique=True)] * 3, st.booleans())
def test_append_loses_no_item_and_doubles_none(core: ModuleType, base: Any, a: Any, b: Any, by_id: bool) -> None:
    wrap = (lambda item: {"id": item}) if by_id else (lambda item: item)
    policies = core.compile_policies({"/log": "append"})
    ours, theirs = base + [n for n in a if n not in base], base + [n for n in b if n not in base]
    merged = core.merge3(*({"log": [wrap(item) for item in items]} for items in (base, ours, theirs)), policies).state[
        "log"
    ]
    expected = theirs + [item for item in ours if item not in theirs]
    assert merged == [wrap(item) for item in expected]


@each_core
@EXAMPLES
@given(forks(sides=3), tables, st.permutations([0, 1, 2]))
def test_replicas_that_apply_the_log_converge(core: ModuleType, fork: Fork, table: Any, order: list[int]) -> None:
    """Three devices push from one base, in any order of arrival; each replica holds its own push optimistically."""
    base, *states = fork
    policies = None if table is None else core.compile_policies(table)
    log: list[list[Any]] = []
    for device in order:
        log.append(core.rebase(core.diff(base, states[device]), log, policies, base=base).ops)
    server = base
    for ops in log:
        server = core.apply_patch(server, ops)
    for device in range(3):
        confirmed, pending = base, core.diff(base, states[device])
        for author, ops in zip(order, log, strict=True):
            if author == device:
                pending = []
            else:
                pending = core.rebase(pending, [ops], policies, base=confirmed).ops
            confirmed = core.apply_patch(confirmed, ops)
            core.apply_patch(confirmed, pending)
        assert core.equal(confirmed, server)


@st.composite
def pushes(draw: st.DrawFn) -> tuple[Any, list[Any], list[Any]]:
    """A base and two patches on it, of all six ops; a few of them cannot be applied."""
    base = draw(objects)
    return base, draw(_ops(base)), draw(_ops(base))


@st.composite
def _ops(draw: st.DrawFn, base: Any) -> list[Any]:
    from syncbridge._twin import apply_patch, join_pointer

    state, ops = base, []
    for _ in range(draw(st.integers(0, 4))):
        places = _places(state)
        path, source = draw(st.sampled_from(places)), draw(st.sampled_from(places))
        path = draw(st.sampled_from([path, path, [*path[:-1], "-"], [*path, "a"], [*path, "0"]])) if path else ["a"]
        kind = draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]))
        op = {"op": kind, "path": join_pointer(path)}
        if kind in ("add", "replace", "test"):
            op["value"] = draw(values)
        if kind in ("move", "copy"):
            op["from"] = join_pointer(source)
        try:
            state = apply_patch(state, [op])
        except PatchError:
            if draw(st.integers(0, 9)):
                continue
        ops.append(op)
    return ops


def _places(value: Any) -> list[list[str]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [[], *([str(key), *rest] for key, item in children for rest in _places(item))]


@each_core
@settings(max_examples=400)
@given(pushes(), tables, st.booleans(), st.booleans())
def test_any_push_over_any_commit_rebases_and_applies_or_is_refused_by_name(
    core: ModuleType, push: tuple[Any, list[Any], list[Any]], table: Any, is_owner: bool, has_base: bool
) -> None:
    base, ours, theirs = push
    policies = None if table is None else core.compile_policies(table)
    try:
        state = core.apply_patch(base, theirs)
        core.apply_patch(base, ours)
    except PatchError:
        _rebase_or_refuse(core, base, ours, theirs, policies)
        return
    if not has_base:
        _rebase_or_refuse(core, None, ours, theirs, policies)
        return
    rebased = core.rebase(ours, [theirs], policies, base=base, is_owner=is_owner)
    core.apply_patch(state, [op for op in rebased.ops if op["op"] != "test"])


def _rebase_or_refuse(core: ModuleType, base: Any, ours: Any, theirs: Any, policies: Any) -> None:
    try:
        core.rebase(ours, [theirs], policies, base=base)
    except PatchError as error:
        reason = error.reason
    else:
        reason = "none was needed"
    assert reason


@settings(max_examples=400)
@given(pushes(), tables, st.booleans(), st.booleans())
def test_compiled_and_twin_rebase_alike(
    push: tuple[Any, list[Any], list[Any]], table: Any, is_owner: bool, has_base: bool
) -> None:
    import syncbridge._ext as compiled
    import syncbridge._twin as twin

    base, ours, theirs = push
    try:
        twin.apply_patch(base, ours)
        twin.apply_patch(base, theirs)
    except PatchError:
        return  # refused now or when applied; the law above holds for both
    answers = []
    for core in (compiled, twin):
        policies = None if table is None else core.compile_policies(table)
        log = [{"ops": [op], "version": number, "at": number} for number, op in enumerate(theirs)]
        try:
            answers.append(core.rebase(ours, log, policies, base=base if has_base else None, at=1, is_owner=is_owner))
        except PatchError as error:
            answers.append((type(error), str(error)))
    assert repr(answers[0]) == repr(answers[1])
