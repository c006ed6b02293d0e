"""What the entries of a log tell of handoffs and of changes, read from the newest back.

A handoff is told once: a take by its entry, an offer by its own. What became of an offer is what the nearest later
entry says that ended it, for at most one waits at a time; `HandoffWalk` remembers that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from syncbridge.core.entry import Entry, HandoffNote
from syncbridge.core.ids import DeviceId, HandoffId

HandoffOutcome = Literal["done", "waiting", "declined", "cancelled", "expired", "superseded", "ended"]


class HandoffStory(Struct, frozen=True):
    """One handoff as the log tells it; ``version`` is the entry that tells it.

    ``requested_at`` is None where the log no longer reaches back to the offer, ``ended_at`` while it waits.
    """

    id: HandoffId
    version: int
    mode: Literal["offer", "take"]
    outcome: HandoffOutcome
    source: DeviceId | None
    target: DeviceId | None
    requested_at: int | None
    ended_at: int | None
    expires_at: int | None = None
    fence: int = 0
    uncertainty_ms: int = 0


class HandoffWalk:
    """Entries in, newest first; stories out. ``closing`` is the nearest entry seen that ended what waited before it."""

    def __init__(self, closing: Entry | None = None) -> None:
        self.closing = closing

    def meet(self, entry: Entry, now_ms: int) -> HandoffStory | None:
        """What this entry tells, in the light of those after it."""
        story = None
        note = entry.handoff
        if entry.kind == "offer" and note is not None:
            story = self._offer(entry, note, now_ms)
        elif entry.kind == "handoff" and note is not None and note.mode == "take":
            story = _done(entry, note, entry.version, note.began_at or entry.at)
        if entry.kind in ("offer", "withdraw", "handoff") or entry.status in ("completed", "archived"):
            self.closing = entry
        return story

    def left_over(self) -> HandoffStory | None:
        """The handoff whose offer the log no longer holds: to be asked for past the last entry."""
        closing = self.closing
        if closing is None or closing.handoff is None or closing.handoff.mode != "offer" or closing.kind == "offer":
            return None
        if closing.kind == "withdraw":
            return self._over(closing.handoff, closing.version, None, closing, closing.handoff.reason)
        return _done(closing, closing.handoff, closing.version, None)

    def _offer(self, entry: Entry, note: HandoffNote, now_ms: int) -> HandoffStory:
        closing = self.closing
        if closing is None:
            if note.expires_at > now_ms:
                return self._over(note, entry.version, entry.at, None, "waiting")
            return self._over(note, entry.version, entry.at, None, "expired")
        ended_by = closing.handoff
        if closing.kind == "handoff" and ended_by is not None:
            if ended_by.id == note.id:
                return _done(closing, ended_by, entry.version, entry.at, note)
            return self._over(note, entry.version, entry.at, closing, "superseded")
        if closing.kind == "withdraw" and ended_by is not None:
            return self._over(note, entry.version, entry.at, closing, ended_by.reason)
        # Another offer could be made because this one's time was over, though nobody had noted it.
        return self._over(note, entry.version, entry.at, closing, "expired" if closing.kind == "offer" else "ended")

    @staticmethod
    def _over(
        note: HandoffNote, version: int, requested_at: int | None, closing: Entry | None, outcome: str
    ) -> HandoffStory:
        ended_at = None if closing is None else closing.at
        if outcome == "expired" and note.expires_at:
            ended_at = note.expires_at
        return HandoffStory(
            id=note.id,
            version=version,
            mode=note.mode,
            outcome=outcome,  # type: ignore[arg-type]  # a reason that the log itself gave
            source=note.source,
            target=note.target,
            requested_at=requested_at,
            ended_at=ended_at,
            expires_at=note.expires_at or None,
        )


def _done(
    entry: Entry, note: HandoffNote, version: int, requested_at: int | None, offer: HandoffNote | None = None
) -> HandoffStory:
    return HandoffStory(
        id=note.id,
        version=version,
        mode=note.mode,
        outcome="done",
        source=note.source if offer is None or note.source is not None else offer.source,
        target=note.target,
        requested_at=requested_at,
        ended_at=entry.at,
        expires_at=None if offer is None else offer.expires_at,
        fence=entry.fence,
        uncertainty_ms=note.uncertainty_ms,
    )


def paths_of(entry: Entry, count_max: int) -> list[str]:
    """The places that the entry writes, each once, in order; at most ``count_max`` of them."""
    found: dict[str, None] = {}
    for path in _written(entry):
        found.setdefault(path)
        if len(found) == count_max:
            break
    return list(found)


def _written(entry: Entry) -> Iterator[str]:
    for op in entry.ops:
        if op["op"] == "test":
            continue
        if op["op"] == "move":
            yield str(op["from"])
        yield str(op["path"])
