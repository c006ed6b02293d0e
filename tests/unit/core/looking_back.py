"""Conflicts on the stage, and what a reader of its log hands to the machine with an undo."""

from __future__ import annotations

from typing import Any

import msgspec

from syncbridge._ext import apply_patch
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core import messages as m
from syncbridge.core.conflicts import PastConflict, undoings_in
from syncbridge.core.entry import Entry, Side
from syncbridge.limits import Limits
from tests.unit.core.stage import Stage, request


def state_at(stage: Stage, version: int) -> Any:
    """The state that the stored entries lead to at `version`."""
    state: Any = stage.snapshot.state
    for entry in stage.stored:
        if entry.version <= version:
            state = apply_patch(state, entry.ops)
    return state


def past(stage: Stage, version: int, index: int = 0, *, follows: bool = True) -> PastConflict:
    """The conflict as the log has it; without ``follows`` what came since is told by the two states alone."""
    (entry,) = [entry for entry in stage.stored if entry.version == version]
    since = [entry for entry in stage.stored if entry.version > version]
    head = since[-1].version if since else version
    before = state_at(stage, version - 1)
    return PastConflict("e1", index, before, entry, head, since if follows else None, undoings_in(since))


def undo(
    stage: Stage,
    version: int,
    index: int = 0,
    *,
    chosen: Side | None = None,
    force: bool = False,
    expected: int | None = None,
    device: str = "laptop",
    follows: bool = True,
) -> do.Reply:
    """The answer to an undo of this conflict, read just now."""
    stage.replies.clear()
    conflict = past(stage, version, index, follows=follows)
    return stage.asks(on.UndoRequested(request(), device, conflict, chosen, force, expected))


def last_entry(stage: Stage) -> Entry:
    return stage.stored[-1]


STATE = {
    "playhead": {"position": 0, "rate": 0, "at": 0},
    "title": "",
    "settings": {"volume": 60, "theme": {"colour": "red"}},
    "items": [{"id": name, "name": name} for name in "abcd"],
    "totals": {"breaths": 10},
    "best": {"hold_s": 30},
    "tags": ["calm"],
    "marks": [{"id": "m1"}],
    "sequence": ["one"],
    "device": {"volume": 40},
    "notes": "",
}


def opened(kind: str = "yoga", limits: Limits | None = None) -> Stage:
    stage = Stage(kind, state=msgspec.json.decode(msgspec.json.encode(STATE)), limits=limits)
    for device in ("phone", "tv", "laptop"):
        stage.joins(device)
    return stage


def op(path: str, value: Any = None, kind: str = "replace") -> dict[str, Any]:
    return {"op": kind, "path": path} if kind == "remove" else {"op": kind, "path": path, "value": value}


def clash(stage: Stage, theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> int:
    """The TV writes, the phone writes on the state before; the version of the phone's entry, which has a row."""
    base = stage.machine.version
    assert isinstance(stage.pushes("tv", theirs, base=base), m.Ack)
    stage.now_ms += 1
    answer = stage.pushes("phone", ours, base=base, at=stage.now_ms)
    assert isinstance(answer, m.Ack)
    assert answer.conflicts
    return answer.version


def done(reply: do.Reply) -> int:
    """The entry that took the conflict back."""
    assert reply.result is not None, (reply.code, reply.message)
    return reply.result.undone_by
