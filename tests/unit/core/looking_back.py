"""What a reader of the stage's log hands to the machine with an undo."""

from __future__ import annotations

from typing import Any

from syncbridge._ext import apply_patch
from syncbridge.core import effects as do
from syncbridge.core import events as on
from syncbridge.core.conflicts import PastConflict, undoings_in
from syncbridge.core.entry import Entry, Side
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
