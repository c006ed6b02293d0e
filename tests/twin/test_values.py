"""Kinds, limits and places of JSON values."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import orjson
import pytest

from syncbridge.errors import BadMessage, ClientFault, DepthExceeded, PatchError
from tests.twin.cores import each_core


def nested(depth: int, kind: type = list) -> Any:
    value: Any = [] if kind is list else {}
    for _ in range(depth - 1):
        value = [value] if kind is list else {"a": value}
    return value


@each_core
@pytest.mark.parametrize(
    ("a", "b", "is_equal"),
    [
        (True, 1, False),
        (False, 0, False),
        (1, 1.0, False),
        ([True], [1], False),
        ({"a": 1}, {"a": 1.0}, False),
        (None, False, False),
        (-0.0, 0.0, True),
        (float("nan"), float("nan"), False),
        (2**80, 2**80 + 1, False),
        (2**80, 2**80, True),
        ("\ud800", "\ud800", True),
        ("\u00e9", "e\u0301", False),
        ("", [], False),
        ([], {}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 1, "c": 2}, False),
        ({"a": None}, {"b": None}, False),
    ],
)
def test_values_are_equal_by_kind(core: ModuleType, a: Any, b: Any, is_equal: bool) -> None:
    assert core.equal(a, b) is is_equal
    assert core.equal({"x": [a]}, {"x": [b]}) is is_equal
    assert (core.diff(a, b) == []) is is_equal


@each_core
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2**53, "$: an integer is beyond"),
        ({"a": [0, 1, 2, {"b": -(2**53)}]}, "$.a[3].b: an integer is beyond"),
        ([float("inf")], "$[0]: a number is not finite"),
        ([[float("nan")]], "$[0][0]: a number is not finite"),
        ({"a b": "\ud800"}, '$["a b"]: a string holds a lone surrogate'),
        ({"\udc00": 1}, "$: a member name holds a lone surrogate"),
        ({"a": {1: 2}}, "$.a: a member name is not a string"),
        ([(1, 2)], "$[0]: not a JSON value"),
        ({"k" * 100: [b""]}, f'$["{"k" * 40}"][0]: not a JSON value'),
        ({"\x1b[31m": set()}, '$["\\u001b[31m"]: not a JSON value'),
    ],
)
def test_what_a_peer_cannot_hold_is_refused_with_its_place(core: ModuleType, value: Any, words: str) -> None:
    with pytest.raises(BadMessage, match="^" + re.escape(words)):
        core.check(value)


@each_core
def test_the_check_takes_bounds_and_a_place(core: ModuleType) -> None:
    core.check(2**60, integer_max=2**63 - 1)
    with pytest.raises(BadMessage, match=re.escape("$.ops[3].value.n: an integer")):
        core.check({"n": 11}, integer_max=10, place="$.ops[3].value")
    with pytest.raises(DepthExceeded, match=re.escape("$.a.a: The value is nested deeper")):
        core.check(nested(3, dict), depth_max=2)


VERBS: list[tuple[str, Any]] = [
    ("equal", lambda core, deep, other, depth: core.equal(deep, other, depth_max=depth)),
    ("diff", lambda core, deep, other, depth: core.diff(deep, other, depth_max=depth)),
    ("check", lambda core, deep, other, depth: core.check(deep, depth_max=depth)),
    ("measure", lambda core, deep, other, depth: core.measure(deep, depth_max=depth)),
    ("canonical", lambda core, deep, other, depth: core.canonical(deep, depth_max=depth)),
    ("merge_patch", lambda core, deep, other, depth: core.merge_patch({}, deep, depth_max=depth)),
    (
        "apply_patch",
        lambda core, deep, other, depth: core.apply_patch(
            {}, [{"op": "replace", "path": "", "value": deep}], depth_max=depth
        ),
    ),
]


@each_core
@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("verb", [verb for _, verb in VERBS], ids=[name for name, _ in VERBS])
def test_depth_is_bounded_exactly_where_it_is_set(core: ModuleType, verb: Any, kind: type) -> None:
    for depth in (1, 2, 64, 256):
        verb(core, nested(depth, kind), nested(depth, kind), depth)
        with pytest.raises(DepthExceeded):
            verb(core, nested(depth + 1, kind), nested(depth + 1, kind), depth)


@each_core
@pytest.mark.parametrize("verb", [verb for _, verb in VERBS], ids=[name for name, _ in VERBS])
def test_the_deepest_text_orjson_reads_is_refused_not_a_crash(core: ModuleType, verb: Any) -> None:
    deep = orjson.loads(b"[" * 1000 + b"]" * 1000)
    other = orjson.loads(b"[" * 1000 + b"]" * 1000)
    with pytest.raises(DepthExceeded):
        verb(core, deep, other, 256)


@each_core
@pytest.mark.parametrize("depth", [-1, 257, True, 1.0, "64", None])
def test_a_depth_limit_is_an_integer_within_reach_of_the_stack(core: ModuleType, depth: Any) -> None:
    for call in (core.measure, core.canonical, core.check):
        with pytest.raises(ValueError, match="depth_max is an integer from 0 to 256"):
            call([], depth_max=depth)


@each_core
@pytest.mark.parametrize(
    "value", [2**63, -(2**63), 2**64, 10**30, -(10**30), 10**30 - 1, 0, -1, 9, 10, 99, 100, -(2**63) + 1]
)
def test_an_integer_of_any_size_is_measured_by_its_digits(core: ModuleType, value: int) -> None:
    assert core.measure(value) == len(str(value))


@each_core
def test_an_integer_too_long_to_print_is_still_measured(core: ModuleType) -> None:
    assert core.measure(10**5000) == 5001
    assert core.measure(-(10**5000) + 1) == 5001


@each_core
def test_a_lone_surrogate_is_measured_as_three_bytes(core: ModuleType) -> None:
    assert core.measure("a\ud800") == 2 + 1 + 3


@each_core
@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("-inf"), "\ud800", {"\ud800": 1}, {1: 2}, (1,)])
def test_what_the_canonical_form_cannot_write_is_refused(core: ModuleType, value: Any) -> None:
    with pytest.raises(BadMessage):
        core.canonical([value])


@each_core
def test_the_canonical_form_orders_names_by_utf16_units(core: ModuleType) -> None:
    value = {"\ufb33": 1, "\U0001f600": 2, "a": 3}
    assert core.canonical(value) == '{"a":3,"\U0001f600":2,"\ufb33":1}'.encode()


@each_core
def test_the_canonical_form_does_not_tell_1_from_1_point_0(core: ModuleType) -> None:
    assert core.canonical([1, 1.0, -0.0, 0]) == b"[1,1,0,0]"
    assert core.canonical(1e21) == b"1e+21"


@each_core
def test_a_pointer_that_is_no_pointer_is_refused(core: ModuleType) -> None:
    for pointer in ("a", "/~", "/~2", "/a~", None, 3):
        with pytest.raises(PatchError):
            core.split_pointer(pointer)
        with pytest.raises(PatchError):
            core.resolve({}, pointer, None)
    with pytest.raises(PatchError, match="no such member"):
        core.resolve({}, "/a")
    assert core.resolve({}, "/a", None) is None
    assert core.join_pointer(["a/b", 3, "~", "-"]) == "/a~1b/3/~0/-"


@each_core
def test_every_refusal_is_the_clients_fault(core: ModuleType) -> None:
    for value in (2**53, "\ud800", nested(70)):
        with pytest.raises(ClientFault):
            core.check([value])
