"""Session types: what a session of a kind starts as, how its paths merge, and which numbers make sense.

An operator can add more in configuration (`SessionType.from_mapping`); five ship.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from syncbridge._ext import Policies, compile_policies
from syncbridge.core.ids import JsonObject, Op
from syncbridge.errors import PolicyError

_COMMON: dict[str, Any] = {
    "/playhead": "playhead",
    "/settings": "last",
    "/notes": "latest",
    "/tags": "set",
    "/marks": {"policy": "append", "key": "id"},
    "/totals/*": "counter",
    "/best/*": "max",
    "/device": "owner",
}
"""What every shipped type has.

A session's notes are edited where the person is, so the later edit wins; marks (a moment worth keeping) and tags
never get lost; totals add up; a best never falls; `/device` is what the active device says of itself.
"""


class Range(Struct, frozen=True):
    """Bounds of a number at a pointer, both included."""

    pointer: str
    least: float
    most: float


def first_token(pointer: str) -> str:
    """The first reference token of a JSON Pointer; "" for the root, and for what is no pointer."""
    return pointer.split("/", 2)[1] if pointer.startswith("/") else ""


def touched(ops: list[Op]) -> set[str]:
    """The first tokens of all places that the ops write; "" where one writes the root or names no place.

    What is not in it is certainly not written: so a patch elsewhere pays for a rule no more than a look.
    """
    heads = set()
    for op in ops:
        path = op.get("path")
        heads.add(first_token(path) if type(path) is str else "")
        if op.get("op") == "move":
            source = op.get("from")
            heads.add(first_token(source) if type(source) is str else "")
    return heads


class SessionType(Struct, frozen=True):
    """A kind of session. ``schema`` is what was compiled to ``policies`` (see `_ext.compile_policies`).

    ``owned`` are the first tokens of pointers with policy `owner`; "*" stands for any. ``ranges`` are by the first
    token of their pointers. See `touched`.
    """

    name: str
    schema: dict[str, Any]
    policies: Policies
    owned: frozenset[str]
    ranges: dict[str, list[Range]]
    initial: JsonObject

    @classmethod
    def build(
        cls,
        name: str,
        schema: Mapping[str, Any],
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        initial: JsonObject | None = None,
    ) -> SessionType:
        """Raises PolicyError for a policy, path or range that makes no sense."""
        merged = {**_COMMON, **schema}
        bounds: dict[str, list[Range]] = {}
        for pointer, (least, most) in (ranges or {}).items():
            if not pointer.startswith("/") or least > most:
                raise PolicyError(f"session type {name!r}: range {pointer!r} needs a pointer and least <= most")
            bounds.setdefault(first_token(pointer), []).append(Range(pointer, least, most))
        owned = frozenset(
            first_token(pointer)
            for pointer, policy in merged.items()
            if "owner" in (policy, policy.get("policy") if isinstance(policy, Mapping) else None)
        )
        return cls(name, merged, compile_policies(merged), owned, bounds, initial or {})

    @classmethod
    def from_mapping(cls, name: str, table: Mapping[str, Any]) -> SessionType:
        """From configuration: ``{"policies": {pointer: policy}, "ranges": {pointer: [least, most]}, "initial": {}}``.

        Raises PolicyError naming what is wrong.
        """
        unknown = set(table) - {"policies", "ranges", "initial"}
        if unknown:
            raise PolicyError(f"session type {name!r}: unknown key {min(unknown)!r}")
        try:
            ranges = {pointer: (float(low), float(high)) for pointer, (low, high) in table.get("ranges", {}).items()}
        except (TypeError, ValueError) as error:
            raise PolicyError(f"session type {name!r}: a range is [least, most]") from error
        return cls.build(name, table.get("policies", {}), ranges=ranges, initial=dict(table.get("initial", {})))

    def may_own(self, heads: set[str]) -> bool:
        """Whether a patch that touches these may write where only the owner writes; False is certain."""
        owned = self.owned
        return bool(owned) and ("" in heads or "*" in owned or not owned.isdisjoint(heads))

    def initial_state(self) -> JsonObject:
        """A fresh first state; the playhead stands at 0, paused."""
        return {"playhead": {"position": 0, "rate": 0, "at": 0}, **self.initial}


SESSION_TYPES: dict[str, SessionType] = {
    kind.name: kind
    for kind in (
        SessionType.build(
            "meditation",
            {"/stages": "set"},
            ranges={"/settings/minutes": (1, 480), "/settings/volume": (0, 100)},
            initial={"settings": {"minutes": 10, "volume": 60}, "totals": {}, "marks": []},
        ),
        SessionType.build(
            "breathing",
            {"/heart_rate": {"policy": "append", "key": "at"}, "/pattern": "last"},
            ranges={
                "/pattern/inhale_s": (1, 30),
                "/pattern/hold_s": (0, 60),
                "/pattern/exhale_s": (1, 60),
                "/settings/volume": (0, 100),
            },
            initial={
                "pattern": {"inhale_s": 4, "hold_s": 4, "exhale_s": 6},
                "settings": {"volume": 60},
                "totals": {"breaths": 0},
                "heart_rate": [],
                "marks": [],
            },
        ),
        SessionType.build(
            "yoga",
            {"/poses_done": "set", "/sequence": "manual"},
            ranges={"/settings/volume": (0, 100)},
            initial={"sequence": [], "poses_done": [], "settings": {"volume": 60}, "totals": {}, "marks": []},
        ),
        SessionType.build(
            "mindfulness",
            {"/journal": {"policy": "append", "key": "id"}},
            ranges={"/mood": (1, 10)},
            initial={"journal": [], "settings": {}, "totals": {}, "marks": []},
        ),
        SessionType.build("custom", {}),
    )
}
