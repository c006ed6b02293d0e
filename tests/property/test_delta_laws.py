"""Laws of diff, apply, merge patch, measure and the canonical form, on compiled and twin alike."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import orjson
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

import syncbridge._ext as compiled
import syncbridge._twin as twin
from syncbridge.errors import ClientFault, PatchError, StateTooLarge
from tests.property.json_values import edited, objects, pairs, values
from tests.property.json_values import scalars as few_scalars
from tests.twin.cores import each_core

EXAMPLES = settings(max_examples=200)

floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text() | st.text(alphabet=st.characters(codec="utf-8", max_codepoint=0x40))
any_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | floats | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=20,
)


@each_core
@settings(max_examples=500)
@given(pairs())
def test_a_diff_applied_gives_the_target(core: ModuleType, pair: tuple[Any, Any]) -> None:
    a, b = pair
    before = orjson.dumps(a)
    ops = core.diff(a, b)
    assert core.equal(core.apply_patch(a, ops), b)
    assert orjson.dumps(a) == before
    assert (ops == []) == core.equal(a, b)


@each_core
@EXAMPLES
@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.integers(0, 5), max_size=12))
def test_a_diff_of_lists_costs_at_most_an_op_an_item(core: ModuleType, a: list[int], b: list[int]) -> None:
    ops = core.diff(a, b)
    assert core.apply_patch(a, ops) == b
    assert len(ops) <= max(len(a), len(b)) + min(len(a), len(b))


@each_core
@EXAMPLES
@given(
    st.lists(few_scalars, max_size=10), st.integers(0, 10), few_scalars, st.sampled_from(["add", "remove", "replace"])
)
def test_one_item_changed_is_one_op(core: ModuleType, items: list[Any], at: int, value: Any, how: str) -> None:
    at = min(at, len(items) if how == "add" else len(items) - 1)
    if at < 0:
        return
    rest = items[at:] if how == "add" else items[at + 1 :]
    target = items[:at] + ([] if how == "remove" else [value]) + rest
    ops = core.diff(items, target)
    assert len(ops) == (0 if core.equal(items, target) else 1)


@EXAMPLES
@given(pairs())
def test_compiled_and_twin_find_the_same_ops(pair: tuple[Any, Any]) -> None:
    assert repr(compiled.diff(*pair)) == repr(twin.diff(*pair))
    assert compiled.equal(*pair) == twin.equal(*pair)


@each_core
@EXAMPLES
@given(pairs())
def test_equal_means_the_same_text_and_the_same_hash(core: ModuleType, pair: tuple[Any, Any]) -> None:
    a, b = pair
    written = [json.dumps(value, sort_keys=True).replace("-0.0", "0.0") for value in pair]
    assert core.equal(a, b) == (written[0] == written[1])
    if core.equal(a, b):
        assert core.canonical(a) == core.canonical(b)


# -- apply ---------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "0", "1", "-", "", "~0", "~1", "01", "2", "99999999999", "~2", "x"])
paths = st.lists(names, max_size=4).map(lambda tokens: "".join("/" + token for token in tokens)) | st.just("a")
wild_ops = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "test", "frob"]), "path": paths},
    optional={"value": values, "from": paths},
) | st.sampled_from([None, 1, {}, {"op": 1, "path": ""}, {"op": "add", "path": None, "value": 1}])
documents = st.recursive(
    few_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0", "", "~", "/"]), inner),
    max_leaves=10,
)


def _outcome(core: ModuleType, *args: Any, **limits: Any) -> Any:
    try:
        return core.apply_measured(*args, **limits)
    except ClientFault as error:
        return type(error), str(error)


@settings(max_examples=400)
@given(documents, st.lists(wild_ops, max_size=6), st.integers(0, 120), st.integers(1, 6))
def test_any_patch_gives_the_twins_answer_or_error(doc: Any, ops: list[Any], size_max: int, depth_max: int) -> None:
    if not _nests_within(doc, depth_max):
        return
    before = orjson.dumps([doc, ops])
    size = compiled.measure(doc)
    answers = [_outcome(core, doc, size, ops, size_max=size_max, depth_max=depth_max) for core in (compiled, twin)]
    assert repr(answers[0]) == repr(answers[1])
    assert orjson.dumps([doc, ops]) == before


def _nests_within(value: Any, depth: int) -> bool:
    children = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return not isinstance(value, dict | list) or (
        depth > 0 and all(_nests_within(child, depth - 1) for child in children)
    )


@st.composite
def patches(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    doc, ops = draw(objects), []
    state = doc
    for _ in range(draw(st.integers(0, 4))):
        target = draw(edited(state))
        ops += twin.diff(state, target)
        state = target
    return doc, ops


@each_core
@EXAMPLES
@given(patches())
def test_the_size_kept_is_the_size_measured(core: ModuleType, patch: tuple[Any, list[Any]]) -> None:
    doc, ops = patch
    state, size = core.apply_measured(doc, core.measure(doc), ops, size_max=10**9)
    assert size == core.measure(state) == len(orjson.dumps(state))
    assert core.equal(state, core.apply_patch(doc, ops))


@each_core
@EXAMPLES
@given(patches())
def test_many_patches_of_one_op_are_one_patch_of_many(core: ModuleType, patch: tuple[Any, list[Any]]) -> None:
    doc, ops = patch
    state = doc
    for op in ops:
        state = core.apply_patch(state, [op])
    assert core.equal(state, core.apply_patch(doc, ops))


@each_core
@EXAMPLES
@given(values, values)
def test_a_merge_patch_is_idempotent(core: ModuleType, doc: Any, patch: Any) -> None:
    once = core.merge_patch(doc, patch)
    assert core.equal(core.merge_patch(once, patch), once)
    assert core.equal(once, twin.merge_patch(doc, patch))


# -- measure, check, canonical --------------------------------------------------------------------------------------


@each_core
@EXAMPLES
@given(any_values)
def test_measure_is_the_length_orjson_writes(core: ModuleType, value: Any) -> None:
    assert core.measure(value) == len(orjson.dumps(value))


@each_core
@settings(max_examples=500)
@given(floats)
def test_a_floats_length_is_the_length_orjson_writes(core: ModuleType, value: float) -> None:
    assert core.measure(value) == len(orjson.dumps(value))


@each_core
@EXAMPLES
@given(any_values)
def test_the_canonical_form_is_what_another_implementation_writes(core: ModuleType, value: Any) -> None:
    assert core.canonical(value) == rfc8785.dumps(value)


@each_core
@settings(max_examples=500)
@given(floats)
def test_the_canonical_number_is_what_another_implementation_writes(core: ModuleType, value: float) -> None:
    assert core.canonical(value) == rfc8785.dumps(value)


@each_core
@EXAMPLES
@given(any_values)
def test_what_every_peer_can_hold_passes_the_check(core: ModuleType, value: Any) -> None:
    assert core.check(value) is None


odd_values: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.floats() | st.text(alphabet=st.characters()) | st.just(()) | st.sampled_from(["\ud800", 2**53]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b c", "\udfff", "é"]), inner),
    max_leaves=8,
)


@EXAMPLES
@given(odd_values, st.integers(0, 3))
def test_compiled_and_twin_refuse_the_same_values_in_the_same_words(value: Any, depth_max: int) -> None:
    for verb in ("check", "measure", "canonical"):
        answers = []
        for core in (compiled, twin):
            try:
                answers.append(getattr(core, verb)(value, depth_max=depth_max))
            except ClientFault as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]


@each_core
@EXAMPLES
@given(patches(), st.integers(2, 200))
def test_a_refused_size_names_the_first_op_that_went_over(
    core: ModuleType, patch: tuple[Any, list[Any]], size_max: int
) -> None:
    doc, ops = patch
    state = doc
    for index, op in enumerate(ops):
        state = core.apply_patch(state, [op])
        if core.measure(state) > size_max:
            try:
                core.apply_measured(doc, core.measure(doc), ops, size_max=size_max)
            except StateTooLarge as error:
                refused = str(error)
            else:
                refused = "nothing"
            assert refused.startswith(f"op {index}:")
            return
    core.apply_measured(doc, core.measure(doc), ops, size_max=size_max)


@each_core
@EXAMPLES
@given(st.lists(st.text(max_size=5), max_size=5))
def test_a_pointer_splits_into_what_it_was_joined_from(core: ModuleType, tokens: list[str]) -> None:
    assert core.split_pointer(core.join_pointer(tokens)) == tokens


@each_core
@EXAMPLES
@given(st.text(alphabet="/~012a-", max_size=8), values)
def test_any_pointer_resolves_or_is_refused_by_name(core: ModuleType, pointer: str, doc: Any) -> None:
    nothing = object()
    try:
        found = core.resolve(doc, pointer, nothing)
        assert (found is nothing) or core.resolve(doc, pointer) is found
    except PatchError as error:
        refused = error.pointer
    else:
        refused = pointer
    assert refused == pointer
