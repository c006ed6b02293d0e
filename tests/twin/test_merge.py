"""Policy tables, and what rebase refuses, keeps and says; the cases themselves are the shared vectors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from syncbridge.errors import PatchError, PolicyError
from tests.twin.cores import each_core


@each_core
@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        {"/a": "newest"},
        {"/a": 1},
        {"/a": None},
        {"/a": {}},
        {"/a": {"key": "id"}},
        {"/a": {"policy": "append", "key": 3}},
        {"/a": {"policy": "append", "key": ""}},
        {"/a": {"policy": "max", "key": "id"}},
        {"/a": {"policy": "append", "keys": "id"}},
        {"a": "last"},
        {"/~2": "last"},
        {3: "last"},
        {"/a" * 65: "last"},
    ],
)
def test_a_wrong_table_is_refused_when_it_is_compiled(core: ModuleType, table: Any) -> None:
    with pytest.raises(PolicyError):
        core.compile_policies(table)


def _winner(core: ModuleType, table: dict[str, Any], path: list[str]) -> str:
    """Which of max and min governs `path`: told by who wins when theirs is the larger."""
    pointer = core.join_pointer(path)
    base: Any = 0
    for token in reversed(path):
        base = {token: base}
    rows = core.rebase(
        [{"op": "replace", "path": pointer, "value": 1}],
        [[{"op": "replace", "path": pointer, "value": 2}]],
        core.compile_policies(table),
        base=base,
    ).conflicts
    policy: str = rows[0]["policy"]
    return policy


@each_core
@pytest.mark.parametrize(
    ("table", "policy"),
    [
        ({}, "last"),
        ({"": "max"}, "max"),
        ({"/a": "max"}, "max"),
        ({"/a": "max", "/a/b": "min"}, "min"),
        ({"/a/*": "max", "/a/b": "min"}, "min"),
        ({"/a/b": "min", "/a/*": "max"}, "min"),
        ({"/*/b": "max", "/a/*": "min"}, "min"),
        ({"/*/*/c": "max", "/a/b": "min"}, "max"),
        ({"/*": "max", "/x": "min"}, "max"),
        ({"/a/b/c/d": "max"}, "last"),
        ({"/a/*/c": "max", "/a/b/*": "min"}, "min"),
    ],
)
def test_the_deepest_then_the_most_exact_policy_governs(core: ModuleType, table: dict[str, Any], policy: str) -> None:
    assert _winner(core, table, ["a", "b", "c"]) == policy


@each_core
@pytest.mark.parametrize(
    "ops",
    [None, {}, [1], [{}], [{"op": "add", "path": "/a"}], [{"op": "x", "path": "/a"}], [{"op": "move", "path": "/a"}]],
)
def test_what_is_no_patch_is_refused_on_either_side(core: ModuleType, ops: Any) -> None:
    with pytest.raises(PatchError):
        core.rebase(ops, [[{"op": "replace", "path": "/a", "value": 1}]], base={"a": 0})
    with pytest.raises(PatchError):
        core.rebase([{"op": "replace", "path": "/a", "value": 1}], [ops], base={"a": 0})
    with pytest.raises(PatchError):
        core.rebase([{"op": "replace", "path": "/a", "value": 1}], [{"ops": ops}], base={"a": 0})


@each_core
def test_a_blind_move_that_meets_nothing_shifts_and_passes(core: ModuleType) -> None:
    rebased = core.rebase(
        [{"op": "move", "from": "/l/2", "path": "/l/0"}, {"op": "replace", "path": "/l/1", "value": 9}],
        [[{"op": "add", "path": "/l/1", "value": "new"}]],
    )
    assert rebased.ops == [
        {"op": "move", "from": "/l/3", "path": "/l/0"},
        {"op": "replace", "path": "/l/1", "value": 9},
    ]


@each_core
def test_a_blind_move_that_meets_a_write_is_refused(core: ModuleType) -> None:
    with pytest.raises(PatchError, match="rebase it with its base") as refused:
        core.rebase(
            [{"op": "test", "path": "/x", "value": 1}, {"op": "move", "from": "/a", "path": "/b"}],
            [[{"op": "replace", "path": "/a", "value": 1}]],
        )
    assert refused.value.index == 1


@each_core
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_op_with_a_wrong_pointer_is_named_by_its_place(core: ModuleType, place: int) -> None:
    ops = [{"op": "add", "path": f"/{name}", "value": 1} for name in "ab"]
    ops.insert(place, {"op": "add", "path": "c", "value": 1})
    with pytest.raises(PatchError) as refused:
        core.rebase(ops, [], core.compile_policies({"/device": "owner"}), base={}, is_owner=False)
    assert (refused.value.index, refused.value.pointer) == (place, "c")


@each_core
def test_nothing_given_is_changed(core: ModuleType) -> None:
    base = {"l": [1, 2], "s": ["a"], "n": 1}
    ops = [{"op": "add", "path": "/l/-", "value": [1]}, {"op": "add", "path": "/s/1", "value": "b"}]
    log = [
        {"ops": [{"op": "add", "path": "/l/0", "value": 0}, {"op": "add", "path": "/s/0", "value": "c"}], "version": 1}
    ]
    before = repr((base, ops, log))
    core.rebase(ops, log, core.compile_policies({"/s": "set"}), base=base)
    assert repr((base, ops, log)) == before


@each_core
def test_a_push_over_nothing_is_its_own_answer(core: ModuleType) -> None:
    ops = [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "move", "from": "/a", "path": "/c"}]
    rebased = core.rebase(ops, [], base={"a": 1})
    assert rebased.ops == ops
    assert rebased.ops is not ops
    assert rebased.conflicts == []


@each_core
def test_a_counter_never_leaves_what_every_peer_can_hold(core: ModuleType) -> None:
    top = 2**53 - 1
    policies = core.compile_policies({"/n": "counter"})
    merged = core.merge3({"n": 0}, {"n": top}, {"n": 5}, policies)
    assert merged.state == {"n": top}
    assert merged.conflicts == [{"path": "/n", "policy": "counter", "winner": "ours", "ours": top, "theirs": 5}]


@each_core
def test_number_policies_take_no_truth_value_for_a_number(core: ModuleType) -> None:
    for policy in ("max", "min", "counter"):
        merged = core.merge3({"n": 0}, {"n": True}, {"n": 5}, core.compile_policies({"/n": policy}))
        assert merged.state == {"n": True}
        assert merged.conflicts[0]["winner"] == "ours"
