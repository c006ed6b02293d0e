"""The worker that takes a conflict back: one new entry that says what it undoes and what it replaced."""

from __future__ import annotations

from msgspec import structs

from syncbridge import errors
from syncbridge.core import events as on
from syncbridge.core.admission import Change, admit
from syncbridge.core.batch import Batch
from syncbridge.core.conflicts import MISSING, Return, loser, standing_undo, undoings_in, way_back
from syncbridge.core.effects import Measured, Reply
from syncbridge.core.entry import Entry, Intent, Side, Undoing
from syncbridge.core.ids import JsonObject
from syncbridge.core.playhead import POINTER
from syncbridge.core.work_handoffs import tell_ended
from syncbridge.core.work_requests import check_expected, on_request, reply


@on_request
def undo(batch: Batch, event: on.UndoRequested) -> None:
    """The chosen value stands again, or the caller is told what stands there instead.

    Once undone, a conflict is answered with the entry that did it, however often it is asked for.
    """
    log, past = batch.log, event.past
    held = log.entry(past.entry.version)
    if past.epoch != log.epoch or (held is not None and held != past.entry):
        raise errors.EpochUnknown  # under the same name, too: what was read a moment ago may be lost by now
    if past.head < log.floor:
        # It took longer to read than the log takes to grow past all that is held here: to be read again.
        batch.say(Reply(event.request, None, errors.Unavailable.code, errors.Unavailable.meaning))
        return
    chosen = _chosen(event)
    later = log.after(max(past.head, log.floor))
    done = standing_undo([*past.undoings, *undoings_in(later)], past.entry.version, past.index)
    if done is not None and done[1].chosen == chosen:
        reply(batch, event.request, undone_by=done[0])
        return
    check_expected(batch, event.expected)
    since = None if past.since is None else [*_until(past.since, log.version), *later]
    limits = batch.machine.limits
    already = None if done is None else done[1].chosen
    found = way_back(past, since, log.state, chosen, already=already, now_ms=batch.now_ms, rate_max=limits.rate_max)
    if found.has_moved_on and not event.is_forced and event.expected is None:
        raise errors.ConflictMovedOn(members=_present(found, log.version))
    intent: Intent = "seek" if found.path == POINTER and found.ops else "edit"
    change = Change(event.device, 0, log.version, found.ops, intent, None, None)
    verdict = admit(log, change, batch.machine.kind, limits, batch.now_ms)
    if verdict.entry.conflicts:
        raise errors.StaleOwner("only the active device writes there; undo it from that device")
    rows = [] if found.row is None else [{**found.row, "device": event.device, "base": log.version}]
    undoing = Undoing(past.entry.version, past.index, chosen)
    entry = structs.replace(verdict.entry, conflicts=rows or (), undoes=undoing)
    batch.append(entry, state=verdict.state, size=verdict.size)
    batch.effects.append(Measured("conflict_undone", 1, str(past.row.get("policy", ""))))
    tell_ended(batch)
    reply(batch, event.request, undone_by=entry.version)


def _chosen(event: on.UndoRequested) -> Side:
    row = event.past.row
    lost = loser(row)
    if event.chosen is None:
        if lost is None:
            raise errors.ValidationFailed("$.choose: nothing was lost, both were merged; expected `ours` or `theirs`")
        return lost
    if lost is not None and event.chosen != lost and row.get("winner") != "manual":
        raise errors.ValidationFailed(f"$.choose: expected `{lost}`; the other value is the one that won")
    return event.chosen


def _until(entries: list[Entry], version: int) -> list[Entry]:
    """Those that this node has, too; a node that is behind finds out when it commits."""
    return [entry for entry in entries if entry.version <= version]


def _present(found: Return, version: int) -> JsonObject:
    body: JsonObject = {"version": version, "path": found.path}
    if found.present is not MISSING:
        body["present"] = found.present
    return body
