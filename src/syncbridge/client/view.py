"""A session's state as an app reads it: a live look that cannot be written through."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from syncbridge.core.ids import Json, JsonObject


def view_of(value: Json) -> Any:
    """Objects and arrays as read-only views, everything else as it is."""
    if isinstance(value, dict):
        return ObjectView(value)
    if isinstance(value, list):
        return ArrayView(value)
    return value


def plain(value: Any) -> Json:
    """A copy in plain dicts and lists, free to change."""
    return copy.deepcopy(raw(value))


def raw(value: Any) -> Json:
    """What a view looks at; anything else as it is."""
    return value._value if isinstance(value, ObjectView | ArrayView) else value


class ObjectView(Mapping[str, Any]):
    """A JSON object, read-only; equal to a dict with the same content."""

    __slots__ = ("_value",)

    def __init__(self, value: JsonObject) -> None:
        self._value = value

    def __getitem__(self, key: str) -> Any:
        return view_of(self._value[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == (other._value if isinstance(other, ObjectView) else other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._value)


class ArrayView(Sequence[Any]):
    """A JSON array, read-only; equal to a list with the same content."""

    __slots__ = ("_value",)

    def __init__(self, value: list[Json]) -> None:
        self._value = value

    def __getitem__(self, index: Any) -> Any:
        return view_of(self._value[index])

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == (other._value if isinstance(other, ArrayView) else other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._value)
