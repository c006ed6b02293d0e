"""What devices are told of a handoff: the same on the node that committed its entry and on those that heard of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncbridge.core.effects import AnyEffect, Send, SetTimer
from syncbridge.core.entry import Entry, HandoffNote, Position
from syncbridge.core.ids import JsonObject
from syncbridge.core.log import SessionLog
from syncbridge.core.messages import HandoffDone, HandoffFailed, HandoffPrepare
from syncbridge.core.playhead import KEY

if TYPE_CHECKING:
    from syncbridge.core.members import Members


def playhead(log: SessionLog) -> JsonObject | None:
    """The anchor as it stands in the state."""
    value = log.state.get(KEY)
    return value if type(value) is dict else None


def prepare(log: SessionLog, note: HandoffNote) -> HandoffPrepare:
    """What the target of a waiting offer is told; the offer's entry is the newest, or nothing came since."""
    return HandoffPrepare(
        session=log.session,
        handoff=note.id,
        source=note.source,
        position=Position(log.epoch, log.version),
        expires_at=log.offer_ends_at,
        kind=log.kind,
        playhead=playhead(log),
    )


def done(log: SessionLog, entry: Entry, note: HandoffNote) -> HandoffDone:
    """What every member is told of the `handoff` entry that is the newest; ``note`` is the entry's own."""
    return HandoffDone(
        session=log.session,
        handoff=note.id,
        fence=entry.fence,
        active=str(note.target),
        version=entry.version,
        source=note.source,
        playhead=playhead(log),
        uncertainty_ms=note.uncertainty_ms,
    )


def failed(log: SessionLog, note: HandoffNote, reason: str) -> HandoffFailed:
    """What every member is told of an offer that is over without a handoff."""
    return HandoffFailed(log.session, note.id, reason, log.active)


def of_adopted(log: SessionLog, members: Members, entry: Entry, offer: HandoffNote | None) -> list[AnyEffect]:
    """The news of the newest entry, which another node committed, to the members here; ``offer`` waited before it.

    A target that follows nowhere is told by the node that committed: only that one knows that nobody else does.
    """
    note = entry.handoff
    told = list(members.by_connection)
    if entry.kind == "offer" and note is not None:
        target = members.connection_of(note.target)
        timer = SetTimer("offer", log.offer_ends_at)
        return [timer] if target is None else [Send(target, prepare(log, note)), timer]
    over: tuple[HandoffNote, str] | None = None
    if entry.kind == "withdraw" and note is not None:
        over = (note, note.reason)
    elif offer is not None and entry.status in ("completed", "archived"):
        over = (offer, "ended")
    elif offer is not None and entry.kind == "handoff" and note is not None and offer.id != note.id:
        over = (offer, "superseded")
    said: list[AnyEffect] = [] if over is None else [Send(there, failed(log, *over)) for there in told]
    if entry.kind == "handoff" and note is not None:
        said += [Send(there, done(log, entry, note)) for there in told]
    return said
