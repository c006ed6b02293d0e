# ruff: noqa: PERF401, SIM110  (written out, it is the faster plain Python)
"""A good plain-Python recursive diff, as a careful person writes it without a compiler: the bar for the compiled one.

It knows kinds, trims what two lists share at their ends, and builds a path only for what differs below it.
"""

from __future__ import annotations

from typing import Any


def plain_diff(a: Any, b: Any) -> list[dict[str, Any]]:
    ops: list[dict[str, Any]] = []
    _walk(a, b, "", ops)
    return ops


def _same(a: Any, b: Any) -> bool:
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is dict:
        if len(a) != len(b):
            return False
        for key, value in a.items():
            if key not in b or not _same(value, b[key]):
                return False
        return True
    if kind is list:
        if len(a) != len(b):
            return False
        for x, y in zip(a, b, strict=True):
            if not _same(x, y):
                return False
        return True
    return bool(a == b)


def _walk(a: Any, b: Any, path: str, ops: list[dict[str, Any]]) -> None:
    kind = type(a)
    if kind is not type(b):
        ops.append({"op": "replace", "path": path, "value": b})
    elif kind is dict:
        for key, value in a.items():
            if key not in b:
                ops.append({"op": "remove", "path": f"{path}/{_escaped(key)}"})
                continue
            other = b[key]
            other_kind = type(other)
            if other_kind is dict or other_kind is list or type(value) is not other_kind or value != other:
                _walk(value, other, f"{path}/{_escaped(key)}", ops)
        for key, value in b.items():
            if key not in a:
                ops.append({"op": "add", "path": f"{path}/{_escaped(key)}", "value": value})
    elif kind is list:
        start, a_end, b_end = 0, len(a), len(b)
        while start < a_end and start < b_end and _same(a[start], b[start]):
            start += 1
        while a_end > start and b_end > start and _same(a[a_end - 1], b[b_end - 1]):
            a_end -= 1
            b_end -= 1
        pairs = min(a_end, b_end)
        for index in range(start, pairs):
            _walk(a[index], b[index], f"{path}/{index}", ops)
        for index in range(a_end - 1, pairs - 1, -1):
            ops.append({"op": "remove", "path": f"{path}/{index}"})
        for index in range(pairs, b_end):
            ops.append({"op": "add", "path": f"{path}/{index}", "value": b[index]})
    elif a != b:
        ops.append({"op": "replace", "path": path, "value": b})


def _escaped(key: str) -> str:
    if "~" in key or "/" in key:
        return key.replace("~", "~0").replace("/", "~1")
    return key
