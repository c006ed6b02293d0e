"""What is known of one session: its log, as far back as it reaches, and its incidents."""

from __future__ import annotations

from msgspec import Struct

from syncbridge.core.entry import Entry
from syncbridge.core.ids import SessionId
from syncbridge.ports import Incident


class Story(Struct, frozen=True):
    """Both in their order. ``damage`` is why the log cannot be read whole, ``notes`` what else could not be read."""

    session: SessionId
    entries: list[Entry]
    incidents: list[Incident]
    damage: str = ""
    notes: list[str] = []

    @property
    def is_whole(self) -> bool:
        """Whether the log reaches back to the session's first entry."""
        return bool(self.entries) and self.entries[0].version == 1
