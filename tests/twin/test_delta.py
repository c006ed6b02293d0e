"""Sharing, atomicity and limits of apply; what diff costs and where it stops."""

from __future__ import annotations

import copy
import gc
from types import ModuleType
from typing import Any

import pytest

import syncbridge._ext as compiled
from syncbridge._ext import Op
from syncbridge.errors import BadMessage, PatchError, PatchTestFailed, StateTooLarge
from tests.twin.cores import each_core


@each_core
def test_what_did_not_change_is_shared_with_the_old_version(core: ModuleType) -> None:
    old = {"a": {"b": [1, {"c": 2}]}, "kept": {"x": [1]}, "list": [[1], [2]]}
    frozen = copy.deepcopy(old)
    new = core.apply_patch(old, [{"op": "replace", "path": "/a/b/1/c", "value": 3}])
    assert old == frozen
    assert new["a"]["b"][1]["c"] == 3
    assert new["kept"] is old["kept"]
    assert new["list"] is old["list"]
    assert new["a"] is not old["a"]


@each_core
def test_an_ops_value_is_never_changed_by_a_later_op(core: ModuleType) -> None:
    value: dict[str, Any] = {"n": []}
    ops = [{"op": "add", "path": "/a", "value": value}, {"op": "add", "path": "/a/n/-", "value": 1}] * 2
    assert core.apply_patch({}, ops) == {"a": {"n": [1]}}
    assert value == {"n": []}


@each_core
def test_a_refused_patch_changes_nothing(core: ModuleType) -> None:
    doc = {"a": [1, 2], "b": {"c": 1}}
    frozen = copy.deepcopy(doc)
    ops = [
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "remove", "path": "/b/c"},
        {"op": "remove", "path": "/b/c"},
    ]
    with pytest.raises(PatchError) as refused:
        core.apply_patch(doc, ops)
    assert doc == frozen
    assert (refused.value.index, refused.value.pointer) == (2, "/b/c")
    assert refused.value.reason == "no such member"


@each_core
def test_a_failed_test_names_its_op(core: ModuleType) -> None:
    with pytest.raises(PatchTestFailed) as refused:
        core.apply_patch(
            {"a": 1}, [{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": 1.0}]
        )
    assert refused.value.index == 1
    assert refused.value.pointer == "/a"


@each_core
@pytest.mark.parametrize("ops", [None, {}, "x", (), 3])
def test_a_patch_is_an_array(core: ModuleType, ops: Any) -> None:
    with pytest.raises(PatchError, match="array of operations") as refused:
        core.apply_patch({}, ops)
    assert refused.value.index is None


@each_core
def test_a_doubling_copy_is_refused_at_the_limit(core: ModuleType) -> None:
    ops = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(128)]
    state = {"seed": "x" * 100}
    with pytest.raises(StateTooLarge, match=r"^op 11: the state would have \d+ bytes, the limit is 262144"):
        core.apply_measured(state, core.measure(state), ops, size_max=262_144)
    assert state == {"seed": "x" * 100}


@each_core
def test_size_is_judged_from_the_size_given(core: ModuleType) -> None:
    state, size = core.apply_measured({"a": 1}, 7, [{"op": "add", "path": "/b", "value": "é"}], size_max=16)
    assert size == 16 == len('{"a":1,"b":"é"}'.encode())
    with pytest.raises(StateTooLarge):
        core.apply_measured({"a": 1}, 7, [{"op": "add", "path": "/b", "value": "é"}], size_max=15)
    with pytest.raises(StateTooLarge):
        core.apply_patch({"a": 1}, [{"op": "add", "path": "/b", "value": "é"}], size_max=15)
    assert state == {"a": 1, "b": "é"}


@each_core
def test_values_of_a_diff_are_the_targets_own(core: ModuleType) -> None:
    target = {"a": {"b": [1]}}
    assert core.diff({}, target)[0]["value"] is target["a"]


@each_core
def test_a_long_unrelated_list_costs_one_op_an_item(core: ModuleType) -> None:
    a, b = list(range(5_000)), [f"x{n}" for n in range(5_000)]
    ops = core.diff(a, b)
    assert len(ops) == 5_000
    assert core.apply_patch(a, ops) == b


@each_core
def test_scattered_edits_of_a_long_list_are_found(core: ModuleType) -> None:
    a = [{"id": n, "n": n} for n in range(500)]
    b = [dict(item) for item in a]
    b[30]["n"] = -1
    del b[100]
    b.insert(300, {"id": -5, "n": 0})
    b[400]["n"] = -2
    assert len(core.diff(a, b)) == 4


@each_core
def test_lists_in_many_lists_are_compared_place_by_place(core: ModuleType) -> None:
    a: Any = [1, 2, 3]
    b: Any = [0, 1, 2, 3]
    for _ in range(20):
        a, b = [a], [b]
    ops = core.diff(a, b)
    assert core.apply_patch(a, ops) == b
    assert len(ops) == 4


@each_core
def test_a_merge_patch_shares_and_leaves_the_old_version(core: ModuleType) -> None:
    old = {"a": {"b": 1}, "kept": {"x": 1}}
    new = core.merge_patch(old, {"a": {"b": None, "c": {"d": None}}})
    assert old == {"a": {"b": 1}, "kept": {"x": 1}}
    assert new == {"a": {"c": {}}, "kept": {"x": 1}}
    assert new["kept"] is old["kept"]


@each_core
def test_nothing_is_kept_alive_by_a_refusal_or_a_success(core: ModuleType) -> None:
    doc = {"a": {"b": [1, 2, 3]}, "n": 1}
    ops = [{"op": "add", "path": "/a/b/0", "value": {"x": 1}}, {"op": "move", "from": "/n", "path": "/a/n"}]
    bad = [*ops, {"op": "remove", "path": "/zz"}]
    policies = core.compile_policies({"/n": "counter", "/a/b": "set"})

    def work() -> None:
        core.apply_measured(doc, core.measure(doc), ops, size_max=10_000)
        core.diff(doc, core.apply_patch(doc, ops))
        core.canonical(doc)
        core.merge3(doc, {"n": 2, "a": {"b": [1]}}, {"n": 5, "a": {"b": [2, 9]}}, policies)
        with pytest.raises(PatchError):
            core.apply_patch(doc, bad)
        with pytest.raises(BadMessage):
            core.check({"a": [2**60]})

    for _ in range(20):
        work()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(200):
        work()
    gc.collect()
    assert len(gc.get_objects()) - before < 50


@pytest.mark.parametrize(
    "ops",
    [
        [{"op": "replace", "path": "/a/list/1/deep", "value": {"new": [1]}}],
        [{"op": "remove", "path": "/a/list/1/deep"}],
        [{"op": "add", "path": "/a/list/1/more", "value": {}}, {"op": "move", "from": "/b", "path": "/a/list/1/b"}],
        [{"op": "copy", "from": "/a", "path": "/a/list/1/copy"}, {"op": "remove", "path": "/b"}],
    ],
    ids=["replace", "remove", "add and move", "copy"],
)
def test_what_a_patch_copies_is_not_shown_to_the_search_for_garbage(ops: list[Op]) -> None:
    doc: Any = {"a": {"list": [{}, {"deep": {"old": 1}}]}, "b": {"c": []}}
    after: Any = compiled.apply_patch(doc, ops)
    copies = [after, after["a"], after["a"]["list"], after["a"]["list"][1]]
    assert not any(map(gc.is_tracked, copies))
    assert gc.is_tracked(doc["b"]), "what was given is left as it was"
