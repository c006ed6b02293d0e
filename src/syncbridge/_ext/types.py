"""The words the compiled core speaks: plain JSON values, and what it answers with."""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

Json: TypeAlias = Any
"""Any JSON value as orjson, msgspec or json parse it. Treated as immutable: results share with their inputs.

Not a recursive union: lists and dicts are invariant, so every caller would have to cast.
"""

JsonObject: TypeAlias = "dict[str, Json]"

Op: TypeAlias = "dict[str, Any]"
"""One RFC 6902 operation: ``op``, ``path`` and, as the operation asks, ``value`` or ``from``."""

Policies: TypeAlias = "dict[str, Any]"
"""A compiled merge policy table: a trie of plain values, made by ``compile_policies`` and read by nobody else."""


class Conflict(TypedDict, total=False):
    """One place where a push did not simply apply. ``ours`` or ``theirs`` is absent where that side removed."""

    path: str  # where it is in the state the rebased ops lead to
    policy: str  # the policy that decided
    winner: str  # "ours", "theirs", "both" (merged) or "manual" (theirs stays, a person is asked)
    ours: Json
    theirs: Json
    theirs_version: int
    theirs_device: str


class Committed(TypedDict, total=False):
    """One committed change as ``rebase`` reads it; a bare list of ops is taken too."""

    ops: list[Op]
    version: int
    device: str
    at: int
