"""Merge policy tables: which policy decides where two writers met.

A table maps JSON Pointers, in which the token ``*`` stands for any one name or index, to a policy name or to
``{"policy": name, "key": member}``. A policy on a path governs the whole subtree unless a deeper path has its own.
Of several matches the deepest wins; of equally deep ones the one with a name where the other has ``*``, leftmost
first. Where nothing matches, ``last`` decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from syncbridge._twin.pointer import split_pointer
from syncbridge.errors import PatchError, PolicyError

NAMES = frozenset(("last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual"))
PATH_TOKENS_MAX = 64
WILDCARD = "*"


class Rule(NamedTuple):
    """The policy that governs a place, the member that identifies an item, how many tokens its path has."""

    policy: str
    key: str
    depth: int


DEFAULT = Rule("last", "id", 0)


def compile_policies(schema: Mapping[str, Any], /) -> dict[str, Any]:
    """The table as a trie of plain values. Raises PolicyError on an unknown policy or a bad path."""
    if not isinstance(schema, Mapping):
        raise PolicyError("a policy table maps paths to policies")
    root = _node()
    for path, entry in schema.items():
        try:
            tokens = split_pointer(path)
        except PatchError as error:
            raise PolicyError(f"{str(path)[:80]!r}: {error.reason}") from None
        if len(tokens) > PATH_TOKENS_MAX:
            raise PolicyError(f"{path[:80]!r}: a path has at most {PATH_TOKENS_MAX} tokens")
        rule = {"policy": entry} if isinstance(entry, str) else entry
        if not isinstance(rule, Mapping) or not set(rule) <= {"policy", "key"} or "policy" not in rule:
            raise PolicyError(f"{path[:80]!r}: expected a policy name or an object with policy and key")
        name, key = rule["policy"], rule.get("key")
        if not isinstance(name, str) or name not in NAMES:
            raise PolicyError(f"{path[:80]!r}: {str(name)[:40]!r} is none of {', '.join(sorted(NAMES))}")
        if key is not None and (name != "append" or not isinstance(key, str) or not key):
            raise PolicyError(f"{path[:80]!r}: only append takes a key, the name of a member")
        node = root
        for token in tokens:
            if token == WILDCARD:
                node["any"] = node["any"] or _node()
                node = node["any"]
            else:
                node = node["exact"].setdefault(token, _node())
        node["policy"], node["key"] = name, key or DEFAULT.key
    return root


def _node() -> dict[str, Any]:
    return {"policy": None, "key": DEFAULT.key, "exact": {}, "any": None}


def rule_at(policies: dict[str, Any] | None, tokens: Sequence[str]) -> Rule:
    """The rule that governs the place `tokens`."""
    if policies is None:
        return DEFAULT
    return _find(policies, tokens, 0) or DEFAULT


def _find(node: dict[str, Any], tokens: Sequence[str], depth: int) -> Rule | None:
    best = Rule(node["policy"], node["key"], depth) if node["policy"] else None
    if depth < len(tokens):
        for child in (node["exact"].get(tokens[depth]), node["any"]):
            found = _find(child, tokens, depth + 1) if child is not None else None
            if found is not None and (best is None or found.depth > best.depth):
                best = found
    return best
