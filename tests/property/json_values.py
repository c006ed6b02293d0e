"""Strategies for JSON values: small enough to collide often, odd enough to matter."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "", "0", "1", "~", "/", "é", "\U0001f600", "\ue000", "id", "-", "01"]

scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 1.0, -1.5, 1e300, 5e-324, 2**53 - 1, -(2**53) + 1])
    | st.sampled_from(["", "x", "y", "\n", '"', "\U0001f600"])
)

values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=16,
)

objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


@st.composite
def edited(draw: st.DrawFn, value: Any, edits_max: int = 3) -> Any:
    """`value` after a few small edits anywhere in it."""
    for _ in range(draw(st.integers(0, edits_max))):
        value = _edit(draw, value)
    return value


def _edit(draw: st.DrawFn, value: Any) -> Any:
    goes_down = draw(st.integers(0, 3)) > 0
    if isinstance(value, dict):
        if value and goes_down:
            key = draw(st.sampled_from(sorted(value)))
            return {**value, key: _edit(draw, value[key])}
        is_removal = draw(st.booleans())
        if value and is_removal:
            gone = draw(st.sampled_from(sorted(value)))
            return {key: item for key, item in value.items() if key != gone}
        return {**value, draw(st.sampled_from(NAMES)): draw(values)}
    if isinstance(value, list):
        at = draw(st.integers(0, len(value)))
        if at < len(value) and goes_down:
            return [*value[:at], _edit(draw, value[at]), *value[at + 1 :]]
        if at < len(value) and draw(st.booleans()):
            return [*value[:at], *value[at + 1 :]]
        return [*value[:at], draw(scalars | values), *value[at:]]
    return draw(scalars)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """A value and another: edited from it, or unrelated."""
    a = draw(values)
    return a, draw(edited(a) | values)


@st.composite
def forks(draw: st.DrawFn, sides: int = 2) -> list[dict[str, Any]]:
    """A base object and `sides` states edited from it."""
    base = draw(objects)
    made = [base]
    for _ in range(sides):
        state = draw(edited(base, edits_max=4))
        made.append(state if isinstance(state, dict) else base)
    return made


tables: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.dictionaries(
    st.sampled_from(["", "/a", "/*", "/a/b", "/*/*", "/b/0", "/c/*/a", "/0"]),
    st.sampled_from(["last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual"]),
    max_size=4,
)
