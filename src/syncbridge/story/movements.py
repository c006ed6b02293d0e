"""The playhead's way through a log: where each entry found it, and where it put it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from syncbridge._ext import apply_patch
from syncbridge.core.entry import Entry
from syncbridge.core.playhead import KEY, POINTER, Anchor, of_state
from syncbridge.errors import PatchError


class Movement(Struct, frozen=True):
    """``before_s`` is where the playhead stood when the entry came, ``after_s`` where the entry put it."""

    entry: Entry
    before_s: float
    after_s: float


def movements(entries: list[Entry]) -> Iterator[Movement]:
    """Every entry that moved a playhead that was known before, oldest first.

    Where the log does not reach back to its beginning, the first movement that is still there only makes it known.
    """
    current: Anchor | None = None
    for entry in entries:
        found = _anchor_after(entry, current)
        if found is None:
            continue
        if current is not None:
            yield Movement(entry, current.position_at(entry.at), found.position_at(entry.at))
        current = found


def _anchor_after(entry: Entry, current: Anchor | None) -> Anchor | None:
    """The anchor that the entry's ops lead to; None where they leave it."""
    document: Any = {} if current is None else {KEY: current.as_json()}
    touching: list[Any] = []
    for op in entry.ops:
        path = op.get("path", "")
        if path == "" and isinstance(op.get("value"), dict):
            touching, document = [], {KEY: op["value"][KEY]} if KEY in op["value"] else {}
        elif (path == POINTER or path.startswith(POINTER + "/")) and op.get("op") in ("add", "replace", "remove"):
            touching.append({**op, "op": "add"} if path == POINTER and op.get("op") == "replace" else op)
    if not touching and not any(op.get("path") == "" for op in entry.ops):
        return None
    try:
        state = apply_patch(document, touching)
    except PatchError:
        return None  # a part of an anchor that was set before the log reaches back
    return of_state(state) if isinstance(state, dict) else None
